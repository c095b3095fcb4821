"""One typed configuration: TOML plus `section.key=value` overrides. What is unknown, mistyped or idle is refused.

>>> load(None, ["rl.steps=5", "run.stages=rl"]).rl.steps
5
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args, get_origin

from pydantic import ValidationError
from rapidfuzz import fuzz, process

from repodojo.core.errors import ConfigError
from repodojo.train.idle import idle_reason, recipe_of
from repodojo.train.recipe_parts import RecipeParts
from repodojo.train.sections import Agent, Eval, Model, Monitor, Reward, Rft, Rl, Rollout, Run, Sandbox, Section, Tasks
from repodojo.train.spelling import kind, toml

if TYPE_CHECKING:
    pass


class Config(Section):
    """All settings. Made by `load`; sections are frozen, so a change is a new configuration."""

    run: Run = Run()
    model: Model = Model()
    tasks: Tasks = Tasks()
    agent: Agent = Agent()
    sandbox: Sandbox = Sandbox()
    reward: Reward = Reward()
    monitor: Monitor = Monitor()
    rollout: Rollout = Rollout()
    rft: Rft = Rft()
    rl: Rl = Rl()
    recipe: RecipeParts = RecipeParts()
    eval: Eval = Eval()


SECTIONS: dict[str, type[Section]] = {name: type(getattr(Config(), name)) for name in Config.model_fields}
NAMES = tuple(f"{section}.{key}" for section, kind in SECTIONS.items() for key in kind.model_fields)


# ---------------------------------------------------------------- in


def load(path: Path | None, overrides: Sequence[str] = (), *, check: bool = True) -> Config:
    """The configuration in `path` (None: the defaults) with `section.key=value` overrides, later ones winning.

    A bare word is a text and `a,b` a list where the setting is one; everything else is read as TOML.
    ConfigError names the setting, the file or override it came from, and the nearest valid name or the reason.
    `check` False leaves out the search for idle settings: for what a run has kept, which was checked when it was made.
    """
    values: dict[str, dict[str, Any]] = {}
    origins: dict[str, str] = {}
    given = _from_file(path) if path else []
    for name, value, origin in [*given, *(_from_override(text) for text in overrides)]:
        if name not in NAMES:
            raise _unknown(name, origin)
        section, _, key = name.partition(".")
        values.setdefault(section, {})[key] = value
        origins[name] = origin
    config = _validated(values, origins)
    if check:
        _refuse_idle(config, origins)
    return config


def _refuse_idle(config: Config, origins: Mapping[str, str]) -> None:
    if "rl" in config.run.stages:
        try:
            if recipe_of(config).advantage == "gigpo" and config.agent.command:
                cause = "recipe credits turns, and an agent.command may have branches, whose turns cannot be compared"
                raise ConfigError(cause, way_out="choose a recipe that credits whole episodes")
        except ConfigError as error:
            name = _part_at_fault(error.cause, origins)
            origin = origins.get(name, "default")
            raise ConfigError(f"{name} ({origin}): {error.cause}", way_out=error.way_out) from None
    for name, origin in origins.items():
        if reason := idle_reason(config, name):
            raise ConfigError(f"{name} ({origin}) would do nothing: {reason}", way_out="leave it out, or change that")


def _part_at_fault(cause: str, given: Iterable[str]) -> str:
    """The setting that a complaint about a recipe speaks of: the first given part that it names, else the recipe."""
    words = re.findall(r"\w+", cause)
    parts = {name.partition(".")[2]: name for name in given if name.startswith(("recipe.", "rl."))}
    return next((parts[word] for word in words if word in parts and word != "recipe"), "rl.recipe")


class _Given(NamedTuple):
    name: str
    value: Any
    origin: str


def _from_file(path: Path) -> list[_Given]:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}", way_out="name a TOML file that can be read") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}", way_out="correct that line") from None
    given = []
    for section, table in document.items():
        if section not in SECTIONS or not isinstance(table, dict):
            raise _unknown(section, str(path))
        given += [_Given(f"{section}.{key}", value, str(path)) for key, value in table.items()]
    return given


def _from_override(text: str) -> _Given:
    name, equals, raw = text.partition("=")
    name, raw, origin = name.strip(), raw.strip(), f"override {text!r}"
    if not equals:
        raise ConfigError(f"{origin} has no '='", way_out="write section.key=value, e.g. rl.steps=20")
    if name not in NAMES:
        raise _unknown(name, origin)
    return _Given(name, _parse(raw, _annotation(name)), origin)


def _parse(raw: str, kind: Any) -> Any:
    """The value of an override: what a shell leaves of quotes must not decide between a text and a number."""
    try:
        value = tomllib.loads(f"value = {raw}")["value"]
    except tomllib.TOMLDecodeError:
        value = raw
    if get_origin(kind) is tuple:
        return [part.strip() for part in raw.split(",") if part.strip()] if not isinstance(value, list) else value
    is_text = kind is str or (get_origin(kind) is Literal and all(isinstance(a, str) for a in get_args(kind)))
    return raw if is_text and not isinstance(value, str) else value


def _annotation(name: str) -> Any:
    section, _, key = name.partition(".")
    return _without_none(SECTIONS[section].model_fields[key].annotation)


def _without_none(annotation: Any) -> Any:
    """X for `X | None`: a setting that is not given has no spelling in TOML."""
    args = get_args(annotation)
    return next(a for a in args if a is not type(None)) if type(None) in args else annotation


def _validated(values: Mapping[str, Mapping[str, Any]], origins: Mapping[str, str]) -> Config:
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"][:2])
        text = _described(name)
        raise ConfigError(
            f"{name} ({origins.get(name, 'default')}): {first['msg']}; got {first['input']!r}",
            way_out=f"{name}: {text}",
        ) from None


def _unknown(name: str, origin: str) -> ConfigError:
    """Names the nearest setting: by the whole dotted name, unless the key alone exists elsewhere."""
    key = name.rpartition(".")[2]
    moved = [known for known in NAMES if known.rpartition(".")[2] == key]
    if "." not in name and not moved and fuzz.ratio(name, _nearest(name, SECTIONS)) > 60:
        return ConfigError(
            f"unknown section [{name}] in {origin}", way_out=f"did you mean [{_nearest(name, SECTIONS)}]?"
        )
    nearest = _nearest(name, moved or NAMES)
    return ConfigError(f"unknown setting {name} in {origin}", way_out=f"did you mean {nearest}?")


def _nearest(name: str, known: Any) -> str:
    return str(process.extractOne(name, list(known), scorer=fuzz.ratio)[0])


# ---------------------------------------------------------------- out


def dump(config: Config) -> str:
    """TOML that loads back equal. Settings that are idle here stand as comments, with the reason."""
    lines: list[str] = []
    for section in SECTIONS:
        lines += ["", f"[{section}]"]
        for key, value in getattr(config, section):
            reason = idle_reason(config, f"{section}.{key}")
            line = f"{key} = {toml(value)}"
            unsaid = f"idle: {reason}" if reason else "not given" if value is None else ""
            lines.append(f"# {line}  ({unsaid})" if unsaid else line)
    return "\n".join(lines[1:]) + "\n"


class Described(NamedTuple):
    """One line of the settings' documentation."""

    name: str
    kind: str
    default: str
    text: str


def describe() -> list[Described]:
    """Every setting with its type, default and meaning, in the order of the file."""
    defaults = Config()
    rows = []
    for name in NAMES:
        section, _, key = name.partition(".")
        field = SECTIONS[section].model_fields[key]
        default = toml(getattr(getattr(defaults, section), key))
        rows.append(Described(name, kind(_annotation(name)), default, field.description or ""))
    return rows


def _described(name: str) -> str:
    return next((f"{row.text} ({row.kind}, default {row.default})" for row in describe() if row.name == name), "")

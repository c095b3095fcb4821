"""One typed configuration: TOML plus `section.key=value` overrides. What is unknown, mistyped or idle is refused.

>>> load(None, ["rl.steps=5", "run.stages=rl"]).rl.steps
5
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin

from pydantic import Strict, ValidationError
from rapidfuzz import fuzz, process

from repodojo.core.errors import ConfigError
from repodojo.train import stagefile
from repodojo.train.idle import idle_reason, recipe_of
from repodojo.train.recipe_parts import RecipeParts
from repodojo.train.sections import (
    Agent,
    Attacker,
    Context,
    Eval,
    Model,
    Monitor,
    Replay,
    Reward,
    Rft,
    Rl,
    Rollout,
    Run,
    Sandbox,
    Section,
    Sft,
    Tasks,
)
from repodojo.train.servers import refuse_half
from repodojo.train.spelling import kind, toml
from repodojo.train.stages import StageSettings, applied


class Config(Section):
    """All settings. Made by `load`; sections are frozen, so a change is a new configuration."""

    run: Run = Run()
    model: Model = Model()
    tasks: Tasks = Tasks()
    agent: Agent = Agent()
    context: Context = Context()
    sandbox: Sandbox = Sandbox()
    reward: Reward = Reward()
    monitor: Monitor = Monitor()
    attacker: Attacker = Attacker()
    rollout: Rollout = Rollout()
    sft: Sft = Sft()
    rft: Rft = Rft()
    rl: Rl = Rl()
    recipe: RecipeParts = RecipeParts()
    replay: Replay = Replay()
    eval: Eval = Eval()
    stages: Annotated[tuple[StageSettings, ...], Strict(False)] = ()


STAGES = "stages"
SECTIONS: dict[str, type[Section]] = {
    name: type(getattr(Config(), name)) for name in Config.model_fields if name != STAGES
}
NAMES = tuple(f"{section}.{key}" for section, kind in SECTIONS.items() for key in kind.model_fields)


# ---------------------------------------------------------------- in


def load(path: Path | None, overrides: Sequence[str] = (), *, check: bool = True) -> Config:
    """The configuration in `path` (None: the defaults) with `section.key=value` overrides, later ones winning.

    A bare word is a text and `a,b` a list where the setting is one; everything else is read as TOML.
    ConfigError names the setting, the file or override it came from, and the nearest valid name or the reason.
    `check` False leaves out the search for idle settings: for what a run has kept, which was checked when it was made.
    """
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    document = _document(path) if path else {}
    if tables := document.pop(STAGES, None):
        values[STAGES] = stagefile.read(tables, str(path))
    given = _from_document(document, str(path))
    for name, value, origin in [*given, *(_from_override(text) for text in overrides)]:
        if name not in NAMES:
            raise _unknown(name, origin)
        section, _, key = name.partition(".")
        values.setdefault(section, {})[key] = value
        origins[name] = origin
    config = _validated(values, origins)
    if check:
        _check(config, origins)
    return config


def _check(config: Config, origins: Mapping[str, str]) -> None:
    """What would do nothing is refused: in the run, and in each stage."""
    refuse_half(config)
    if not config.stages:
        _refuse_idle(config, origins)
        return
    stagefile.refuse_misplaced(config)
    for stage in config.stages:
        origin_of = dict.fromkeys(stage.given(), f"stage {stage.name}")
        try:
            within = applied(config, stage)
        except ValidationError as error:
            raise _wrong(error, origin_of) from None
        _refuse_idle(within, origin_of)
    for name, origin in origins.items():
        if reason := _idle_throughout(config, name):
            raise ConfigError(f"{name} ({origin}) would do nothing: {reason}", way_out="leave it out, or change that")


def _idle_throughout(config: Config, name: str) -> str:
    """Why a setting of the run would do nothing, in no stage either; "" where it does something."""
    if not config.stages:
        return idle_reason(config, name)
    reasons = [idle_reason(applied(config, s), name) for s in config.stages if name not in s.given()]
    return reasons[0] if reasons and all(reasons) else "" if reasons else "every stage sets it"


def _refuse_idle(config: Config, origins: Mapping[str, str]) -> None:
    if "rl" in config.run.stages:
        try:
            branching = config.agent.command or config.context.condense_at
            if recipe_of(config).advantage == "gigpo" and branching:
                who = "an agent.command" if config.agent.command else "a condensed context"
                cause = f"recipe credits turns, and {who} may have branches, whose turns cannot be compared"
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


def _document(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}", way_out="name a TOML file that can be read") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}", way_out="correct that line") from None


def _from_document(document: Mapping[str, Any], origin: str) -> list[_Given]:
    given = []
    for section, table in document.items():
        if section not in SECTIONS or not isinstance(table, dict):
            raise _unknown(section, origin)
        given += [_Given(f"{section}.{key}", value, origin) for key, value in table.items()]
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
        raise _wrong(error, origins) from None


def _wrong(error: ValidationError, origins: Mapping[str, str]) -> ConfigError:
    """The first complaint, with where the value came from and what the setting means."""
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"][:2])
    if len(first["loc"]) == 1:  # of one section alone, as a stage gives it
        name = next((known for known in origins if known.endswith(f".{name}")), name)
    cause = f"{name} ({origins.get(name, 'default')}): {first['msg']}; got {first['input']!r}"
    return ConfigError(cause, way_out=f"{name}: {_described(name)}")


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
            reason = _idle_throughout(config, f"{section}.{key}")
            line = f"{key} = {toml(value)}"
            unsaid = f"idle: {reason}" if reason else "not given" if value is None else ""
            lines.append(f"# {line}  ({unsaid})" if unsaid else line)
    for stage in config.stages:
        lines += ["", f"[[{STAGES}]]", *stagefile.lines(stage)]
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
    for key, field in StageSettings.model_fields.items():
        known = kind(_without_none(field.annotation)) if field.annotation != dict[str, Any] else "table"
        rows.append(Described(f"{STAGES}[].{key}", known, "", field.description or ""))
    return rows


def _described(name: str) -> str:
    return next((f"{row.text} ({row.kind}, default {row.default})" for row in describe() if row.name == name), "")

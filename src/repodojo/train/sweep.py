"""A sweep: named variants of one configuration x seeds, each its own run directory, and one table at the end.

about = "each part of GRPO++ removed in turn"
config = "quickstart"            # the packaged demo's settings, or a TOML file beside this one; may be left out
seeds = [0, 1, 2]
reference = "grpo_pp"            # what every other variant is compared with
set = ["rl.steps=12"]            # for all variants
share = "rft"                    # stages up to this one: once a seed, for all variants
measure = ["final"]              # also "sft", "rft", and "stage:NAME" for the last step of a stage
baselines = ["base", "tested-search"]  # also "sft" and "rft"; "unchanged" is the reference of code edits
splits = ["held-out"]            # measured on; left out: eval.split
metrics = ["clip_fraction"]      # means over the steps of RL
curves = ["submit_rate"]         # step by step

[variants]
grpo_pp = []
no-clip-higher = ["rl.clip_high=0.2"]
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, Strict, ValidationError

from repodojo.agent.editing import UNCHANGED
from repodojo.core.errors import ConfigError
from repodojo.core.records import Split
from repodojo.train.config import Config, load
from repodojo.train.measure import REFERENCES
from repodojo.train.sections import Section

Texts = Annotated[tuple[str, ...], Strict(False)]
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
BASE = "base"
SHARED = "shared"
BEFORE_RL = ("sft", "rft")
LATER = {"rl", "recipe", "replay", "eval", "stages"}
"""Sections that no stage before RL reads: where stages are shared, variants may differ in these."""


class Sweep(Section):
    """A sweep file. Variants are lists of overrides, `section.key=value`, as --set takes them."""

    about: str = Field("", description="one line that says what is compared")
    config: str = ""
    seeds: Annotated[tuple[int, ...], Strict(False)] = Field((0,), min_length=1)
    reference: str
    set: Texts = ()
    share: Literal["", "sft", "rft"] = ""
    measure: Texts = Field(("final",), min_length=1)
    baselines: Texts = ()
    splits: Annotated[tuple[Split, ...], Strict(False)] = ()
    metrics: Texts = ()
    curves: Texts = ()
    variants: dict[str, Texts] = Field(min_length=1)
    folder: Path = Path()
    name: str = ""

    def configuration(self, variant: str, seed: int, more: Sequence[str] = ()) -> Config:
        """The settings of one run; ConfigError as `config.load` says it, with the variant's name."""
        file = _packaged() if self.config == "quickstart" else self.folder / self.config if self.config else None
        try:
            return load(file, [*self.set, *self.variants[variant], *more, f"run.seed={seed}"])
        except ConfigError as error:
            raise ConfigError(f"variant {variant}: {error.cause}", way_out=error.way_out) from None

    def narrowed(self, *, seeds: Sequence[int] = (), only: Sequence[str] = ()) -> Sweep:
        """A part of the sweep: these seeds and variants (none named: all of them). Its runs are those of the whole.

        ConfigError for a variant that there is not, and where the reference is not among them.
        """
        if unknown := sorted(set(only) - set(self.variants)):
            raise ConfigError(f"there is no variant {unknown[0]!r}", way_out=f"known: {', '.join(self.variants)}")
        if only and self.reference not in only:
            raise ConfigError(f"the reference {self.reference} is left out", way_out=f"name {self.reference}, too")
        variants = {name: self.variants[name] for name in self.variants if not only or name in only}
        return self.model_copy(update={"seeds": tuple(dict.fromkeys(seeds)) or self.seeds, "variants": variants})


def _packaged() -> Path:
    return Path(str(files("repodojo") / "assets" / "quickstart.toml"))


def read(path: Path) -> Sweep:
    """The sweep in a file; ConfigError for what is unknown, missing or cannot be."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
        sweep = Sweep.model_validate({**document, "folder": path.absolute().parent, "name": path.stem})
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}", way_out="name a sweep file that can be read") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}", way_out="correct that line") from None
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{path}: {name}: {first['msg']}", way_out="see docs/curriculum.md for an example") from None
    _check(sweep, path)
    return sweep


def _check(sweep: Sweep, path: Path) -> None:
    _refuse(path, sweep.reference not in sweep.variants, f"reference '{sweep.reference}' is no variant", "name one")
    _refuse(path, len(set(sweep.seeds)) < len(sweep.seeds), "a seed is named twice", "name each once")
    _refuse(path, len(set(sweep.splits)) < len(sweep.splits), "a split is named twice", "name each once")
    named = all(NAME.fullmatch(name) for name in sweep.variants)
    _refuse(path, not named, "a variant's name is no folder name", "use letters, digits, . _ + and -")
    config = sweep.configuration(sweep.reference, sweep.seeds[0])
    before_rl = set(BEFORE_RL).intersection(config.run.stages)
    known = {BASE, *REFERENCES, UNCHANGED, *before_rl}
    strange = ", ".join(sorted(set(sweep.baselines) - known))
    _refuse(path, bool(strange), f"unknown baselines: {strange}", f"known: {', '.join(sorted(known))}")
    measured = {"final", *(f"stage:{stage.name}" for stage in config.stages), *before_rl}
    strange = ", ".join(sorted(set(sweep.measure) - measured))
    _refuse(path, bool(strange), f"cannot measure {strange}", f"known: {', '.join(sorted(measured))}")
    _check_shared(sweep, path, config)


def _check_shared(sweep: Sweep, path: Path, config: Config) -> None:
    """Shared stages must be there, and the same in every variant."""
    if not sweep.share:
        return
    _refuse(path, SHARED in sweep.variants, f"a variant is named {SHARED}, as the folder of shared stages", "rename it")
    _refuse(path, sweep.share not in config.run.stages[:-1], f"no stage follows {sweep.share}", "leave share out")
    wanted = config.model_dump(exclude=LATER)
    for name in sweep.variants:
        found = sweep.configuration(name, sweep.seeds[0]).model_dump(exclude=LATER)
        others = ", ".join(section for section in wanted if found[section] != wanted[section])
        cause = f"variant {name} cannot share {sweep.share}: it has settings of its own in {others}"
        _refuse(path, bool(others), cause, "leave share out")


def _refuse(path: Path, wrong: bool, cause: str, way_out: str) -> None:
    if wrong:
        raise ConfigError(f"{path}: {cause}", way_out=way_out)

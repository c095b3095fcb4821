"""`[[stages]]` in a file: read, refused where a stage cannot set what it names, and written back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from rapidfuzz import fuzz, process

from repodojo.core.errors import ConfigError
from repodojo.train.spelling import toml
from repodojo.train.stages import TABLES, StageSettings, may_set

if TYPE_CHECKING:
    from repodojo.train.config import Config


def read(tables: Any, origin: str) -> tuple[StageSettings, ...]:
    """The stages in a file; ConfigError for what is no table, and for a key that a stage does not have."""
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise ConfigError(f"{origin}: stages is no list of tables", way_out="write each as [[stages]]")
    return tuple(_stage(table, origin) for table in tables)


def _stage(table: Mapping[str, Any], origin: str) -> StageSettings:
    where = f"{origin}, stage {table.get('name', 'without a name')}"
    known = tuple(StageSettings.model_fields)
    for key in table:
        if key not in known:
            nearest = process.extractOne(key, known, scorer=fuzz.ratio)[0]
            raise ConfigError(f"unknown setting {key} in {where}", way_out=f"did you mean {nearest}?")
    try:
        stage = StageSettings.model_validate(table)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{where}: {name}: {first['msg']}", way_out="see repodojo train --settings") from None
    return stage


def refuse_misplaced(config: Config) -> None:
    """ConfigError for stages without RL, of one name, or with a setting that is unknown or of the whole run."""
    from repodojo.train.config import NAMES

    names = [stage.name for stage in config.stages]
    if config.run.stages[-1:] != ("rl",):
        raise ConfigError("stages would do nothing: they are parts of RL", way_out='let run.stages end with "rl"')
    if len(set(names)) < len(names):
        raise ConfigError(f"two stages have one name: {', '.join(names)}", way_out="give each its own")
    for stage in config.stages:
        for name in stage.given():
            if name not in NAMES:
                nearest = process.extractOne(name, [n for n in NAMES if may_set(n)], scorer=fuzz.ratio)[0]
                raise ConfigError(f"unknown setting {name} in stage {stage.name}", way_out=f"did you mean {nearest}?")
            if not may_set(name):
                raise ConfigError(f"stage {stage.name} cannot set {name}", way_out="set it once for the whole run")


def lines(stage: StageSettings) -> list[str]:
    """The stage as TOML, what it leaves to the run left out."""
    found = [f"name = {toml(stage.name)}"]
    if stage.yarn is not None:
        found.append(f"yarn = {toml(stage.yarn)}")
    if stage.refresh:
        found.append("refresh = true")
    tables = ((table, getattr(stage, table)) for table in TABLES)
    return found + [f"{table}.{key} = {toml(value)}" for table, own in tables for key, value in own.items()]

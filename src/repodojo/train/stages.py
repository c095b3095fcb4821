"""Stages of a curriculum: `[[stages]]` tables, each a part of RL with settings of its own.

    [[stages]]
    name = "short"
    rl.steps = 60
    agent.max_turns = 40

    [[stages]]
    name = "long"
    yarn = 4.0
    refresh = true
    rl.steps = 60
    agent.max_turns = 80

What a stage does not set it shares with the run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import Field

from repodojo.train.sections import Section

if TYPE_CHECKING:
    from repodojo.train.config import Config

TABLES: Mapping[str, frozenset[str]] = {
    # what a stage may set: section and keys (none named: all)
    "tasks": frozenset({"split", "limit", "max_prompt_tokens", "sampling", "sampling_floor"}),
    "agent": frozenset({"max_turns", "max_tokens", "max_context", "max_seconds"}),
    "rollout": frozenset({"group_size", "temperature", "redundancy", "prefixes", "prefix_skew"}),
    "rl": frozenset(),
    "recipe": frozenset(),
    "replay": frozenset({"oldest", "sharpness", "decay"}),
}
OF_THE_RUN = frozenset({"rl.eval_every"})
"""Within those sections, but told once: the monitor counts on it from the start."""


class StageSettings(Section):
    """One stage. The tables hold settings of the sections of that name, checked like those (see `config.load`)."""

    name: str = Field(description="names the stage in episode ids and checkpoints", pattern=r"^[a-z][a-z0-9_-]{0,30}$")
    yarn: float | None = Field(None, description="from here on YaRN stretches the context by this factor", gt=1)
    refresh: bool = Field(False, description="leave out tasks solved in 2/3 of all attempts so far, or never")
    tasks: dict[str, Any] = Field({}, description="tasks.* of this stage")
    agent: dict[str, Any] = Field({}, description="agent.* of this stage")
    rollout: dict[str, Any] = Field({}, description="rollout.* of this stage")
    rl: dict[str, Any] = Field({}, description="rl.* of this stage")
    recipe: dict[str, Any] = Field({}, description="recipe.* of this stage")
    replay: dict[str, Any] = Field({}, description="replay.* of this stage")

    def given(self) -> dict[str, Any]:
        """What it sets of the sections, by dotted name."""
        return {f"{table}.{key}": value for table in TABLES for key, value in getattr(self, table).items()}


def may_set(name: str) -> bool:
    """Whether a stage may set this dotted setting."""
    section, _, key = name.partition(".")
    return section in TABLES and name not in OF_THE_RUN and (not TABLES[section] or key in TABLES[section])


def applied(config: Config, stage: StageSettings) -> Config:
    """The configuration that holds within a stage; pydantic's ValidationError where a value does not fit."""
    changed = {}
    for table in TABLES:
        if own := getattr(stage, table):
            section = getattr(config, table)
            changed[table] = type(section).model_validate({**dict(section), **own})
    return config.model_copy(update={**changed, "stages": ()})


@dataclass(frozen=True)
class Span:
    """Steps `first` to `end` (exclusive) of all of RL, and what holds there.

    name: "" for a run without stages;  yarn: the factor in force, from this stage or an earlier one
    """

    name: str
    number: int
    config: Config
    first: int
    end: int
    yarn: float | None = None
    refresh: bool = False

    @property
    def prefix(self) -> str:
        """How ids of its groups begin."""
        return f"rl/{self.name}" if self.name else "rl"


def spans(config: Config) -> tuple[Span, ...]:
    """The stages of RL in order, or the whole of it as one."""
    if not config.stages:
        return (Span("", 0, config, 0, config.rl.steps),)
    found: list[Span] = []
    first, yarn = 0, None
    for number, stage in enumerate(config.stages):
        own, yarn = applied(config, stage), stage.yarn or yarn
        found.append(Span(stage.name, number, own, first, first + own.rl.steps, yarn, stage.refresh))
        first = found[-1].end
    return tuple(found)

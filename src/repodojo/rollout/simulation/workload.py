"""What the simulated episodes do: drawn from a file of figures, or taken from a recorded run."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from repodojo.core.errors import ConfigError


@dataclass(frozen=True)
class Plan:
    """One attempt as it would go, alone: tokens appended and sampled, and environment seconds, turn by turn (T each).

    start, grading: seconds to prepare its box and to grade it
    fails_at, hangs_at: the turn at which it meets an outage or an environment that never answers; -1: never
    """

    observation_T: Sequence[int]
    action_T: Sequence[int]
    environment_T: Sequence[float]
    start: float = 0.0
    grading: float = 0.0
    fails_at: int = -1
    hangs_at: int = -1

    def tokens(self) -> int:
        """Tokens of the whole conversation."""
        return sum(self.observation_T) + sum(self.action_T)

    def seconds(self, costs: Costs, batch: int) -> float:
        """Seconds from start to verdict where nothing fails and the engine always has `batch` sequences."""
        decode = sum(self.action_T) * (costs.decode_fixed + costs.decode_each * batch)
        prefill = sum(self.observation_T) * costs.prefill_token
        return self.start + decode + prefill + sum(self.environment_T) + self.grading


class Costs(BaseModel):
    """What the engine takes: seconds a decoding step (fixed + each * batch), seconds a prefilled token."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    decode_fixed: float = Field(gt=0)
    decode_each: float = Field(ge=0)
    prefill_token: float = Field(ge=0)


class Workload(Protocol):
    """Where plans come from. The same group, member and attempt have the same plan under every policy."""

    costs: Costs
    token_seconds: float
    sync_seconds: float
    hang_seconds: float

    def group(self, index: int, size: int) -> list[Plan]:
        """The first attempts of a group's members."""
        ...

    def again(self, index: int, member: int, attempt: int) -> Plan:
        """A further attempt of a member."""
        ...


class Spread(BaseModel):
    """A lognormal with this median and sigma, cut at `most`; sigma 0 is a constant."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    median: float = Field(ge=0)
    sigma: float = Field(0.0, ge=0)
    most: float = Field(math.inf, gt=0)

    def draw(self, rng: np.random.Generator, count: int) -> NDArray[np.float64]:
        """[count] values."""
        return np.minimum(self.median * np.exp(self.sigma * rng.standard_normal(count)), self.most)


class Shape(BaseModel):
    """How long episodes are."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    turns: Spread
    prompt_tokens: Spread
    observation_tokens: Spread
    action_tokens: Spread


class Surroundings(BaseModel):
    """Seconds of boxes and tools, and how often they fail."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    start: Spread
    step: Spread
    grading: Spread
    outages: float = Field(0.0, ge=0, le=1)
    hangs: float = Field(0.0, ge=0, le=1)
    hang_seconds: float = Field(1800.0, gt=0)


class Learning(BaseModel):
    """Accelerator-seconds a trained token, and seconds to publish."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    token_seconds: float = Field(ge=0)
    sync_seconds: float = Field(ge=0)


class Figures(BaseModel):
    """A file of latencies; `published.toml` beside this module is the example, with its sources."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    episode: Shape
    environment: Surroundings
    engine: Costs
    learner: Learning

    @classmethod
    def read(cls, path: Path | None = None) -> Figures:
        """The figures in a TOML file (None: those that ship); ConfigError names the first that is wrong."""
        resource = path or files("repodojo.rollout.simulation") / "published.toml"
        try:
            return cls.model_validate(tomllib.loads(resource.read_text(encoding="utf-8")))
        except OSError as error:
            raise ConfigError(f"{path}: {error.strerror}", way_out="name a TOML file that can be read") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: not TOML: {error}", way_out="correct that line") from None
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(str(part) for part in first["loc"])
            raise ConfigError(f"{path}: {name}: {first['msg']}", way_out="see published.toml for each figure") from None


@dataclass
class Drawn:
    """Episodes drawn from figures, each group from a seed of its own."""

    figures: Figures
    seed: int = 0
    costs: Costs = field(init=False)
    _drawn: dict[tuple[int, int], list[Plan]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self.costs = self.figures.engine
        self.token_seconds, self.sync_seconds = self.figures.learner.token_seconds, self.figures.learner.sync_seconds
        self.hang_seconds = self.figures.environment.hang_seconds

    def group(self, index: int, size: int) -> list[Plan]:
        """Members share a prompt; all else is drawn for each. Kept: a comparison asks for the same ones again."""
        if (index, size) not in self._drawn:
            rng = np.random.default_rng((self.seed, index))
            prompt = self._count(self.figures.episode.prompt_tokens, rng, 1)[0]
            self._drawn[index, size] = [self._plan(rng, prompt) for _ in range(size)]
        return self._drawn[index, size]

    def again(self, index: int, member: int, attempt: int) -> Plan:
        """Drawn anew: a second attempt need not meet what the first one met."""
        rng = np.random.default_rng((self.seed, index, member, attempt))
        return self._plan(rng, self._count(self.figures.episode.prompt_tokens, rng, 1)[0])

    def _plan(self, rng: np.random.Generator, prompt: int) -> Plan:
        shape, around = self.figures.episode, self.figures.environment
        turns = self._count(shape.turns, rng, 1)[0]
        luck = rng.random(2)
        bad = int(rng.integers(turns))
        return Plan(
            [prompt, *self._count(shape.observation_tokens, rng, turns - 1)],
            self._count(shape.action_tokens, rng, turns),
            around.step.draw(rng, turns).tolist(),
            start=float(around.start.draw(rng, 1)[0]),
            grading=float(around.grading.draw(rng, 1)[0]),
            fails_at=bad if luck[0] < around.outages else -1,
            hangs_at=bad if luck[0] >= around.outages and luck[1] < around.hangs else -1,
        )

    @staticmethod
    def _count(spread: Spread, rng: np.random.Generator, count: int) -> list[int]:
        return [max(1, round(value)) for value in spread.draw(rng, count).tolist()]


@dataclass
class Recorded:
    """Groups of a recorded run, played again in their order, and round again where more are asked for."""

    groups: Sequence[Sequence[Plan]]
    costs: Costs
    token_seconds: float
    sync_seconds: float
    hang_seconds: float = 1800.0

    def group(self, index: int, size: int) -> list[Plan]:
        """Members beyond those that were recorded repeat the first ones."""
        members: Any = self.groups[index % len(self.groups)]
        return [members[place % len(members)] for place in range(size)]

    def again(self, index: int, member: int, attempt: int) -> Plan:
        """As the first time, but for the outage."""
        first = self.group(index, member + 1)[member]
        return Plan(first.observation_T, first.action_T, first.environment_T, first.start, first.grading)

"""What a simulated pipeline does about waiting, technique by technique, and the comparisons between them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from repodojo.core.errors import ConfigError
from repodojo.rollout.rules import Finish, Rules, Spread, Take


@dataclass(frozen=True)
class Techniques:
    """The default is the naive synchronous pipeline: whole groups to an engine, one barrier a step.

    lockstep: a further barrier at each turn of a batch, as in trainers that generate a turn for the whole batch, run
    all tools, and generate again (TRL's GRPOTrainer with tools); only for comparison, nothing here offers it
    spread, redundancy, finish, staleness, take, deadline: as in [rollout] (max_staleness there)
    prefix: the KV of a conversation is kept between turns and that of a prompt shared by its group
    warm: boxes are prepared ahead;  grade_apart: grading holds no place among the episodes that play
    in_flight: weights are published in the middle of episodes; else once those in progress are over
    learner_share: share of the accelerators that only learn; 0: all sample, then all learn
    """

    lockstep: bool = False
    spread: Spread = "group"
    prefix: bool = False
    warm: bool = False
    grade_apart: bool = False
    redundancy: int = 0
    finish: Finish = "first"
    deadline: float = 0.0
    staleness: int = 0
    take: Take = "asked"
    in_flight: bool = False
    learner_share: float = 0.0

    def rules(self) -> Rules:
        """What the scheduler gets to know of them."""
        return Rules(
            max_staleness=self.staleness, deadline=self.deadline, finish=self.finish, spread=self.spread, grace=5.0
        )


@dataclass(frozen=True)
class Size:
    """How large the pipeline is, and for how long it runs."""

    environments: int = 64
    engines: int = 8
    groups: int = 16
    group_size: int = 8
    steps: int = 6

    def __post_init__(self) -> None:
        if min(self.environments, self.engines, self.groups, self.steps) < 1 or self.group_size < 1:
            raise ConfigError("a simulated pipeline needs one of everything at least", way_out="raise what is below 1")
        if self.environments < self.engines:
            cause = f"{self.environments} environments for {self.engines} engines leave some without any"
            raise ConfigError(cause, way_out="give at least as many environments as engines")


def alone(deadline: float, redundancy: int, staleness: int, learner_share: float) -> dict[str, Techniques]:
    """The naive pipeline, each technique by itself, and all of them."""
    ahead: dict[str, object] = {"staleness": staleness, "in_flight": True, "learner_share": learner_share}
    each: dict[str, dict[str, object]] = {
        "synchronous": {},
        "queue": {"spread": "member"},
        "prefix": {"prefix": True},
        "warm": {"warm": True},
        "grade-apart": {"grade_apart": True},
        "deadline": {"deadline": deadline},
        "redundancy-first": {"redundancy": redundancy},
        "redundancy-stratified": {"redundancy": redundancy, "finish": "stratified"},
        "asynchronous-drained": {**ahead, "in_flight": False},
        "asynchronous": ahead,
        "asynchronous-finished": {**ahead, "take": "finished"},
    }
    found = {name: replace(Techniques(), **given) for name, given in each.items()}  # type: ignore[arg-type]
    everything = Techniques(
        spread="member", prefix=True, warm=True, grade_apart=True, deadline=deadline, redundancy=redundancy
    )
    found["all"] = replace(
        everything, staleness=staleness, in_flight=True, take="finished", learner_share=learner_share
    )
    found["all-stratified"] = replace(found["all"], finish="stratified")
    return {"lockstep": Techniques(lockstep=True), **found}

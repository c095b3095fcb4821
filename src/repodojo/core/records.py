"""What flows: frozen, serialisable records, and nothing else.

repository -> Task -> episode -> Trajectory (Turns) -> Score -> Group -> Batch -> learner. No record holds a live
handle, so each can be written to disk, sent to another process, or read by another language.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NewType

PolicyVersion = NewType("PolicyVersion", int)
"""Counts optimiser steps that were published; every sampled token carries the one that sampled it."""

Split = Literal["train", "dev", "held-out"]
StopReason = Literal["submit", "turns", "tokens", "context", "time", "format", "exit", "outage"]
"""How an episode ended; "exit": the command that is the agent ended with an error."""
QUARANTINED = "Quarantined"
"""Begins the error of a score that the monitor withholds; the signs follow."""

REPLAYED_TURNS = "replayed_turns"
"""The label of a trajectory whose first turns are those of an earlier one: how many."""


# ---------------------------------------------------------------- tasks


@dataclass(frozen=True)
class Source:
    """Where a task came from.

    >>> Source(dataset="toolz==1.0.0", revision="sha256:...", split="train").split
    'train'
    """

    dataset: str
    revision: str = ""
    split: Split = "train"


@dataclass(frozen=True)
class Environment:
    """What a box must look like: an image, or a recipe the environment builder knows (see `tasks.environment`)."""

    recipe: Mapping[str, Any] = field(default_factory=dict)
    image: str = ""
    digest: str = ""
    os: str = "linux"
    work_dir: str = "/testbed"
    setup: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    resources: Mapping[str, float] = field(default_factory=dict)
    network: bool = False


@dataclass(frozen=True)
class Gold:
    """The reference change; `direction` says whether `patch` mends the base ("fix") or breaks a sound tree ("bug")."""

    patch: str
    direction: Literal["fix", "bug"] = "fix"


@dataclass(frozen=True)
class Grader:
    """How a result is judged. `fail_to_pass` and `pass_to_pass` hold test ids; `command` is what a person would run."""

    kind: Literal["f2p_p2p", "status_map", "exit_code", "reward_file", "junit", "text"] = "f2p_p2p"
    command: str = ""
    parser: str = ""
    fail_to_pass: tuple[str, ...] = ()
    pass_to_pass: tuple[str, ...] = ()
    expected: Mapping[str, str] = field(default_factory=dict)
    timeout: float = 60.0


@dataclass(frozen=True)
class Validation:
    """What was seen when the task was validated: how often it ran, which ids flickered, seconds of one run."""

    runs: int = 0
    flaky: tuple[str, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True)
class Task:
    """One exercise. Fields follow the union of the field's task formats; what has no field stays verbatim in `raw`.

    `visible_command` is what the agent may run to see the symptom (shown in the instruction); `visible_tests` are the
    test ids behind it. `hidden_files` exist on the host only and enter a fresh box at grading; `test_patch` is the same
    as a diff against the base, where a format has it so. `focus` names a
    definition that the symptom speaks of ("pkg/mod.py::name"), for harnesses that retrieve context.
    """

    id: str
    source: Source
    instruction: str
    environment: Environment
    grader: Grader
    gold: Gold | None = None
    repo: str = ""
    base_commit: str = ""
    language: str = "python"
    licence: str = ""
    created: str = ""
    hints: str = ""
    interface: str = ""
    visible_command: str = ""
    visible_tests: tuple[str, ...] = ()
    focus: tuple[str, ...] = ()
    hidden_files: Mapping[str, str] = field(default_factory=dict)
    test_patch: str = ""
    protected: tuple[str, ...] = ()
    validation: Validation = field(default_factory=Validation)
    labels: Mapping[str, str] = field(default_factory=dict)
    raw: Mapping[str, Any] = field(default_factory=dict)


# ---------------------------------------------------------------- episodes


@dataclass(frozen=True)
class ToolCall:
    """A parsed call, e.g. ToolCall("editor", {"command": "view", "path": "a.py"})."""

    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class ToolResult:
    """What a tool answered. `error` names the kind of failure ("" where it succeeded), `seconds` is wall-clock.

    `exit_code` is the status of a terminal command that ran to its end; None of anything else.
    `passed` says of the visible tests, where they ran, that they all passed: the box's word, never a reward's.
    `started` counts from when the turn's first call began: calls overlap where one started before another was over.
    """

    output: str
    error: str = ""
    seconds: float = 0.0
    tests_run: bool = False
    exit_code: int | None = None
    passed: bool = False
    started: float = 0.0


@dataclass(frozen=True)
class Turn:
    """What the policy was shown since its last turn, then what it sampled, token for token.

    observation_ids: tokens appended before sampling (the prompt, for the first turn); never trained on
    action_ids, logprobs, versions: T sampled tokens, their log-probabilities and the policy version of each
    seconds: wall-clock of the sampling (waiting in the engine's queue and prefill included)
    """

    observation_ids: tuple[int, ...]
    action_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    versions: tuple[int, ...]
    text: str = ""
    calls: tuple[ToolCall, ...] = ()
    results: tuple[ToolResult, ...] = ()
    format_error: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Score:
    """A number, or None with the name of the error that prevented one. `parts` explains the number."""

    value: float | None
    error: str = ""
    parts: Mapping[str, float] = field(default_factory=dict)
    passed: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def solved(self) -> bool:
        """The binary outcome: `parts["solved"]` where a shaped reward records it, else whether the value reaches 1."""
        value = self.parts.get("solved", self.value)
        return self.value is not None and value is not None and value >= 1.0

    @property
    def quarantined(self) -> bool:
        """Whether the monitor withholds the value: there is none then, and yet this was no outage."""
        return self.value is None and self.error.startswith(QUARANTINED)


@dataclass(frozen=True)
class Trajectory:
    """One episode, from prompt to score.

    `changes` maps each changed path to its new text (None where it was deleted); `diff` is the same for readers.
    `branches` are further sequences of the same episode (sub-agents, retries, rewritten contexts), each from its own
    prompt on; a sampled token is an action in one of `turns` and `branches` alone.
    `timings`: "started" is when it began to play (Unix time), "grading" the seconds that its score took.
    """

    id: str
    task_id: str
    group_id: str
    policy: str
    seed: int
    turns: tuple[Turn, ...]
    stop_reason: StopReason
    score: Score
    diff: str = ""
    changes: Mapping[str, str | None] = field(default_factory=dict)
    seconds: float = 0.0
    labels: Mapping[str, str] = field(default_factory=dict)
    timings: Mapping[str, float] = field(default_factory=dict)
    branches: tuple[tuple[Turn, ...], ...] = ()

    def token_ids(self) -> list[int]:
        """All tokens in order, prompt first (length N)."""
        return [i for turn in self.turns for i in (*turn.observation_ids, *turn.action_ids)]

    def all_turns(self) -> tuple[Turn, ...]:
        """The turns of all branches, then its own: everything that was sampled and run."""
        return (*(turn for branch in self.branches for turn in branch), *self.turns)

    def action_mask(self) -> list[bool]:
        """True where the policy sampled the token (length N)."""
        return [
            sampled
            for turn in self.turns
            for sampled in (*(False for _ in turn.observation_ids), *(True for _ in turn.action_ids))
        ]

    def stated(self) -> float | None:
        """The probability that the agent gave its work when it submitted (`submit`'s `probability`)."""
        if self.stop_reason != "submit" or not self.turns:
            return None
        said = [call.arguments.get("probability") for call in self.turns[-1].calls if call.name == "submit"]
        return float(said[-1]) if said and said[-1] is not None else None

    def replayed_turns(self) -> int:
        """How many of the first turns were an earlier episode's, and are not to be trained on."""
        return int(self.labels.get(REPLAYED_TURNS, 0))

    def ran_tests(self) -> bool:
        """Whether any tests ran during the episode."""
        return any(result.tests_run for turn in self.all_turns() for result in turn.results)


@dataclass(frozen=True)
class Group:
    """Trajectories of one task that are compared with each other (length G)."""

    id: str
    task_id: str
    trajectories: tuple[Trajectory, ...]

    def rewards(self) -> list[float]:
        """Scores of the members that have one; an outage is left out, so it never enters a baseline."""
        return [t.score.value for t in self.trajectories if t.score.value is not None]


@dataclass(frozen=True)
class Sample:
    """One trajectory as the learner sees it: N tokens, the mask of those to train on, and its advantage.

    `logprobs` has N entries too, 0 where nothing was sampled; it may be empty for supervised samples. Where turns are
    credited one by one, `token_advantages` has N entries and stands for `advantage`; where a critic learns,
    `token_returns` has N entries, the return of each action token's turn.
    """

    token_ids: tuple[int, ...]
    loss_mask: tuple[bool, ...]
    logprobs: tuple[float, ...]
    advantage: float
    group_id: str
    token_advantages: tuple[float, ...] = ()
    token_returns: tuple[float, ...] = ()


@dataclass(frozen=True)
class Batch:
    """What one optimiser step consumes. Samples of one group share a prefix; packing finds it."""

    samples: tuple[Sample, ...]
    version: int

"""Prefix sampling (arXiv 2605.05112): groups nearly always failed, or solved, begin with an earlier episode's turns.

A success's first turns are a head start, a failure's a handicap; both bring the group nearer to half solved, where it
teaches most. The turns are played again in a fresh box, token for token, and are not trained on. How much of the
earlier episode is replayed is controlled by what comes of it: half solved is the aim.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from repodojo.core.records import Trajectory
from repodojo.rollout.orders import Opening
from repodojo.train.difficulty import REPLAYED, Ledger
from repodojo.train.rundir import RunDir

STEP = 0.1
"""A step's change of the share that is replayed."""
KINDS = {"h": "head_start", "f": "handicap"}
FEWEST = 4
"""Attempts before a task is taken for skewed."""


@dataclass(frozen=True)
class Start:
    """What a group begins with, and the mark that its id carries: kind and number of turns."""

    mark: str
    turns: tuple[Opening, ...]


class Prefixes:
    """Chooses where groups begin; what it stands at is in the metrics of each step, and comes back from there."""

    def __init__(self, run: RunDir, ledger: Ledger, skew: float) -> None:
        self._run, self._ledger, self._skew = run, ledger, skew
        self.share = {"h": 0.5, "f": 0.5}
        for line in reversed(run.metrics()):
            if "prefix_head_start_share" in line:
                self.share = {kind: float(line[f"prefix_{name}_share"]) for kind, name in KINDS.items()}
                break

    def of(self, task_id: str) -> Start | None:
        """Where the next group of a task begins; None for its own beginning."""
        (solved,), (attempts,) = self._ledger.counts([task_id])
        rate = (solved + 0.5) / (attempts + 1)
        if attempts < FEWEST or self._skew <= rate <= 1 - self._skew:
            return None
        kind = "h" if rate < self._skew else "f"
        reward = "reward >= 1" if kind == "h" else "reward < 1"
        rows = self._run.query(
            f"task_id = ? AND stage IN ('rft', 'rl') AND {reward} AND turns > 1 AND stop_reason = 'submit' "
            f"AND instr(id, '{REPLAYED}') = 0 ORDER BY rowid DESC LIMIT 1",
            (task_id,),
        )
        if not rows:
            return None
        turns = self._run.load(rows[0]["id"]).turns
        count = min(max(round(self.share[kind] * len(turns)), 1), len(turns) - 1)  # the last turn is never replayed
        replayed = tuple(Opening(t.text, t.action_ids, t.logprobs, t.versions) for t in turns[:count])
        return Start(f"{REPLAYED}{kind}{count}", replayed)

    def learn(self, trajectories: Iterable[Trajectory]) -> dict[str, float]:
        """Move each share towards what gives half solved; the figures of the step."""
        outcomes: dict[str, list[bool]] = {kind: [] for kind in KINDS}
        for t in trajectories:
            mark = t.id.partition(REPLAYED)[2][:1]
            if mark in outcomes and t.score.value is not None:
                outcomes[mark].append(t.score.solved)
        found: dict[str, float] = {}
        for kind, name in KINDS.items():
            solved = outcomes[kind]
            found[f"prefix_{name}_episodes"] = len(solved)
            if solved:
                rate = sum(solved) / len(solved)
                found[f"prefix_{name}_solved"] = rate
                towards = 0.5 - rate if kind == "h" else rate - 0.5
                move = STEP if towards > 0 else -STEP if towards < 0 else 0.0
                self.share[kind] = min(max(self.share[kind] + move, 0.0), 1.0)
            found[f"prefix_{name}_share"] = self.share[kind]
        return found

"""Difficulty-aware draws, task refresh, and prefix sampling, over a real run directory without workers."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from repodojo.algorithms.batches import sample
from repodojo.core.errors import RunError
from repodojo.core.records import REPLAYED_TURNS, Group, Score, ToolCall, Trajectory, Turn
from repodojo.train.config import load
from repodojo.train.cursor import Draw
from repodojo.train.difficulty import Ledger, WeightedCursor
from repodojo.train.noise import with_outliers
from repodojo.train.prefixes import Prefixes
from repodojo.train.rundir import RunDir, RunState

TASKS = [f"task-{n}" for n in range(6)]


def played(name: str, task: str, reward: float | None, turns: int = 4) -> Trajectory:
    made = tuple(Turn((k,), (10 + k, 2), (-0.1, -0.2), (0, 0), text=f"turn {k}") for k in range(turns))
    return Trajectory(name, task, "g", "m", 0, made, "submit", Score(reward))


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """task-0 never solved in 8, task-1 always, task-2 half, task-3 once in 8, task-4 all but once; task-5 untried."""
    made = RunDir.create(tmp_path / "run", load(None))
    solved = {0: 0, 1: 8, 2: 4, 3: 1, 4: 7}
    for k, count in solved.items():
        made.add([played(f"rl/{k}/{n}", TASKS[k], float(n < count)) for n in range(8)], stage="rl", step=k)
    made.add([played("rl/9+h2/0", TASKS[3], 1.0), played("rl/9/1", TASKS[0], None)], stage="rl", step=9)
    made.add([played("eval/0", TASKS[0], 1.0)], stage="eval", step=0)
    made.commit(RunState("rl", 10))
    return made


def test_the_ledger_counts_training_without_outages_and_replays(run: RunDir) -> None:
    ledger = Ledger(run)
    assert ledger.counts(TASKS) == ([0, 8, 4, 1, 7, 0], [8, 8, 8, 8, 8, 0])
    assert Ledger(run, before=2).counts(TASKS) == ([0, 8, 0, 0, 0, 0], [8, 8, 0, 0, 0, 0])
    ledger.add(
        [played("rl/10/0", TASKS[5], 1.0), played("rl/10+f1/0", TASKS[5], 1.0), played("rl/11/0", TASKS[5], None)]
    )
    assert ledger.counts(TASKS[5:]) == ([1], [1])
    assert ledger.kept(TASKS) == ["task-2", "task-3"]
    with pytest.raises(RunError, match="refresh leaves none"):
        ledger.kept(["task-0", "task-1"])


def test_draws_prefer_tasks_near_half_solved_and_none_is_forgotten(run: RunDir) -> None:
    cursor = WeightedCursor.over(TASKS, 3)
    cursor = cursor.weighed(Ledger(run).weights(cursor.task_ids, group_size=4, floor=0.1))
    counts: Counter[str] = Counter()
    for _ in range(300):
        draws, cursor = cursor.take(4)
        counts.update(draw.task_id for draw in draws)
        assert len({draw.index for draw in draws}) == 4
    assert counts["task-2"] > 1.5 * max(counts["task-0"], counts["task-1"]) and min(counts.values()) > 20
    assert cursor.position == 1200


def test_what_was_given_back_is_drawn_again_with_its_task(run: RunDir) -> None:
    cursor = WeightedCursor.over(TASKS, 3)
    draws, cursor = cursor.take(5)
    back = cursor.give_back(draws[1:3])
    again = WeightedCursor.restore(TASKS, back.state()).weighed((0.0, 0.0, 0.0, 0.0, 0.0, 1.0))
    taken, left = again.take(3)
    assert taken[:2] == draws[1:3] and taken[2] == Draw(5, "task-5") and left.returned == ()
    assert again.state() == back.state()
    with pytest.raises(RunError, match="task set"):
        WeightedCursor.restore(TASKS[:-1], back.state())


def test_skewed_tasks_begin_where_an_earlier_episode_went_the_other_way(run: RunDir) -> None:
    prefixes = Prefixes(run, Ledger(run), 0.25)
    head, handicap = prefixes.of("task-3"), prefixes.of("task-4")
    assert head and (head.mark, [t.text for t in head.turns]) == ("+h2", ["turn 0", "turn 1"])
    assert handicap and handicap.mark == "+f2" and handicap.turns[0].token_ids == (10, 2)
    assert [prefixes.of(task) for task in ("task-0", "task-1", "task-2", "task-5")] == [
        None
    ] * 4  # none to take, or even
    for solved in (0.0, 0.0, 0.0):  # head starts that help too little grow, up to all but the last turn
        prefixes.learn([played("rl/1+h2/0", "task-3", solved)])
    found = prefixes.learn([played("rl/1+h2/0", "task-3", 0.0), played("rl/2+f2/0", "task-4", 0.0)])
    assert (found["prefix_head_start_share"], found["prefix_handicap_share"]) == pytest.approx((0.9, 0.4))
    longer = prefixes.of("task-3")
    assert longer and longer.mark == "+h3"
    run.log("rl", 10, found)
    run.commit(RunState("rl", 11))
    assert Prefixes(run, Ledger(run), 0.25).share == pytest.approx(
        prefixes.share
    )  # a resumed run stands where it stood


def test_replayed_turns_are_not_trained_on() -> None:
    whole = played("a", "t", 1.0, turns=3)
    begun = replace(whole, labels={REPLAYED_TURNS: "2"})
    assert sum(sample(whole).loss_mask) == 6 and sample(begun).loss_mask == (False,) * 7 + (True, True)
    assert sample(begun).token_ids == sample(whole).token_ids


def test_outliers_are_a_stated_share_and_leave_outcomes_alone() -> None:
    group = Group("g", "t", tuple(played(f"e{n}", "t", float(n % 2)) for n in range(2000)))
    (noisy,) = with_outliers([group], 0.2, 7)
    changed = [t for t in noisy.trajectories if "clean" in t.score.parts]
    assert 0.17 < len(changed) / 2000 < 0.23 and with_outliers([group], 0.2, 7) == [noisy]
    assert [t.score.solved for t in noisy.trajectories] == [t.score.solved for t in group.trajectories]
    assert all(-1 <= (t.score.value or 0) <= 2 for t in changed) and with_outliers([group], 0.0, 7) == [group]


def test_what_was_stated_at_submit_is_read_from_the_call() -> None:
    turn = Turn((1,), (2,), (-0.1,), (0,), calls=(ToolCall("submit", {"probability": 0.7}),))
    said = replace(played("a", "t", 1.0), turns=(turn,))
    assert said.stated() == 0.7
    assert replace(said, stop_reason="turns").stated() is None and played("a", "t", 1.0).stated() is None

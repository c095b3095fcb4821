"""Recorded runs as workloads: what is fitted to turns, and what is foretold of a run whose truth is known."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from repodojo.cli import _app
from repodojo.core.errors import RunError
from repodojo.core.records import Score, ToolResult, Trajectory, Turn
from repodojo.rollout.simulation.engine import SimulatedEngine
from repodojo.rollout.simulation.workload import Costs
from repodojo.train.config import load
from repodojo.train.recorded import Sampling, fitted, recorded, rounds, samplings
from repodojo.train.rundir import RunDir
from repodojo.train.simulation import foretell, size_of, techniques_of

GROUPS, GROUP, TURNS = 3, 4, 3
LEARNING, PUBLISHING = 6.0, 0.5
EPOCH = 1e6


class Asks:
    def __init__(self, begin: float, prefilled: int, sampled: int) -> None:
        self.begin, self.prefilled, self.sampled, self.sampling = begin, prefilled, sampled, False


def sampled_by(engine: SimulatedEngine, chance: random.Random, count: int) -> list[Sampling]:
    """Turns that come at random times, often enough for the batch to vary."""
    now, found = 0.0, []
    coming = sorted(chance.uniform(0, 4 * count) for _ in range(count))
    while coming or engine.due(now) is not None:
        due = engine.due(now)
        if coming and (due is None or coming[0] <= due):
            now = coming.pop(0)
            ask = Asks(now, chance.randint(5, 60), chance.randint(5, 40))
            engine.add(now, ask, ask.sampled, ask.prefilled)
        else:
            now = due or 0.0
            done: list[Asks] = engine.done(now)  # type: ignore[assignment]
            found += [Sampling(a.begin, now, a.prefilled, a.sampled) for a in done]
    return found


@pytest.mark.parametrize("costs", [(0.2, 0.05, 0.01), (0.3, 0.0, 0.0), (0.02, 0.1, 0.0), (0.3, 0.02, 0.03)])
def test_costs_are_found_again_in_the_turns_that_they_made(costs: tuple[float, float, float]) -> None:
    truth = Costs(decode_fixed=costs[0], decode_each=costs[1], prefill_token=costs[2])
    found = fitted(sampled_by(SimulatedEngine(truth), random.Random(0), 400))
    for batch in (1, 4, 8):  # what counts is the cost of a step, and of it at any batch
        step = truth.decode_fixed + batch * truth.decode_each
        assert found.decode_fixed + batch * found.decode_each == pytest.approx(step, rel=0.15, abs=0.01)
    assert found.prefill_token == pytest.approx(truth.prefill_token, rel=0.3, abs=0.005)


def test_several_engines_share_the_batch_that_records_show() -> None:
    truth = Costs(decode_fixed=0.2, decode_each=0.05, prefill_token=0.01)
    both = [turn for seed in (0, 1) for turn in sampled_by(SimulatedEngine(truth), random.Random(seed), 400)]
    found = fitted(both, engines=2)
    for batch in (2, 6):
        step = truth.decode_fixed + batch * truth.decode_each
        assert found.decode_fixed + batch * found.decode_each == pytest.approx(step, rel=0.2)
    assert found.decode_each > 1.5 * fitted(both).decode_each


def trajectory(step: int, group: int, member: int, started: float, slow: float = 1.0) -> Trajectory:
    """Three turns of 10 tokens in 2 s each, tools for member + 1 s a turn, 0.5 s before and 1 s of grading."""
    tools = member + 1.0
    results = (ToolResult("", seconds=tools),)
    turn = Turn((1,) * 5, (2,) * 10, (0.0,) * 10, (0,) * 10, results=results, seconds=2.0 * slow)
    names = f"rl/{step}-{group}"
    return Trajectory(
        *(f"{names}/{member}", "task", names, "model", 0, (turn,) * TURNS, "submit", Score(1.0)),
        seconds=0.5 + TURNS * (2.0 * slow + tools),
        timings={"started": started, "grading": 1.0},
    )


def run_of(
    path: Path,
    *settings: str,
    wall: Callable[[int], float] = lambda step: 0.5 + 3 * (2 + 4) + 1,
    slow: float = 1.0,
    measured: bool = False,
    refilled: bool = False,
) -> Path:
    """A run that took what such episodes take: the slowest member, then grading.

    slow: how many times as long the machine took for the same CPU time; measured: the run recorded that
    refilled: its last group was asked for when the others were over
    """
    given = ["run.stages=rl", "rl.steps=2", "rollout.concurrency=64", f"rollout.group_size={GROUP}", *settings]
    with RunDir.create(path, load(None, given)) as run:
        for step in range(2):
            places = [(g, m) for g in range(GROUPS) for m in range(GROUP)]
            late = [20.0 * (refilled and g == GROUPS - 1) for g in range(GROUPS)]
            found = [trajectory(step, g, m, EPOCH + 100.0 * step + late[g], slow) for g, m in places]
            run.add(found, stage="rl", step=step)
            times = {"rollout_seconds": wall(step) + 3 * 2 * (slow - 1), "learn_seconds": LEARNING * slow}
            times["publish_seconds"] = PUBLISHING * slow
            if measured:
                times |= {"learn_cpu_seconds": LEARNING - PUBLISHING, "engine_cpu_seconds": 5.0 * (step + 1)}
                times["engine_busy_seconds"] = 6.0 * slow * (step + 1)
            run.log("rl", step, times)
            run.commit(run.state)
    return path


def test_a_run_is_read_as_it_went(tmp_path: Path) -> None:
    with RunDir.read(run_of(tmp_path / "run")) as run:
        work = recorded(run)
        first = run.load("rl/0-0/1")
    assert len(work.groups) == 2 * GROUPS and [len(group) for group in work.groups] == [GROUP] * 6
    plan = work.group(0, GROUP)[1]
    assert (plan.observation_T, plan.action_T, plan.environment_T) == ([5] * 3, [10] * 3, [2.0] * 3)
    assert plan.start == pytest.approx(0.5) and plan.grading == 1.0
    assert work.token_seconds == pytest.approx(2 * (LEARNING - PUBLISHING) / (24 * 45))
    assert [s.begin - EPOCH for s in samplings(first)] == pytest.approx([0.5, 4.5, 8.5])


def test_a_run_is_foretold_within_15_percent_by_itself_and_by_another(tmp_path: Path) -> None:
    with RunDir.read(run_of(tmp_path / "one")) as one, RunDir.read(run_of(tmp_path / "two")) as two:
        for found in (foretell(one), foretell(two, one)):
            assert found.steps == 2 and found.recorded == pytest.approx(2 * (19.5 + LEARNING))
            assert abs(found.error) < 0.15
    slow = run_of(tmp_path / "slow", wall=lambda step: 99.0)
    with RunDir.read(slow) as run:
        assert foretell(run).error < -0.5  # what its episodes do not explain is not explained away


def test_a_refill_waits_for_the_groups_before_it(tmp_path: Path) -> None:
    given = run_of(tmp_path / "run", wall=lambda step: 2 * 19.5, refilled=True)
    with RunDir.read(given) as run:
        assert [len(groups) for groups in rounds(run, 1)] == [GROUPS - 1, 1]
        assert abs(foretell(run).error) < 0.15
    with RunDir.read(run_of(tmp_path / "at-once")) as run:
        assert [len(groups) for groups in rounds(run, 1)] == [GROUPS]


def test_costs_of_another_run_are_set_to_how_busy_the_machine_was(tmp_path: Path) -> None:
    def pair(measured: bool) -> tuple[float, float]:
        calm = run_of(tmp_path / f"calm-{measured}", measured=measured)
        starved = run_of(tmp_path / f"starved-{measured}", slow=8.0, measured=measured)
        with RunDir.read(calm) as one, RunDir.read(starved) as two:
            assert abs(foretell(two).error) < 0.15
            return foretell(two, one).error, foretell(one, two).error

    assert max(map(abs, pair(measured=True))) < 0.15
    there, back = pair(measured=False)  # as before, where a run does not say
    assert there < -0.5 and back > 1


def test_a_run_that_cannot_be_foretold_says_why(tmp_path: Path) -> None:
    ahead = run_of(tmp_path / "ahead", "rollout.max_staleness=1")
    with RunDir.read(ahead) as run, pytest.raises(RunError, match="overlaps its steps"):
        foretell(run)
    empty = RunDir.create(tmp_path / "empty", load(None, ["run.stages=rl"]))
    with empty as run, pytest.raises(RunError, match="holds 0 turns"):
        recorded(run)


def test_a_configuration_is_simulated_as_it_would_run() -> None:
    ahead = ["rollout.max_staleness=2", "rollout.take=finished", "rollout.redundancy=1", "rollout.workers=4"]
    config = load(None, [*ahead, "rl.groups_per_step=5"])
    size, techniques = size_of(config), techniques_of(config)
    assert (size.engines, size.environments, size.groups, size.group_size) == (4, 64, 5, 8)
    assert (techniques.staleness, techniques.take, techniques.redundancy) == (2, "finished", 1)
    assert techniques.in_flight and techniques.prefix and techniques.grade_apart and not techniques.lockstep


def called(*arguments: object) -> str:
    found = CliRunner().invoke(_app(["simulate"]), ["simulate", *map(str, arguments)], catch_exceptions=False)
    assert found.exit_code == 0, found.output
    return found.stdout


def test_the_command_line(tmp_path: Path) -> None:
    small = ("--environments", 16, "--engines", 4, "--group-size", 4, "--steps", 2, "--json")
    told = json.loads(called(*small))
    assert told["size"]["groups"] == 4 and told["source"] == "published"
    assert told["policies"]["all"]["episodes_per_hour"] > told["policies"]["synchronous"]["episodes_per_hour"]
    run = run_of(tmp_path / "run")
    told = json.loads(called("grpo", "--from", run, "--policies", "configured,synchronous", "--steps", 2, "--json"))
    assert list(told["policies"]) == ["configured", "synchronous"]
    assert abs(json.loads(called("--predict", run, "--json"))["error"]) < 0.15

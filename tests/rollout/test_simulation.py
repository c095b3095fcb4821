"""The simulator: an engine as exact as counting token by token, pipelines worked out by hand, and bounds that hold."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repodojo.core.errors import ConfigError
from repodojo.rollout.simulation.compare import compare
from repodojo.rollout.simulation.engine import SimulatedEngine
from repodojo.rollout.simulation.pipeline import simulate
from repodojo.rollout.simulation.techniques import Size, Techniques, alone
from repodojo.rollout.simulation.tuning import best_share, trial_size
from repodojo.rollout.simulation.workload import Costs, Drawn, Figures, Plan, Recorded

COSTS = Costs(decode_fixed=1.0, decode_each=0.0, prefill_token=0.0)


@dataclass
class Asks:
    sampling: bool = False


def shipped(**environment: object) -> Figures:
    figures = Figures.read()
    return figures.model_copy(update={"environment": figures.environment.model_copy(update=environment)})


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(1, 12), st.integers(0, 5)), min_size=1, max_size=8),
    st.integers(1, 3),
    st.integers(0, 2),
    st.integers(0, 2),
)
def test_the_engine_is_as_if_simulated_in_small_steps(
    requests: list[tuple[int, int, int]], fixed: int, each: int, prefill: int
) -> None:
    requests = sorted(requests)
    engine = SimulatedEngine(Costs(decode_fixed=fixed, decode_each=each, prefill_token=prefill))
    asks = [Asks() for _ in requests]
    ends, pending, now = {}, list(enumerate(requests)), 0.0
    while pending or engine.due(now) is not None:
        due = engine.due(now)
        if pending and (due is None or pending[0][1][0] <= due):
            place, (at, tokens, before) = pending.pop(0)
            now = float(at)
            engine.add(now, asks[place], tokens, before)
        else:
            now = due or 0.0
            ends.update({id(ask): now for ask in engine.done(now)})  # type: ignore[arg-type]
    slow, step = [0.0] * len(requests), 1 / 64
    got, clock, stopped, active = [0.0] * len(requests), 0.0, 0.0, list[int]()
    waiting = list(range(len(requests)))
    while waiting or active:
        for place in [p for p in waiting if requests[p][0] <= clock + 1e-6]:
            waiting.remove(place)
            active.append(place)
            stopped = max(stopped, requests[place][0]) + requests[place][2] * prefill
        if clock + 1e-6 >= stopped:
            rate = step / (fixed + each * len(active)) if active else 0.0
            for place in active:
                got[place] += rate
        clock += step
        for place in [p for p in active if got[p] >= requests[p][1] - 1e-6]:
            active.remove(place)
            slow[place] = clock
    for place, ask in enumerate(asks):
        assert ends[id(ask)] == pytest.approx(slow[place], abs=0.4)


def plan(*environment: float, tokens: int = 10, **others: float) -> Plan:
    return Plan([5] * len(environment), [tokens] * len(environment), environment, **others)  # type: ignore[arg-type]


def test_a_synchronous_pipeline_worked_out_by_hand() -> None:
    """Two groups of two on one engine with four places: the slowest of four decides each step, then learning."""
    groups = [[plan(1.0, start=2.0), plan(7.0, start=2.0)], [plan(3.0, 4.0, grading=5.0), plan(1.0)]]
    work = Recorded(groups, COSTS, token_seconds=0.1, sync_seconds=6.0)
    found = simulate(work, Techniques(), Size(4, 1, groups=2, group_size=2, steps=3))
    slowest = 10 + 3 + 10 + 4 + 5  # two turns of ten tokens, one second each, alone or not
    assert sum(p.tokens() for g in groups for p in g) == 75
    assert found.seconds == pytest.approx(3 * (slowest + 7.5) + 2 * 6.0)  # the last publication is not waited for
    assert found.episodes == 12 and found.staleness == 0 and found.length_bias == 1
    assert found.waiting["environment"] == pytest.approx((1 + 7 + 7 + 1) / 4)
    apart = simulate(work, Techniques(warm=True, grade_apart=True), Size(4, 1, groups=2, group_size=2, steps=3))
    assert apart.seconds == found.seconds  # neither is on the way of the slowest


def test_lockstep_waits_for_everyone_at_every_turn() -> None:
    groups = [[plan(1.0, 5.0), plan(5.0, 1.0)]]
    work = Recorded(groups, COSTS, token_seconds=0.0, sync_seconds=0.0)
    size = Size(2, 1, groups=1, group_size=2, steps=1)
    assert simulate(work, Techniques(), size).seconds == pytest.approx(26)
    assert simulate(work, Techniques(lockstep=True), size).seconds == pytest.approx(30)


def test_what_is_known_is_not_computed_again() -> None:
    costs = Costs(decode_fixed=1.0, decode_each=0.0, prefill_token=1.0)
    groups = [[plan(0.0, 0.0, tokens=1)] * 2]
    work = Recorded(groups, costs, token_seconds=0.0, sync_seconds=0.0)
    size = Size(2, 1, groups=1, group_size=2, steps=1)
    again = simulate(work, Techniques(), size).seconds
    assert again == pytest.approx(5 + 5 + 1 + 11 + 11 + 1)
    # the second prompt is the first one's but for its last token; later turns append theirs
    assert simulate(work, Techniques(prefix=True), size).seconds == pytest.approx(5 + 1 + 1 + 5 + 5 + 1)


@pytest.mark.parametrize("name", alone(200.0, 2, 2, 0.25))
def test_every_pipeline_learns_all_its_groups_none_too_old_and_the_same_each_time(name: str) -> None:
    work, size = Drawn(shipped(outages=0.05, hangs=0.02), seed=3), Size(32, 4, groups=4, group_size=4, steps=4)
    techniques = alone(200.0, 2, 2, 0.25)[name]
    found = simulate(work, techniques, size)
    assert found == simulate(work, techniques, size)
    assert 0.8 * 64 <= found.episodes <= 64  # the others are outages
    assert found.worst_staleness <= techniques.staleness and len(found.step_seconds) == 4
    assert 0 < found.engines_busy <= 1 and 0 < found.learner_busy <= 1
    assert sum(found.step_seconds) == pytest.approx(found.seconds + work.sync_seconds)


def test_staleness_lets_learning_and_sampling_overlap() -> None:
    work = Recorded([[plan(10.0)] * 2], COSTS, token_seconds=1.0, sync_seconds=0.0)
    size = Size(2, 2, groups=1, group_size=2, steps=10)
    ahead = Techniques(staleness=1, in_flight=True, learner_share=0.5)
    one = simulate(work, replace(ahead, staleness=0), size)
    two = simulate(work, ahead, size)
    assert one.seconds == pytest.approx(10 * (20 + 30))
    assert two.seconds == pytest.approx(20 + 10 * 30)  # the learner never waits after the first step
    assert two.learner_busy > 0.9 and two.worst_staleness == 1


@pytest.mark.parametrize(("token_seconds", "best"), [(0.02, 0.25), (2.0, 0.75)])
def test_the_learner_gets_the_share_that_its_work_asks_for(token_seconds: float, best: float) -> None:
    costs = Costs(decode_fixed=0.1, decode_each=0.5, prefill_token=0.0)  # a batch of two takes nearly twice one
    work = Recorded([[plan(0.0)] * 2], costs, token_seconds=token_seconds, sync_seconds=0.0)
    ahead, size = Techniques(staleness=1, in_flight=True), Size(8, 4, groups=4, group_size=2, steps=5)
    assert best_share(work, ahead, size, shares=(0.25, 0.75)) == best
    rates = {share: simulate(work, replace(ahead, learner_share=share), trial_size(size)) for share in (0.25, 0.75)}
    assert best == max(rates, key=lambda share: rates[share].episodes_per_hour)
    assert best_share(work, ahead, replace(size, engines=1)) == 0  # one accelerator does both
    assert best_share(work, ahead, replace(size, engines=3), shares=(0.1,)) == 1 / 3


def test_first_come_favours_short_episodes_and_stratified_does_not() -> None:
    work, size = Drawn(shipped(outages=0.0, hangs=0.0), seed=1), Size(240, 24, groups=40, group_size=4, steps=3)
    first = simulate(work, Techniques(redundancy=2), size)
    fair = simulate(work, Techniques(redundancy=2, finish="stratified"), size)
    none = simulate(work, Techniques(), size)
    assert first.length_bias < 0.93 and 0.97 < fair.length_bias < 1.03
    assert none.length_bias == 1
    assert first.seconds < fair.seconds


def test_deadlines_free_a_pipeline_of_hung_environments() -> None:
    work, size = Drawn(shipped(hangs=0.1), seed=0), Size(32, 4, groups=4, group_size=4, steps=2)
    naive, bounded = simulate(work, Techniques(), size), simulate(work, Techniques(deadline=400.0), size)
    assert naive.seconds > 1.3 * bounded.seconds
    assert bounded.counts["deadlines_missed"] >= 1 and bounded.counts["retries"] >= 1


@pytest.mark.parametrize(
    ("given", "said"),
    [({"environments": 3}, "leave some without any"), ({"steps": 0}, "one of everything")],
)
def test_a_size_that_cannot_be(given: dict[str, int], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Size(**given)
    with pytest.raises(ConfigError, match="leaves one side"):
        simulate(Drawn(Figures.read()), Techniques(learner_share=1.0), Size(2, 1))


def test_a_file_of_figures_names_what_is_wrong(tmp_path: Path) -> None:
    file = tmp_path / "figures.toml"
    with pytest.raises(ConfigError, match="No such file"):
        Figures.read(file)
    file.write_text("[engine")
    with pytest.raises(ConfigError, match="not TOML"):
        Figures.read(file)
    file.write_text("[engine]\ndecode_fixed = -1\n")
    with pytest.raises(ConfigError, match="see published"):
        Figures.read(file)


def test_policies_compared_in_other_processes_are_those_compared_in_this_one() -> None:
    work, size = Drawn(shipped(), seed=3), Size(environments=16, engines=4, groups=2, group_size=4, steps=2)
    policies = {name: alone(60.0, 1, 1, 0.25)[name] for name in ("all", "synchronous", "lockstep")}
    heard: list[str] = []
    apart = compare(work, policies, size, processes=2, on_policy=heard.append)
    assert apart == compare(Drawn(shipped(), seed=3), policies, size, processes=1)
    assert list(apart) == list(policies) and sorted(heard) == sorted(policies)


def test_a_finished_group_is_taken_before_older_ones_that_are_not() -> None:
    slow, fast = Plan([1], [1], [50.0]), Plan([1], [1], [1.0])
    work = Recorded([[slow], [fast], [fast]], COSTS, token_seconds=0.0, sync_seconds=0.0)
    size = Size(environments=3, engines=2, groups=1, group_size=1, steps=2)
    ahead = Techniques(staleness=2, in_flight=True, learner_share=0.5)
    asked, finished = (simulate(work, replace(ahead, take=take), size) for take in ("asked", "finished"))
    assert finished.step_seconds[0] < 10 and asked.step_seconds[0] > 50

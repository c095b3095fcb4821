"""The scheduler's laws: what is asked comes back once, groups finish by their rule, nothing old slips through."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repodojo.rollout.actions import Accept, Action, Cancel, Play, Replace, Ticket, Whole
from repodojo.rollout.rules import FEWEST_RETRIES, Pace, Rules, dropped_ranks
from repodojo.rollout.scheduler import Scheduler


class Players:
    """Carries out actions without time passing, and remembers them."""

    def __init__(self, rules: Rules, slots: Sequence[int] = (8,)) -> None:
        self.scheduler = Scheduler(rules)
        self.with_worker: dict[str, list[Ticket]] = {}
        self.told: list[Action] = []
        for place, count in enumerate(slots):
            self.join(f"w{place}", count)

    def join(self, name: str, slots: int) -> None:
        self.with_worker[name] = []
        self.do(self.scheduler.join(name, slots))

    def do(self, actions: Iterable[Action]) -> None:
        for action in actions:
            self.told.append(action)
            if isinstance(action, Play):
                self.with_worker[action.worker] += action.tickets
            elif isinstance(action, Replace):
                self.leave(action.worker)

    def leave(self, name: str) -> None:
        del self.with_worker[name]
        self.do(self.scheduler.leave(name))
        self.join(name + "'", 8)

    def ask(self, group: str, size: int, need: int | None = None, version: int | None = None) -> None:
        names = [f"{group}/{n}" for n in range(size)]
        self.do(self.scheduler.ask(group, names, need=need or size, version=version))

    def finish(self, ticket: Ticket, now: float = 0.0, failure: str = "") -> None:
        next(t for t in self.with_worker.values() if ticket in t).remove(ticket)
        self.do(self.scheduler.finished(ticket, now, failure))

    def playing(self) -> list[Ticket]:
        return [ticket for tickets in self.with_worker.values() for ticket in tickets]

    def whole(self) -> list[Whole]:
        return [action for action in self.told if isinstance(action, Whole)]


def test_whole_groups_go_to_the_least_loaded_and_wait_for_room() -> None:
    players = Players(Rules(), slots=(8, 8))
    for group in "abcde":
        players.ask(group, 4)
    found = {name: "".join(t[0][0] for t in tickets[::4]) for name, tickets in players.with_worker.items()}
    assert found == {"w0": "ac", "w1": "bd"}
    for place in range(4):
        assert len(players.playing()) == 16 - place
        players.finish((f"b/{place}", 0))
    assert ("e/0", 0) in players.with_worker["w1"]  # only when the whole group fits
    alone = Players(Rules(), slots=(2,))
    alone.ask("big", 5)
    assert len(alone.playing()) == 5  # larger than the worker: when it has nothing else


def test_members_may_spread() -> None:
    players = Players(Rules(spread="member"), slots=(3, 3))
    players.ask("a", 8)
    assert {name: len(tickets) for name, tickets in players.with_worker.items()} == {"w0": 3, "w1": 3}


@given(
    st.lists(st.integers(1, 5), min_size=1, max_size=8),
    st.integers(0, 3),
    st.sampled_from(["first", "stratified"]),
    st.sampled_from(["group", "member"]),
    st.randoms(use_true_random=False),
)
def test_whatever_happens_each_group_is_whole_once(
    needs: list[int], redundancy: int, finish: str, spread: str, chance: random.Random
) -> None:
    rules = Rules(finish=finish, spread=spread, deadline=5.0, grace=2.0, retries=1)  # type: ignore[arg-type]
    players = Players(rules, slots=(3, 5))
    for number, need in enumerate(needs):
        players.ask(f"g{number}", need + redundancy, need, version=0)
    for now in range(10_000):
        if not players.scheduler.playing():
            break
        ticket = chance.choice(players.playing())
        match chance.randrange(5):
            case 0:
                players.finish(ticket, now, "SandboxError")
            case 1:
                players.do(players.scheduler.started(ticket, now))
            case 2:
                players.do(players.scheduler.tick(now))
            case 3 if chance.random() < 0.1:
                players.leave(chance.choice(list(players.with_worker)))
            case _:
                players.finish(ticket, now)
    whole = players.whole()
    assert sorted(w.group for w in whole) == sorted(f"g{n}" for n in range(len(needs)))
    assert players.scheduler.in_flight() == players.scheduler.playing() == 0
    accepted = Counter(a.ticket[0] for a in players.told if isinstance(a, Accept))
    assert not accepted or max(accepted.values()) == 1  # an episode counts once, whatever became of its attempts
    for group in whole:
        need = needs[int(group.group[1:])]
        assert len(group.kept) == need == len(set(group.kept)) and set(group.kept) <= set(accepted)
        assert list(group.kept) == sorted(group.kept, key=lambda name: int(name.split("/")[1]))


def test_first_come_takes_the_fastest_and_cancels_the_rest() -> None:
    players = Players(Rules())
    players.ask("g", 5, need=3)
    for place in (4, 0, 2):
        players.finish((f"g/{place}", 0))
    assert players.whole() == [Whole("g", ("g/0", "g/2", "g/4"), False)]
    assert players.told[-1] == Cancel("w0", (("g/1", 0), ("g/3", 0)))
    assert players.scheduler.playing() == 2  # a place is free only when the worker says so
    players.do(players.scheduler.gone(("g/1", 0)))
    players.finish(("g/3", 0))  # it was faster than its cancellation
    assert players.scheduler.playing() == 0 and len(players.whole()) == 1


@given(st.integers(1, 12), st.data())
def test_stratified_leaves_out_every_rank_equally_often(size: int, data: st.DataObject) -> None:
    redundant = data.draw(st.integers(1, size))
    steps = 2 * size * size  # offsets on a grid that is finer than any border between ranks
    counts: Counter[int] = Counter()
    for step in range(steps):
        offset = Fraction(2 * step + 1, 2 * steps)
        ranks = {int((i + offset) * size / redundant) for i in range(redundant)}
        assert len(ranks) == redundant and max(ranks) < size
        counts.update(ranks)
    assert all(abs(counts[rank] / steps - redundant / size) <= 1 / size for rank in range(size))
    assert len(dropped_ranks("some group", size, redundant)) == redundant


def test_stratified_favours_no_rank_and_first_come_does() -> None:
    kept = {"first": Counter[int](), "stratified": Counter[int]()}
    for finish, ranks in kept.items():
        for number in range(600):
            players = Players(Rules(finish=finish))  # type: ignore[arg-type]
            players.ask(f"g{number}", 6, need=4)
            while not players.whole():
                players.finish(players.playing()[0])  # in order: the place is the rank
            ranks.update(int(name.split("/")[1]) for name in players.whole()[0].kept)
    assert [kept["first"][rank] for rank in range(6)] == [600] * 4 + [0] * 2
    assert all(340 < kept["stratified"][rank] < 460 for rank in range(6))  # 400 each, 5 standard deviations


def test_outages_are_tried_again_first_of_all_and_within_a_budget() -> None:
    players = Players(Rules(retries=2), slots=(1,))
    players.ask("a", 1)
    players.ask("b", 1)
    players.finish(("a/0", 0), failure="SandboxError")
    players.finish(("a/0", 1), failure="SandboxError")
    players.finish(("a/0", 2), failure="EngineError")
    assert [a for a in players.told if isinstance(a, Accept)] == [Accept(("a/0", 2), "EngineError")]
    assert players.whole()[0].group == "a" and players.playing() == [("b/0", 0)]

    broke = Players(Rules(retries=99, retry_share=0.5), slots=(100,))
    broke.ask("a", 100)
    while broke.playing():
        broke.finish(broke.playing()[0], failure="SandboxError")
    assert broke.scheduler.counts["retries"] == 50 and len(broke.whole()) == 1
    few = Players(Rules(retries=99, retry_share=0.0))
    few.ask("a", 1)
    while few.playing():
        few.finish(few.playing()[0], failure="SandboxError")
    assert few.scheduler.counts["retries"] == FEWEST_RETRIES


def test_an_episode_past_its_deadline_is_tried_again_and_what_it_still_brings_does_not_count() -> None:
    players = Players(Rules(deadline=10.0, retries=1))
    players.ask("g", 1)
    players.do(players.scheduler.started(("g/0", 0), 5.0))
    assert players.scheduler.next_alarm() == 15.0
    players.do(players.scheduler.tick(14.9))
    assert not players.scheduler.counts["deadlines_missed"]
    players.do(players.scheduler.tick(15.0))
    assert Cancel("w0", (("g/0", 0),)) in players.told and ("g/0", 1) in players.playing()
    players.finish(("g/0", 0), 16.0)
    assert not players.whole()
    players.do(players.scheduler.started(("g/0", 1), 16.0))
    players.do(players.scheduler.tick(26.0))
    assert Accept(("g/0", 1), "DeadlineError") in players.told and players.whole()[0].kept == ("g/0",)


def test_a_worker_that_does_not_obey_is_replaced_and_its_other_episodes_are_played_again() -> None:
    players = Players(Rules(deadline=10.0, grace=3.0, retries=0))
    players.ask("hung", 1)
    players.ask("good", 2)
    players.do(players.scheduler.started(("hung/0", 0), 0.0))
    players.do(players.scheduler.tick(10.0))
    players.do(players.scheduler.tick(12.9))
    assert not any(isinstance(action, Replace) for action in players.told)
    players.do(players.scheduler.tick(13.0))
    assert Replace("w0") in players.told
    assert sorted(players.playing()) == [("good/0", 1), ("good/1", 1)]  # no retry of theirs: none were allowed


@pytest.mark.parametrize("staleness", [0, 1, 3])
def test_groups_too_old_for_what_is_published_are_given_up_with_what_they_have(staleness: int) -> None:
    players = Players(Rules(max_staleness=staleness), slots=(99,))
    for version in range(6):
        players.ask(f"v{version}", 2, version=version)
        players.finish((f"v{version}/1", 0))
    players.ask("ageless", 2)
    players.do(players.scheduler.published(5, 0.0))
    old = [Whole(f"v{version}", (f"v{version}/1",), True) for version in range(5 - staleness)]
    assert players.whole() == old
    assert players.scheduler.in_flight() == 6 - len(old) + 1


def test_what_it_remembers_does_not_grow_with_the_episodes_that_are_over() -> None:
    players = Players(Rules(deadline=10.0), slots=(4, 4))
    for number in range(500):
        players.ask(f"g{number}", size=1)
        if number >= 12:
            ticket = players.playing()[0]
            players.do(players.scheduler.started(ticket, now=float(number)))
            players.finish(ticket, now=float(number))
            players.scheduler.next_alarm()
    held = players.scheduler
    assert len(held._loads) == len(held._listed) <= 2 * 5 and len(held._alarms) <= 1
    assert held.in_flight() == 12 and held.playing() == 8


def test_while_held_nothing_is_handed_out() -> None:
    players = Players(Rules())
    players.do(players.scheduler.hold(True))
    players.ask("g", 2)
    assert not players.playing()
    players.do(players.scheduler.hold(False))
    assert len(players.playing()) == 2


@given(st.integers(1, 20), st.integers(0, 4), st.integers(1, 12), st.randoms(use_true_random=False))
def test_the_pace_never_lets_a_group_be_used_too_late(
    groups: int, staleness: int, steps: int, chance: random.Random
) -> None:
    pace, asked = Pace(groups, staleness), list[int]()  # the version at which each group in flight was asked for
    total = 0
    for step in range(steps):
        left = steps - step - 1
        for kept in range(groups):
            fresh = pace.gathering(kept, len(asked), left)
            asked += [step] * fresh
            total += fresh
            taken = asked.pop(0)
            assert 0 <= step - taken <= staleness
            if chance.random() < 0.2:  # without signal: one more must be asked for
                asked.insert(0, step)
                total += 1
                assert step - asked.pop(0) <= staleness
        fresh = pace.learning(len(asked), left)
        asked += [step] * fresh
        total += fresh
    assert not asked  # nothing is played for nobody
    if staleness == 0:
        assert pace.gathering(0, 0, steps) == groups and pace.learning(0, steps) == 0

"""One order: what becomes of outages, and of agents that move files about."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from repodojo.agent.loop import AgentLimits
from repodojo.agent.policy import ModelPolicy
from repodojo.agent.tools import default_tools
from repodojo.algorithms.batches import assemble, sample
from repodojo.algorithms.recipes import recipe
from repodojo.core.errors import GradingError, OutageError, SandboxError
from repodojo.core.protocols import Sandbox
from repodojo.core.records import Environment, Grader, Group, Score, Source, Task, Trajectory
from repodojo.evaluate.summary import calibration_of
from repodojo.inference.chat import ChatFormat
from repodojo.inference.fake import FakeModel
from repodojo.inference.toolcalls import render
from repodojo.rollout.episode import Stage, run_order
from repodojo.rollout.orders import Opening, Order
from repodojo.rollout.worker import Slot
from repodojo.sandbox.fake import FakeFactory, FakeSandbox
from repodojo.train.loop import refuse_outage

TASK = Task("t", Source("s"), "`f` in a.py gives a wrong result.\n", Environment(), Grader(), focus=("a.py::f",))
FILES = {"a.py": b"def f(x):\n    return x - 1", "pkg/b.py": b"y = 2\n"}
ORDER = Order("o/0", "t", "o", seed=5)
EDIT = render("editor", {"command": "str_replace", "old_str": "x - 1", "new_str": "x + 1"})
SUBMIT = render("submit", {})


class Shaky(FakeFactory):
    """The first `outages` boxes cannot be made; `spoil` alters the others."""

    def __init__(self, outages: int = 0, moved: Mapping[str, bytes | None] | None = None) -> None:
        super().__init__(FILES)
        self.outages, self.moved, self.asked = outages, moved or {}, 0

    async def create(self, environment: Environment) -> Sandbox:
        self.asked += 1
        if self.asked <= self.outages:
            raise SandboxError("no more processes")
        box = await super().create(environment)
        if self.asked == self.outages + 1:
            for path, data in self.moved.items():
                await box.write(path, data)
        return box


class Pays:
    """A reward that answers in order, and keeps what it was asked."""

    def __init__(self, *answers: float | OutageError | None) -> None:
        self.answers, self.asked = list(answers), []  # type: ignore[var-annotated]

    async def score(self, task: Task, changes: Mapping[str, bytes | None], trajectory: Trajectory | None) -> Score:
        self.asked.append((dict(changes), trajectory))
        answer = self.answers.pop(0)
        if isinstance(answer, OutageError):
            raise answer
        return Score(answer, "SandboxError" if answer is None else "")


async def played(chat: ChatFormat, boxes: FakeFactory, reward: Any, slot: Any = None) -> Trajectory:
    def says(call: Any) -> list[int]:
        return [*chat.encode(SUBMIT if EDIT in chat.decode(call.token_ids) else EDIT), chat.stop_ids[0]]

    stage = Stage(boxes, reward, chat, default_tools(400), AgentLimits(4, 200, 4000))
    return await run_order(ORDER, TASK, ModelPolicy("model", FakeModel(says), chat), stage, slot)


async def test_a_scored_episode_and_what_the_reward_was_shown(chat: ChatFormat) -> None:
    boxes, reward = Shaky(), Pays(0.5)
    done = await played(chat, boxes, reward)
    assert (done.id, done.task_id, done.group_id, done.seed, done.policy) == ("o/0", "t", "o", 5, "model")
    assert (done.score.value, done.stop_reason, len(done.turns)) == (0.5, "submit", 2)
    ((changes, shown),) = reward.asked
    assert changes == {"a.py": b"def f(x):\n    return x + 1"} and shown.turns == done.turns
    assert done.diff == (
        "--- a/a.py\n+++ b/a.py\n@@ -1,2 +1,2 @@\n def f(x):\n"
        "-    return x - 1\n\\ No newline at end of file\n+    return x + 1\n\\ No newline at end of file\n"
    )
    assert all(isinstance(box, FakeSandbox) and box.closed for box in boxes.boxes)


@pytest.mark.parametrize(
    ("outages", "answers", "name"),
    [(9, [], "SandboxError"), (0, [None], "SandboxError"), (0, [GradingError("gone")], "GradingError")],
)
async def test_an_outage_is_a_score_of_none(chat: ChatFormat, outages: int, answers: list[Any], name: str) -> None:
    reward = Pays(*answers)
    done = await played(chat, Shaky(outages), reward)
    assert (done.score, done.stop_reason, done.changes) == (Score(None, name), "outage", {})
    assert not reward.answers  # one attempt: whether there is another is the scheduler's to say
    with pytest.raises(OutageError, match=f"all of 1 episodes met an outage, the last: {name}"):
        refuse_outage([done])


async def test_grading_holds_no_place_among_those_that_play(chat: ChatFormat) -> None:
    places = asyncio.Semaphore(1)
    taken: list[bool] = []

    class Watches(Pays):
        async def score(self, *given: Any) -> Score:
            taken.append(places.locked())
            return await super().score(*given)

    done = await played(chat, Shaky(), Watches(1.0), Slot(places, lambda: taken.append(places.locked())))
    assert taken == [True, False] and done.timings["started"] > 0 and done.timings["grading"] >= 0


async def test_an_outage_never_enters_a_baseline(chat: ChatFormat) -> None:
    scored = [await played(chat, Shaky(), Pays(value)) for value in (1.0, 0.0, 0.0)]
    lost = await played(chat, Shaky(9), Pays())
    refuse_outage([*scored, lost])
    for name in ("grpo", "grpo_pp", "dapo", "dr_grpo"):
        with_it = assemble([Group("o", "t", (*scored, lost))], recipe(name), 0)
        without = assemble([Group("o", "t", tuple(scored))], recipe(name), 0)
        assert with_it.batch == without.batch and with_it.without_score == 1


@pytest.mark.parametrize("moved", [{"pkg/b.py": None, "pkg": b"x"}, {"a.py": None, "a.py/b.py": b"x"}])
async def test_files_and_folders_may_change_places(chat: ChatFormat, moved: dict[str, bytes | None]) -> None:
    done = await played(chat, Shaky(moved=moved), Pays(0.0))
    assert done.score.value == 0.0 and set(moved) <= set(done.changes)


async def test_an_episode_begins_with_an_earlier_ones_turns_which_are_not_trained_on(chat: ChatFormat) -> None:
    first = await played(chat, FakeFactory(FILES), Pays(0.0))
    opening = tuple(Opening(t.text, t.action_ids, t.logprobs, t.versions) for t in first.turns[:1])
    model = FakeModel([[*chat.encode(SUBMIT), chat.stop_ids[0]]], logprob=-2.0, version=7)
    stage = Stage(FakeFactory(FILES), Pays(1.0), chat, default_tools(400), AgentLimits(4, 200, 4000))
    order = replace(ORDER, id="o+h1/1", opening=opening)
    again = await run_order(order, TASK, ModelPolicy("model", model, chat), stage)
    assert again.token_ids() == first.token_ids() and again.changes == first.changes and again.stop_reason == "submit"
    assert again.replayed_turns() == 1 and len(model.calls) == 1
    trained = [i for i, m in zip(again.token_ids(), sample(again).loss_mask, strict=True) if m]
    assert trained == list(again.turns[1].action_ids) and again.turns[1].versions[0] == 7


async def test_a_probability_stated_at_submit_is_kept(chat: ChatFormat) -> None:
    said = [*chat.encode(render("submit", {"probability": 0.25})), chat.stop_ids[0]]
    tools = default_tools(400, confidence=True)
    stage = Stage(FakeFactory(FILES), Pays(1.0), chat, tools, AgentLimits(4, 200, 4000))
    trajectory = await run_order(ORDER, TASK, ModelPolicy("model", FakeModel([said]), chat), stage)
    assert trajectory.stop_reason == "submit" and trajectory.stated() == 0.25
    assert calibration_of([trajectory])["brier"] == 0.5625

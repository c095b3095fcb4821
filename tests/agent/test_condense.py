"""Condensed conversations: shorter contexts in branches, and every sampled token trained once, where it was sampled."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from repodojo.agent.condense import HEAD, Condensing, Conversation
from repodojo.agent.loop import AgentLimits, Played, play
from repodojo.agent.policy import Act, ModelPolicy
from repodojo.agent.tools import default_tools
from repodojo.algorithms.batches import samples_of
from repodojo.audit.monitor.commands import background
from repodojo.core.errors import ConfigError
from repodojo.core.protocols import ExecResult
from repodojo.core.records import Environment, Grader, Score, Source, Task, ToolCall, ToolResult, Trajectory, Turn
from repodojo.inference.architecture import Architecture
from repodojo.inference.chat import ChatFormat
from repodojo.inference.decoder import Decoder, causal
from repodojo.inference.engine import Engine
from repodojo.inference.fake import FakeModel
from repodojo.inference.toolcalls import render
from repodojo.rewards.process.thrift import tool_errors
from repodojo.rewards.process.work import Work
from repodojo.sandbox.fake import FakeSandbox
from repodojo.train.config import load
from repodojo.train.setup import pool_settings

TASK = Task("t", Source("s"), "`f` is wrong.\n", Environment(), Grader())


async def episode(chat: ChatFormat, condensing: Condensing, turns: int = 7) -> tuple[Played, FakeModel]:
    """Turns that print much, then a submit."""
    said = [render("bash", {"command": f"show {n}"}) for n in range(turns)] + [render("submit", {})]
    model = FakeModel([[*chat.encode(text), chat.stop_ids[0]] for text in said], logprob=-0.25)
    box = FakeSandbox({"a.py": b"x"}, lambda argv, files: ExecResult(0, f"{argv[-1]}\n{'word ' * 30}\n".encode()))
    limits = AgentLimits(turns + 1, 200, 4000, context="none", condensing=condensing)
    actor = ModelPolicy("m", model, chat).actor(0)
    return await play(TASK, actor, box, chat, tools=default_tools(400), limits=limits), model


def trajectory(played: Played) -> Trajectory:
    branches = tuple(played.branches)
    return Trajectory("e", "t", "g", "m", 0, tuple(played.turns), played.stop_reason, Score(1.0), branches=branches)


async def test_what_is_condensed_goes_on_in_a_new_branch(chat: ChatFormat) -> None:
    plain, before = await episode(chat, Condensing())
    longest = len(before.calls[-1].token_ids)
    played, model = await episode(chat, Condensing(longest // 2, keep=1))
    assert played.stop_reason == "submit" and played.branches and not plain.branches
    assert played.labels == {"condensed": str(len(played.branches))} and not plain.labels
    assert max(len(call.token_ids) for call in model.calls) < longest
    paths = [*played.branches, tuple(played.turns)]
    assert [t.text for path in paths for t in path] == [t.text for t in plain.turns]  # all turns, in their order
    calls = iter(model.calls)
    for path in paths:  # what each path holds before a turn is what the engine was given for it
        ids: list[int] = []
        for turn in path:
            ids += turn.observation_ids
            assert tuple(ids) == next(calls).token_ids
            ids += turn.action_ids
    begun = chat.decode(played.turns[0].observation_ids)
    assert HEAD in begun and "bash(command='show 0'): show 0" in begun and "word" in begun  # digest, and the kept turn
    last = paths[-2][-1].action_ids
    assert ",".join(map(str, last)) in ",".join(map(str, played.turns[0].observation_ids))  # token for token


async def test_training_sees_every_branch_and_each_sampled_token_once(chat: ChatFormat) -> None:
    plain, _ = await episode(chat, Condensing())
    played, _ = await episode(chat, Condensing(300, keep=2))
    assert played.branches
    samples = samples_of(trajectory(played))
    assert len(samples) == 1 + len(played.branches)
    trained = sum(sum(made.loss_mask) for made in samples)
    assert trained == sum(len(turn.action_ids) for turn in plain.turns)
    for made in samples:
        assert all((p == -0.25) == mask for p, mask in zip(made.logprobs, made.loss_mask, strict=True))


async def test_log_probs_of_every_branch_are_those_of_its_own_context(chat: ChatFormat) -> None:
    torch.manual_seed(0)
    size = Architecture("qwen3", len(chat.tokenizer), 32, 48, 2, 2, 1, 16, max_positions=2048)
    decoder = Decoder(size)
    torch.nn.init.normal_(decoder.model.embed_tokens.weight, std=0.2)
    engine = Engine(decoder, max_context=2048)
    box = FakeSandbox({"a.py": b"x"}, lambda argv, files: ExecResult(0, b""))
    limits = AgentLimits(3, 30, 2000, context="none", condensing=Condensing(150, keep=1))
    actor = ModelPolicy("m", engine, chat).actor(3)  # random weights write no calls: three format errors end it
    played = await play(TASK, actor, box, chat, tools=default_tools(400), limits=limits)
    await engine.aclose()
    assert played.branches
    for made in samples_of(trajectory(played)):
        ids = torch.tensor(made.token_ids)
        with torch.no_grad():
            hidden = decoder.hidden(ids, torch.arange(len(ids)), lambda _layer, q, k, v: causal(q, k, v))
            want = decoder.logits(hidden).log_softmax(-1)[:-1].gather(1, ids[1:, None])[:, 0]
        mask = torch.tensor(made.loss_mask)[1:]
        assert torch.allclose(want[mask], torch.tensor(made.logprobs)[1:][mask], atol=1e-4)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=12), st.integers(1, 400), st.integers(1, 3))
def test_every_context_is_what_the_paths_say(sizes: list[int], at: int, keep: int) -> None:
    class Letters:
        """Tokens are character codes; a prompt is its messages."""

        def prompt(self, messages: Any, schemas: Any) -> list[int]:
            return [ord(c) for message in messages for c in message["content"]]

        opening = prompt

    def opening(digest: str) -> list[dict[str, str]]:
        return [{"content": f"issue {digest}"}]

    talk = Conversation(Letters(), (), opening, Condensing(at, keep))  # type: ignore[arg-type]
    observation = talk.begin()
    acted: list[int] = []
    for number, size in enumerate(sizes):
        length, branches = len(talk.ids) + len(observation), len(talk.branches)
        seen = talk.see(observation)
        assert len(talk.ids) == length if len(talk.branches) == branches else at <= length > len(talk.ids)
        context = list(talk.ids)
        act = Act("a", (1000 + number,) * size, (0.0,) * size, (0,) * size)
        talk.ids += act.token_ids
        talk.add(Turn(tuple(seen), act.token_ids, act.logprobs, act.versions), act)
        talk.hear("x" * size)
        path = [i for turn in talk.turns for i in (*turn.observation_ids, *turn.action_ids)]
        assert path == context + list(act.token_ids) == talk.ids
        acted += act.token_ids
        observation = [2000 + number] * size
    turns, branches = talk.ended()
    assert [i for path in (*branches, turns) for turn in path for i in turn.action_ids] == acted


def test_the_setting_and_what_it_excludes() -> None:
    config = load(None, ["context.condense_at=0.5", "context.keep_turns=3", "agent.max_context=2048"])
    assert pool_settings(config).agent.condensing == Condensing(1024, 3)
    assert pool_settings(load(None)).agent.condensing.at == 0
    for wrong in (
        ["context.keep_turns=3"],
        ["context.condense_at=0.5", "rollout.prefixes=true"],
        ["context.condense_at=0.5", "agent.command=echo"],
        ["context.condense_at=0.5", "rl.recipe=grpo", "recipe.advantage=gigpo"],
    ):
        with pytest.raises(ConfigError):
            load(None, wrong)


async def test_what_happened_before_a_condensation_is_still_watched_and_paid_for(chat: ChatFormat) -> None:
    played, _ = await episode(chat, Condensing(300, keep=1))
    made = trajectory(played)
    assert len(made.turns) < len(made.all_turns()) == 8
    first = made.branches[0][0]
    left = replace(first, calls=(ToolCall("bash", {"command": "sleep 600 &"}),), results=(ToolResult("", "timeout"),))
    made = replace(made, branches=((left, *made.branches[0][1:]), *made.branches[1:]))
    assert list(background(made, TASK)) == ["sleep 600 &"]
    assert await tool_errors(Work(TASK, {}, {}, trajectory=made)) == 1 - 1 / 8

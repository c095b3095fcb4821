"""tool_choice, asked with the SDKs that people use: a call where one is demanded, its forced tokens never trained."""

from __future__ import annotations

import json
from typing import Any

import pytest
from gateway_helpers import CHAT, EOS, LS, calling, gateway, said, say, session

from repodojo.core.records import Score, Trajectory
from repodojo.gateway.asks import Message
from repodojo.inference.fake import Call, FakeModel

openai = pytest.importorskip("openai")
anthropic = pytest.importorskip("anthropic")

RM = {"type": "function", "function": {"name": "rm", "description": "Remove.", "parameters": {"type": "object"}}}
LOOK = [{"role": "user", "content": "look"}]


def goes_on(*texts: str) -> FakeModel:
    """A model that says these texts in turn, the last one for ever, and goes on where a text was cut off."""
    state = {"text": -1}
    known = [[*CHAT.encode(text), EOS] for text in texts]

    def script(call: Call) -> list[int]:
        said_so_far, ids = known[state["text"]], list(call.token_ids)
        begun = next((n for n in range(len(said_so_far) - 1, 0, -1) if ids[-n:] == said_so_far[:n]), 0)
        if state["text"] < 0 or not begun:
            state["text"] = min(state["text"] + 1, len(known) - 1)
            begun = 0
        return known[state["text"]][begun:]

    return FakeModel(script)


ARGUMENTS = '{"path": "a"}}\n</tool_call>'


async def test_openai_names_the_tool() -> None:
    async with gateway(goes_on(ARGUMENTS)) as (made, url):
        client = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="own", max_retries=0)
        choice = {"type": "function", "function": {"name": "rm"}}
        done = await client.chat.completions.create(model="m", messages=LOOK, tools=[LS, RM], tool_choice=choice)
        (call,) = done.choices[0].message.tool_calls
        assert (call.function.name, json.loads(call.function.arguments)) == ("rm", {"path": "a"})
        assert done.choices[0].finish_reason == "stop"
        asked = await client.responses.create(
            model="m",
            input="look",
            tools=[{"type": "function", "name": "ls", "parameters": {"type": "object"}}],
            tool_choice={"type": "function", "name": "ls"},
        )
        assert asked.output[0].name == "ls" and asked.tool_choice.name == "ls"
        counts = made.sessions["default"].counts
        head = CHAT.encode('<tool_call>\n{"name": "rm", "arguments": ')
        assert counts["forced"] == 2 and counts["unforced"] == 0 and counts["forced_tokens"] >= len(head)
        (turn,), _ = made.sessions["default"].tree.paths()[::-1]
        assert turn.observation_ids[-len(head) :] == tuple(head)  # read, so that nothing trains on them
        assert turn.action_ids == tuple(CHAT.encode(ARGUMENTS)) and len(turn.logprobs) == len(turn.action_ids)
        await client.close()


@pytest.mark.parametrize("stream", [False, True])
async def test_openai_demands_any_call(stream: bool) -> None:
    async with gateway(goes_on(f'ls", "arguments": {ARGUMENTS}')) as (made, url):
        client = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="own", max_retries=0)
        ask: dict[str, Any] = {"model": "m", "messages": LOOK, "tools": [LS, RM], "tool_choice": "required"}
        if stream:
            chunks = [chunk async for chunk in await client.chat.completions.create(**ask, stream=True)]
            (call,) = [c for chunk in chunks for c in chunk.choices[0].delta.tool_calls or ()]
            assert chunks[-1].choices[0].finish_reason == "tool_calls"
        else:
            done = await client.chat.completions.create(**ask)
            (call,) = done.choices[0].message.tool_calls
            assert done.choices[0].finish_reason == "tool_calls"
        assert call.function.name == "ls"
        ((turn,),) = made.sessions["default"].tree.paths()
        assert CHAT.decode(turn.action_ids).startswith('ls"')  # the policy chose it, so it is trained on
        assert turn.text.startswith('<tool_call>\n{"name": "ls"')
        await client.close()


async def test_a_name_that_is_no_tool_gives_way_to_one_that_is() -> None:
    s = session(goes_on("remove everything", ARGUMENTS))
    reply = await say(s, Message("user", "look"), tools=[LS, RM], forced="")
    assert [(c.name, c.arguments) for c in reply.message.calls] == [("rm", {"path": "a"})]  # begins alike
    ((turn,),) = s.tree.paths()
    assert turn.action_ids == (*CHAT.encode(ARGUMENTS), EOS)  # the name that was sampled is not among them
    assert CHAT.decode(turn.observation_ids).endswith('{"name": "rm", "arguments": ')
    await say(s, Message("user", "look"), reply.message, Message("tool", "ok"), tools=[LS, RM])
    assert s.counts["extended"] == 1 and s.counts["unmatched"] == 0


async def test_anthropic_any_a_tool_and_none() -> None:
    tools = [{"name": n, "description": "", "input_schema": {"type": "object"}} for n in ("ls", "rm")]
    async with gateway(goes_on(f'rm", "arguments": {ARGUMENTS}', ARGUMENTS, calling("ls"))) as (made, url):
        client = anthropic.AsyncAnthropic(base_url=url, api_key="own", max_retries=0)
        ask: dict[str, Any] = {"model": "m", "max_tokens": 200, "messages": LOOK, "tools": tools}
        done = await client.messages.create(**ask, tool_choice={"type": "any"})
        assert done.stop_reason == "tool_use" and [b.name for b in done.content] == ["rm"]
        done = await client.messages.create(**ask, tool_choice={"type": "tool", "name": "ls"})
        assert done.stop_reason == "tool_use" and [(b.name, b.input) for b in done.content] == [("ls", {"path": "a"})]
        done = await client.messages.create(**ask, tool_choice={"type": "none"})
        assert done.stop_reason == "end_turn" and [b.type for b in done.content] == ["text"]
        nodes = made.sessions["default"].tree.nodes
        assert nodes[0].parent is nodes[1].parent is nodes[2].parent is None
        with pytest.raises(anthropic.BadRequestError, match="no tool 'cp'"):
            await client.messages.create(**ask, tool_choice={"type": "tool", "name": "cp"})
        await client.close()


async def test_arguments_that_are_malformed_stay_text_and_are_counted() -> None:
    s = session(goes_on("nonsense"))
    reply = await say(s, Message("user", "look"), tools=[LS], forced="ls")
    assert not reply.message.calls and reply.finish == "stop" and s.counts["unforced"] == 1
    assert reply.message.content == '<tool_call>\n{"name": "ls", "arguments": nonsense'


async def test_without_tools_nothing_can_be_demanded() -> None:
    async with gateway(said("x")) as (_, url):
        client = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="own", max_retries=0)
        for choice in ("required", "sometimes", {"type": "function"}):
            with pytest.raises(openai.BadRequestError, match="tool_choice"):
                await client.chat.completions.create(model="m", messages=LOOK, tool_choice=choice)
        await client.close()


async def test_a_trajectory_of_forced_calls_trains_what_was_sampled_alone() -> None:
    from repodojo.algorithms.batches import samples_of

    s = session(goes_on(ARGUMENTS))
    await say(s, Message("user", "look"), tools=[LS, RM], forced="rm")
    trajectory = Trajectory("t", "t", "g", "p", 0, s.tree.paths()[0], "submit", Score(1.0))
    (made,) = samples_of(trajectory)
    trained = [i for i, mask in zip(made.token_ids, made.loss_mask, strict=True) if mask]
    assert CHAT.decode(trained) == ARGUMENTS

"""The real clients of OpenAI and Anthropic against the gateway on a real socket."""

from __future__ import annotations

import json

import anthropic
import openai
import pytest
from gateway_helpers import CHAT, LS, calling, gateway, said

from repodojo.gateway.session import Terms

RESPONSES_LS = {"type": "function", "name": "ls", "description": "List.", "parameters": {"type": "object"}}
ANTHROPIC_LS = {"name": "ls", "description": "List.", "input_schema": {"type": "object"}}
TWO = "I look.\n" + calling("ls", '{"path": "a"}') + calling("ls", '{"path": "b"}')


def chat_client(url: str, key: str = "own") -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)


def claude(url: str, key: str = "own") -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(base_url=url, api_key=key, max_retries=0)


async def test_chat_completions_with_parallel_calls_then_an_answer() -> None:
    async with gateway(said(TWO, "Both are empty.")) as (made, url), chat_client(url) as client:
        messages = [{"role": "user", "content": "look"}]
        first = await client.chat.completions.create(model="m", messages=messages, tools=[LS], logprobs=True)
        choice = first.choices[0]
        assert choice.finish_reason == "tool_calls" and choice.message.content == "I look.\n"
        assert [json.loads(c.function.arguments)["path"] for c in choice.message.tool_calls] == ["a", "b"]
        assert len(choice.logprobs.content) == first.usage.completion_tokens
        messages.append(choice.message.model_dump())
        messages += [{"role": "tool", "tool_call_id": c.id, "content": ""} for c in choice.message.tool_calls]
        second = await client.chat.completions.create(model="m", messages=messages, tools=[LS])
        assert second.choices[0].message.content == "Both are empty." and second.choices[0].finish_reason == "stop"
        cached = second.usage.prompt_tokens_details.cached_tokens
        assert cached == first.usage.prompt_tokens + first.usage.completion_tokens
        (path,) = made.sessions["default"].tree.paths()
        assert [CHAT.decode(turn.action_ids) for turn in path] == [TWO, "Both are empty."]


@pytest.mark.parametrize("text", ["Grüße, plain text with ünïcode ✓ and more of it.", TWO, calling("ls"), "a <tool_x"])
async def test_chat_completions_streamed_is_what_it_is_whole(text: str) -> None:
    async with gateway(said(text)) as (_, url), chat_client(url) as client:
        ask = {"model": "m", "messages": [{"role": "user", "content": "look"}], "tools": [LS]}
        whole = (await client.chat.completions.create(**ask)).choices[0]
        content, calls, finish = "", [], None
        options = {"include_usage": True}
        async for chunk in await client.chat.completions.create(**ask, stream=True, stream_options=options):
            if not chunk.choices:
                assert chunk.usage.completion_tokens == len(CHAT.encode(text)) + 1
                continue
            content += chunk.choices[0].delta.content or ""
            calls += chunk.choices[0].delta.tool_calls or []
            finish = chunk.choices[0].finish_reason or finish
        assert (content or None) == whole.message.content and finish == whole.finish_reason
        said_whole = [c.function.arguments for c in whole.message.tool_calls or ()]
        assert [c.function.arguments for c in calls] == said_whole


async def test_stop_sequences_cut_the_text_and_keep_the_tokens() -> None:
    async with gateway(said("one two three four")) as (made, url), chat_client(url) as client, claude(url) as other:
        messages = [{"role": "user", "content": "count"}]
        done = await client.chat.completions.create(model="m", messages=messages, stop=["three"])
        assert done.choices[0].message.content == "one two " and done.choices[0].finish_reason == "stop"
        (path,) = made.sessions["default"].tree.paths()
        assert CHAT.decode(path[0].action_ids).startswith("one two three")
        sent = await other.messages.create(model="m", max_tokens=99, messages=messages, stop_sequences=["two"])
        assert (sent.stop_reason, sent.stop_sequence, sent.content[0].text) == ("stop_sequence", "two", "one ")


async def test_one_call_at_a_time_where_the_client_wants_it() -> None:
    async with gateway(said(TWO)) as (_, url), chat_client(url) as client:
        messages = [{"role": "user", "content": "look"}]
        done = await client.chat.completions.create(model="m", messages=messages, tools=[LS], parallel_tool_calls=False)
        assert len(done.choices[0].message.tool_calls) == 1 and done.choices[0].finish_reason == "tool_calls"


async def test_anthropic_messages_with_tools_and_a_stream() -> None:
    async with gateway(said(TWO, "Done.", "Done.")) as (made, url), claude(url) as client:
        messages: list[dict[str, object]] = [{"role": "user", "content": "look"}]
        ask = {"model": "m", "max_tokens": 200, "system": "Be short.", "tools": [ANTHROPIC_LS]}
        async with client.messages.stream(messages=messages, **ask) as stream:
            first = await stream.get_final_message()
        assert first.stop_reason == "tool_use" and [b.type for b in first.content] == ["text", "tool_use", "tool_use"]
        assert [b.input["path"] for b in first.content[1:]] == ["a", "b"]
        messages.append({"role": "assistant", "content": first.content})
        results = [{"type": "tool_result", "tool_use_id": b.id, "content": "-"} for b in first.content[1:]]
        messages.append({"role": "user", "content": results})
        second = await client.messages.create(messages=messages, **ask)
        assert second.stop_reason == "end_turn" and second.content[0].text == "Done."
        assert second.usage.cache_read_input_tokens == first.usage.input_tokens + first.usage.output_tokens
        assert made.sessions["default"].counts["unmatched"] == 0
        counted = await client.messages.count_tokens(model="m", messages=messages[:1], system="Be short.")
        assert 0 < counted.input_tokens < first.usage.input_tokens  # without the tool


async def test_responses_by_echo_by_id_and_streamed() -> None:
    async with gateway(said(TWO, "Done.", "Yes.", TWO)) as (made, url), chat_client(url) as client:
        ask = {"model": "m", "instructions": "Be short.", "tools": [RESPONSES_LS]}
        first = await client.responses.create(input="look", **ask)
        assert [item.type for item in first.output] == ["message", "function_call", "function_call"]
        calls = first.output[1:]
        results = [{"type": "function_call_output", "call_id": c.call_id, "output": "-"} for c in calls]
        echoed = [item.model_dump(exclude_none=True) for item in first.output]
        second = await client.responses.create(input=[{"role": "user", "content": "look"}, *echoed, *results], **ask)
        assert second.output_text == "Done." and second.status == "completed"
        third = await client.responses.create(input="sure?", previous_response_id=second.id, **ask)
        assert third.output_text == "Yes."
        (path,) = made.sessions["default"].tree.paths()
        assert [CHAT.decode(turn.action_ids) for turn in path] == [TWO, "Done.", "Yes."]
        async with client.responses.stream(input="again", **ask) as stream:
            last = await stream.get_final_response()
        assert [item.type for item in last.output] == ["message", "function_call", "function_call"]
        assert last.output[0].content[0].text == "I look.\n"


async def test_errors_are_those_of_each_api() -> None:
    async with gateway(said("x"), Terms(max_context=300)) as (_, url):
        async with chat_client(url) as client:
            ask = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
            with pytest.raises(openai.BadRequestError, match="top_p"):
                await client.chat.completions.create(**ask, top_p=0.5)
            with pytest.raises(openai.BadRequestError, match=r"Unrecognized.*") as unknown:
                await client.chat.completions.create(**ask, extra_body={"beam_width": 3})
            assert unknown.value.param == "beam_width"
            long = [{"role": "user", "content": "word " * 500}]
            with pytest.raises(openai.BadRequestError) as error:
                await client.chat.completions.create(model="m", messages=long)
            assert error.value.code == "context_length_exceeded"
            with pytest.raises(openai.NotFoundError):
                await client.embeddings.create(model="m", input="x")
            await client.chat.completions.create(**ask, top_p=1, presence_penalty=0)  # neutral, so no question
        async with chat_client(url, "wrong") as client:
            with pytest.raises(openai.AuthenticationError):
                await client.chat.completions.create(**ask)
        async with claude(url, "wrong") as other:
            with pytest.raises(anthropic.AuthenticationError) as refused:
                await other.messages.create(max_tokens=5, **ask)
            assert refused.value.body["error"]["type"] == "authentication_error"


async def test_in_training_what_biases_is_left_out_and_told() -> None:
    terms = Terms(max_context=4096, training=True, temperature=1.0, seed=3)
    model = said("x")
    async with gateway(model, terms) as (made, url), chat_client(url) as client:
        raw = await client.chat.completions.with_raw_response.create(
            model="m", messages=[{"role": "user", "content": "hi"}], top_p=0.5, temperature=0.1
        )
        assert "top_p left out" in raw.headers["x-repodojo-warning"]
        assert model.calls[0].params.temperature == 1.0
        assert made.sessions["default"].stripped == {"top_p", "temperature"}

"""vLLM's and SGLang's protocols against a real server on a socket: exact tokens and log-probs, errors, the gateway."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import urllib.request
from typing import Any

import pytest

from repodojo.core.errors import ConfigError, EngineError
from repodojo.core.protocols import Completion, SamplingParams
from repodojo.inference import remote_fake
from repodojo.inference.fake import FakeModel
from repodojo.inference.remote import Kind, RemoteModel

pytest.importorskip("httpx2")
KINDS: tuple[Kind, ...] = ("vllm", "sglang")
PARAMS = SamplingParams(0.7, 9, (4, 5))


def odd(call: Any) -> Completion:
    """Log-probs and versions that tell themselves from any default."""
    ids = (*call.token_ids[-3:], 4)
    return Completion(ids, tuple(-0.125 * n for n in range(1, len(ids) + 1)), (7,) * len(ids), "stop")


@pytest.mark.parametrize("kind", KINDS)
async def test_tokens_and_log_probs_come_back_as_they_were(kind: Kind) -> None:
    model = FakeModel(odd)
    async with remote_fake.serving(model, key="secret") as url:
        client = RemoteModel(kind, url, model=remote_fake.MODEL, key="secret", version=7)
        assert await client.named() == remote_fake.MODEL
        done = await client.generate([1, 2, 3, 99], PARAMS, seed=(1 << 61) + 5, session="s")
        assert done == odd(model.calls[0])
        call = model.calls[0]
        assert call.token_ids == (1, 2, 3, 99) and call.params == PARAMS
        many = await asyncio.gather(*(client.generate([n, n + 1, n + 2], PARAMS, seed=n) for n in range(50)))
        assert [one.token_ids[0] for one in many] == list(range(50))  # nobody gets another's answer
        client.release("s")
        await client.aclose()


@pytest.mark.parametrize("kind", KINDS)
async def test_what_ended_it_is_told_apart(kind: Kind) -> None:
    for finished in ("stop", "length", "aborted"):
        model = FakeModel(lambda call, f=finished: Completion((9,), (-1.0,), (0,), f))  # type: ignore[misc]
        async with remote_fake.serving(model) as url:
            client = RemoteModel(kind, url, model=remote_fake.MODEL)
            assert (await client.generate([1], PARAMS, seed=0)).finished == finished
            await client.aclose()


@pytest.mark.parametrize("kind", KINDS)
async def test_every_failure_is_an_outage(kind: Kind) -> None:
    def fails(call: Any) -> Any:
        raise EngineError("out of memory")

    async with remote_fake.serving(FakeModel(fails), key="secret") as url:
        for client, said in (
            (RemoteModel(kind, url, model=remote_fake.MODEL, key="secret"), "out of memory"),
            (RemoteModel(kind, url, model=remote_fake.MODEL, key="wrong"), "401"),
            (RemoteModel(kind, f"{url}/other", model=remote_fake.MODEL, key="secret"), "404"),
            (RemoteModel(kind, "http://127.0.0.1:1", model=remote_fake.MODEL), "ConnectError"),
        ):
            with pytest.raises(EngineError, match=said):
                await client.generate([1], PARAMS, seed=0)
            await client.aclose()


async def test_an_answer_without_log_probs_is_no_answer() -> None:
    async def old(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = json.dumps({"choices": [{"text": "hi", "finish_reason": "stop"}], "meta_info": {}}).encode()
        writer.write(b"HTTP/1.1 200 -\r\ncontent-length: %d\r\n\r\n" % len(body) + body)

    server = await asyncio.start_server(old, "127.0.0.1", 0)
    async with server:
        for kind in KINDS:
            client = RemoteModel(kind, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
            with pytest.raises(EngineError, match="recent enough"):
                await client.generate([1], PARAMS, seed=0)
            await client.aclose()


@pytest.mark.parametrize("kind", KINDS)
async def test_an_engine_that_chooses_by_itself_names_the_tool(kind: Kind) -> None:
    from repodojo.gateway.asks import Ask, Message
    from repodojo.gateway.session import Session, Terms
    from repodojo.inference.chat import ChatFormat
    from repodojo.train.setup import base_path

    chat = ChatFormat.load(base_path())
    arguments = [*chat.encode('{"path": "a"}}\n</tool_call>'), chat.stop_ids[0]]
    tools = [{"type": "function", "function": {"name": name, "parameters": {}}} for name in ("ls.a", "rm|b", "cp")]
    model = FakeModel([[1], arguments, chat.encode("nothing of the kind"), arguments])
    async with remote_fake.serving(model) as url:
        client = RemoteModel(kind, url, model=remote_fake.MODEL)
        ask = Ask((Message("user", "look"),), tools=tools, forced="")
        session = Session("s", client, chat, Terms(4096))
        reply = await session.prepare(ask).answer()
        assert [(c.name, c.arguments) for c in reply.message.calls] == [("rm|b", {"path": "a"})]
        ((turn,),) = session.tree.paths()
        assert turn.action_ids == tuple(arguments)
        training = Session("t", client, chat, Terms(4096, training=True))  # there the policy itself has to choose
        assert (await training.prepare(ask).answer()).message.calls[0].name == "ls.a"
        await client.aclose()


def test_other_engines_are_refused() -> None:
    with pytest.raises(ConfigError, match="vllm, sglang"):
        RemoteModel("tgi", "http://127.0.0.1:1")  # type: ignore[arg-type]


async def test_serve_puts_the_gateway_before_it() -> None:
    def spell(call: Any) -> Completion:
        ids = (*call.token_ids[:2], call.params.stop_ids[0])
        return Completion(ids, (-0.5, -0.25, -0.125), (0, 0, 0), "stop")

    model = FakeModel(spell)
    async with remote_fake.serving(model) as url:
        words = ["serve", "base", "--port", "0", "--json", "--engine", "vllm", "--engine-url", url]
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "repodojo", *words),
            stdout=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        assert process.stdout is not None
        told = json.loads(await process.stdout.readline())

        def ask() -> Any:
            body = {"model": "m", "logprobs": True, "messages": [{"role": "user", "content": "def f(x):"}]}
            head = {"Authorization": f"Bearer {told['key']}", "Content-Type": "application/json"}
            request = urllib.request.Request(f"{told['url']}/v1/chat/completions", json.dumps(body).encode(), head)
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
                return json.load(answer)

        answer = await asyncio.to_thread(ask)
        process.terminate()
        assert await process.wait() == 0
    assert [t["logprob"] for t in answer["choices"][0]["logprobs"]["content"]] == [-0.5, -0.25, -0.125]
    assert answer["usage"]["prompt_tokens"] == len(model.calls[-1].token_ids)

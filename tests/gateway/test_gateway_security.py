"""Keys, sessions, sizes, and clients that are slow or break off, on real sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from gateway_helpers import CHAT, gateway, said

from repodojo.core.errors import EngineError, UserError
from repodojo.gateway.registry import Bounds
from repodojo.gateway.server import serving
from repodojo.inference.fake import Call, FakeModel

ASK = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}]}).encode()


async def until(holds: Callable[[], object]) -> None:
    while not holds():  # noqa: ASYNC110  # what is waited for happens in the server, which tells nobody
        await asyncio.sleep(0.01)


async def connect(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))


async def send(
    url: str, path: str, body: bytes = ASK, key: str = "own", method: str = "POST", **more: Any
) -> tuple[int, Any]:
    reader, writer = await connect(url)
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {key}\r\n"
    writer.write(f"{head}Content-Length: {more.get('length', len(body))}\r\n\r\n".encode())
    writer.write(body)
    answer = await reader.read()
    writer.close()
    return int(answer.split()[1]), json.loads(answer.partition(b"\r\n\r\n")[2])


async def test_a_session_reads_and_extends_no_other() -> None:
    async with gateway(said("secret")) as (made, url):
        keys = [(await send(url, "/sessions", json.dumps({"name": n}).encode()))[1]["key"] for n in "ab"]
        assert (await send(url, "/v1/chat/completions", key=keys[0]))[0] == 200
        assert (await send(url, "/s/a/v1/chat/completions", key=keys[0]))[0] == 200
        assert [len(made.sessions[n].tree.nodes) for n in "ab"] == [2, 0]
        for path, method in (("/s/a/v1/chat/completions", "POST"), ("/sessions/a", "GET"), ("/sessions/a", "DELETE")):
            status, answer = await send(url, path, key=keys[1], method=method)
            assert status == 401 and "secret" not in str(answer)
        assert (await send(url, "/sessions/nobody", key=keys[1], method="GET"))[1] == answer  # as if it were there
        assert (await send(url, "/sessions", b"{}", key=keys[1]))[0] == 401
        status, found = await send(url, "/sessions/a", b"", key=keys[0], method="GET")
        assert status == 200 and len(found["paths"]) == 2
        assert (await send(url, "/sessions/a", b"", method="DELETE"))[0] == 200
        assert (await send(url, "/v1/chat/completions", key=keys[0]))[0] == 401  # its key went with it


async def test_bodies_up_to_the_bound_and_none_beyond() -> None:
    async with gateway(said("x"), bounds=Bounds(body_mb=2)) as (_, url):
        long = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}], "user": "u" * (2 << 20)})
        fits = long.replace("u" * (2 << 20), "u" * ((2 << 20) - 200)).encode()
        assert (await send(url, "/v1/chat/completions", fits))[0] == 200
        status, answer = await send(url, "/v1/chat/completions", b"", length=1 << 40)
        assert status == 413
        status, answer = await send(url, "/v1/messages", b"", length=1 << 40)
        assert status == 413 and answer["error"]["type"] == "request_too_large"


async def test_a_body_of_64_megabytes() -> None:
    async with gateway(said("x")) as (_, url):
        body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}], "user": ""}).encode()
        body = body.replace(b'"user": ""', b'"user": "' + b"u" * ((64 << 20) - len(body)) + b'"')
        assert len(body) == 64 << 20
        assert (await send(url, "/v1/chat/completions", body))[0] == 200


@pytest.mark.parametrize("start", [b"", b"POST /v1/chat/comp", b"POST /v1/chat/completions HTTP/1.1\r\nA: b\r\n"])
async def test_whoever_sends_no_head_is_dropped_and_others_are_served(start: bytes) -> None:
    async with gateway(said("x"), bounds=Bounds(head_seconds=0.2)) as (_, url):
        reader, writer = await connect(url)
        writer.write(start)
        assert (await send(url, "/v1/chat/completions"))[0] == 200
        assert await asyncio.wait_for(reader.read(), 20) == b""
        writer.close()


async def test_a_body_that_stops_coming_is_refused() -> None:
    async with gateway(said("x"), bounds=Bounds(body_seconds=0.2)) as (_, url):
        status, _answer = await send(url, "/v1/chat/completions", b'{"model"', length=5000)
        assert status == 400


async def test_a_client_that_leaves_stops_the_sampling() -> None:
    class Endless(FakeModel):
        cancelled = 0

        async def generate(self, *args: Any, **kwargs: Any) -> Any:
            try:
                await asyncio.sleep(600)
            except asyncio.CancelledError:
                self.cancelled += 1
                raise

    model = Endless([])
    async with gateway(model) as (made, url):
        for body in (ASK, ASK.replace(b'"model"', b'"stream": true, "model"')):
            _, writer = await connect(url)
            head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer own\r\n"
            writer.write(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            await until(lambda: made.sessions and made.sessions["default"].in_flight)
            writer.close()
            await until(lambda: not made.sessions["default"].in_flight)
        assert model.cancelled == 2 and made.sessions["default"].counts["aborted"] == 2
        assert not made.sessions["default"].tree.nodes and made.failure is None


async def test_requests_in_flight_are_bounded() -> None:
    held = asyncio.Event()

    class Held(FakeModel):
        async def generate(self, *args: Any, **kwargs: Any) -> Any:
            await held.wait()
            return await super().generate(*args, **kwargs)

    async with gateway(Held(lambda call: CHAT.stop_ids), bounds=Bounds(requests=2)) as (made, url):
        first = [asyncio.create_task(send(url, "/v1/chat/completions")) for _ in range(2)]
        await until(lambda: made.sessions and made.sessions["default"].in_flight == 2)
        status, answer = await send(url, "/v1/chat/completions")
        assert status == 503 and "in flight" in answer["error"]["message"]
        held.set()
        assert [status for status, _ in await asyncio.gather(*first)] == [200, 200]


async def test_an_engine_that_fails_is_an_error_of_the_server_and_remembered() -> None:
    def fails(call: Call) -> Any:
        raise EngineError("out of memory")

    async with gateway(FakeModel(fails)) as (made, url):
        status, answer = await send(url, "/v1/messages", ASK.replace(b"{", b'{"max_tokens": 5, ', 1))
        assert status == 500 and answer["error"] == {"type": "api_error", "message": "out of memory"}
        assert isinstance(made.sessions["default"].outage, EngineError)


async def test_garbage_is_refused_politely() -> None:
    async with gateway(said("x")) as (made, url):
        deep = b'{"model": "m", "messages": ' + b"[" * 100_000
        for body in (
            b"",
            b"\xff",
            b"[]",
            b'{"model": "m", "messages": [{"role": "user", "content": "\\ud800"}]}',
            deep,
        ):
            assert (await send(url, "/v1/chat/completions", body))[0] == 400
        assert made.failure is None


async def test_a_taken_port_is_told_and_the_default_is_loopback() -> None:
    async with gateway(said("x")) as (made, url):
        assert url.startswith("http://127.0.0.1:")
        with pytest.raises(UserError, match="cannot listen"):
            async with serving(made, port=int(url.rpartition(":")[2])):
                pass

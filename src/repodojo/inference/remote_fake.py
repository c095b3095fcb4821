"""A server that speaks as much of vLLM's and SGLang's HTTP as is used here, over any `Model`: for tests and trials.

    python -m repodojo.inference.remote_fake FOLDER --port 8001

serves a model folder by the built-in engine, and loads the weights that a run publishes. Fields that it does not know
are refused, so that a misspelt one is found; the real servers would ignore it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path

from repodojo.inference.remote_fake_routes import MODEL, Loading, Served, answer

__all__ = ["MODEL", "Served", "main", "running", "serving"]


@contextlib.asynccontextmanager
async def serving(model: Loading, *, key: str = "", port: int = 0) -> AsyncIterator[str]:
    """Serve until the block ends; yields the base URL. With a `key`, who has none is refused."""
    async with listening(Served(model, key=key), port) as url:
        yield url


@contextlib.asynccontextmanager
async def listening(served: Served, port: int = 0) -> AsyncIterator[str]:
    """The same, of a state that can be looked at and meddled with."""
    writers: set[asyncio.StreamWriter] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        try:
            while True:
                status, body = await answer(served, *await _request(reader))
                said = json.dumps(body).encode()
                writer.write(f"HTTP/1.1 {status} -\r\ncontent-length: {len(said)}\r\n\r\n".encode() + said)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client has left
        finally:
            writers.discard(writer)
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", port)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for writer in writers:
            writer.close()


@contextlib.contextmanager
def running(served: Served) -> Iterator[str]:
    """Serve in a thread until the block ends, for callers that have no event loop; yields the base URL."""
    ready, over = threading.Event(), asyncio.Event()
    found: list[tuple[str, asyncio.AbstractEventLoop]] = []

    async def serve() -> None:
        async with listening(served) as url:
            found.append((url, asyncio.get_running_loop()))
            ready.set()
            await over.wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),), daemon=True)
    thread.start()
    ready.wait()
    url, loop = found[0]
    try:
        yield url
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()


async def _request(reader: asyncio.StreamReader) -> tuple[str, dict[str, str], bytes]:
    """Method and path, headers, body."""
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return first.rpartition(" ")[0], headers, body


def main(words: Sequence[str] | None = None, ready: Callable[[str], None] = lambda url: print(url, flush=True)) -> None:
    """Serve a model folder until the process is stopped; the URL is the first line that it prints."""
    import torch

    from repodojo.inference.engine import Engine

    parser = argparse.ArgumentParser(prog="python -m repodojo.inference.remote_fake", description=main.__doc__)
    parser.add_argument("folder", type=Path, help="model folder")
    parser.add_argument("--port", type=int, default=0, help="port; 0 takes a free one")
    parser.add_argument("--max-context", type=int, default=4096, help="tokens of a conversation")
    parser.add_argument("--no-spans", action="store_true", help="as SGLang before it told weights by token")
    given = parser.parse_args(words)
    torch.set_num_threads(1)

    async def serve() -> None:
        engine = Engine(given.folder, max_context=given.max_context)
        served = Served(engine, context=given.max_context, spans=not given.no_spans)
        async with listening(served, given.port) as url:
            ready(url)
            await asyncio.Event().wait()

    asyncio.run(serve())


if __name__ == "__main__":
    main()

"""Servers of others over stdio, HTTP and in the box; and the repository's own server, asked by the SDK's client."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from repodojo.agent.kit import Kit, toolset
from repodojo.agent.mcp.client import equipped
from repodojo.agent.mcp.settings import McpServer
from repodojo.agent.tools import ToolContext, Toolset
from repodojo.core.errors import ConfigError, SandboxError, ToolFormatError, ToolServerError
from repodojo.core.records import Environment, Grader, Source, Task
from repodojo.inference.toolcalls import RawCall
from repodojo.sandbox.factory import LocalFactory
from repodojo.sandbox.fake import FakeSandbox
from repodojo.tasks.store import TaskStore
from repodojo.train.config import dump, load

mcp = pytest.importorskip("mcp")
SERVER = (sys.executable, str(Path(__file__).parent / "a_server.py"))
TASK = Task("t", Source("d"), "i", Environment(), Grader())
FAKE = FakeSandbox({})
PATIENT = 600.0  # a busy machine is no failure


@contextlib.asynccontextmanager
async def tools_of(server: McpServer, box: Any = FAKE) -> AsyncIterator[Toolset]:
    async with equipped(toolset(Kit(mcp=(server,))), box) as tools:
        yield tools


async def call(tools: Toolset, name: str, box: Any = FAKE, **arguments: Any) -> tuple[str, str]:
    result = await tools.run(*tools.check(RawCall(name, arguments)), ToolContext(TASK, box))
    return result.output, result.error


def kind(tools: Toolset, name: str, **arguments: Any) -> str:
    with pytest.raises(ToolFormatError) as refused:
        tools.check(RawCall(name, arguments))
    return refused.value.kind


async def test_a_stdio_server_serves_one_sandbox_with_checks_and_named_errors() -> None:
    server = McpServer(
        name="a", command=SERVER, environment={"TOKEN": "secret"}, seconds=PATIENT, start_seconds=PATIENT
    )
    async with tools_of(server) as tools:
        assert list(tools.tools)[-1] == "submit" and "a_add" in tools.tools
        function = next(s["function"] for s in tools.schemas() if s["function"]["name"] == "a_add")
        assert function["description"] == "Add numbers." and function["parameters"]["required"] == ["a"]
        assert await call(tools, "a_add", a=2, b=3) == ("5", "")
        assert kind(tools, "a_add", b=1) == "missing" and kind(tools, "a_add", a="2") == "bad-type"
        output, error = await call(tools, "a_fail")
        assert "no luck" in output and error == "mcp-error"
        assert await call(tools, "a_keep", word="x") == ("x", "") and await call(tools, "a_keep", word="y") == (
            "x y",
            "",
        )
        folder, token = (await call(tools, "a_where"))[0].split()
        assert token == "secret" and Path(folder).name.startswith("repodojo-mcp-")
        assert (await call(tools, "a_die"))[1] == "mcp-lost" and (await call(tools, "a_add", a=1))[1] == "mcp-lost"
    assert os.path.basename(folder) not in os.listdir(os.path.dirname(folder))


async def test_a_call_that_takes_too_long_is_given_up_and_named() -> None:
    server = McpServer(name="a", command=SERVER, tools=("sleep",), seconds=0.3, start_seconds=PATIENT)
    async with tools_of(server) as tools:
        assert (await call(tools, "a_sleep", seconds=60.0))[1] == "mcp-timeout"


async def test_an_outage_within_is_raised_as_itself() -> None:
    with pytest.raises(SandboxError, match="gone"):
        async with tools_of(McpServer(name="a", command=SERVER, start_seconds=PATIENT)):
            raise SandboxError("gone")


async def test_the_next_sandbox_has_a_server_of_its_own_and_chosen_tools() -> None:
    for _ in range(2):
        async with tools_of(McpServer(name="a", command=SERVER, tools=("keep",), start_seconds=PATIENT)) as tools:
            assert [name for name in tools.tools if name.startswith("a_")] == ["a_keep"]
            assert await call(tools, "a_keep", word="x") == ("x", "")


async def test_a_server_that_does_not_start_is_an_outage_and_a_wrong_name_is_the_users() -> None:
    with pytest.raises(ToolServerError, match="does not start"):
        async with tools_of(McpServer(name="a", command=("/no/such/program",))):
            pass
    with pytest.raises(ToolServerError, match=r"not ready in|does not start"):
        async with tools_of(McpServer(name="a", command=("sleep", "60"), start_seconds=0.5)):
            pass
    with pytest.raises(ConfigError, match="no tool 'fly'"):
        async with tools_of(McpServer(name="a", command=SERVER, tools=("fly",), start_seconds=PATIENT)):
            pass


@pytest.fixture
def address() -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with subprocess.Popen([*SERVER, str(port)], stderr=subprocess.DEVNULL) as server:
        for _ in range(6000):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/mcp"
        server.kill()


async def test_a_server_over_http(address: str) -> None:
    async with tools_of(McpServer(name="web", url=address, start_seconds=PATIENT)) as tools:
        assert await call(tools, "web_add", a=2) == ("3", "")
        assert (await call(tools, "web_fail"))[1] == "mcp-error"


IN_BOX = b"""
import json, sys
for line in sys.stdin:
    asked = json.loads(line)
    if "id" not in asked:
        continue
    result = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}}
    result["serverInfo"] = {"name": "x", "version": "1"}
    if asked["method"] == "tools/list":
        result = {"tools": [{"name": "count", "inputSchema": {"type": "object", "properties": {}}}]}
    if asked["method"] == "tools/call":
        with open("counted.txt", "a") as file:
            file.write("x")
        text = open("counted.txt").read() + open("given.txt").read()
        result = {"content": [{"type": "text", "text": text}]}
    print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": result}), flush=True)
"""


async def test_a_server_in_the_box_works_on_the_agents_files(tiny_store: TaskStore) -> None:
    factory = LocalFactory(tiny_store.path, allow_unisolated=True)
    box = await factory.create(tiny_store.tasks()[0].environment)
    try:
        await box.write("srv.py", IN_BOX)
        await box.write("given.txt", b" seen")
        async with tools_of(
            McpServer(name="in", command=("python", "srv.py"), where="box", seconds=PATIENT, start_seconds=PATIENT), box
        ) as tools:
            assert await call(tools, "in_count", box) == ("x seen", "")
            assert await call(tools, "in_count", box) == ("xx seen", "")
            await box.write("srv.py", b"raise SystemExit('broken')")
            assert (await call(tools, "in_count", box))[1] == "mcp-lost"
        assert (await box.read("counted.txt")) == b"xx"
    finally:
        await factory.close()


def test_settings_are_checked_and_survive_a_run_folder(tmp_path: Path) -> None:
    given = 'agent.mcp=[{name = "a", command = ["x", "-y"], tools = ["t"]}, {name = "b", url = "http://h/mcp"}]'
    config = load(None, [given])
    assert [server.name for server in config.agent.mcp] == ["a", "b"]
    (tmp_path / "c.toml").write_text(dump(config))
    assert load(tmp_path / "c.toml") == config
    for wrong in ('{name = "a"}', '{name = "a", command = ["x"], url = "u"}', '{name = "A b", url = "u"}'):
        with pytest.raises(ConfigError, match="agent"):
            load(None, [f"agent.mcp=[{wrong}]"])


@pytest.mark.parametrize("way", ["stdio", "http"])
async def test_the_repositorys_own_server(tmp_path: Path, way: str) -> None:
    (tmp_path / "a.py").write_text("def area(w, h):\n    return w * h\n")
    (tmp_path / "b.py").write_text("from a import area\nprint(area(1, 2))\n")
    argv = [sys.executable, "-m", "repodojo", "mcp", str(tmp_path), "--tests", "python3 b.py"]
    target: Any = mcp.StdioServerParameters(command=argv[0], args=argv[1:])
    web = None
    if way == "http":
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        web = await asyncio.create_subprocess_exec(*argv, "--http", str(port), stderr=subprocess.DEVNULL)
        target = f"http://127.0.0.1:{port}/mcp"
        for _ in range(6000):
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                break
            await asyncio.sleep(0.1)
    try:
        async with mcp.Client(target, mode="legacy") as client:
            names = {tool.name for tool in (await client.list_tools()).tools}
            assert names == {"definition", "references", "outline", "neighbours", "search", "wiki", "tests"}

            async def ask(name: str, **arguments: str) -> str:
                return str((await client.call_tool(name, arguments)).content[0].text)

            assert (await ask("definition", symbol="area")).startswith("a.py:1-2 function area")
            assert await ask("neighbours", symbol="a.py") == "imported by:\n  b.py"
            assert await ask("search", query="w \\* h") == "./a.py:2:    return w * h"
            assert "outside" in await ask("search", query="x", path="..")
            assert await ask("tests") == "2\n[exit code 0]"
            (tmp_path / "a.py").write_text("def other():\n    pass\n")
            assert await ask("definition", symbol="area") == "nothing found"
    finally:
        if web is not None:
            web.kill()
            await web.wait()

"""The C init: how it is compiled and chosen, what it says where its keeper is gone, and what it holds in memory."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest
from sandbox_samples import ENVIRONMENT, LIMITS

from repodojo.cli.benches.sandbox import _descendants
from repodojo.core.errors import ConfigError, SandboxError
from repodojo.sandbox.factory import LocalFactory
from repodojo.sandbox.level import probe
from repodojo.sandbox.local import native, talk, wire
from repodojo.sandbox.local.lines import Line, Lot
from repodojo.train.config import load
from repodojo.train.setup import open_boxes, pool_settings

COMPILER = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="no compiler here")


@needs_compiler
def test_it_compiles_without_a_warning(tmp_path: Path) -> None:
    assert COMPILER is not None
    words = [COMPILER, *native.FLAGS, "-Werror", "-o", str(tmp_path / "init"), str(native.sources()[0])]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert subprocess.run([tmp_path / "init"], capture_output=True, check=False).returncode == 1


@needs_compiler
def test_it_is_compiled_once_and_anew_when_the_source_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    make = native.program.__wrapped__
    first = make()
    before = first.stat().st_mtime_ns
    assert make() == first and first.stat().st_mtime_ns == before
    assert [path.name for path in first.parent.iterdir()] == [first.name]
    copy = tmp_path / "native"
    shutil.copytree(Path(native.__file__).parent, copy)
    (copy / "memory.h").write_text((copy / "memory.h").read_text() + "/* changed */\n")
    monkeypatch.setattr(native, "sources", lambda: [copy / "init.c", *sorted(copy.glob("*.h"))])
    assert make() != first and first.is_file()


def test_without_a_compiler_or_a_private_folder_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    make = native.program.__wrapped__
    (tmp_path / "repodojo" / "native").mkdir(parents=True)
    (tmp_path / "repodojo" / "native").chmod(0o777)
    with pytest.raises(OSError, match="by others" if COMPILER else "no compiler"):
        make()
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", _homeless)
    with pytest.raises(OSError, match="no home" if COMPILER else "no compiler"):
        make()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(OSError, match="no compiler"):
        make()
    monkeypatch.setattr(native, "program", make)
    with pytest.raises(ConfigError, match="no compiler"):
        native.demanded()


def test_the_setting_reaches_whoever_makes_boxes(store: Path) -> None:
    for name in ("auto", "c", "python"):
        config = load(None, [f'sandbox.init="{name}"', f"tasks.store={str(store)!r}"])
        assert config.sandbox.init == name == pool_settings(config).init
        assert open_boxes(config)._init == name
    with pytest.raises(ConfigError):
        load(None, ['sandbox.init="rust"', 'tasks.store="x"'])


@needs_compiler
async def test_a_box_that_only_runs_commands_has_one_process_and_it_is_small(store: Path) -> None:
    if not probe().isolated:
        pytest.skip("no namespaces here")
    held = {}
    for name in ("python", "c"):
        factory = LocalFactory(store, limits=LIMITS, lazy=False, init=name)
        try:
            first = await factory.create(ENVIRONMENT)
            before = _below()
            box = await factory.create(ENVIRONMENT)
            await box.exec(["true"])
            new = await _new(before, 1)
            held[name] = sum(_own_kb(pid) for pid in new)
            await box.write("pkg/new.py", b"1")  # now it has a keeper, where that is another process
            await _new(before, 2 if name == "c" else 1)
            await box.close()
            await first.close()
        finally:
            await factory.close()
    assert held["c"] < held["python"]


@needs_compiler
async def test_a_lost_keeper_is_an_outage_and_commands_still_run(store: Path) -> None:
    if not probe().isolated:
        pytest.skip("no namespaces here")
    factory = LocalFactory(store, limits=LIMITS, lazy=False, init="c")
    try:
        first = await factory.create(ENVIRONMENT)
        before = _below()
        box = await factory.create(ENVIRONMENT)
        (init,) = await _new(before, 1)
        await box.write("x.py", b"import time; time.sleep(60)")
        (keeper,) = await _new({*before, init}, 1)
        running = asyncio.create_task(box.exec(["python", "x.py"], warm=True))
        await asyncio.sleep(0.3)
        os.kill(keeper, 9)
        with pytest.raises(SandboxError, match="keeper"):
            await running
        with pytest.raises(SandboxError, match="keeper"):
            await box.read("x.py")
        count = "import os; print(sum(name.isdigit() for name in os.listdir('/proc')))"
        assert (await box.exec(["python", "-c", count])).output == b"2\n"  # init and this: the job did not outlive it
        assert (await first.exec(["true"])).exit_code == 0
    finally:
        await factory.close()


def test_long_messages_go_by_a_memory_file() -> None:
    ours, theirs = wire.pair()
    with ours, theirs:
        to_c = talk.ToC(Line(ours, Lot()), socket.socket)
        handle = wire.memory_file(b"in")
        header = {"op": "exec", "warm": False, "cwd": "/w", "argv": ["echo", "x" * 50_000], "env": {"A": "b"}}
        to_c.send(7, header, [handle, handle, handle])
        data, handles, _, _ = socket.recv_fds(theirs, 65536, 8)
        assert data == b"X7 %d" % len(talk.command(header)) and len(handles) == 4
        assert wire.contents(handles[0], 100_000) == talk.command(header)
        for each in (handle, *handles):
            os.close(each)


def _homeless() -> Path:
    raise RuntimeError("no home")


def _below() -> set[int]:
    """Processes below this one, whatever their depth."""
    return set(_descendants())


async def _new(before: set[int], count: int) -> set[int]:
    """Those that are there now, once the ones that have forked them are gone: `count`, or the test fails."""
    for _ in range(200):
        if len(found := _below() - before) == count:
            return found
        await asyncio.sleep(0.05)
    raise AssertionError(f"{len(found)} processes, and {count} were to be there")


def _own_kb(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(("Private_Dirty:", "Private_Clean:")))

"""Boxes work for a user without any privilege: the same box, made by `nobody` in a process that root has left."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import repodojo
from repodojo.sandbox.local.native import Init

NOBODY = 65534
LEAVE_ROOT = """
import os, sys, tempfile
from repodojo.sandbox.local import syscalls

def open_way(paths):
    "In mounts of our own, folders that only root may enter give way to open ones that hold `paths` alone."
    syscalls.unshare(syscalls.NEWNS)
    syscalls.mount("", "/", "", syscalls.MS_REC | syscalls.MS_PRIVATE)
    holds = []
    for path in paths:
        holds.append((path, tempfile.mkdtemp()))
        syscalls.bind(*holds[-1])
    for path, hold in holds:
        parts = path.split("/")
        for depth in range(2, len(parts) + 1):
            folder = "/".join(parts[:depth])
            if not os.path.isdir(folder) or not os.stat(folder).st_mode & 1:
                if os.path.isdir(folder):
                    syscalls.mount("tmpfs", folder, "tmpfs", 0, "mode=755")
                os.makedirs(path, exist_ok=True)
                syscalls.bind(hold, path)
                break

open_way(sys.argv[5:])
os.setgroups([])
os.setresgid(65534, 65534, 65534)
os.setresuid(65534, 65534, 65534)
os.chdir("/")
kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "XDG_CACHE_HOME")}
os.execve(sys.executable, [sys.executable, *sys.argv[1:5]], {**kept, "HOME": "/nonexistent"})
"""
PLAY = """
import asyncio, os, sys
from pathlib import Path
from repodojo.core.protocols import Limits
from repodojo.core.records import Environment
from repodojo.sandbox.factory import LocalFactory
from repodojo.sandbox.level import probe

SCRIPT = "#!/bin/sh\\nexec python -c 'from pkg.calc import double; print(double(7))'\\n"

async def play():
    if not probe().isolated:
        return print("no isolation:", probe().reason)
    factory = LocalFactory(Path(sys.argv[1]), limits=Limits(seconds=20), lazy=False, init=sys.argv[2])
    box = await factory.create(Environment(recipe={"kind": "python", "tree": "t1", "scripts": {"repro": SCRIPT}}))
    print(os.getuid(), (await box.exec(["repro"])).output.decode().strip())
    await box.write("pkg/calc.py", b"def double(x):\\n    return 40 + x\\n")
    print((await box.exec(["repro"])).output.decode().strip(), sorted(await box.changes()))
    print((await box.exec(["id", "-u"])).output.decode().strip())
    await factory.close()

asyncio.run(play())
"""


@pytest.fixture
def open_store(store: Path) -> Iterator[Path]:
    """The task set where others may read it, which pytest's own folders do not let them."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(shutil.copytree(store, Path(folder) / "store"))
        for closed in (folder, copy):
            os.chmod(closed, 0o755)
        yield copy


@pytest.mark.skipif(os.geteuid() != 0, reason="who is not root runs every other test as an ordinary user")
def test_nobody_gets_a_box(open_store: Path, init: Init) -> None:
    ours = str(Path(repodojo.__file__).parents[1])
    needed = sorted({sys.base_prefix, sys.prefix, ours})
    command = [sys.executable, "-c", LEAVE_ROOT, "-c", PLAY, str(open_store), init, *needed]
    with tempfile.TemporaryDirectory() as cache:  # of his own, in which he compiles the C init anew
        os.chown(cache, NOBODY, NOBODY)
        env = {**os.environ, "PYTHONPATH": ours, "XDG_CACHE_HOME": cache}
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=env)
    if "Operation not permitted" in done.stderr:
        pytest.skip("this root may not mount")
    assert done.returncode == 0, done.stderr
    if done.stdout.startswith("no isolation"):
        pytest.skip(done.stdout)
    assert done.stdout.splitlines() == ["65534 14", "47 ['pkg/calc.py']", "1000"]

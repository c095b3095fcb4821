"""SWE-ReX's local deployment, measured by a program that runs in an environment of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

from repodojo.core.errors import UserError

VERSION = "1.4.0"
MINUTES = 10
PROGRAM = """
import asyncio, json, os, statistics, sys, time


def descendants():
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as file:
                    parents[int(name)] = int(file.read().rpartition(")")[2].split()[1])
            except OSError:
                continue
    found, waiting = [], [os.getpid()]
    while waiting:
        parent = waiting.pop()
        children = [pid for pid, of in parents.items() if of == parent]
        found += children
        waiting += children
    return found


def pss():
    total = 0
    for pid in descendants():
        try:
            with open(f"/proc/{pid}/smaps_rollup") as file:
                total += sum(int(line.split()[1]) for line in file if line.startswith("Pss:"))
        except OSError:
            continue
    return total


async def main(count, rounds):
    from swerex.deployment.local import LocalDeployment
    from swerex.runtime.abstract import BashAction, CloseBashSessionRequest, CreateBashSessionRequest

    deployment = LocalDeployment()
    await deployment.start()
    runtime = deployment.runtime
    took = {"create": [], "exec": [], "reset": [], "destroy": []}

    async def timed(kind, work):
        began = time.perf_counter()
        await work
        took[kind].append(1000 * (time.perf_counter() - began))

    async def again(name):
        await runtime.close_session(CloseBashSessionRequest(session=name))
        await runtime.create_session(CreateBashSessionRequest(session=name, startup_timeout=60.0))
        await runtime.run_in_session(BashAction(session=name, command="true"))

    before = pss()
    for i in range(count):
        await timed("create", runtime.create_session(CreateBashSessionRequest(session=f"s{i}", startup_timeout=60.0)))
    memory = (pss() - before) / count
    for i in range(rounds):
        await timed("exec", runtime.run_in_session(BashAction(session=f"s{i % count}", command="true")))
    for i in range(min(count, rounds)):
        await timed("reset", again(f"s{i}"))
    for i in range(count):
        await timed("destroy", runtime.close_session(CloseBashSessionRequest(session=f"s{i}")))
    await deployment.stop()
    return {**{f"{kind}_ms": statistics.median(values) for kind, values in took.items()}, "pss_kb": memory}


print(json.dumps(asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))))
"""


def measured(sessions: int, rounds: int) -> dict[str, float]:
    """Medians in ms of create, exec, reset and destroy of a session, and its memory (KiB of PSS)."""
    python = environment() / "bin" / "python"
    words = [str(python), "-c", PROGRAM, str(sessions), str(rounds)]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60 * MINUTES)
    except subprocess.CalledProcessError as error:
        raise _refused(f"SWE-ReX {VERSION} failed", error.stderr) from None
    except subprocess.TimeoutExpired:
        raise _refused(f"SWE-ReX {VERSION} was not done within {MINUTES} minutes", "") from None
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def environment() -> Path:
    """The folder of a virtual environment that holds SWE-ReX; made once, below the user's cache folder."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "repodojo" / f"swe-rex-{VERSION}-{sys.version_info.major}.{sys.version_info.minor}"
    done = folder / "installed"
    if done.exists():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder, with_pip=False)
    words = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install", "--quiet"]
    given: dict[str, Any] = {"capture_output": True, "text": True, "timeout": 60 * MINUTES}
    try:
        subprocess.run([*words, "--disable-pip-version-check", f"swe-rex=={VERSION}"], check=True, **given)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise _refused(f"SWE-ReX {VERSION} cannot be installed", str(error.stderr or "")) from None
    done.touch()
    return folder


def _refused(what: str, text: str) -> UserError:
    """The last line of what was printed says why."""
    lines = [line for line in text.strip().splitlines() if line.strip()]
    reason = f": {lines[-1].strip()}" if lines else ""
    first = "give pip an index that has swe-rex" if "install" in what else "try again on a machine that is less busy"
    return UserError(f"{what}{reason}", way_out=f"{first}, or --alone to measure only ours")

"""Runs many small variations of one repository in one box: `python -m boxbatch`, for the making of tasks.

Standard input: `{"seconds": 3, "docstrings": {id: text}, "modules": [path, ...], "jobs": [{"key", "edits", "writes",
"visible", "hidden", "gate"}, ...]}`. Each job is written to the box's own files, tried in a forked child as `boxrun`
would, and taken back. With a gate, the hidden ids run only where a visible one fails. One line of JSON a job goes to
REPODOJO_REPORT_FD.

Byte code of the sound modules is kept in a private folder, and modules from outside the repository are imported once
before the forks; a changed file gets a modification time of its own, so that stale byte code cannot be taken for it.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import Any

FIRST_STAMP = 1_000_000
# fmt: off
PYTEST_PARTS = (
    "capture", "debugging", "faulthandler", "fixtures", "helpconfig", "junitxml", "legacypath", "logging",
    "main", "mark", "monkeypatch", "pastebin", "python", "raises", "recwarn", "reports", "runner",
    "setuponly", "setupplan", "skipping", "stepwise", "subtests", "terminal", "threadexception", "tmpdir",
    "unittest", "unraisableexception", "assertion.rewrite", "assertion.util", "nodes",
)
# fmt: on
"""What a pytest session loads, imported once before the forks; a version that lacks one does without."""


def main() -> int:
    """Exit code 0 once every job has had its line."""
    work = json.load(sys.stdin)
    report = int(os.environ["REPODOJO_REPORT_FD"])
    importlib.import_module("pytest")
    for name in PYTEST_PARTS:
        with contextlib.suppress(ModuleNotFoundError):
            importlib.import_module(f"_pytest.{name}")
    folder = tempfile.mkdtemp()
    sys.pycache_prefix = folder
    try:
        preload(work["modules"])
        for number, job in enumerate(work["jobs"]):
            line = json.dumps(one(job, work["docstrings"], work["seconds"], FIRST_STAMP + number)) + "\n"
            os.write(report, line.encode())
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


def preload(paths: Sequence[str]) -> None:
    """Let one child import the repository (which writes the byte code); import here what it took from elsewhere."""
    boxchild: Any = importlib.import_module("boxchild")
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        before = set(sys.modules)
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 1)
        os.dup2(null, 2)
        names: list[str] = []
        sys.dont_write_bytecode = False
        boxchild.prepare_path()
        for path in paths:
            try:
                boxchild.load(path)
            except BaseException:
                break
        root = os.getcwd() + os.sep
        for name in set(sys.modules) - before:
            place = getattr(sys.modules.get(name), "__file__", None) or ""
            if place and not place.startswith(root):
                names.append(name)
        os.write(writer, json.dumps(names).encode()[:60_000])
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        data = stream.read()
    os.waitpid(pid, 0)
    boxchild.prepare_path()
    for name in sorted(json.loads(data or b"[]"), key=len):
        try:
            importlib.import_module(name)
        except ImportError:
            continue


def one(job: Mapping[str, Any], docstrings: Mapping[str, str], limit: float, stamp: int) -> dict[str, Any]:
    """Try one job; the files are as before afterwards."""
    boxrun: Any = importlib.import_module("boxrun")
    boxchild: Any = importlib.import_module("boxchild")
    started = time.perf_counter()
    undo = apply(job, stamp)
    try:
        explain = any(name.startswith("pytest:") for name in job["visible"])
        options = boxrun.Options(
            limit, explain, docstrings=docstrings, gate=tuple(job["visible"]) if job["gate"] else ()
        )
        results = boxrun.Supervisor([*job["visible"], *job["hidden"]], options, boxchild.run).run()
    finally:
        for path, (text, times) in undo.items():
            if text is None:
                os.remove(path)
            else:
                with open(path, "w", encoding="utf-8", newline="") as stream:
                    stream.write(text)
                os.utime(path, ns=times)
    seen = boxrun.Results({i: results.tests[i] for i in job["visible"]})
    seen.failures = {i: text for i, text in results.failures.items() if i in seen.tests}
    seconds = time.perf_counter() - started
    return {"key": job["key"], "tests": results.tests, "text": seen.text(), "seconds": seconds}


def apply(job: Mapping[str, Any], stamp: int) -> dict[str, tuple[str | None, tuple[int, int]]]:
    """Write the job's edits (character spans of a sound file) and files; what was there before, by path."""
    texts: dict[str, str] = dict(job["writes"])
    undo: dict[str, tuple[str | None, tuple[int, int]]] = {}
    for edit in sorted(job["edits"], key=lambda e: -int(e["start"])):
        path = edit["path"]
        if path not in texts:
            with open(path, encoding="utf-8", newline="") as stream:
                texts[path] = stream.read()
        texts[path] = texts[path][: edit["start"]] + edit["text"] + texts[path][edit["end"] :]
    for path, text in texts.items():
        if os.path.exists(path):
            status = os.stat(path)
            with open(path, encoding="utf-8", newline="") as stream:
                undo[path] = (stream.read(), (status.st_atime_ns, status.st_mtime_ns))
        else:
            os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
            undo[path] = (None, (0, 0))
        with open(path, "w", encoding="utf-8", newline="") as stream:
            stream.write(text)
        os.utime(path, (stamp, stamp))
    return undo


if __name__ == "__main__":
    sys.exit(main())

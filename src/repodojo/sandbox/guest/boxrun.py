"""Runs named tests inside a box: `python -m boxrun [--report] ID...`; needs only the standard library and pytest.

An id is `doctest:pkg/mod.py::name` (one docstring) or `pytest:tests/test_x.py::test_y`. A parent that never imports the
repository forks a child that does. The child says what each example printed, and the parent compares: the code under
test holds neither the verdict nor the report's descriptor. If a child dies or hangs, the id that it was at becomes
"error"; after a death a new child goes on with the next, after a hang the rest is "error" unrun. `--report` writes
JSON to the descriptor named by REPODOJO_REPORT_FD: `{"complete": true, "tests": {id: status}, "failures": {id: text},
"touched": {id: [name, ...]}, "seconds": {id: s}, "outputs": {id: [[index, printed, exception], ...]}}`.
`--stdin` reads `{"docstrings": {id: text}}` first: those examples count, whatever the files say now. With `--outputs`
nothing is compared here: what each example printed is reported, so that the expected text need not be in the box.
What pytest reports does come from the process under test; only doctest verdicts are the parent's own.
"""

from __future__ import annotations

import argparse
import doctest
import importlib
import json
import os
import re
import select
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

WIDTH = 100
EXCUSED = 4
"""How many times its limit an id may wait for a CPU on top of it."""
LONGEST = 4 << 20
"""Bytes of one message: a child that writes more without ending a line is not one of ours."""
LINGERS = 0.2
"""Seconds that a child may take to end once nothing is asked of it; what it forked may hold its pipe for ever."""
SHAPES = {"start": [str, str], "example": [str, int, str, str, str], "touched": [str, list], "done": [str, str, str]}
"""What the child's messages hold, by their first word."""


@dataclass
class Options:
    """How ids are run: seconds an id may take, whether pytest explains asserts, whether calls are traced.

    `gate`: where all of these pass, what comes after them is not run (its status stays open).
    `judge`: compare what examples print; without it their output is kept, and an example that ran has passed. Nobody
    reads why a test failed then, so pytest does not look up the code of its traceback (a third of a failing run).
    `conftest`: pytest loads conftest files; only where nobody but the task could write them.
    """

    seconds: float = 3.0
    explain: bool = False
    trace: bool = False
    docstrings: Mapping[str, str] = field(default_factory=dict)
    gate: tuple[str, ...] = ()
    judge: bool = True
    conftest: bool = False


@dataclass
class Results:
    """Status, first failing example, definitions called and (without `judge`) what examples printed, by id."""

    tests: dict[str, str] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    touched: dict[str, list[str]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    outputs: dict[str, list[tuple[int, str, str]]] = field(default_factory=dict)

    def text(self, details: int = 1) -> str:
        """What a person (or a very small model) reads: at most `details` failures, then the count."""
        lines: list[str] = []
        for name, failure in list(self.failures.items())[:details]:
            lines += [f"FAILED {name.rpartition('::')[2]}", failure]
        passed = sum(status == "passed" for status in self.tests.values())
        failed = len(self.tests) - passed
        lines.append(f"{failed} failed, {passed} passed" if failed else f"{passed} passed")
        return "\n".join(lines) + "\n"


def clip(text: str, lines: int = 3) -> str:
    """At most `lines` lines of WIDTH characters; memory addresses, which change from run to run, are left out."""
    text = re.sub(r"0x[0-9a-f]{6,}", "0x...", text)
    rows = [row if len(row) <= WIDTH else row[: WIDTH - 3] + "..." for row in text.strip("\n").splitlines()]
    return "\n".join(rows if len(rows) <= lines else [*rows[:lines], "..."])


class Supervisor:
    """Runs ids in forked children and keeps the verdicts."""

    def __init__(self, ids: Sequence[str], options: Options, child: Callable[..., None]) -> None:
        self.options = options
        self.child = child
        self.ids = tuple(dict.fromkeys(ids))
        self.current = ""
        self.examples: list[doctest.Example] = []
        self.seen = 0
        self.began = 0.0
        self.results = Results()
        self.proc: Any = importlib.import_module("boxproc")
        self.doctests: Any = importlib.import_module("boxdoctest")

    def run(self) -> Results:
        while (waiting := [i for i in self.ids if i not in self.results.tests]) and not self._shut():
            self.current = ""
            why = self._listen(waiting)
            left = [i for i in waiting if i not in self.results.tests]
            if left and not self._shut() and (self.current in left or len(left) == len(waiting)):
                self._settle(self.current if self.current in left else left[0], "error", f"got: {why}")
                if why.startswith("no answer"):
                    for name in left:
                        if name not in self.results.tests:
                            self._settle(name, "error", "got: not run, since another did not end")
        self.results.tests = {i: self.results.tests[i] for i in self.ids if i in self.results.tests}
        return self.results

    def _shut(self) -> bool:
        """Whether the gate is known to hold, so that nothing more need run."""
        return bool(self.options.gate) and all(self.results.tests.get(i) == "passed" for i in self.options.gate)

    def _settle(self, name: str, status: str, detail: str = "") -> None:
        if name in self.results.failures and status == "passed":
            status = "failed"
        self.results.tests[name] = status
        self.results.seconds[name] = round(time.perf_counter() - self.began, 4) if name == self.current else 0.0
        if status != "passed":
            self.results.failures.setdefault(name, clip(detail or f"got: {status}", 6))

    def _listen(self, waiting: Sequence[str]) -> str:
        """Fork a child for the ids that wait; read until it ends or one id takes too long; say how it ended."""
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reader)
            self._become_child(writer, waiting)
        os.close(writer)
        why, buffer, limit = "", b"", self.options.seconds
        excused, deadline = 0.0, time.monotonic() + limit
        latest = deadline + EXCUSED * limit
        while not why:
            if not select.select([reader], [], [], max(0.0, deadline - time.monotonic()))[0]:
                more, excused = self.proc.waited(pid) - excused, self.proc.waited(pid)
                if more > limit / 10 and deadline < latest:  # a busy machine kept it waiting
                    deadline = min(deadline + more, latest)
                else:
                    why = f"no answer after {limit:g} s"
            elif not (data := os.read(reader, 1 << 16)):
                break
            else:
                *lines, buffer = (buffer + data).split(b"\n")
                heard = [self._heard(line) for line in lines]
                if None in heard or len(buffer) > LONGEST:
                    why = "the process wrote what is no message"
                elif any(heard):
                    excused, deadline = self.proc.waited(pid), time.monotonic() + limit
                    latest = deadline + EXCUSED * limit
                if self._shut():
                    why = "not needed"
                elif all(name in self.results.tests for name in waiting):
                    deadline = latest = min(deadline, time.monotonic() + LINGERS)
        os.close(reader)
        if why:
            self.proc.kill(pid)
        status = os.waitpid(pid, 0)[1]
        self.proc.kill_group(pid)
        return why or self.proc.ending(status)

    def _become_child(self, writer: int, waiting: Sequence[str]) -> None:
        """Never returns. The report's descriptor is closed, so that the code under test cannot write to it."""
        code = 70
        try:
            os.setpgid(0, 0)
            self.proc.hide(False)
            report = os.environ.pop("REPODOJO_REPORT_FD", "")
            if report:
                os.close(int(report))
            null = os.open(os.devnull, os.O_RDWR)
            for descriptor in (0, 1, 2):
                os.dup2(null, descriptor)

            def send(*message: Any) -> None:
                data = json.dumps(message).encode() + b"\n"
                while data:
                    data = data[os.write(writer, data) :]

            self.child(waiting, self.options, send)
            code = 0
        finally:
            os._exit(code)

    def _heard(self, line: bytes) -> bool | None:
        """Take one line of the child: whether a new id begins; None where the code under test wrote it."""
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            return None
        if not isinstance(message, list) or not message or not isinstance(message[0], str):
            return None
        return self._message(message) if SHAPES.get(message[0]) == [type(part) for part in message[1:]] else None

    def _message(self, message: list[Any]) -> bool:
        """Take one message; True where a new id begins."""
        kind, name, *rest = message
        if name not in self.ids or name in self.results.tests:
            return False
        if kind == "start":
            self.current, self.seen, self.began = name, 0, time.perf_counter()
            text = self.options.docstrings.get(name, rest[0])
            try:
                self.examples = doctest.DocTestParser().get_examples(text or "")
            except ValueError as error:
                self._settle(name, "error", clip(f"got: {error}"))
            return True
        if kind == "example" and name == self.current:
            self._compare(name, *rest)
        elif kind == "touched":
            self.results.touched[name] = rest[0]
        elif kind == "done":
            status, detail = rest
            if name.startswith("doctest:") and status == "passed" and self.seen != len(self.examples):
                status, detail = "error", "got: the examples did not all run"
            self._settle(name, status, detail)
        return False

    def _compare(self, name: str, index: int, got: str, exception: str, where: str) -> None:
        """Check one example's output; the first that differs is kept as the failure."""
        if index != self.seen or index >= len(self.examples):
            return
        self.seen += 1
        if not self.options.judge:
            self.results.outputs.setdefault(name, []).append((index, got, exception))
            return
        example = self.examples[index]
        if example.options.get(doctest.SKIP) or name in self.results.failures:
            return
        if self.doctests.as_expected(example, got, exception):
            return
        prompt = clip(example.source, 4).splitlines()
        shown = [f">>> {prompt[0]}", *(f"... {row}" for row in prompt[1:])]
        wanted = clip(example.exc_msg or example.want) or "nothing"
        result = clip(exception or got, 2 if exception else 3) or "nothing"
        place = [where] if where else []
        self.results.failures[name] = "\n".join([*shown, f"expected: {wanted}", f"got: {result}", *place])


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 where every id passed, 1 otherwise."""
    boxchild: Any = importlib.import_module("boxchild")
    parser = argparse.ArgumentParser(prog="boxrun")
    parser.add_argument("--report", action="store_true", help="write JSON to REPODOJO_REPORT_FD")
    parser.add_argument("--stdin", action="store_true", help="read docstrings as JSON from standard input")
    parser.add_argument("--outputs", action="store_true", help="report what examples print, compare nothing")
    parser.add_argument("--conftest", action="store_true", help="load conftest files")
    parser.add_argument("--trace", action="store_true", help="report the definitions that each id calls")
    parser.add_argument("--examples", type=int, default=1, help="failures shown in full")
    parser.add_argument("--seconds", type=float, default=3.0, help="time an id may take")
    parser.add_argument("ids", nargs="+")
    chosen = parser.parse_args(arguments)
    docstrings = json.load(sys.stdin)["docstrings"] if chosen.stdin else {}
    how = {"judge": not chosen.outputs, "conftest": chosen.conftest}
    options = Options(chosen.seconds, not chosen.report, chosen.trace, docstrings, **how)
    supervisor = Supervisor(chosen.ids, options, boxchild.run)
    supervisor.proc.hide(True)
    results = supervisor.run()
    if chosen.report:
        with os.fdopen(int(os.environ["REPODOJO_REPORT_FD"]), "w") as stream:
            json.dump({"complete": True, **asdict(results)}, stream)
    else:
        print(results.text(chosen.examples), end="")
    return 0 if all(status == "passed" for status in results.tests.values()) else 1


if __name__ == "__main__":
    sys.exit(main())

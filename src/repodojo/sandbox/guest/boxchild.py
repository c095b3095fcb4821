"""The process under test of `boxrun`: imports the repository, runs examples and tests, says what they printed."""

from __future__ import annotations

import doctest
import importlib
import io
import itertools
import os
import random
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from types import CodeType, FrameType, ModuleType
from typing import Any, Protocol

LONGEST = 100_000
"""Characters of one example's output that are kept."""
IDLE = ("pastebin", "setuponly", "setupplan", "stepwise", "unraisableexception", "threadexception", "faulthandler")
"""Plugins of pytest that no test can use here; each takes a millisecond to set up."""


class Wishes(Protocol):
    """What the child needs to know of `boxrun.Options`."""

    explain: bool
    trace: bool
    judge: bool
    conftest: bool
    docstrings: Mapping[str, str]


Send = Callable[..., None]


def run(ids: Sequence[str], options: Wishes, send: Send) -> None:
    """Run the ids in order; neighbouring pytest ids share one pytest session."""
    sys.dont_write_bytecode = True
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    prepare_path()
    for is_pytest, names in itertools.groupby(ids, lambda name: name.startswith("pytest:")):
        if is_pytest:
            run_pytest(list(names), options, send)
        else:
            for name in names:
                run_doctest(name, options, send)


def prepare_path() -> None:
    """Put the import roots first: a warm interpreter started before PYTHONPATH was set."""
    for entry in reversed([*os.environ.get("PYTHONPATH", "").split(os.pathsep), os.getcwd()]):
        if entry and entry not in sys.path:
            sys.path.insert(0, entry)


# ---------------------------------------------------------------- doctests


def run_doctest(name: str, options: Wishes, send: Send) -> None:
    """Run one docstring's examples; each one's output goes to the parent, which holds the wanted text."""
    path, _, qualname = name.removeprefix("doctest:").partition("::")
    random.seed(0)
    docstring = options.docstrings.get(name, "")
    with tracing(options.trace) as touched:
        try:
            with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
                module = load(path)
                docstring = docstring or docstring_of(module, qualname, path)
        except BaseException as error:
            send("start", name, docstring)
            send("done", name, "error", "\n".join(filter(None, (f"got: {short(error)}", where(error)))))
            return
        send("start", name, docstring)
        if ">>>" not in docstring:
            send("done", name, "missing", "got: no such doctest")
            return
        run_examples(name, docstring, dict(vars(module)), send)
    if options.trace:
        send("touched", name, sorted(touched))
    send("done", name, "passed", "")


def run_examples(name: str, docstring: str, names: dict[str, Any], send: Send) -> None:
    """Execute the examples in one namespace, as stdlib doctest does."""
    hook, sys.displayhook = sys.displayhook, sys.__displayhook__
    names.setdefault("__name__", "__main__")
    try:
        for index, example in enumerate(doctest.DocTestParser().get_examples(docstring)):
            if example.options.get(doctest.SKIP):
                send("example", name, index, "", "", "")
                continue
            output, failure, place = io.StringIO(), "", ""
            try:
                with redirect_stdout(output):
                    exec(compile(example.source, f"<doctest {name}>", "single", 0, True), names)
            except BaseException as error:
                failure, place = short(error), where(error)
            send("example", name, index, output.getvalue()[:LONGEST], failure, place)
    except ValueError as error:
        send("done", name, "error", f"got: {error}")
    finally:
        sys.displayhook = hook


def load(path: str) -> ModuleType:
    """Import the module in a file of the repository, by the longest import root that holds it."""
    full = os.path.abspath(path)
    roots = [os.path.abspath(entry or ".") for entry in sys.path]
    root = max((r for r in roots if full.startswith(r.rstrip(os.sep) + os.sep)), key=len, default=os.getcwd())
    dotted = os.path.relpath(full, root).removesuffix(".py").replace(os.sep, ".").removesuffix(".__init__")
    return importlib.import_module(dotted)


def docstring_of(module: ModuleType, qualname: str, path: str) -> str:
    """The docstring of a definition: the object's own, else what the file says (decorators may hide it)."""
    thing: Any = module
    for part in qualname.split("."):
        thing = vars(thing).get(part) if hasattr(thing, "__dict__") else None
    text = getattr(thing, "__doc__", None)
    if isinstance(text, str) and ">>>" in text:
        return text
    import ast

    with open(path, encoding="utf-8") as stream:
        node: Any = ast.parse(stream.read())
    for part in qualname.split("."):
        found = [n for n in node.body if getattr(n, "name", "") == part] if node else []
        node = found[-1] if found else None
    return (ast.get_docstring(node, clean=False) or "") if node else ""


def short(error: BaseException) -> str:
    """`TypeError: ...`, as a traceback's last line has it, without the qualifying module."""
    text = "".join(traceback.format_exception_only(type(error), error)[-1:]).strip()
    if isinstance(error, SyntaxError):
        text = f"{type(error).__name__}: {error.msg}"
    return text[:LONGEST]


def where(error: BaseException) -> str:
    """`at mod.py:12 in name` for the innermost frame inside the repository, "" where there is none."""
    root = os.getcwd() + os.sep
    if isinstance(error, SyntaxError) and (error.filename or "").startswith(root):
        return f"at {os.path.basename(error.filename or '')}:{error.lineno}"
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename.startswith(root):
            return f"at {os.path.basename(frame.filename)}:{frame.lineno} in {frame.name}"
    return ""


# ---------------------------------------------------------------- pytest


def run_pytest(names: Sequence[str], options: Wishes, send: Send) -> None:
    """Run pytest ids in this process, without ini file or plugins of the repository, its conftest files by option.

    pytest is given files, and the ids are chosen from what it collects: given ids, it would run none at all where the
    file of one of them cannot be imported.
    """
    import pytest

    nodes = [name.removeprefix("pytest:") for name in names]
    files = [path for path in dict.fromkeys(node.partition("::")[0] for node in nodes) if os.path.isfile(path)]
    plugin = Reporter(options, send, nodes)
    send("start", names[0], "")
    flags = ["-q", "-c", os.devnull, "--rootdir", ".", "-p", "no:cacheprovider", "-p", "no:doctest"]
    flags += [
        *(["--confcutdir", "."] if options.conftest else ["--noconftest"]),
        "--continue-on-collection-errors",
        "-p",
        "no:warnings",
        *(word for name in IDLE for word in ("-p", f"no:{name}")),
        f"--tb={'short' if options.judge else 'no'}",
        f"--assert={'rewrite' if options.explain else 'plain'}",
    ]
    if files:
        pytest.main([*flags, *files], plugins=[plugin])
    for node in nodes:
        if node not in plugin.done:
            broken = plugin.broken.get(node.partition("::")[0])
            send("done", f"pytest:{node}", "error" if broken else "missing", broken or "got: no such test")


class Reporter:
    """A pytest plugin that tells the parent each outcome as soon as it is known.

    A parametrised test is one id: it passes where every one of its cases does.
    """

    def __init__(self, options: Wishes, send: Send, nodes: Sequence[str]) -> None:
        self.trace, self.send = options.trace, send
        self.order = {node: place for place, node in enumerate(nodes)}
        self.left: Counter[str] = Counter()
        self.done: set[str] = set()
        self.broken: dict[str, str] = {}
        self.bad: dict[str, tuple[str, str]] = {}
        self.touched: dict[str, set[str]] = {}
        self.tracer: Any = None

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        """Only the wanted tests, in the wanted order."""
        wanted = [item for item in items if base(item.nodeid) in self.order]
        items[:] = sorted(wanted, key=lambda item: self.order[base(item.nodeid)])

    def pytest_collection_finish(self, session: Any) -> None:
        self.left = Counter(base(item.nodeid) for item in session.items)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        random.seed(0)
        self.send("start", f"pytest:{base(nodeid)}", "")
        self.tracer = tracing(self.trace)
        self.touched.setdefault(base(nodeid), set())
        self.now = self.tracer.__enter__()

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.skipped or hasattr(report, "wasxfail"):
            self.bad.setdefault(base(report.nodeid), ("skipped", "got: skipped"))
        elif report.failed:
            status = "failed" if report.when == "call" else "error"
            self.bad.setdefault(base(report.nodeid), (status, failing_lines(report)))

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self.tracer.__exit__(None, None, None)
        name = base(nodeid)
        self.touched[name] |= self.now
        self.left[name] -= 1
        if self.left[name] == 0:
            if self.trace:
                self.send("touched", f"pytest:{name}", sorted(self.touched[name]))
            self.done.add(name)
            self.send("done", f"pytest:{name}", *self.bad.get(name, ("passed", "")))

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            rows = [row for row in str(report.longrepr).splitlines() if row.startswith("E ")]
            self.broken[report.nodeid] = (
                "got: " + (rows[-1][1:].strip() if rows else "the test file does not load")[:200]
            )


def base(nodeid: str) -> str:
    """A node id without its parameters."""
    return nodeid.partition("[")[0]


def failing_lines(report: Any) -> str:
    """The failing assert and pytest's explanation of it, in at most four lines."""
    rows = str(report.longrepr).splitlines()
    told = [row[1:].strip() for row in rows if row.startswith("E ")]
    code = [row.strip() for row in rows if row.startswith("    ") and row.strip()]
    lines = [f"> {code[0]}"] if code else []
    return "\n".join(row[:100] for row in [*lines, *(f"E {row}" for row in told[:3] if row)])


# ---------------------------------------------------------------- tracing


@contextmanager
def tracing(on: bool) -> Iterator[set[str]]:
    """Collects `pkg/mod.py::qualname` of every definition under the working directory that is called."""
    touched: set[str] = set()
    seen: set[CodeType] = set()
    root = os.getcwd() + os.sep

    def note(frame: FrameType, event: str, argument: object) -> None:
        code = frame.f_code
        if event == "call" and code not in seen:
            seen.add(code)
            if code.co_filename.startswith(root):
                name = code.co_qualname.partition(".<locals>")[0]
                touched.add(f"{os.path.relpath(code.co_filename, root)}::{name}")

    if on:
        sys.setprofile(note)
    try:
        yield touched
    finally:
        if on:
            sys.setprofile(None)

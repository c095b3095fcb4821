"""Runs Python in a fork of the box's init, where pytest and its kin are imported already, as a cold start would run it.

What a cold interpreter would do differently is either set up here (path, argv, streams, exit code, traceback) or makes
`run` start a cold one: a PYTHON* variable that changes the interpreter, or a project that owns a preloaded name.
"""

from __future__ import annotations

import atexit
import importlib
import os
import runpy
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from types import ModuleType, TracebackType
from typing import NoReturn

from repodojo.sandbox.local import boxroot, skeleton, syscalls

PRELOAD = (  # noqa: SIM905  # sixty names read better as text
    "argparse ast asyncio bisect collections contextlib copy dataclasses datetime decimal difflib dis doctest enum "
    "fractions functools hashlib heapq inspect io itertools json linecache logging math operator os pathlib pickle "
    "pprint random re shutil statistics string subprocess tempfile textwrap threading time tokenize traceback types "
    "typing unittest unittest.mock uuid warnings weakref xml.etree.ElementTree zlib runpy importlib.metadata "
    "pytest _pytest.assertion.rewrite _pytest.doctest _pytest.fixtures _pytest.junitxml _pytest.unittest "
    "_pytest._argcomplete _pytest.helpconfig _pytest.skipping"
).split()
RUNNER = "boxrun"
GUESTS = (
    RUNNER,
    "boxchild",
    "boxproc",
    "boxvalues",
    "boxwitness",
    "boxdoctest",
)  # compiling them took longer than most tests
KIT_NAMES = ("pytest", "_pytest", "py", "pluggy", "iniconfig", "packaging", "pygments")
_SAME_VARIABLES = {"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
_OURS = ("repodojo", "__mp_main__")


def preload() -> frozenset[str]:
    """Import what warm runs share; returns the top-level names that a project could own itself."""
    for name in (*PRELOAD, *GUESTS):
        try:
            importlib.import_module(name)
        except ModuleNotFoundError:
            continue  # no pytest beside this interpreter: such runs import their own
    return frozenset(name.partition(".")[0] for name in sys.modules) - {"__main__", *_OURS}


def forget_us() -> None:
    """Take this package out of what jobs find imported. Done once in the server: in each fork it cost 0.8 ms."""
    for name in [name for name in sys.modules if name.partition(".")[0] in _OURS]:
        del sys.modules[name]


def run(argv: Sequence[str], env: Mapping[str, str], preloaded: frozenset[str]) -> NoReturn:
    """Run `("python", "-m", module, ...)` or `("python", file, ...)`; descriptors and folder are in place. Exits."""
    folders = [path for path in env.get("PYTHONPATH", "").split(":") if path]
    first = os.getcwd() if argv[1] == "-m" else os.path.dirname(os.path.realpath(argv[1]))
    if not _same_interpreter(env) or _owns_preloaded([first, *folders], preloaded):
        os.execve(f"{boxroot.BIN}/python", list(argv), dict(env))
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 1)  # init's setting would hide the job's own /proc/self
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(env)
    time.tzset()
    sys.path[:] = [first, *folders, *sys.path]
    sys.argv[:] = list(argv[1:])
    sys.orig_argv[:] = list(argv)
    sys.executable = f"{boxroot.BIN}/python"
    sys.prefix = sys.exec_prefix = boxroot.PYTHON_HOME
    _open_streams()
    os._exit(_finish(_call(argv)))


def _same_interpreter(env: Mapping[str, str]) -> bool:
    return all(
        _SAME_VARIABLES.get(name) == value
        for name, value in env.items()
        if name.startswith("PYTHON") and name != "PYTHONPATH"
    )


def _owns_preloaded(folders: Sequence[str], preloaded: frozenset[str]) -> bool:
    """Whether the project ships a module that is imported already: the shared one would be tested in its place."""
    for folder in folders:
        if folder in (boxroot.SITE, skeleton.GUEST, skeleton.KIT) or not os.path.isdir(folder):
            continue
        if any(name.partition(".")[0] in preloaded for name in os.listdir(folder)):
            return True
    return False


def _open_streams() -> None:
    """New ones over descriptors 0 to 2: the server's own were opened for other files."""
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)  # noqa: SIM115
    for name in ("stdin", "stdout", "stderr"):
        setattr(sys, f"__{name}__", getattr(sys, name))


def _call(argv: Sequence[str]) -> int:
    main = ModuleType("__main__")
    sys.modules["__main__"] = main
    try:
        if argv[1] == "-m":
            if argv[2] == RUNNER and RUNNER in sys.modules:
                return int(sys.modules[RUNNER].main(argv[3:]))
            sys.argv[:] = ["-m", *argv[3:]]
            runpy._run_module_as_main(argv[2])  # type: ignore[attr-defined]  # what `python -m` itself calls
        else:
            _run_file(argv[1], main)
    except SystemExit as stop:
        return _exit_code(stop)
    except BaseException as error:  # the edge of the job: Python's own end of the line prints the same
        trace = _without_us(error.__traceback__)
        sys.excepthook(type(error), error.with_traceback(trace), trace)
        return 130 if isinstance(error, KeyboardInterrupt) else 1
    return 0


def _run_file(path: str, main: ModuleType) -> None:
    try:
        with open(path, "rb") as handle:
            source = handle.read()
    except OSError as error:
        print(
            f"{sys.executable}: can't open file {os.path.abspath(path)!r}: [Errno {error.errno}] ",
            end="",
            file=sys.stderr,
        )
        print(os.strerror(error.errno or 0), file=sys.stderr)
        raise SystemExit(2) from None
    path = os.path.abspath(path)
    main.__dict__.update(__file__=path, __builtins__=__builtins__, __cached__=None)
    try:
        exec(compile(source, path, "exec", dont_inherit=True), main.__dict__)
    finally:
        sys.stdout.flush()  # before a traceback is printed, as an interpreter does for files, though not for -m


def _without_us(trace: TracebackType | None) -> TracebackType | None:
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    return trace


def _exit_code(stop: SystemExit) -> int:
    if stop.code is None:
        return 0
    if isinstance(stop.code, int):
        return stop.code & 0xFF
    print(stop.code, file=sys.stderr)
    return 1


def _finish(code: int) -> int:
    """What an interpreter does at its end: wait for threads, run exit handlers, flush."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            code = code or 120
    return code

"""Calls of one function as evidence: `python -m boxwitness record|answer`; needs only the standard library and pytest.

`record` runs ids in a sound repository and writes down with which arguments they call the function. `answer` calls it
with such arguments and says what came back. No test, and no expected value, is in the box that answers: who compares
sits outside. Standard input is JSON; one line of JSON a call goes to REPODOJO_REPORT_FD, as soon as it is known.

record: `{"function": "pkg/mod.py::name", "ids": [...], "docstrings": {id: text}, "most": 40}` -> [args, kwargs]
answer: `{"function": ..., "calls": [[number, args, kwargs], ...], "seconds": 0.5}` -> [number, answer]; the seconds are
of CPU time.
An answer is ["value", tree], ["changed", tree] (None came back: the arguments as they are then),
["raise", [class names]], ["slow"] or ["opaque"].
"""

from __future__ import annotations

import importlib
import io
import json
import os
import random
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, field
from types import CodeType, FrameType, FunctionType
from typing import Any

GENERATOR, VARARGS, VARKEYWORDS = 0x20, 0x04, 0x08
_LAYERS = ("__func__", "__wrapped__", "fget", "func", "_func")


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 where every line was written."""
    mode = (arguments or sys.argv[1:])[0]
    work = json.load(sys.stdin)
    report = int(os.environ.pop("REPODOJO_REPORT_FD"))
    boxchild: Any = importlib.import_module("boxchild")
    sys.dont_write_bytecode = True
    boxchild.prepare_path()

    def say(message: Any) -> None:
        data = json.dumps(message).encode() + b"\n"
        while data:
            data = data[os.write(report, data) :]

    with _quiet():
        function, makes = raw(boxchild, work["function"])
        if mode == "record":
            record(function, bool(makes), work, say)
        else:
            answer(makes or function, work, say)
    os._exit(0)  # what the repository left running has no say


@contextmanager
def _quiet() -> Iterator[None]:
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        yield


def raw(boxchild: Any, focus: str) -> tuple[FunctionType, type | None]:
    """The plain function behind a definition, whatever decorates it; for an `__init__` also the class it serves."""
    path, _, qualname = focus.partition("::")
    thing: Any = boxchild.load(path)
    owner: Any = None
    for part in qualname.split("."):
        owner = thing
        held = vars(thing) if hasattr(thing, "__dict__") else {}
        thing = held[part] if part in held else getattr(thing, part)
    name = qualname.rpartition(".")[2]
    for _ in range(8):
        if isinstance(thing, FunctionType) and thing.__code__.co_name == name:
            return thing, owner if name == "__init__" and isinstance(owner, type) else None
        layer = next((n for n in _LAYERS if getattr(thing, n, None) is not None), None)
        if layer is None:
            break
        thing = getattr(thing, layer)
    raise LookupError(f"no plain function behind {focus}")


# ---------------------------------------------------------------- record


@dataclass
class Watch:
    """Writes down the calls of one code object, until there are enough."""

    code: CodeType
    makes: bool
    encode: Callable[[], Any]
    most: int
    say: Callable[[Any], None]
    seen: set[str] = field(default_factory=set)
    running: list[FrameType] = field(default_factory=list)
    inside: bool = False

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:
        if event != "call" or frame.f_code is not self.code or self.inside or len(self.seen) >= self.most:
            return
        if self.code.co_flags & GENERATOR:  # each item is a call to the profiler
            if any(frame is known for known in self.running):
                return
            self.running.append(frame)
        self.inside = True
        try:
            args, kwargs = self._arguments(frame)
            call = [self.encode()(args[1:] if self.makes else args), self.encode()(kwargs)]
        except Exception:  # any value's own pickling may raise anything: such a call is not evidence
            return
        finally:
            self.inside = False
        key = json.dumps(call)
        if key not in self.seen:
            self.seen.add(key)
            self.say(call)

    def _arguments(self, frame: FrameType) -> tuple[list[Any], dict[str, Any]]:
        code, held = self.code, frame.f_locals
        names = code.co_varnames
        plain, only = code.co_argcount, code.co_kwonlyargcount
        args = [held[name] for name in names[:plain]]
        kwargs = {name: held[name] for name in names[plain : plain + only]}
        rest = iter(names[plain + only :])
        if code.co_flags & VARARGS:
            args += held[next(rest)]
        if code.co_flags & VARKEYWORDS:
            kwargs |= held[next(rest)]
        return args, kwargs


def record(function: FunctionType, makes: bool, work: Mapping[str, Any], say: Callable[[Any], None]) -> None:
    """Run the ids with an eye on the function's arguments."""
    boxchild: Any = importlib.import_module("boxchild")
    boxrun: Any = importlib.import_module("boxrun")
    values: Any = importlib.import_module("boxvalues")
    files = {name.removeprefix("pytest:").partition("::")[0] for name in work["ids"] if name.startswith("pytest:")}
    local = {os.path.basename(path).removesuffix(".py") for path in files} | {"__main__"}
    local |= {path.removesuffix(".py").replace("/", ".") for path in files}
    watch = Watch(function.__code__, makes, lambda: values.Encoder(local=local), work["most"], say)
    options = boxrun.Options(docstrings=work["docstrings"])
    sys.setprofile(watch)
    try:
        boxchild.run(work["ids"], options, lambda *message: None)
    finally:
        sys.setprofile(None)


# ---------------------------------------------------------------- answer


class Slow(BaseException):
    """A call took too long; not an Exception, so that the code under test is unlikely to swallow it."""


def answer(function: Callable[..., Any], work: Mapping[str, Any], say: Callable[[Any], None]) -> None:
    """Call the function with each pair of arguments, in the order given."""
    values: Any = importlib.import_module("boxvalues")

    def late(number: int, frame: object) -> None:
        raise Slow

    signal.signal(signal.SIGPROF, late)  # by CPU time: on a busy machine a sound call may wait for long
    for number, args, kwargs in work["calls"]:
        random.seed(0)
        try:
            signal.setitimer(signal.ITIMER_PROF, work["seconds"])
            found = _one(function, args, kwargs, values)
        except Slow:
            found = ["slow"]
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        say([number, found])


def _one(function: Callable[..., Any], args: Any, kwargs: Any, values: Any) -> list[Any]:
    try:
        given, named = values.decode(args), values.decode(kwargs)
    except Exception:  # what cannot be built here is no evidence, whatever the reason
        return ["opaque"]
    try:
        result = function(*given, **named)
        encode = values.Encoder(drain=True)
        if result is None:
            with suppress(values.Opaque):
                return ["changed", encode([given, named])]
            return ["opaque"]
        return ["value", encode(result)]
    except values.Opaque:
        return ["opaque"]
    except Slow:
        raise
    except BaseException as error:  # the class of what the code raised is the answer
        return ["raise", [kind.__name__ for kind in type(error).__mro__ if kind is not object]]


if __name__ == "__main__":
    sys.exit(main())

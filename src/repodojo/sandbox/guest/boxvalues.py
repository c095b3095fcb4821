"""Python values as plain JSON trees and back, for `boxwitness`; needs only the standard library.

A tree is a list whose first item names its kind: ["n"], ["i", digits], ["f", repr], ["s", text], ["l", [tree, ...]] and
so on (see the tables below). Objects are written as pickle would build them ("o": a callable by reference, arguments,
state, items), functions of test files by their code ("c"). Whoever compares two trees never has to build the values.
"""

from __future__ import annotations

import base64
import builtins
import importlib
import itertools
import marshal
import sys
import types
from collections.abc import Callable, Iterable, Iterator
from typing import Any

Tree = list[Any]
DEEPEST = 12
MOST_NODES = 3000
MOST_ITEMS = 64
"""Items of an iterator that are looked at; some never end."""
_SEQUENCES: dict[type, str] = {list: "l", tuple: "t", set: "S", frozenset: "F"}
_BUILDERS: dict[str, Callable[[Iterable[Any]], Any]] = {"l": list, "t": tuple, "S": set, "F": frozenset}


class Opaque(Exception):
    """A value that cannot be told in plain terms."""


class Encoder:
    """Turns values into trees. With `drain`, an iterator is told by its items (and is used up); without, it is opaque
    unless it can be copied. `local` names modules that the other side does not have."""

    def __init__(self, *, drain: bool = False, local: Iterable[str] = ()) -> None:
        self.drain = drain
        self.local = frozenset(local)
        self.nodes = 0

    def __call__(self, value: Any, depth: int = 0) -> Tree:
        self.nodes += 1
        if depth > DEEPEST or self.nodes > MOST_NODES:
            raise Opaque("too large")
        kind = type(value)
        if value is None:
            return ["n"]
        if kind is bool:
            return ["b", value]
        if kind is int:
            return ["i", hex(value) if abs(value) >> 63 else value]
        if kind is float or kind is complex:
            return ["f", repr(value)]
        if kind is str:
            return ["s", value]
        if kind is bytes or kind is bytearray:
            return ["y", bytes(value).hex(), kind.__name__]
        if kind in _SEQUENCES:
            items = [self(item, depth + 1) for item in value]
            return [_SEQUENCES[kind], sorted(items, key=repr) if kind in (set, frozenset) else items]
        if kind is dict:
            return ["d", [[self(k, depth + 1), self(v, depth + 1)] for k, v in value.items()]]
        if value is Ellipsis or value is NotImplemented:
            return ["r", f"builtins:{value!r}"]
        return self.other(value, depth)

    def other(self, value: Any, depth: int) -> Tree:
        if isinstance(value, types.ModuleType):
            return ["m", value.__name__]
        if isinstance(value, type | types.FunctionType | types.BuiltinFunctionType):
            return self.named(value) or self.code(value, depth)
        if self.drain and isinstance(value, Iterator):
            return ["I", [self(item, depth + 1) for item in itertools.islice(value, MOST_ITEMS)]]
        return self.reduced(value, depth)

    def named(self, value: Any) -> Tree | None:
        """["r", "module:qualname"] where that leads to this very object."""
        module, qualname = getattr(value, "__module__", None), getattr(value, "__qualname__", "")
        if module is None and isinstance(value, types.BuiltinFunctionType):
            module = builtins.__name__
        if not isinstance(module, str) or module in self.local or "<" in qualname:
            return None
        found: Any = sys.modules.get(module)
        for part in qualname.split("."):
            found = getattr(found, part, None)
        return ["r", f"{module}:{qualname}"] if found is value else None

    def code(self, value: Any, depth: int) -> Tree:
        """A function that only a test file has, by its code and what it uses."""
        if not isinstance(value, types.FunctionType) or "__class__" in value.__code__.co_freevars:
            raise Opaque("cannot be named")
        names = sorted(n for n in _names(value.__code__) if n in value.__globals__)
        return [
            "c",
            base64.b64encode(marshal.dumps(value.__code__)).decode(),
            self(value.__defaults__, depth + 1),
            self(value.__kwdefaults__, depth + 1),
            [self(cell.cell_contents, depth + 1) for cell in value.__closure__ or ()],
            [[name, self(value.__globals__[name], depth + 1)] for name in names],
        ]

    def reduced(self, value: Any, depth: int) -> Tree:
        """An object as pickle would build it."""
        if isinstance(value, types.GeneratorType | types.CoroutineType | types.FrameType):
            raise Opaque("runs")
        how = value.__reduce_ex__(4)
        if not isinstance(how, tuple) or self.nodes > MOST_NODES:
            raise Opaque("cannot be built anew")
        make, arguments, *rest = how
        state, items, pairs = [*rest, None, None, None][:3]
        listed = None if items is None else [self(item, depth + 1) for item in items]
        mapped = None if pairs is None else [[self(k, depth + 1), self(v, depth + 1)] for k, v in pairs]
        return ["o", self(make, depth + 1), self(arguments, depth + 1), self(state, depth + 1), listed, mapped]


def _names(code: types.CodeType) -> set[str]:
    found = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found |= _names(constant)
    return found


# ---------------------------------------------------------------- back again


def decode(tree: Tree) -> Any:
    """The value of a tree. Runs whatever the tree names: only ever inside a box."""
    kind, *rest = tree
    if kind == "n":
        return None
    if kind == "b":
        return rest[0]
    if kind == "i":
        return rest[0] if isinstance(rest[0], int) else int(rest[0], 16)
    if kind == "f":
        return float(rest[0]) if "j" not in rest[0] else complex(rest[0])
    if kind == "s":
        return rest[0]
    if kind == "y":
        data = bytes.fromhex(rest[0])
        return bytearray(data) if rest[1] == "bytearray" else data
    if kind in _BUILDERS:
        return _BUILDERS[kind](decode(item) for item in rest[0])
    if kind == "d":
        return {decode(key): decode(value) for key, value in rest[0]}
    if kind == "I":
        return iter([decode(item) for item in rest[0]])
    if kind == "m":
        return importlib.import_module(rest[0])
    if kind == "r":
        return _look_up(rest[0])
    return _function(rest) if kind == "c" else _built(rest)


def _look_up(name: str) -> Any:
    module, _, qualname = name.partition(":")
    found: Any = importlib.import_module(module)
    for part in qualname.split("."):
        found = getattr(found, part)
    return found


def _function(parts: list[Any]) -> types.FunctionType:
    code, defaults, keywords, cells, used = parts
    names = {"__builtins__": builtins, **{name: decode(value) for name, value in used}}
    closure = tuple(types.CellType(decode(cell)) for cell in cells)
    made = types.FunctionType(
        marshal.loads(base64.b64decode(code)), names, argdefs=decode(defaults), closure=closure or None
    )
    made.__kwdefaults__ = decode(keywords)
    return made


def _built(parts: list[Any]) -> Any:
    make, arguments, state, items, pairs = parts
    value = decode(make)(*decode(arguments))
    held = decode(state)
    if held is not None:
        _set_state(value, held)
    for item in items or ():
        value.append(decode(item))
    for key, item in pairs or ():
        value[decode(key)] = decode(item)
    return value


def _set_state(value: Any, state: Any) -> None:
    """As pickle does it."""
    if hasattr(value, "__setstate__"):
        value.__setstate__(state)
        return
    own, slots = state if isinstance(state, tuple) and len(state) == 2 else (state, None)
    for name, held in {**(own or {}), **(slots or {})}.items():
        object.__setattr__(value, name, held)

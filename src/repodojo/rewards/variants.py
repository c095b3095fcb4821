"""Calls like those that were seen, that nobody has shown: what was learned by heart answers them wrongly."""

from __future__ import annotations

import contextlib
import copy
import json
import random
import string
from collections.abc import Callable, Sequence
from typing import Any

Call = list[Any]
"""[args, kwargs] as trees of `boxvalues`."""


EXACT = 1 << 50
"""Whole numbers below this have fractions beside them."""


def variants(calls: Sequence[Call], count: int, seed: str) -> list[Call]:
    """Up to `count` new calls: an argument of one call put into another, or one value in an argument changed a little.

    Types are kept, so that what comes out is mostly what the function is meant for; the same seed gives the same.
    """

    def change(call: Call, rng: random.Random) -> None:
        if rng.random() < 0.5:
            _cross(call, rng.choice(calls), rng)
        else:
            _nudge(call, rng)

    return _new(calls, count, random.Random(seed), change)


class Known:
    """What a table of some calls may know: arguments that were given in their place before, or equal ones (True, 1 and
    1.0 are equal in Python).

    >>> known = Known([[["l", [["i", 1], ["s", "a"]]], ["d", []]], [["l", [["i", 2], ["s", "b"]]], ["d", []]]])
    >>> known.new([["l", [["f", "1.0"], ["s", "b"]]], ["d", []]]), known.new([["l", [["i", 3], ["s", "b"]]], ["d", []]])
    ((), ('0',))
    """

    def __init__(self, calls: Sequence[Call]) -> None:
        self._values = {value for call in calls for value in _placed(call)}

    def new(self, call: Call) -> tuple[str, ...]:
        """The places in which a call holds something new."""
        return tuple(value[0] for value in _placed(call) if value not in self._values)


def _placed(call: Call) -> list[tuple[str, str]]:
    """Each argument with its place, or its name, as text."""
    named = [(json.dumps(name), value) for name, value in call[1][1]]
    places = [(str(place), value) for place, value in enumerate(call[0][1])]
    return [(place, json.dumps(_equal(value))) for place, value in (*places, *named)]


def _equal(tree: Any) -> Any:
    if not isinstance(tree, list):
        return tree
    if len(tree) == 2 and tree[0] == "b" and isinstance(tree[1], bool):
        return ["i", int(tree[1])]
    if len(tree) == 2 and tree[0] == "f" and isinstance(tree[1], str):
        with contextlib.suppress(ValueError):  # a complex one
            number = float(tree[1])
            return ["i", int(number)] if number.is_integer() and abs(number) < EXACT else tree
    return [_equal(item) for item in tree]


def _new(
    calls: Sequence[Call], count: int, rng: random.Random, change: Callable[[Call, random.Random], None]
) -> list[Call]:
    """Up to `count` calls that `change` makes of given ones, each once and none of those given."""
    texts = [json.dumps(call) for call in calls]  # a copy read back from text costs a tenth of a deep copy
    known = set(texts)
    found: list[Call] = []
    for _ in range(count * 8 if calls else 0):
        call = json.loads(rng.choice(texts))
        change(call, rng)
        key = json.dumps(call)
        if key not in known:
            known.add(key)
            found.append(call)
        if len(found) == count:
            break
    return found


POOL: tuple[Call, ...] = (
    *(["i", number] for number in (0, 1, -1, 2, 7, 100)),
    *(["f", number] for number in ("0.5", "-2.25", "3.0")),
    *(["s", text] for text in ("", "a", "Zz", "some words", "1", "x_y-z.txt", "é")),
    *(["b", truth] for truth in (True, False)),
    ["n"],
    *([kind, [["i", 3], ["i", 1], ["i", 2]]] for kind in ("l", "t")),
    ["l", []],
    ["l", [["s", "b"], ["s", "a"], ["s", "b"]]],
    ["l", [["l", [["i", 1], ["i", 2]]], ["l", [["i", 3]]]]],
    ["d", []],
    ["d", [[["s", "a"], ["i", 1]], [["s", "b"], ["i", 2]]]],
)
"""Plain values of every kind, as trees."""


def wilder(calls: Sequence[Call], count: int, seed: str) -> list[Call]:
    """Up to `count` new calls: numbers beside those seen, an argument of whatever kind, one left out, or one more.

    For functions that `variants` cannot bring to show their bug (it keeps types: no 0.5 among whole numbers, and an
    empty text stays one): sound code may well refuse such calls, and then they say nothing; what it answers, a repair
    must answer too. All kinds come before anything comes twice, so that a bug that one value shows is not missed by
    chance.
    """
    rng = random.Random(f"{seed}:wilder")
    known = {json.dumps(call) for call in calls}
    found: list[Call] = []
    most = count // 3, count - count // 6, count  # so that each group has room
    for group, room in zip((_beside(calls), _of_any_kind(calls), _of_other_length(calls)), most, strict=True):
        rng.shuffle(group)
        for call in group:
            key = json.dumps(call)
            if key not in known and len(found) < room:
                known.add(key)
                found.append(call)
    return found


def _beside(calls: Sequence[Call]) -> list[Call]:
    """Each whole number as a fraction, and half a step away."""
    found = []
    for call in calls:
        for place, tree in enumerate(call[0][1]):
            if tree[0] == "i" and isinstance(tree[1], int) and abs(tree[1]) < EXACT:
                found += [_with(call, place, [["f", repr(tree[1] + step)]]) for step in (0.0, 0.5, -0.5)]
    return found


def _of_any_kind(calls: Sequence[Call]) -> list[Call]:
    """One argument is each of POOL."""
    places = [(call, place) for call in calls for place in range(len(call[0][1]))]
    return [_with(call, place, [value]) for call, place in places for value in POOL]


def _of_other_length(calls: Sequence[Call]) -> list[Call]:
    """One argument and those after it left out, or one more."""
    found = []
    for call in calls:
        count = len(call[0][1])
        found += [_with(call, place, [], rest=True) for place in range(count)]
        found += [_with(call, count, [value]) for value in POOL]
    return found


def _with(call: Call, place: int, values: list[Any], *, rest: bool = False) -> Call:
    """A copy of a call with other values at a place (`rest`: and behind it)."""
    made: Call = json.loads(json.dumps(call))
    made[0][1][place : None if rest else place + 1] = copy.deepcopy(values)
    return made


def _cross(call: Call, other: Call, rng: random.Random) -> None:
    """One positional argument as another call had it, where it is of the same kind."""
    mine, theirs = call[0][1], other[0][1]
    places = [i for i in range(min(len(mine), len(theirs))) if mine[i][0] == theirs[i][0]]
    if places:
        place = rng.choice(places)
        mine[place] = copy.deepcopy(theirs[place])


def _nudge(call: Call, rng: random.Random) -> None:
    """One number, text or collection changed in place: of an argument first, then in it, since large ones are many."""
    found: list[list[Any]] = []
    for argument in (*call[0][1], *(value for _, value in call[1][1])):
        inside: list[Any] = []
        _mutable(argument, inside)
        if inside:
            found.append(inside)
    if found:
        _change(rng.choice(rng.choice(found)), rng)


def _mutable(tree: Any, found: list[Any]) -> None:
    """Trees of plain values; what lies inside objects and functions is left alone, so that they stay sound."""
    kind = tree[0]
    if kind in ("i", "f", "s", "l", "t", "S"):
        found.append(tree)
    if kind in ("l", "t", "S", "F"):
        for item in tree[1]:
            _mutable(item, found)
    elif kind == "d":
        for _, value in tree[1]:
            _mutable(value, found)


def _change(tree: Any, rng: random.Random) -> None:
    kind, value = tree[0], tree[1]
    if kind == "i" and isinstance(value, int):
        tree[1] = value + rng.choice((-1, 1, 2)) if value else rng.choice((1, 2))
    elif kind == "f" and "j" not in value:
        tree[1] = repr(float(value) + rng.choice((-1.0, 0.5, 1.0)))
    elif kind == "s" and value:
        place = rng.randrange(len(value))
        near = value[:place] + _neighbour(value[place], rng) + value[place + 1 :]
        shorter, longer = value[:place] + value[place + 1 :], value + value[place]
        tree[1] = rng.choice((shorter, longer, value[::-1], value.swapcase(), near))
    elif kind == "s":
        tree[1] = rng.choice(("a", " ", "0"))
    elif kind in ("l", "t", "S") and value:
        place = rng.randrange(len(value))
        tree[1] = rng.choice(
            (value[:place] + value[place + 1 :], [*value, value[place]], value[place:] + value[:place], value[::-1])
        )


def _neighbour(letter: str, rng: random.Random) -> str:
    """Another letter or digit where it is one of these (so that what is parsed still parses), else itself."""
    for group in (string.digits, string.ascii_lowercase, string.ascii_uppercase):
        if letter in group:
            return rng.choice(group)
    return letter

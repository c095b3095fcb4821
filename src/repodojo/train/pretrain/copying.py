"""Which tokens may come next while an edit is being written: those with which the editor can still accept it.

A snippet to replace must stand in the text once. So at each token of it, the set of tokens that keep this possible is
known from the text alone, whatever the edit is for.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from repodojo.agent.tools.base import View
from repodojo.agent.tools.editor import EditError, find_once

OLD, NEW = '"old_str": "', '", "new_str": "'


@dataclass(frozen=True)
class Spot:
    """A sampled token's place: its index within the turn's action, and the tokens that were right there [V]."""

    at: int
    right: NDArray[np.bool_]


class Vocabulary:
    """A tokenizer's tokens by what they write within a JSON string.

    Tokens that are no whole characters, or hold half of an escape, count as never right.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.texts = [str(tokenizer.decode([i], clean_up_tokenization_spaces=False)) for i in range(len(tokenizer))]
        self.by_text: dict[str, list[int]] = {}
        for number, text in enumerate(self.texts):
            if text and "\ufffd" not in text and _plain(text) is not None:
                self.by_text.setdefault(text, []).append(number)
        self.longest = max(map(len, self.by_text))
        self.closing: list[tuple[int, str, str]] = []
        for number, text in enumerate(self.texts):
            if '"' in text and _plain(text) is None:
                before, _, after = text.partition('"')
                self.closing.append((number, before, after))

    def __len__(self) -> int:
        return len(self.texts)

    def beginnings(self, texts: Collection[str]) -> set[int]:
        """Tokens that one of `texts` begins with."""
        found: set[int] = set()
        for text in texts:
            for length in range(1, min(len(text), self.longest) + 1):
                found.update(self.by_text.get(text[:length], ()))
        return found


def span_of(ids: Sequence[int], number: int, words: Vocabulary) -> tuple[int, int] | None:
    """First token and end of what the `number`-th str_replace of an action writes: its old_str, its new_str.

    None where either begins or ends within a token in a way that this cannot tell.
    """
    written, start, end = "", None, None
    for at, token in enumerate(ids):
        written += words.texts[token]
        if start is None and written.count(OLD) > number:
            if not written.endswith(OLD):
                return None
            start = at + 1
        elif start is not None and "</tool_call>" in words.texts[token]:
            end = at
            break
    return (start, end if end is not None else len(ids)) if start is not None and start < len(ids) else None


def spots(ids: Sequence[int], start: int, text: str, view: View, words: Vocabulary) -> Iterator[Spot]:
    """The spots of an old_str that begins at `start`, up to its end or the first token that was not right.

    text, view: the file as it stands and what of it was last shown
    """
    old = ""
    for at in range(start, len(ids)):
        right = _right(old, text, view, words)
        if not right.any():
            return  # only half an escape would do: nothing to learn
        yield Spot(at, right)
        piece = words.texts[ids[at]]
        if not right[ids[at]] or _plain(piece) is None:
            return
        old += piece


def _right(old: str, text: str, view: View, words: Vocabulary) -> NDArray[np.bool_]:
    right = np.zeros(len(words), np.bool_)
    shown = _shown(text, view)
    ahead = _ahead(old, shown, words.longest) or _ahead(old, [text], words.longest)
    right[list(words.beginnings(ahead))] = True
    for token, before, after in words.closing:
        right[token] = NEW.startswith('"' + after) and _once(old + before, text, view)
    return right


def _shown(text: str, view: View) -> list[str]:
    lines = text.split("\n")
    return ["\n".join(lines[first - 1 : last]) for first, last in view.ranges] or [text]


def _ahead(old: str, texts: Sequence[str], most: int) -> set[str]:
    """What follows `old`, wherever it stands, as JSON writes it."""
    plain = _plain(old)
    found: set[str] = set()
    if plain is None:
        return found
    for text in texts:
        at = text.find(plain)
        while at >= 0:
            found.add(json.dumps(text[at + len(plain) : at + len(plain) + most], ensure_ascii=False)[1:-1][:most])
            at = text.find(plain, at + 1)
    return found - {""}


def _once(old: str, text: str, view: View) -> bool:
    plain = _plain(old)
    if not plain:
        return False
    try:
        find_once(text, plain, view)
    except EditError:
        return False
    return True


def _plain(escaped: str) -> str | None:
    """The string that JSON writes as `escaped`; None where it stops within an escape."""
    try:
        return str(json.loads(f'"{escaped}"'))
    except ValueError:
        return None

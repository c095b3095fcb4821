"""Which tokens may come next while an edit is being written: those with which the editor can still accept it.

A snippet to replace must stand in the text once. So at each token of it, the set of tokens that keep this possible is
known from the text alone, whatever the edit is for. Of these, the ones count that the text itself is made of: others
spell the same letters in pieces that were never seen, and lead into words that the base cannot finish.
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
from repodojo.core.recent import Recent

KEPT_LINES = 20_000
OLD, NEW = '"old_str": "', '", "new_str": "'


@dataclass(frozen=True)
class Spot:
    """A sampled token's place: its index within the turn's action, and the tokens that were right there [V].

    possible: whether the editor could still take the edit with the token that was sampled
    """

    at: int
    right: NDArray[np.bool_]
    possible: bool


class Vocabulary:
    """A tokenizer's tokens by what they write within a JSON string.

    Tokens that are no whole characters, or hold half of an escape, count as never right.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.pieces = Recent[str, dict[int, int]](KEPT_LINES)
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

    def of_line(self, line: str) -> dict[int, int]:
        """The tokens of a line as JSON writes it, by where they begin; indentation has none."""
        found = self.pieces.get(line)
        if found is None:
            indent = len(line) - len(line.lstrip())
            made = self.tokenizer(line[indent:], add_special_tokens=False, return_offsets_mapping=True)
            pairs = zip(made["offset_mapping"], made["input_ids"], strict=True)
            found = self.pieces[line] = {indent + start: token for (start, _), token in pairs}
        return found

    def closes(self, token: int) -> bool:
        """Whether a token is just what stands between a snippet and its replacement."""
        return self.texts[token] == NEW

    def beginnings(self, texts: Collection[str]) -> set[int]:
        """Tokens that one of `texts` begins with."""
        found: set[int] = set()
        for text in texts:
            for length in range(1, min(len(text), self.longest) + 1):
                found.update(self.by_text.get(text[:length], ()))
        return found


def start_of(ids: Sequence[int], number: int, words: Vocabulary) -> int | None:
    """The first token of the `number`-th old_str of an action; None where it begins within a token."""
    written = ""
    for at, token in enumerate(ids[:-1]):
        written += words.texts[token]
        if written.count(OLD) > number:
            return at + 1 if written.endswith(OLD) else None
    return None


def spots(ids: Sequence[int], start: int, text: str, view: View, words: Vocabulary) -> Iterator[Spot]:
    """The spots of an old_str that begins at `start`, up to its end or the first token that was not right.

    text, view: the file as it stands and what of it was last shown
    """
    old = ""
    for at in range(start, len(ids)):
        possible, usual = _next(old, text, view, words)
        right = usual if usual.any() else possible
        if not right.any():
            return  # only a line break or half an escape would do: nothing to learn
        yield Spot(at, right, bool(possible[ids[at]]))
        piece = words.texts[ids[at]]
        if not possible[ids[at]] or _plain(piece) is None:
            return
        old += piece


def _next(old: str, text: str, view: View, words: Vocabulary) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """The tokens with which the editor can still accept, and those of them that the text is made of."""
    possible, usual = np.zeros(len(words), np.bool_), np.zeros(len(words), np.bool_)
    for lines in (_shown(text, view), text.split("\n")):
        written = [json.dumps(line, ensure_ascii=False)[1:-1] for line in lines]
        found = [(line, end) for line in written for end in _ends(old, line)]
        possible[list(words.beginnings({line[end:] for line, end in found if end < len(line)}))] = True
        usual[[token for line, end in found if (token := words.of_line(line).get(end)) is not None]] = True
        if found:
            break  # the editor looks in what it showed first
    for token, before, after in words.closing:
        possible[token] = NEW.startswith('"' + after) and _once(old + before, text, view)
        usual[token] = possible[token] and words.closes(token)
    return possible, usual


def _ends(old: str, line: str) -> Iterator[int]:
    """Where `old` ends, wherever it stands in a line; both as JSON writes them."""
    at = line.find(old)
    while at >= 0 and at < len(line):
        yield at + len(old)
        at = line.find(old, at + 1)


def _shown(text: str, view: View) -> list[str]:
    lines = text.split("\n")
    return [line for first, last in view.ranges for line in lines[first - 1 : last]] or lines


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

"""Which tokens may come next while an edit is being written: those that can still make it one of the explorer's.

Each of the explorer's edits is one that the editor accepts, so a token that none of them goes on with is where an
edit was lost: copied wrongly, closed where it stands twice, or about to change nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from repodojo.agent.focus import Listing as Shown
from repodojo.agent.scripted.edits import Listing
from repodojo.agent.scripted.scripts import replace
from repodojo.inference.chat import ChatFormat

START, END = '"line": ', '"}}'


class Words:
    """A model's tokens as text."""

    def __init__(self, chat: ChatFormat) -> None:
        self.chat = chat
        tokenizer = chat.tokenizer
        self.texts = [str(tokenizer.decode([i], clean_up_tokenization_spaces=False)) for i in range(len(tokenizer))]

    def starts(self, ids: Sequence[int]) -> list[tuple[int, str]]:
        """Of each str_replace of an action: its line's first token, and the text before.

        One that begins within a token is left out.
        """
        found, written = [], ""
        for at, token in enumerate(ids[:-1]):
            written += self.texts[token]
            if self.texts[token].endswith(START):
                found.append((at + 1, written))
        return found

    def end(self, ids: Sequence[int], start: int) -> int:
        """One behind the token that ends the edit which begins at `start`."""
        return next((at + 1 for at in range(start, len(ids)) if self.texts[ids[at]] == END), len(ids))


@dataclass(frozen=True)
class Spot:
    """A sampled token's place: its index within the turn's action, and the tokens that were right there."""

    at: int
    right: tuple[int, ...]


@dataclass
class _Node:
    after: dict[int, _Node] = field(default_factory=dict)
    edits: int = 0  # that can still be made from here


class Edits:
    """Every edit that the explorer could make of a listing and that was not made yet, token by token."""

    def __init__(self, shown: Shown, words: Words) -> None:
        self.words = words
        self.root = _Node()
        listing = Listing(shown.text, shown.numbers)
        edits = (listing.edit(candidate) for candidates in listing.by_family.values() for candidate in candidates)
        for call in {replace(edit) for edit in edits if edit is not None}:
            ids = words.chat.encode(call)
            for start, _ in words.starts(ids):
                self._add(ids[start : words.end(ids, start)])

    def _add(self, ids: Sequence[int]) -> None:
        node = self.root
        node.edits += 1
        for token in ids:
            node = node.after.setdefault(token, _Node())
            node.edits += 1

    def spots(self, ids: Sequence[int], start: int) -> list[Spot]:
        """The spots of an edit that begins at `start`, up to its end or the first token that was not right."""
        node, found = self.root, []
        for at in range(start, len(ids)):
            right = tuple(token for token, after in node.after.items() if after.edits)
            if not right:
                break
            found.append(Spot(at, right))
            if ids[at] not in right:
                break
            node = node.after[ids[at]]
        return found

    def made(self, ids: Sequence[int], start: int) -> None:
        """Take the edit that begins at `start` out, where it is one of these: it must not be made again."""
        path = [self.root]
        for token in ids[start : self.words.end(ids, start)]:
            following = path[-1].after.get(token)
            if following is None or not following.edits:
                return
            path.append(following)
        if not path[-1].after:
            for node in path:
                node.edits -= 1

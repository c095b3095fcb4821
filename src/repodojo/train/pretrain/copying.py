"""Which tokens the explorer would write next in an edit that is being written, and how likely each.

Each of the explorer's edits is one that the editor accepts, so a token that none of them goes on with is where an
edit was lost: copied wrongly, or about to change nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from repodojo.agent.focus import Listing as Shown
from repodojo.agent.scripted.edits import Edit, Listing
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


def chances(listing: Listing) -> Iterator[tuple[Edit, float]]:
    """Each edit and how likely `Listing.draw` makes it, up to a common factor: families alike, then all of one."""
    for candidates in listing.by_family.values():
        for edit in map(listing.edit, candidates):
            if edit is not None:
                yield edit, 1.0 / len(candidates)


@dataclass(frozen=True)
class Spot:
    """A sampled token's place: its index within the turn's action, and the shares of the tokens right there."""

    at: int
    right: Mapping[int, float]


@dataclass
class _Node:
    after: dict[int, _Node] = field(default_factory=dict)
    edits: int = 0  # that can still be made from here
    chance: float = 0.0  # of all of them


class Edits:
    """Every edit that the explorer could make of a listing and that was not made yet, token by token."""

    def __init__(self, shown: Shown, words: Words) -> None:
        self.words = words
        self.root = _Node()
        for edit, chance in chances(Listing(shown.text, shown.numbers)):
            ids = words.chat.encode(replace(edit))
            for start, _ in words.starts(ids):
                self._add(ids[start : words.end(ids, start)], chance)

    def _add(self, ids: Sequence[int], chance: float) -> None:
        path = [self.root]
        for token in ids:
            path.append(path[-1].after.setdefault(token, _Node()))
        new = not path[-1].edits  # two families can write the same edit
        for node in path:
            node.edits += new
            node.chance += chance

    def spots(self, ids: Sequence[int], start: int) -> list[Spot]:
        """The spots of an edit that begins at `start`, up to its end or the first token that was not right."""
        node, found = self.root, []
        for at in range(start, len(ids)):
            left = {token: after.chance for token, after in node.after.items() if after.edits}
            if not left:
                break
            right = {token: chance / sum(left.values()) for token, chance in left.items()}
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
            chance = path[-1].chance
            for node in path:
                node.edits -= 1
                node.chance -= chance

"""Near-duplicates: MinHash signatures of a task's words, found by bands (Broder 1997; Leskovec et al., ch. 3)."""

from __future__ import annotations

import re
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from repodojo.core.records import Task

BANDS, ROWS = 24, 4
SHINGLE = 4
MEMBERS = 8
SHORTEST = 12
"""Words below which a text says too little to be called a duplicate of another."""
PRIME = (1 << 61) - 1
_DRAW = np.random.default_rng(20_240_229)
_A = _DRAW.integers(1, 1 << 31, BANDS * ROWS, dtype=np.uint64)
_B = _DRAW.integers(0, 1 << 31, BANDS * ROWS, dtype=np.uint64)
WORD = re.compile(r"\w+|[^\w\s]")

Signature = npt.NDArray[np.uint32]


def words(task: Task) -> list[str]:
    """What makes a task itself: the changed lines of its solution and the instruction."""
    patch = task.gold.patch if task.gold else ""
    changed = [row[1:] for row in patch.splitlines() if row[:1] in "+-" and row[:4] not in ("+++ ", "--- ")]
    return WORD.findall("\n".join([*changed, task.instruction, *task.grader.expected.values()]))


def signature(found: list[str]) -> Signature | None:
    """BANDS x ROWS minima of random hashes of all runs of SHINGLE words; None for a text that is too short."""
    if len(found) < SHORTEST:
        return None
    runs = {" ".join(found[i : i + SHINGLE]) for i in range(len(found) - SHINGLE + 1)}
    hashes = np.fromiter((zlib.crc32(run.encode(errors="replace")) for run in runs), np.uint64, len(runs))
    mixed = (hashes[:, None] * _A[None, :] + _B[None, :]) % np.uint64(PRIME)
    minima: Signature = (mixed.min(axis=0) & np.uint64(0xFFFFFFFF)).astype(np.uint32)
    return minima


def similarity(a: Signature, b: Signature) -> float:
    """Estimate of the Jaccard similarity of two sets of shingles; its standard error is below 0.052."""
    return float((a == b).mean())


def pairs(signatures: Iterable[Signature | None], threshold: float) -> Iterator[tuple[int, int]]:
    """Positions of texts whose similarity is estimated at `threshold` or more.

    Near-linear: texts are compared only where a whole band agrees (at 0.8 all but 1 in 300,000 do), and with at most
    MEMBERS of those that do, since texts made from one template all share a band.
    """
    buckets: list[dict[bytes, list[int]]] = [{} for _ in range(BANDS)]
    kept: dict[int, Signature] = {}
    for position, found in enumerate(signatures):
        if found is None:
            continue
        near: dict[int, None] = {}
        for band in range(BANDS):
            key = found[band * ROWS : (band + 1) * ROWS].tobytes()
            members = buckets[band].setdefault(key, [])
            near |= dict.fromkeys(members)
            if len(members) < MEMBERS:
                members.append(position)
        kept[position] = found
        yield from ((first, position) for first in near if similarity(kept[first], found) >= threshold)


class Sets:
    """Disjoint sets (union by size, path halving) of anything hashable."""

    def __init__(self) -> None:
        self.parent: dict[object, object] = {}
        self.size: dict[object, int] = defaultdict(lambda: 1)

    def find(self, item: object) -> object:
        self.parent.setdefault(item, item)
        while self.parent[item] != item:
            self.parent[item] = self.parent[self.parent[item]]
            item = self.parent[item]
        return item

    def join(self, a: object, b: object) -> None:
        a, b = self.find(a), self.find(b)
        if a != b:
            small, large = sorted((a, b), key=lambda item: self.size[item])
            self.parent[small] = large
            self.size[large] += self.size[small]

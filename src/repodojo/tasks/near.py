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
_SEEDS = np.random.default_rng(20_240_229).integers(0, 1 << 63, BANDS * ROWS, dtype=np.uint64)
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
    minima: Signature = (_mixed(hashes[:, None] + _SEEDS[None, :]).min(axis=0) >> np.uint64(32)).astype(np.uint32)
    return minima


def _mixed(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """SplitMix64's finaliser (Steele et al., 2014): every bit hangs on every bit, so that orders are independent."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: npt.NDArray[np.uint64] = x ^ (x >> np.uint64(31))
    return mixed


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

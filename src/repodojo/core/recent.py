"""A mapping that keeps the entries used last, so that what is remembered in a long run has a bound."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterator, MutableMapping
from typing import TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Recent(MutableMapping[K, V]):
    """At most `size` entries; reading one makes it the latest. 0 or less keeps nothing.

    >>> kept = Recent(2)
    >>> kept.update(a=1, b=2); _ = kept["a"]; kept["c"] = 3
    >>> sorted(kept)
    ['a', 'c']
    """

    def __init__(self, size: int) -> None:
        self.size = max(size, 0)
        self._kept: OrderedDict[K, V] = OrderedDict()

    def __getitem__(self, key: K) -> V:
        value = self._kept[key]
        self._kept.move_to_end(key)
        return value

    def __setitem__(self, key: K, value: V) -> None:
        self._kept[key] = value
        self._kept.move_to_end(key)
        while len(self._kept) > self.size:
            self._kept.popitem(last=False)

    def __delitem__(self, key: K) -> None:
        del self._kept[key]

    def __iter__(self) -> Iterator[K]:
        return iter(list(self._kept))  # whoever reads while iterating changes the order

    def __len__(self) -> int:
        return len(self._kept)

    def __contains__(self, key: object) -> bool:
        return key in self._kept

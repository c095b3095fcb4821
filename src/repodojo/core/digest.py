"""Names for states of a source tree, for whatever remembers verdicts and test runs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping


def fingerprint(changes: Mapping[str, bytes | None]) -> str:
    """A hash of a set of changed files (None: deleted): equal for equal states, whatever their order.

    >>> fingerprint({"a": b"", "b": None}) == fingerprint({"b": None, "a": b""}) != fingerprint({"a": b""})
    True
    """
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(changes):
        data = changes[path]
        body = b"deleted" if data is None else b"file" + hashlib.blake2b(data, digest_size=16).digest()
        digest.update(len(path.encode()).to_bytes(4, "big") + path.encode() + body)
    return digest.hexdigest()

"""The sessions of a gateway and their keys. A key opens one session; the gateway's own key opens all of them."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass

from repodojo.core.protocols import Model
from repodojo.gateway.asks import GatewayError
from repodojo.gateway.session import Session, Terms
from repodojo.gateway.tree import Node
from repodojo.inference.chat import ChatFormat

LONGEST_ID = 128


@dataclass(frozen=True)
class Bounds:
    """What one gateway bears. body_mb: of a request (MiB); requests: in flight at once; sessions: kept at once.

    head_seconds: for a request's head;  body_seconds: between two pieces of a body
    """

    body_mb: int = 64
    requests: int = 2048
    sessions: int = 4096
    head_seconds: float = 10.0
    body_seconds: float = 30.0


class Gateway:
    """Sessions over one model. `key` is the gateway's own ("": sessions are opened by this process alone)."""

    def __init__(
        self,
        model: Model,
        chat: ChatFormat,
        terms: Terms,
        *,
        key: str = "",
        bounds: Bounds | None = None,
        on_call: Callable[[Session, Node], None] | None = None,
    ) -> None:
        self.model, self.chat, self.terms, self.bounds = model, chat, terms, bounds or Bounds()
        self.sessions: dict[str, Session] = {}
        self.failure: Exception | None = None
        self._on_call = on_call
        self._own = _digest(key) if key else b""
        self._keys: dict[bytes, str] = {}

    def open(self, name: str = "", terms: Terms | None = None) -> tuple[Session, str]:
        """A new session and its key; GatewayError where the name is taken or no session can be given up for it."""
        name = name or secrets.token_hex(8)
        if name in self.sessions or len(name) > LONGEST_ID or not name.isprintable():
            raise GatewayError("invalid", f"a session cannot be called {name[:LONGEST_ID]!r}: taken, or not a name")
        if len(self.sessions) >= self.bounds.sessions:
            idle = [s for s in self.sessions.values() if not s.in_flight and s.box is None]
            if not idle:
                raise GatewayError("overloaded", f"{self.bounds.sessions} sessions are busy")
            self.close(min(idle, key=lambda s: s.used).id)
        session = Session(name, self.model, self.chat, terms or self.terms, on_call=self._on_call)
        key = f"rd-{secrets.token_urlsafe(24)}"
        self.sessions[name] = session
        self._keys[_digest(key)] = name
        return session, key

    def close(self, name: str) -> Session:
        """Forget a session and its key; what it holds is the caller's."""
        session = self.sessions.pop(name)
        self._keys = {digest: owner for digest, owner in self._keys.items() if owner != name}
        session.close()
        return session

    def admit(self, key: str, name: str = "") -> Session:
        """The session that a key opens. With the gateway's own key, `name` is made where it is not there yet.

        GatewayError alike for a wrong key and for another's session: names cannot be told by trying.
        """
        digest = _digest(key)
        if self.owns(key):
            name = name or "default"
            return self.sessions[name] if name in self.sessions else self.open(name)[0]
        # found by a hash that nobody can steer, then compared once more without leaving early
        owner = self._keys.get(digest, "")
        if not owner or (name and not hmac.compare_digest(owner.encode(), name.encode())):
            raise GatewayError("authentication", "incorrect API key provided", code="invalid_api_key")
        return self.sessions[owner]

    def owns(self, key: str) -> bool:
        """Whether this is the gateway's own key, told in constant time."""
        return bool(self._own) and hmac.compare_digest(_digest(key), self._own)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()

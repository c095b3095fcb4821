"""Which tokens the next step computes: admission, chunked prefill, decoding, eviction."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Literal

import torch

from repodojo.core.errors import EngineError, RepodojoError
from repodojo.core.protocols import Completion
from repodojo.inference.attention import Segment, batches
from repodojo.inference.fast import FastDecoder
from repodojo.inference.kernels import Kernels
from repodojo.inference.memory import Memory
from repodojo.inference.prefixes import Block
from repodojo.inference.requests import Request, Session, Stats
from repodojo.inference.sampling import draw

_AHEAD = 16
"""Tokens for which a conversation gets room beyond its prompt, so that it does not move at once."""

_FORWARD = 512
"""Tokens of one prefill forward: measured best for models of a few million weights (activations stay in cache)."""


class Scheduler:
    """All state of the engine. Every public method leaves it consistent; none awaits."""

    def __init__(
        self,
        model: FastDecoder,
        kernels: Kernels,
        *,
        max_rows: int,
        prefill_tokens: int,
        version: int,
        kv_tokens: int | None = None,
        keep: bool = False,
    ) -> None:
        self._model, self._kernels = model, kernels
        self._max_rows, self._prefill_tokens, self.version = max_rows, prefill_tokens, version
        self._kv_tokens, self._keep = kv_tokens, keep
        self.stats = Stats()
        self._waiting: dict[Session, None] = {}  # dicts as ordered sets
        self._running: dict[Session, None] = {}
        self._clear()

    def _clear(self) -> None:
        self._memory = Memory(
            self._model,
            rows=self._max_rows,
            tokens=self._kv_tokens,
            running=self._running,
            waiting=self._waiting,
            stats=self.stats,
        )
        self._sessions: dict[str, Session] = {}

    @property
    def kv_held(self) -> int:
        """Tokens for which there is memory, over conversations and prefixes."""
        return self._memory.held

    @property
    def busy(self) -> bool:
        """Whether any request is unfinished."""
        return bool(self._waiting or self._running)

    # ------------------------------------------------------------ requests come and go

    def submit(self, request: Request, name: str) -> None:
        """Queue a request; ValueError where its session has one in flight."""
        session = self._sessions.get(name) if name else None
        if session is None:
            session = Session(name, kept=bool(name))
        elif session.request is not None:
            raise ValueError(f"session '{name}' already has a call in flight")
        if name:
            self._sessions[name] = session
        self._match(session, request.ids)
        self.stats.prompt_tokens += len(request.ids) - 1
        session.request, request.session = request, session
        self._memory.comes(session)
        self._waiting[session] = None

    def _match(self, session: Session, ids: list[int]) -> None:
        """Keep the common prefix of what the session holds and `ids`; void the rest."""
        shared, old = session.shared, session.ids
        if session.block is not None and (len(ids) <= shared or ids[:shared] != old[:shared]):
            self._memory.leave(session)
            session.slot.length, shared, old = 0, 0, []
        if not old and len(ids) > 1:
            self._memory.join(session, ids[:-1])
        else:
            limit = min(shared + session.slot.length, len(ids) - 1)
            if ids[:limit] != old[:limit]:
                limit = next(i for i in range(limit) if ids[i] != old[i])
            session.slot.length = max(limit - shared, 0)
        session.ids = ids

    def remove(self, request: Request) -> None:
        """Take a request out, finished or not; its session keeps the KV that is computed."""
        session = request.session
        if session is None or session.request is not request:
            return
        session.request = None
        self._waiting.pop(session, None)
        self._running.pop(session, None)
        if not session.kept:
            self._memory.free(session)
        else:
            self._memory.rests(session)

    def release(self, name: str) -> None:
        """Forget a session, at once or when its request ends."""
        session = self._sessions.pop(name, None)
        if session is not None:
            session.kept = False
            if session.request is None:
                self._memory.free(session)

    def renew(self, version: int) -> None:
        """New weights: what was computed with the old ones is void, or, with `keep`, serves those who are at it."""
        self.version = version
        self._memory.prefixes.renew(keep=self._keep)
        for session in (*self._memory.idle, *self._running, *self._waiting):
            if self._keep:
                self.stats.kept_tokens += session.slot.length
            else:
                session.slot.length = 0

    def fail(self, error: RepodojoError) -> None:
        """Reject everything that waits and start from nothing, since a step may have stopped half-way."""
        requests = [session.request for session in (*self._waiting, *self._running)]
        self._waiting, self._running = {}, {}
        self._clear()
        for request in requests:
            if request is not None:
                request.session = None
                if not request.future.done():
                    request.future.set_exception(error)

    # ------------------------------------------------------------ one step

    @torch.inference_mode()
    def step(self) -> None:
        """Admit, prefill at most one chunk, decode one token for every row that is ready."""
        cpu = time.thread_time()
        self._admit()
        start = time.perf_counter()
        segments = self._chunk()
        if segments:
            self._prefill(segments)
        middle = time.perf_counter()
        ready = self._grow([session for session in self._running if session.ready])
        if ready:
            self._decode(ready)
        self.stats.steps += 1
        self.stats.prefill_seconds += middle - start
        self.stats.decode_seconds += time.perf_counter() - middle
        self.stats.cpu_seconds += time.thread_time() - cpu

    def _admit(self) -> None:
        if not self._waiting:
            return
        idle = self._memory.idle
        held = sum(s.slot.arena is not None for group in (self._waiting, self._running, idle) for s in group)
        for session in list(self._waiting):
            if session.slot.arena is None:
                if held >= self._max_rows:
                    if not self._memory.evict_idle():
                        continue
                    held -= 1
                held += 1
            del self._waiting[session]
            self._running[session] = None
            if not self._seat(session):
                self._cancel(session)
                return  # who came later waits too, or a long conversation might wait for ever

    def _seat(self, session: Session) -> bool:
        """Room for a conversation's tokens and its prefix, without taking it from those that run."""
        if not self._memory.place(session, len(session.ids) - session.shared + _AHEAD):
            return False
        return session.block is None or self._memory.place_prefix(session.block)

    def _cancel(self, session: Session) -> None:
        """A running conversation gives its room back and waits, first in line; it keeps its tokens."""
        del self._running[session]
        self._memory.drop(session)
        others = list(self._waiting)
        self._waiting.clear()  # the same object: `Memory` looks at it too
        self._waiting.update(dict.fromkeys([session, *others]))
        if not self._running and not self._memory.idle:
            raise EngineError("the bound on keys and values cannot hold a single conversation")

    def _grow(self, sessions: list[Session]) -> list[Session]:
        """Room for one more token each. Where there is none, the youngest are cancelled; the others are returned."""
        for session in sessions:
            while session in self._running:
                if self._memory.place(session, session.slot.length + 1):
                    break
                self._cancel(next(reversed(self._running)))
                self.stats.cancelled += 1
        return [session for session in sessions if session in self._running]

    def _chunk(self) -> list[Segment]:
        room, segments, computing = self._prefill_tokens, list[Segment](), dict[Block, None]()
        for session in self._running:
            if room <= 0:
                break
            block = session.block
            if block is not None and block.missing:
                if block in computing:
                    continue
                if not block.slot.length:
                    copied = self._memory.prefixes.seed(block, computing)
                    if copied is None:
                        continue
                if block.missing:
                    done = block.slot.length
                    segments.append(Segment(block.slot, block.ids[done : done + room], None))
                    computing[block] = None
                    room -= len(segments[-1].ids)
                    continue
            if session.missing:
                done = session.shared + session.slot.length
                ids = session.ids[done : done + min(room, session.missing)]
                segments.append(Segment(session.slot, ids, block.slot if block else None))
                room -= len(ids)
        return segments

    def _prefill(self, segments: Sequence[Segment]) -> None:
        for batch in batches(segments, _FORWARD):
            ids = torch.tensor([i for segment in batch for i in segment.ids])
            positions = torch.cat([torch.arange(s.position, s.position + len(s.ids)) for s in batch])
            self._model.hidden(ids, positions, self._kernels.prefill(batch))
            for segment in batch:
                segment.slot.length += len(segment.ids)
            self.stats.prefilled_tokens += len(ids)

    def _decode(self, sessions: list[Session]) -> None:
        places, attend = self._kernels.decode([(s.slot, s.block.slot if s.block else None) for s in sessions])
        sessions = [sessions[place] for place in places]
        last = torch.tensor([(s.ids[-1], len(s.ids) - 1) for s in sessions])
        logits = self._model.logits(self._model.hidden(last[:, 0], last[:, 1], attend))
        requests = [s.request for s in sessions if s.request is not None]
        tokens, logprobs = draw(
            logits, [r.params.temperature for r in requests], [r.uniforms[len(r.tokens)] for r in requests]
        )
        if not math.isfinite(sum(logprobs)):
            raise EngineError(f"the weights of version {self.version} give log-probabilities that are not finite")
        self.stats.decoded_tokens += len(tokens)
        for session, request, token, logprob in zip(sessions, requests, tokens, logprobs, strict=True):
            session.slot.length += 1
            session.ids.append(token)
            request.tokens.append(token)
            request.logprobs.append(logprob)
            request.versions.append(self.version)
            if token in request.params.stop_ids:
                self._finish(request, "stop")
            elif len(request.tokens) == len(request.uniforms):
                self._finish(request, request.limit)

    def _finish(self, request: Request, why: Literal["stop", "length", "context"]) -> None:
        self.remove(request)
        if not request.future.done():
            done = Completion(tuple(request.tokens), tuple(request.logprobs), tuple(request.versions), why)
            request.future.set_result(done)

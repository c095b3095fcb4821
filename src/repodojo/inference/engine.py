"""The built-in engine: continuous batching over kept keys and values, driven from asyncio in one thread.

Each step is schedule -> prefill -> decode -> postprocess; between steps the event loop runs, so requests join and
leave at any token. Prefill computes the KV of all but the last token; decoding always feeds one token a row. What is
kept (a conversation's KV between turns, shared prompts) only saves time: every token is what it would be without.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import torch

from repodojo.core.errors import ConfigError, EngineError
from repodojo.core.protocols import Completion, SamplingParams
from repodojo.inference import checkpoint
from repodojo.inference.decoder import Decoder
from repodojo.inference.devices import device_of
from repodojo.inference.fast import FastDecoder
from repodojo.inference.kernels import chosen
from repodojo.inference.kv import kv_bytes
from repodojo.inference.native import Attention
from repodojo.inference.requests import Request, Stats
from repodojo.inference.room import Room
from repodojo.inference.sampling import uniforms
from repodojo.inference.scheduler import Scheduler

AfterPublish = Literal["rebuild", "keep"]


class Engine:
    """A `Model` and a `WeightSink`. Use it from one event loop at a time.

    >>> engine = Engine(decoder, max_context=4096)                                       # doctest: +SKIP
    >>> await engine.generate([1, 2, 3], SamplingParams(max_tokens=8), seed=0)           # doctest: +SKIP
    Completion(token_ids=(...), logprobs=(...), versions=(0, ...), finished='length')

    max_rows: conversations whose KV is kept at once; more may be in flight, they wait or are recomputed
    kv_tokens: tokens for which keys and values may take memory (`kv_bytes` each), over all conversations and prefixes;
        None: no bound but max_rows. Where room is short, idle ones are dropped, then the youngest waits again
    prefill_tokens: most tokens that one step prefills, so that a long observation does not stall decoding
    seed: mixed into every request's seed
    after_publish: what becomes of KV that older weights computed. "rebuild": all of it is computed anew. "keep":
        conversations go on with theirs, cheaper, and at log-probs that no single policy has; their later turns too.
        What begins after a publication never uses any of it. Either way tokens that are sampled stay, with the
        log-probs and the version that they were sampled with
    attention: what attention is computed with (see `native.Attention`)
    device: where weights, keys and values are; only its own tokens and log-probs leave it
    """

    def __init__(
        self,
        decoder_or_path: Decoder | Path | str,
        *,
        dtype: torch.dtype = torch.float32,
        max_context: int,
        max_rows: int = 128,
        kv_tokens: int | None = None,
        seed: int = 0,
        version: int = 0,
        prefill_tokens: int = 2048,
        after_publish: AfterPublish = "rebuild",
        attention: Attention = "auto",
        device: str | torch.device = "cpu",
    ) -> None:
        if min(max_context - 1, max_rows, prefill_tokens) < 1:
            raise ConfigError("max_context must be at least 2, max_rows and prefill_tokens at least 1")
        Room.check(kv_tokens, max_context)
        decoder = decoder_or_path if isinstance(decoder_or_path, Decoder) else checkpoint.load(Path(decoder_or_path))
        where = device if isinstance(device, torch.device) else device_of(device)
        self._model = FastDecoder(decoder, dtype=dtype, max_context=max_context, device=where)
        self._scheduler = Scheduler(
            self._model,
            chosen(attention, decoder.architecture, dtype, where.type),
            max_rows=max_rows,
            prefill_tokens=prefill_tokens,
            version=version,
            kv_tokens=kv_tokens,
            keep=after_publish == "keep",
        )
        self._max_context, self._seed = max_context, seed
        self._driver: asyncio.Task[None] | None = None
        self._closed = False

    async def generate(
        self, token_ids: Sequence[int], params: SamplingParams, *, seed: int, session: str = ""
    ) -> Completion:
        """Sample after `token_ids`; with a `session`, what is computed is kept for its next turn.

        Cancelling the call removes the request. EngineError where the engine failed or was closed; ValueError for
        an empty prompt, an id outside the vocabulary, a negative temperature, or a session with a call in flight.
        """
        if self._closed:
            raise EngineError("the engine is closed")
        ids = list(token_ids)
        if not ids or min(ids) < 0 or max(ids) >= self._model.architecture.vocabulary:
            raise ValueError("token_ids must be a non-empty sequence of ids within the vocabulary")
        if params.temperature < 0:
            raise ValueError(f"temperature {params.temperature} is negative")
        room = self._max_context - len(ids)
        if room <= 0 or params.max_tokens <= 0:
            return Completion((), (), (), finished="context" if room <= 0 else "length")
        count = min(room, params.max_tokens)
        request = Request(
            ids=ids,
            params=params,
            uniforms=uniforms((self._seed, seed), len(ids), count),
            limit="context" if room < params.max_tokens else "length",
            future=asyncio.get_running_loop().create_future(),
        )
        self._scheduler.submit(request, session)
        if self._driver is None or self._driver.done():
            self._driver = asyncio.create_task(self._drive())
        try:
            return await request.future
        finally:
            self._scheduler.remove(request)

    def release(self, session: str) -> None:
        """Free what is kept of a conversation; one in flight is freed when it ends."""
        self._scheduler.release(session)

    def publish(self, version: int, weights: Mapping[str, object]) -> None:
        """Swap the weights between two steps; requests in flight go on with them (see `after_publish`).

        CheckpointError, with nothing changed, where names or shapes are not this model's.
        """
        self._model.load(weights)
        self._scheduler.renew(version)

    @property
    def kv_bytes(self) -> int:
        """Bytes of one token's keys and values."""
        return kv_bytes(self._model.architecture, self._model.dtype)

    @property
    def kv_held(self) -> int:
        """Tokens for which there is memory now."""
        return self._scheduler.kv_held

    @property
    def busy(self) -> bool:
        """Whether any request is in flight."""
        return self._scheduler.busy

    def stats(self) -> Stats:
        """Counters since the engine was made (the live object)."""
        return self._scheduler.stats

    async def aclose(self) -> None:
        """Stop; requests in flight get an EngineError. Calling it twice is harmless."""
        self._closed = True
        self._scheduler.fail(EngineError("the engine was closed"))
        if self._driver is not None and not self._driver.done():
            self._driver.cancel()
            await asyncio.gather(self._driver, return_exceptions=True)

    async def _drive(self) -> None:
        """Runs while there is work, so that an idle engine holds no task."""
        try:
            while self._scheduler.busy:
                await asyncio.sleep(0)  # whoever is ready to ask does so before the step
                self._scheduler.step()
        except EngineError as error:
            self._scheduler.fail(error)
        except Exception as error:  # the edge of the engine: whoever waits must learn of it, whatever it was
            failure = EngineError(f"the engine failed: {error!r}")
            failure.__cause__ = error
            self._scheduler.fail(failure)
        except BaseException:
            self._scheduler.fail(EngineError("the engine was interrupted"))
            raise

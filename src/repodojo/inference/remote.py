"""vLLM and SGLang over HTTP as a `Model`: token ids go out, token ids and log-probs come back, no text on the way.

Serving asks vLLM by POST /v1/completions. Training asks by POST /inference/v1/generate, whose answers say which
weights sampled each token. SGLang is asked by POST /generate. All count the token that ends a turn among those
sampled, with its log-prob. vLLM gives log-probs of temperature 1 unless it runs with
`--logprobs-mode processed_logprobs`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from repodojo.core.errors import ConfigError, EngineError
from repodojo.core.protocols import Completion, SamplingParams
from repodojo.inference import remote_wire as wire
from repodojo.inference.remote_wire import Answer, Kind

__all__ = ["Kind", "RemoteModel", "Servers", "weights_name"]

_FINISHED: Mapping[str, Literal["stop", "length"]] = {"stop": "stop", "length": "length"}


@dataclass(frozen=True)
class Servers:
    """Servers of one model whose weights a run publishes.

    urls: worker n asks number n modulo their count;  model: the name that vLLM serves it under ("": its first)
    run: begins the names of the weights that this run publishes, so that nobody else's are taken for them
    folder: where weights are published, seen by the servers under the same path ("": a temporary folder)
    version: of the weights that workers begin with;  held: the servers have those already
    """

    kind: Kind
    urls: tuple[str, ...]
    run: str
    model: str = ""
    key: str = field(default="", repr=False)
    folder: str = ""
    version: int = 0
    held: bool = False

    def client(self, worker: int) -> RemoteModel:
        """What this worker samples by."""
        url = self.urls[worker % len(self.urls)]
        return RemoteModel(self.kind, url, model=self.model, key=self.key, version=self.version, run=self.run)


def weights_name(run: str, version: int) -> str:
    """How a run's weights are called on a server.

    >>> weights_name("4f1c", 3)
    '4f1c.3'
    """
    return f"{run}.{version}"


class RemoteModel:
    """A server's model. EngineError where it cannot be asked, refuses, or answers other than its API says.

    model: the name that vLLM serves it under;  key: sent as a bearer token, where there is one
    version: of the policy it serves, which every token carries (SGLang says its own where that is a number)
    run: that of `Servers` where the server's weights are published by this run. Then every answer has to say whose
        weights sampled it; those of another run, or older than `version`, are an EngineError and no answer
    """

    def __init__(
        self,
        kind: Kind,
        url: str,
        *,
        model: str = "",
        key: str = "",
        version: int = 0,
        run: str = "",
        seconds: float = 600.0,
    ) -> None:
        import httpx2  # only who uses a server needs it

        if kind not in get_args(Kind):
            raise ConfigError(f"there is no engine {kind!r}", way_out=f"use one of {', '.join(get_args(Kind))}")
        self.kind, self.model, self.version, self.run = kind, model, version, run
        self.prompt_tokens = self.sampled_tokens = 0
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=256)
        timeout = httpx2.Timeout(seconds, connect=10.0)
        self._client = httpx2.AsyncClient(base_url=url, headers=headers, limits=limits, timeout=timeout)
        self._failure = httpx2.HTTPError

    async def generate(
        self, token_ids: Sequence[int], params: SamplingParams, *, seed: int, session: str = ""
    ) -> Completion:
        """Sample a turn. `session` is not needed: these servers find kept prefixes by their content."""
        del session
        sent = self.version
        answer = await self._answer(token_ids, params, seed)
        if len(answer.ids) != len(answer.logprobs):
            raise EngineError(f"{self.kind} gave {len(answer.ids)} tokens and {len(answer.logprobs)} log-probs")
        self.prompt_tokens += len(token_ids)
        self.sampled_tokens += len(answer.ids)
        if self.run:
            self._refuse_broken(answer)
        versions = self._versions(answer, sent) if self.run else self._version(answer)
        return Completion(answer.ids, answer.logprobs, versions, _FINISHED.get(answer.finished, "aborted"))

    async def choose(self, token_ids: Sequence[int], texts: Sequence[str], *, temperature: float, seed: int) -> str:
        """One of the texts, by the server's structured outputs; EngineError where it gives another."""
        params = SamplingParams(temperature, 8 * max(map(len, texts)))  # the grammar ends it
        if self.kind == "vllm":
            found = await self._post("/v1/completions", wire.vllm_choice(self.model, token_ids, texts, params, seed))
        else:
            found = await self._post("/generate", wire.sglang_choice(token_ids, texts, params, seed))
        try:
            said = str(found["text"] if self.kind == "sglang" else found["choices"][0]["text"])
        except (KeyError, IndexError, TypeError) as error:
            raise self._wrong(error) from None
        if said not in texts:
            raise EngineError(f"{self.kind} was to choose one of {list(texts)} and said {said[:100]!r}")
        return said

    def release(self, session: str) -> None:
        """Nothing is held for a session."""

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def named(self) -> str:
        """The name that the server gives its model; EngineError where nobody answers."""
        if self.kind == "sglang":
            return str((await self._ask("GET", "/get_model_info")).get("model_path", ""))
        served = (await self._ask("GET", "/v1/models")).get("data") or [{}]
        return str(served[0].get("id", ""))

    # ------------------------------------------------------------ asking

    async def _answer(self, token_ids: Sequence[int], params: SamplingParams, seed: int) -> Answer:
        read: Callable[[Mapping[str, Any]], Answer]
        if self.kind == "sglang":
            path, body, read = "/generate", wire.sglang_generation(token_ids, params, seed), wire.of_sglang
        elif self.run:
            body = wire.vllm_generation(self.model, token_ids, params, seed)
            path, read = "/inference/v1/generate", wire.of_vllm_generation
        else:
            body = wire.vllm_completion(self.model, token_ids, params, seed)
            path, read = "/v1/completions", wire.of_vllm_completion
        found = await self._post(path, body)
        try:
            return read(found)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise self._wrong(error) from None

    async def _post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return await self._ask("POST", path, body)

    async def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        try:
            answer = await self._client.request(method, path, json=body)
            found = answer.json()
        except (self._failure, ValueError) as error:
            raise EngineError(f"{self.kind} at {self._client.base_url}: {error!r}") from None
        if answer.status_code != 200 or not isinstance(found, dict):
            raise EngineError(f"{self.kind} answered {answer.status_code} to {path}: {str(found)[:300]}")
        return found

    def _wrong(self, error: Exception) -> EngineError:
        said = "no token ids, log-probs or versions" if self.run else "no token ids or log-probs"
        return EngineError(f"{self.kind} gave {said} ({error!r}); is the server recent enough?")

    # ------------------------------------------------------------ whose tokens they are

    def _version(self, answer: Answer) -> tuple[int, ...]:
        said = int(answer.last) if answer.last.isdigit() else self.version
        return (said,) * len(answer.ids)

    def _refuse_broken(self, answer: Answer) -> None:
        """What nobody may learn from: a turn that the server gave up, log-probs that are none."""
        if answer.finished not in _FINISHED:
            raise EngineError(f"{self.kind} gave a turn up ({answer.finished!r})")
        if not math.isfinite(sum(answer.logprobs)):
            raise EngineError(f"{self.kind}'s weights {answer.last!r} give log-probs that are not finite")

    def _versions(self, answer: Answer, sent: int) -> tuple[int, ...]:
        """The version of each token. Where the server names the weights of the last one alone, all are charged to the
        oldest that may have sampled any: those of the time when the turn was asked for."""
        self._known(answer.last, sent)
        if not answer.spans:
            return (sent,) * len(answer.ids)
        found: list[int] = []
        for span in answer.spans:
            found += [self._known(span.name, sent)] * (span.end - len(found))
        if len(found) != len(answer.ids):
            raise EngineError(f"{self.kind} names the weights of {len(found)} tokens of {len(answer.ids)}")
        return tuple(found)

    def _known(self, name: str, sent: int) -> int:
        """The version of weights of this name; they are of this run, and no older than those asked for."""
        run, _, number = name.rpartition(".")
        if run != self.run or not number.isdigit() or int(number) < sent:
            wanted = weights_name(self.run, sent)
            cause = f"{self.kind} at {self._client.base_url} samples by the weights {name!r}, {wanted!r} were published"
            raise EngineError(cause, way_out="see whether it was started anew, or serves another run; then resume")
        return int(number)

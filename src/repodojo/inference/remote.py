"""vLLM and SGLang over HTTP as a `Model`: token ids go out, token ids and log-probs come back, no text on the way.

vLLM: POST /v1/completions with a prompt of ids, `return_token_ids` and `logprobs`. SGLang: POST /generate with
`input_ids` and `return_logprob`. Both count the token that ends a turn among those sampled, with its log-prob.
vLLM gives log-probs of temperature 1 unless it runs with `--logprobs-mode processed_logprobs`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from repodojo.core.errors import ConfigError, EngineError
from repodojo.core.protocols import Completion, SamplingParams

Kind = Literal["vllm", "sglang"]
_FINISHED: Mapping[str, Literal["stop", "length"]] = {"stop": "stop", "length": "length"}


class RemoteModel:
    """A server's model. EngineError where it cannot be asked, refuses, or answers other than its API says.

    model: the name that vLLM serves it under;  key: sent as a bearer token, where there is one
    version: of the policy it serves, which every token carries (SGLang says its own where that is a number)
    """

    def __init__(
        self, kind: Kind, url: str, *, model: str = "", key: str = "", version: int = 0, seconds: float = 600.0
    ) -> None:
        import httpx2  # only who uses a server needs it

        if kind not in get_args(Kind):
            raise ConfigError(f"there is no engine {kind!r}", way_out=f"use one of {', '.join(get_args(Kind))}")
        self.kind, self.model, self.version = kind, model, version
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
        if self.kind == "vllm":
            return self._of_vllm(await self._post("/v1/completions", _for_vllm(self.model, token_ids, params, seed)))
        return self._of_sglang(await self._post("/generate", _for_sglang(token_ids, params, seed)))

    async def choose(self, token_ids: Sequence[int], texts: Sequence[str], *, temperature: float, seed: int) -> str:
        """One of the texts, by the server's structured outputs; EngineError where it gives another."""
        params = SamplingParams(temperature, 8 * max(map(len, texts)))  # the grammar ends it
        if self.kind == "vllm":
            body = _for_vllm(self.model, token_ids, params, seed) | {"structured_outputs": {"choice": list(texts)}}
            found = await self._post("/v1/completions", body | {"skip_special_tokens": True})
        else:
            body = _for_sglang(token_ids, params, seed)
            own = {"regex": "|".join(map(re.escape, texts)), "skip_special_tokens": True, "no_stop_trim": False}
            body["sampling_params"] = {**body["sampling_params"], **own}
            found = await self._post("/generate", body)
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

    async def _post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return await self._ask("POST", path, body)

    async def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        try:
            answer = await self._client.request(method, path, json=body)
            found = answer.json()
        except (self._failure, ValueError) as error:
            raise EngineError(f"{self.kind} at {self._client.base_url}: {error!r}") from None
        if answer.status_code != 200 or not isinstance(found, dict):
            raise EngineError(f"{self.kind} answered {answer.status_code}: {str(found)[:300]}")
        return found

    def _of_vllm(self, found: Mapping[str, Any]) -> Completion:
        try:
            choice = found["choices"][0]
            ids, logprobs = choice["token_ids"], choice["logprobs"]["token_logprobs"]
            return self._completion(ids, logprobs, choice["finish_reason"], self.version)
        except (KeyError, IndexError, TypeError) as error:
            raise self._wrong(error) from None

    def _of_sglang(self, found: Mapping[str, Any]) -> Completion:
        try:
            about = found["meta_info"]
            pairs = about["output_token_logprobs"]
            said = str(about.get("weight_version", ""))
            version = int(said) if said.isdigit() else self.version
            ids, logprobs = [pair[1] for pair in pairs], [pair[0] for pair in pairs]
            return self._completion(ids, logprobs, about["finish_reason"]["type"], version)
        except (KeyError, IndexError, TypeError) as error:
            raise self._wrong(error) from None

    def _completion(self, ids: Sequence[int], logprobs: Sequence[float], finished: str, version: int) -> Completion:
        if len(ids) != len(logprobs):
            raise EngineError(f"{self.kind} gave {len(ids)} tokens and {len(logprobs)} log-probs")
        versions = (version,) * len(ids)
        return Completion(tuple(ids), tuple(map(float, logprobs)), versions, _FINISHED.get(finished, "aborted"))

    def _wrong(self, error: Exception) -> EngineError:
        return EngineError(f"{self.kind} gave no token ids or log-probs ({error!r}); is the server recent enough?")


def _for_vllm(model: str, token_ids: Sequence[int], params: SamplingParams, seed: int) -> dict[str, Any]:
    return {
        "model": model,
        "prompt": list(token_ids),
        "max_tokens": params.max_tokens,
        "temperature": params.temperature,
        "seed": seed,
        "stop_token_ids": list(params.stop_ids),
        "logprobs": 0,
        "return_token_ids": True,
        "skip_special_tokens": False,
    }


def _for_sglang(token_ids: Sequence[int], params: SamplingParams, seed: int) -> dict[str, Any]:
    sampling = {
        "max_new_tokens": params.max_tokens,
        "temperature": params.temperature,
        "stop_token_ids": list(params.stop_ids),
        "sampling_seed": seed % (1 << 31),
        "skip_special_tokens": False,
        "no_stop_trim": True,
    }
    return {"input_ids": list(token_ids), "sampling_params": sampling, "return_logprob": True, "stream": False}

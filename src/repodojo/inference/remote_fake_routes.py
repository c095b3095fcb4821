"""What the server of `remote_fake` answers, route by route, in both dialects."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qsl

from repodojo.core.errors import CheckpointError, EngineError
from repodojo.core.protocols import Completion, Model, SamplingParams, WeightSink

MODEL = "served"
_WHOLE = {"top_p", "top_k", "min_p", "repetition_penalty"}
_VLLM = {"max_tokens", "temperature", "seed", "stop_token_ids", "logprobs", "skip_special_tokens"} | _WHOLE
_COMPLETION = _VLLM | {"model", "prompt", "return_token_ids", "structured_outputs"}
_GENERATION = _VLLM | {"ignore_eos"}
_SGLANG = {"max_new_tokens", "temperature", "stop_token_ids", "sampling_seed", "no_stop_trim"} | _WHOLE
_SGLANG |= {"skip_special_tokens", "regex"}
Said = tuple[int, dict[str, Any]]


class Loading(Model, WeightSink, Protocol):
    """A model that takes weights, as the built-in engine and the fake do."""


class Served:
    """What such a server holds: a model, the names of its weights, whether it is paused.

    context: tokens of a conversation, told to who asks;  spans: whether SGLang's answers name the weights by token
    fault: given method and path, a status to answer by instead; 0: answer
    Where an answer is held to some texts, the model's first token says which, counted round.
    """

    def __init__(self, model: Loading, *, key: str = "", context: int = 4096, spans: bool = True) -> None:
        self.model, self.key, self.context, self.spans = model, key, context, spans
        self.names: dict[int, str] = {}  # of the weights, by the version that the model knows them under
        self.loaded = 0
        self.asked: list[str] = []  # every method and path, in order
        self.fault: Callable[[str], int] = lambda asked: 0
        self._open = asyncio.Event()
        self._open.set()

    @property
    def name(self) -> str:
        """What the newest weights are called."""
        return self.names.get(self.loaded, "default")

    @property
    def paused(self) -> bool:
        """Whether whoever asks now has to wait."""
        return not self._open.is_set()

    def pause(self, mode: str, modes: Sequence[str]) -> Said:
        """Nothing new is begun. What the model is at goes on until its weights change, unlike on the real servers."""
        if mode not in modes:
            return 400, {"error": f"no mode {mode!r} that is used here"}
        self._open.clear()
        return 200, {"status": "paused"}

    def resume(self) -> Said:
        """Whoever waits is served."""
        self._open.set()
        return 200, {"status": "resumed"}

    def load(self, path: str) -> None:
        """CheckpointError where the folder has no weights of this model; EngineError while it may be generating."""
        from repodojo.inference import checkpoint

        if not self.paused:
            raise EngineError("weights are loaded only while it is paused")
        self.model.publish(self.loaded + 1, checkpoint.read_weights(Path(path)))
        self.loaded += 1
        self.names[self.loaded] = self.names.get(self.loaded - 1, "default")

    async def generate(self, ids: Sequence[int], params: SamplingParams, seed: int) -> Completion:
        """What the model says, once nothing is paused."""
        await self._open.wait()
        return await self.model.generate(ids, params, seed=seed)

    def named(self, done: Completion) -> list[dict[str, Any]]:
        """Stretches of tokens by the names of the weights that sampled them."""
        found, start = [], 0
        for version, tokens in groupby(done.versions):
            end = start + len(list(tokens))
            found.append({"version": self.names.get(version, str(version)), "start": start, "end": end})
            start = end
        return found


async def answer(served: Served, asked: str, headers: Mapping[str, str], body: bytes) -> Said:
    """Status and JSON."""
    route, _, query = asked.partition("?")
    served.asked.append(asked)
    if served.key and headers.get("authorization") != f"Bearer {served.key}":
        return 401, {"error": "Unauthorized"}
    if status := served.fault(asked):
        return status, {"error": {"message": "as the test has it"}}
    try:
        given = {**dict(parse_qsl(query)), **json.loads(body or b"{}")}
        if route in _ROUTES:
            return await _ROUTES[route](served, given)
    except EngineError as error:
        return 500, {"error": {"message": error.cause}}
    except CheckpointError as error:
        return (400 if "disk" in route else 500), {"success": False, "message": error.cause}
    return 404, {"detail": "Not Found"}


def _unknown(given: Mapping[str, Any], known: set[str]) -> Said | None:
    unknown = set(given) - known
    return (400, {"error": {"message": f"{sorted(unknown)} unknown", "code": 400}}) if unknown else None


def _reason(done: Completion) -> str:
    return {"stop": "stop", "length": "length"}.get(done.finished, "abort")


def _held(done: Completion, texts: Sequence[str]) -> str:
    return texts[done.token_ids[0] % len(texts)] if texts else ""


# ---------------------------------------------------------------- vLLM


async def _models(served: Served, given: Mapping[str, Any]) -> Said:
    about = {"id": MODEL, "object": "model", "max_model_len": served.context}
    return 200, {"object": "list", "data": [about]}


async def _completions(served: Served, given: Mapping[str, Any]) -> Said:
    if (said := _unknown(given, _COMPLETION)) or given["model"] != MODEL or not given.get("return_token_ids"):
        return said or (404, {"error": {"message": "no such model", "code": 404}})
    params = SamplingParams(given["temperature"], given["max_tokens"], tuple(given["stop_token_ids"]))
    done = await served.generate(given["prompt"], params, given["seed"])
    choice = {
        "index": 0,
        "text": _held(done, given.get("structured_outputs", {}).get("choice", [])),
        "finish_reason": _reason(done),
        "token_ids": done.token_ids,
        "logprobs": {"tokens": ["" for _ in done.token_ids], "token_logprobs": done.logprobs},
    }
    return 200, {"object": "text_completion", "model": MODEL, "choices": [choice]}


async def _vllm_generate(served: Served, given: Mapping[str, Any]) -> Said:
    sampling = given["sampling_params"]
    said = _unknown(given, {"model", "token_ids", "sampling_params"}) or _unknown(sampling, _GENERATION)
    if said or given.get("model", MODEL) != MODEL or sampling["top_p"] != 1 or not sampling["ignore_eos"]:
        return said or (404, {"error": {"message": "no such model, or not all of its distribution"}})
    params = SamplingParams(sampling["temperature"], sampling["max_tokens"], tuple(sampling["stop_token_ids"]))
    done = await served.generate(given["token_ids"], params, sampling["seed"])
    content = [{"token_id": i, "logprob": p} for i, p in zip(done.token_ids, done.logprobs, strict=True)]
    choice = {
        "index": 0,
        "finish_reason": _reason(done),
        "token_ids": done.token_ids,
        "logprobs": {"content": content},
        "weight_versions": served.named(done),
    }
    return 200, {"request_id": "generate", "choices": [choice]}


async def _pause(served: Served, given: Mapping[str, Any]) -> Said:
    return served.pause(given.get("mode", "abort"), ("keep", "wait"))


async def _resume(served: Served, given: Mapping[str, Any]) -> Said:
    return served.resume()


async def _rpc(served: Served, given: Mapping[str, Any]) -> Said:
    if given["method"] != "reload_weights" or set(given) != {"method", "kwargs"}:
        return 500, {"error": f"no method {given['method']!r}"}
    served.load(given["kwargs"]["weights_path"])
    return 200, {"results": [None]}


async def _rename(served: Served, given: Mapping[str, Any]) -> Said:
    served.names[served.loaded] = given["new_version"]
    return 200, {"success": True, "new_version": given["new_version"]}


async def _reset(served: Served, given: Mapping[str, Any]) -> Said:
    return 200, {"success": given.get("reset_running_requests") == "true"}


async def _weight_info(served: Served, given: Mapping[str, Any]) -> Said:
    return 200, {"weight_version": served.name}


# ---------------------------------------------------------------- SGLang


async def _generate(served: Served, given: Mapping[str, Any]) -> Said:
    sampling = given["sampling_params"]
    if (said := _unknown(sampling, _SGLANG)) or not given.get("return_logprob"):
        return said or (400, {"error": {"message": "no log-probs asked for"}})
    params = SamplingParams(sampling["temperature"], sampling["max_new_tokens"], tuple(sampling["stop_token_ids"]))
    done = await served.generate(given["input_ids"], params, sampling["sampling_seed"])
    spans = served.named(done)
    about = {
        "finish_reason": {"type": _reason(done)},
        "output_token_logprobs": [[p, i, None] for p, i in zip(done.logprobs, done.token_ids, strict=True)],
        "weight_version": spans[-1]["version"] if spans else served.name,
        **({"weight_versions": spans} if served.spans else {}),
    }
    alternatives = re.split(r"(?<!\\)\|", sampling["regex"]) if "regex" in sampling else []
    text = _held(done, [re.sub(r"\\(.)", r"\1", alternative) for alternative in alternatives])
    return 200, {"text": text, "output_ids": done.token_ids, "meta_info": about}


async def _model_info(served: Served, given: Mapping[str, Any]) -> Said:
    return 200, {"model_path": MODEL, "weight_version": served.name}


async def _server_info(served: Served, given: Mapping[str, Any]) -> Said:
    return 200, {"max_req_input_len": served.context}


async def _pause_generation(served: Served, given: Mapping[str, Any]) -> Said:
    return served.pause(given.get("mode", "abort"), ("retract",))


async def _update_from_disk(served: Served, given: Mapping[str, Any]) -> Said:
    if said := _unknown(given, {"model_path", "weight_version", "flush_cache"}):
        return said
    served.load(given["model_path"])
    served.names[served.loaded] = given["weight_version"]
    return 200, {"success": bool(given["flush_cache"]), "message": "Succeeded to update model weights."}


_ROUTES: Mapping[str, Callable[[Served, Mapping[str, Any]], Awaitable[Said]]] = {
    "GET /v1/models": _models,
    "POST /v1/completions": _completions,
    "POST /inference/v1/generate": _vllm_generate,
    "POST /pause": _pause,
    "POST /resume": _resume,
    "POST /collective_rpc": _rpc,
    "POST /update_weight_version": _rename,
    "POST /reset_prefix_cache": _reset,
    "GET /weight_info": _weight_info,
    "POST /generate": _generate,
    "GET /get_model_info": _model_info,
    "GET /model_info": _model_info,
    "GET /server_info": _server_info,
    "POST /pause_generation": _pause_generation,
    "POST /continue_generation": _resume,
    "POST /update_weights_from_disk": _update_from_disk,
}

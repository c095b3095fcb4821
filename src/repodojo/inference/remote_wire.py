"""What vLLM and SGLang are asked over HTTP, and what their answers say: bodies out, an `Answer` in."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from repodojo.core.protocols import SamplingParams

Kind = Literal["vllm", "sglang"]
_WHOLE = {"top_p": 1.0, "min_p": 0.0, "repetition_penalty": 1.0}
"""Said, since a server takes what is not said from the generation_config.json of its model, and log-probs would be of
another distribution than the one that was sampled from."""


@dataclass(frozen=True)
class Span:
    """Tokens from the end of the span before up to `end` (exclusive), sampled by the weights that are named so."""

    name: str
    end: int


@dataclass(frozen=True)
class Answer:
    """T sampled tokens, their log-probs and how they ended ("stop", "length", a server's own word).

    spans: which weights sampled which of them, where the server says so;  last: the name of those of the last one
    """

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finished: str
    spans: tuple[Span, ...] = ()
    last: str = ""


# ---------------------------------------------------------------- vLLM


def vllm_completion(model: str, token_ids: Sequence[int], params: SamplingParams, seed: int) -> dict[str, Any]:
    """The body of POST /v1/completions."""
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
        "top_k": 0,
        **_WHOLE,
    }


def vllm_choice(model: str, token_ids: Sequence[int], texts: Sequence[str], params: SamplingParams, seed: int) -> Any:
    """The body of POST /v1/completions that is answered by one of the texts."""
    body = vllm_completion(model, token_ids, params, seed)
    return body | {"structured_outputs": {"choice": list(texts)}, "skip_special_tokens": True}


def vllm_generation(model: str, token_ids: Sequence[int], params: SamplingParams, seed: int) -> dict[str, Any]:
    """The body of POST /inference/v1/generate, whose answers say which weights sampled each token.

    `stop_token_ids` alone end a turn, whatever the model's own end of text is. Without a name its first model answers.
    """
    sampling = {
        "max_tokens": params.max_tokens,
        "temperature": params.temperature,
        "seed": seed,
        "stop_token_ids": list(params.stop_ids),
        "ignore_eos": True,
        "logprobs": 0,
        "skip_special_tokens": False,
        "top_k": 0,
        **_WHOLE,
    }
    named = {"model": model} if model else {}
    return {"token_ids": list(token_ids), "sampling_params": sampling, **named}


def of_vllm_completion(found: Mapping[str, Any]) -> Answer:
    """KeyError, IndexError or TypeError where it is no such answer, as with all of these."""
    choice = found["choices"][0]
    return Answer(tuple(choice["token_ids"]), _numbers(choice["logprobs"]["token_logprobs"]), choice["finish_reason"])


def of_vllm_generation(found: Mapping[str, Any]) -> Answer:
    """Its spans are there from vLLM 0.32 on."""
    choice = found["choices"][0]
    logprobs = _numbers([one["logprob"] for one in choice["logprobs"]["content"]])
    spans = _spans(choice["weight_versions"])
    return Answer(tuple(choice["token_ids"]), logprobs, choice["finish_reason"], spans, spans[-1].name)


# ---------------------------------------------------------------- SGLang


def sglang_generation(token_ids: Sequence[int], params: SamplingParams, seed: int) -> dict[str, Any]:
    """The body of POST /generate. Its seeds are of 31 bits, and count where it runs deterministically."""
    sampling = {
        "max_new_tokens": params.max_tokens,
        "temperature": params.temperature,
        "stop_token_ids": list(params.stop_ids),
        "sampling_seed": seed % (1 << 31),
        "skip_special_tokens": False,
        "no_stop_trim": True,
        "top_k": -1,
        **_WHOLE,
    }
    return {"input_ids": list(token_ids), "sampling_params": sampling, "return_logprob": True, "stream": False}


def sglang_choice(token_ids: Sequence[int], texts: Sequence[str], params: SamplingParams, seed: int) -> dict[str, Any]:
    """The body of POST /generate that is answered by one of the texts."""
    body = sglang_generation(token_ids, params, seed)
    own = {"regex": "|".join(map(re.escape, texts)), "skip_special_tokens": True, "no_stop_trim": False}
    return body | {"sampling_params": {**body["sampling_params"], **own}}


def of_sglang(found: Mapping[str, Any]) -> Answer:
    """`weight_version` is of the last token; newer servers say `weight_versions` too."""
    about = found["meta_info"]
    pairs = about["output_token_logprobs"]
    ids, logprobs = tuple(pair[1] for pair in pairs), _numbers([pair[0] for pair in pairs])
    spans = _spans(about.get("weight_versions") or [])
    return Answer(ids, logprobs, about["finish_reason"]["type"], spans, str(about.get("weight_version", "")))


# ---------------------------------------------------------------- both


def _numbers(given: Sequence[Any]) -> tuple[float, ...]:
    return tuple(map(float, given))


def _spans(given: Sequence[Mapping[str, Any]]) -> tuple[Span, ...]:
    return tuple(Span(str(one["version"]), int(one["end"])) for one in given)

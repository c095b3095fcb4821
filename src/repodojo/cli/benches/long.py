"""Does a very long episode fit? Engine, packed learner and store on one of 131,072 tokens, and the memory they take.

A tiny model of random weights plays eight turns: long observations, 32 sampled tokens each, the engine's kept keys and
values carried from turn to turn. The episode goes into a store and comes back, its log-probs are computed again by the
learner in one pack, and a policy-gradient step is taken. `ratio` is the size of one dense float32 attention matrix of
that length over the rise of this process's peak memory; `logprob_gap` is the largest difference between the engine's
and the learner's log-prob of a sampled token (nats).
"""

from __future__ import annotations

import asyncio
import random
import resource
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repodojo.core.errors import EngineError
from repodojo.core.protocols import SamplingParams
from repodojo.core.records import Batch, Sample, Score, Trajectory, Turn
from repodojo.train.store import TrajectoryStore

if TYPE_CHECKING:
    from repodojo.inference.decoder import Decoder

TURNS, SAMPLED, SEED, VOCABULARY = 8, 32, 0, 512
MOST_GAP = 1e-2  # nats: more is no rounding


def run(quick: bool) -> dict[str, Any]:
    """131,072 tokens (quick: 4,096)."""
    import torch

    from repodojo.algorithms.batches import sample
    from repodojo.algorithms.recipes import recipe
    from repodojo.inference.architecture import Architecture
    from repodojo.inference.decoder import Decoder
    from repodojo.learner.steps import Learner

    tokens = 4_096 if quick else 131_072
    torch.manual_seed(SEED)
    decoder = Decoder(Architecture("qwen3", VOCABULARY, 32, 64, 2, 2, 1, 16, max_positions=tokens))
    before, start = _peak_mb(), time.perf_counter()
    trajectory = asyncio.run(_play(decoder, tokens))
    played, start = time.perf_counter() - start, time.perf_counter()
    engine_mb = _peak_mb() - before
    with tempfile.TemporaryDirectory(prefix="repodojo-long-") as folder:
        stored, size = _stored(trajectory, Path(folder) / "t.db")
    storing, start = time.perf_counter() - start, time.perf_counter()
    given = sample(stored, 1.0)
    learner = Learner(decoder, token_budget=tokens)
    gap = _gap(given, learner.logprobs(decoder, [given]).values_T.tolist())
    if gap > MOST_GAP:
        raise EngineError(f"engine and learner disagree by {gap:.3g} nats")
    metrics = learner.rl_step(Batch((given,), 0), recipe("grpo"))
    peak = _peak_mb() - before
    return {
        "ratio": tokens**2 * 4 / 2**20 / max(peak, 1.0),
        "tokens": len(stored.token_ids()),
        "sampled": TURNS * SAMPLED,
        "logprob_gap": gap,
        "loss": metrics["loss"],
        "engine_seconds": played,
        "store_seconds": storing,
        "learner_seconds": time.perf_counter() - start,
        "engine_peak_mb": engine_mb,
        "peak_mb": peak,
        "stored_mb": size / 2**20,
        "seed": SEED,
    }


async def _play(decoder: Decoder, tokens: int) -> Trajectory:
    """Turns of chance observations and sampled actions, `tokens` in all."""
    from repodojo.inference.engine import Engine

    engine = Engine(decoder, max_context=tokens, max_rows=1)
    chance, ids, turns = random.Random(SEED), list[int](), list[Turn]()
    shown = tokens // TURNS - SAMPLED
    for number in range(TURNS):
        observation = [chance.randrange(VOCABULARY) for _ in range(shown)]
        ids += observation
        done = await engine.generate(ids, SamplingParams(1.0, SAMPLED), seed=SEED + number, session="long")
        ids += done.token_ids
        turns.append(Turn(tuple(observation), done.token_ids, done.logprobs, done.versions))
    await engine.aclose()
    return Trajectory("long", "long", "long", "random", SEED, tuple(turns), "submit", Score(1.0))


def _stored(trajectory: Trajectory, path: Path) -> tuple[Trajectory, int]:
    """What the store gives back, which must be what it was given, and the size of its files (bytes)."""
    store = TrajectoryStore(path, write=True)
    store.add([trajectory], stage="bench", step=0, pending=0)
    found = store.load(trajectory.id)
    size = sum(file.stat().st_size for file in path.parent.iterdir())
    store.close()
    if found != trajectory:
        raise EngineError("the store gave back another episode")
    return found, size


def _gap(sample: Sample, again: Sequence[float]) -> float:
    """Largest difference of the sampled tokens' log-probs."""
    pairs = zip(sample.logprobs, again, sample.loss_mask, strict=True)
    return max(abs(a - b) for a, b, sampled in pairs if sampled)


def _peak_mb() -> float:
    """Of this process since it began (ru_maxrss is in KiB on Linux)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

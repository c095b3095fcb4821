"""Where one stage of RL ends and the next begins: its tasks, limits and optimiser, and YaRN where it asks for it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from repodojo.algorithms.batches import sample
from repodojo.core.protocols import SamplingParams
from repodojo.core.records import Sample, Trajectory
from repodojo.inference.decoder import Decoder
from repodojo.inference.engine import Engine
from repodojo.learner.critic import CriticSettings
from repodojo.learner.objective import PerToken
from repodojo.learner.optim import OptimizerSettings
from repodojo.learner.steps import Learner
from repodojo.train.config import Config
from repodojo.train.idle import recipe_of
from repodojo.train.stages import Span

if TYPE_CHECKING:
    from repodojo.train.loop import Training

PROBES = 8
"""Conversations on which a switch is measured."""
PROBE_TOKENS = 32
"""Tokens sampled after each."""


def optimizer_of(config: Config, steps: int) -> OptimizerSettings:
    """AdamW as [rl] says, for a run of `steps` in all."""
    rl = config.rl
    return OptimizerSettings(
        learning_rate=rl.learning_rate, weight_decay=rl.weight_decay, grad_clip=rl.grad_clip, warmup=min(3, steps)
    )


def enter(training: Training, span: Span, learner: Learner | None, step: int) -> Learner:
    """The learner of a stage, with tasks and workers to match; `learner` is that of the stage before, if it just ended.

    Killed at any point within, a resumed run does it again from the last commit.
    """
    settings = optimizer_of(span.config, training.spans[-1].end)
    training.config = span.config
    if learner is None:
        learner = training.resumed_learner("rl", settings)
    recipe = recipe_of(span.config)
    if recipe.advantage == "gae":
        learner.learn_values(CriticSettings(recipe.critic_lr, recipe.value_coef))
    if span.name:
        learner.retune(settings)
        training.settle_in(span, fresh=step == span.first)
        if not _switch(training, span, learner, step):
            training.reopen(span)
    elif span.config.tasks.sampling == "difficulty":
        training.settle_in(span, fresh=training.run.state.stage != "rl")
    return learner


def _switch(training: Training, span: Span, learner: Learner, step: int) -> bool:
    """Stretch the context of learner and engine, unless an earlier stage did; the figures go to the metrics."""
    decoder = learner.decoder
    assert isinstance(decoder, Decoder)
    if span.yarn is None or decoder.architecture.rope_scaling.get("factor") == span.yarn:
        return False
    probes = _probes(training)
    samples = [sample(t) for t in probes]
    before = learner.logprobs(decoder, samples)
    decoder.stretch(span.yarn)
    shift = _difference(learner.logprobs(decoder, samples), before, samples)
    training.checkpoint(f"{span.name}-begins", learner, training.kept)
    training.reopen(span)
    found = compared(learner, training.model, probes, span.config)
    values = {"yarn_factor": span.yarn, "shift_mean": shift[0], "shift_max": shift[1], "probes": len(probes), **found}
    training.log("switch", span.number, values)
    training.commit("rl", step, checkpoint=f"{span.name}-begins")
    return True


def _probes(training: Training) -> list[Trajectory]:
    """Some episodes of the last training steps, the longest of them, whose later positions are turned the most."""
    rows = training.run.query(
        "stage IN ('rft', 'rl') AND turns > 0 ORDER BY (stage = 'rl') DESC, step DESC, tokens DESC LIMIT ?", (PROBES,)
    )
    return [training.run.load(row["id"]) for row in rows]


def compared(learner: Learner, folder: Path, probes: Sequence[Trajectory], config: Config) -> dict[str, float]:
    """|log-prob of an engine that loads `folder` - of the learner| over tokens that the engine samples after `probes`.

    It is the engine that workers use, loaded as they load it.
    """
    sampled = asyncio.run(_sampled(folder, [_before_last_turn(t) for t in probes], config))
    if not sampled:
        return {}
    theirs = PerToken(sampled, (s.logprobs for s in sampled))
    mean, most = _difference(learner.logprobs(learner.decoder, sampled), theirs, sampled)
    return {"mismatch_mean": mean, "mismatch_max": most}


async def _sampled(folder: Path, prompts: Sequence[list[int]], config: Config) -> list[Sample]:
    max_context = config.agent.max_context
    engine = Engine(
        folder,
        dtype=getattr(torch, config.model.dtype),
        max_context=max_context,
        attention=config.rollout.attention,
        device=config.model.device,
    )
    params = SamplingParams(max_tokens=PROBE_TOKENS)
    room = [ids for ids in prompts if ids and len(ids) + PROBE_TOKENS < max_context]
    try:
        done = await asyncio.gather(*(engine.generate(ids, params, seed=n) for n, ids in enumerate(room)))
    finally:
        await engine.aclose()
    found = []
    for number, (ids, got) in enumerate(zip(room, done, strict=True)):
        nothing, count = (0.0,) * len(ids), len(got.token_ids)
        mask = (False,) * len(ids) + (True,) * count
        found.append(Sample((*ids, *got.token_ids), mask, (*nothing, *got.logprobs), 0.0, f"probe-{number}"))
    return found


def _before_last_turn(t: Trajectory) -> list[int]:
    return t.token_ids()[: -len(t.turns[-1].action_ids) or None]


def _difference(a: PerToken, b: PerToken, samples: Sequence[Sample]) -> tuple[float, float]:
    """Mean and largest |a - b| over the action tokens."""
    mask = torch.tensor([m for s in samples for m in s.loss_mask], dtype=torch.bool)
    if not bool(mask.any()):
        return 0.0, 0.0
    apart = (a.values_T - b.values_T).abs()[mask]
    return float(apart.mean()), float(apart.max())

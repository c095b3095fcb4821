"""Reinforcement learning of a coding agent in one file, top to bottom, on a CPU.

    python examples/rl_loop.py --steps 20
    python examples/rl_loop.py --store my-tasks --model my-model --steps 20 --seed 1

Each step: draw tasks, let the model play a group of episodes on each, pay those whose repair passes the hidden tests,
compare within the group, take one clipped policy-gradient step, give the new weights to the engine. `repodojo train`
does the same with workers, resuming, more recipes and a record of everything; this file is for reading.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from repodojo.agent.loop import AgentLimits, Played, play
from repodojo.agent.policy import ModelPolicy
from repodojo.agent.tools import default_tools
from repodojo.core.errors import OutageError, RepodojoError
from repodojo.core.records import Task
from repodojo.inference import checkpoint
from repodojo.inference.chat import ChatFormat
from repodojo.inference.decoder import Decoder, causal
from repodojo.inference.engine import Engine
from repodojo.rewards.grade import TestReward
from repodojo.sandbox.factory import LocalFactory
from repodojo.tasks.make import Options
from repodojo.tasks.session import make_all
from repodojo.tasks.store import TaskStore
from repodojo.train.setup import base_path

PACKAGE = "toolz==1.0.0"  # the tasks are made from this one where no store is given
TASKS_PER_STEP = 8
GROUP_SIZE = 8
LEARNING_RATE = 1e-4
CLIP_LOW, CLIP_HIGH = 0.2, 0.28
OBSERVATION_CHARS = 400
LIMITS = AgentLimits(max_turns=8, max_tokens=96, max_context=1024, max_seconds=60.0)


@dataclass
class Episode:
    """What was played and what it earned; `reward` is None where the infrastructure failed."""

    played: Played
    reward: float | None
    advantage: float = 0.0

    def tokens(self) -> tuple[Tensor, Tensor, Tensor]:
        """All ids [T], which of them the model sampled [T], and their log-probs when it did [T] (0 elsewhere)."""
        ids: list[int] = []
        sampled: list[bool] = []
        logprobs: list[float] = []
        for turn in self.played.turns:
            ids += [*turn.observation_ids, *turn.action_ids]
            sampled += [False] * len(turn.observation_ids) + [True] * len(turn.action_ids)
            logprobs += [*(0.0 for _ in turn.observation_ids), *turn.logprobs]
        return torch.tensor(ids), torch.tensor(sampled), torch.tensor(logprobs)


class School:
    """Where episodes happen: boxes, tools, the engine that samples, and the reward that grades."""

    def __init__(self, store: Path, model: Path, decoder: Decoder, *, allow_unisolated: bool) -> None:
        self.chat = ChatFormat.load(model)
        self.tools = default_tools(OBSERVATION_CHARS)
        self.boxes = LocalFactory(store, allow_unisolated=allow_unisolated)
        self.reward = TestReward(self.boxes)
        self.engine = Engine(decoder, max_context=LIMITS.max_context, max_rows=2 * TASKS_PER_STEP * GROUP_SIZE)
        self.policy = ModelPolicy("model", self.engine, self.chat)

    async def episode(self, task: Task, seed: int) -> Episode:
        """Play in one box, grade the changed files in another. An outage pays None, which is not zero."""
        played = Played()
        try:
            box = await self.boxes.create(task.environment)
            try:
                actor = self.policy.actor(seed)
                played = await play(task, actor, box, self.chat, tools=self.tools, limits=LIMITS)
            finally:
                await box.close()
            score = await self.reward.score(task, played.changes, None)
            return Episode(played, score.value)
        except OutageError:
            return Episode(played, None)

    async def groups(self, tasks: Sequence[Task], rng: random.Random) -> list[list[Episode]]:
        """GROUP_SIZE episodes of every task, all at once: the engine batches whoever is ready to sample."""
        plays = [self.episode(task, rng.getrandbits(48)) for task in tasks for _ in range(GROUP_SIZE)]
        episodes = await asyncio.gather(*plays)
        return [list(episodes[i : i + GROUP_SIZE]) for i in range(0, len(episodes), GROUP_SIZE)]

    async def close(self) -> None:
        """Stop the engine, end all boxes."""
        await self.engine.aclose()
        await self.boxes.close()


def leave_one_out(group: Sequence[Episode]) -> list[Episode]:
    """Advantage = reward minus the mean reward of the others (RLOO). Groups that all fail or all pass teach nothing."""
    scored = [episode for episode in group if episode.reward is not None]
    rewards = [episode.reward or 0.0 for episode in scored]
    if len(set(rewards)) < 2:
        return []
    for episode, reward in zip(scored, rewards, strict=True):
        episode.advantage = reward - (sum(rewards) - reward) / (len(rewards) - 1)
    return scored


def logprobs_of(decoder: Decoder, ids_T: Tensor) -> Tensor:
    """Log-probs [T - 1] of each token after the first, given those before it."""
    hidden = decoder.hidden(ids_T, torch.arange(len(ids_T)), lambda _layer, q, k, v: causal(q, k, v))
    logits = decoder.logits(hidden[:-1])
    return logits.log_softmax(-1).gather(1, ids_T[1:, None])[:, 0]


def policy_loss(decoder: Decoder, episode: Episode) -> tuple[Tensor, Tensor]:
    """Clipped surrogate, summed over the sampled tokens of one episode, and the largest |log ratio| for watching.

    -min(r A, clip(r, 1 - low, 1 + high) A) with r = pi / pi_rollout (arXiv 1707.06347; the wider upper bound is DAPO's,
    arXiv 2503.14476). With one step a batch r starts at 1; what differs from it is rounding between engine and learner.
    """
    ids, sampled, old = episode.tokens()
    log_ratio = (logprobs_of(decoder, ids) - old[1:])[sampled[1:]]
    ratio = log_ratio.exp()
    clipped = ratio.clamp(1 - CLIP_LOW, 1 + CLIP_HIGH)
    loss = -torch.minimum(ratio * episode.advantage, clipped * episode.advantage).sum()
    return loss, log_ratio.detach().abs().max()


def learn(decoder: Decoder, optimizer: torch.optim.Optimizer, batch: Sequence[Episode]) -> tuple[float, float]:
    """One step on the mean over episodes; returns (norm of the gradient, largest |log ratio|)."""
    optimizer.zero_grad(set_to_none=True)
    worst = 0.0
    for episode in batch:  # one at a time: slow, and easy to read; `repodojo.learner` packs them along shared prefixes
        loss, difference = policy_loss(decoder, episode)
        # a constant length norm, not the episode's own length: long failures are not punished less (arXiv 2503.20783)
        (loss / (len(batch) * LIMITS.max_context)).backward()  # type: ignore[no-untyped-call]
        worst = max(worst, float(difference))
    norm = torch.nn.utils.clip_grad_norm_(decoder.parameters(), 1.0)
    optimizer.step()
    return float(norm), worst


async def train(options: argparse.Namespace, store: Path) -> None:
    """THE loop."""
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    rng = random.Random(options.seed)
    tasks = TaskStore(store).tasks("train")
    if not tasks:
        raise SystemExit(f"{store} holds no tasks of the split 'train'")
    decoder = checkpoint.load(options.model)
    optimizer = torch.optim.AdamW(decoder.parameters(), lr=LEARNING_RATE, weight_decay=0.0, betas=(0.9, 0.95))
    school = School(store, options.model, checkpoint.load(options.model), allow_unisolated=options.allow_unisolated)
    print(f"{len(tasks)} tasks, {sum(p.numel() for p in decoder.parameters()) / 1e6:.1f}M parameters", flush=True)
    try:
        for step in range(options.steps):
            started = time.monotonic()
            chosen = rng.sample(tasks, min(TASKS_PER_STEP, len(tasks)))
            groups = await school.groups(chosen, rng)
            batch = [episode for group in groups for episode in leave_one_out(group)]
            if batch:
                norm, worst = learn(decoder, optimizer, batch)
                weights = {name: weight.detach().clone() for name, weight in decoder.state_dict().items()}
                school.engine.publish(step + 1, weights)
            else:
                norm, worst = 0.0, 0.0
            report(step, groups, len(batch), norm, worst, time.monotonic() - started)
    finally:
        await school.close()
    if options.out is not None:
        checkpoint.save(decoder, options.out, tokenizer=options.model)
        print(f"model: {options.out}")


def report(
    step: int, groups: Sequence[Sequence[Episode]], used: int, norm: float, worst: float, seconds: float
) -> None:
    """One line a step. The solve rate leaves outages out; it is of training tasks, so no proof of anything yet."""
    rewards = [e.reward for group in groups for e in group if e.reward is not None]
    outages = sum(e.reward is None for group in groups for e in group)
    rate = sum(r >= 1 for r in rewards) / max(len(rewards), 1)
    print(
        f"step {step + 1:3d}  solved {rate:6.1%} of {len(rewards)}  trained on {used:3d}  outages {outages}"
        f"  |grad| {norm:.3f}  |log ratio| {worst:.1e}  {seconds:.1f} s",
        flush=True,
    )


def default_store(folder: Path) -> Path:
    """Tasks made from a small package of the index: about a minute, once."""
    print(f"making tasks from {PACKAGE} in {folder}", flush=True)
    lines = asyncio.run(make_all([PACKAGE], folder, Options(limit=64), LocalFactory, lambda source: quiet))
    if lines[0].error is not None:
        raise lines[0].error
    return folder


def quiet(stage: str, done: int, of: int) -> None:
    """Progress of making tasks is not shown here."""


def main() -> None:
    """Read the arguments and train."""
    parser = argparse.ArgumentParser(description="Reinforcement learning of a coding agent in one file.")
    parser.add_argument("--store", type=Path, help=f"folder of a task set (default: made from {PACKAGE})")
    parser.add_argument("--model", type=Path, help="model folder (default: the base that ships with the package)")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="of torch; a small model is sampled fastest on one")
    parser.add_argument("--out", type=Path, help="where to write the trained model (default: nowhere)")
    parser.add_argument("--allow-unisolated", action="store_true", help="go on where code cannot be isolated")
    options = parser.parse_args()
    try:
        options.model = options.model or base_path()
        if options.store is not None:
            asyncio.run(train(options, options.store))
            return
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(train(options, default_store(Path(folder) / "tasks")))
    except RepodojoError as error:
        raise SystemExit(f"error: {error}") from None


if __name__ == "__main__":
    main()

"""The loop without workers: a pool that makes episodes up under the real scheduler, for runs that take a second."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from repodojo.core.records import (
    REPLAYED_TURNS,
    Environment,
    Grader,
    Group,
    Score,
    Source,
    Task,
    ToolCall,
    ToolResult,
    Trajectory,
    Turn,
)
from repodojo.inference import checkpoint
from repodojo.inference.architecture import Architecture
from repodojo.inference.decoder import Decoder
from repodojo.rollout.actions import Play, Ticket, Whole
from repodojo.rollout.orders import Order
from repodojo.rollout.pool import Finished
from repodojo.rollout.rules import Rules
from repodojo.rollout.scheduler import Scheduler
from repodojo.train import rl
from repodojo.train.config import Config
from repodojo.train.events import Silent
from repodojo.train.loop import Training
from repodojo.train.rundir import RunDir

VOCABULARY = 40
RATES = {"never": 0.0, "rare": 0.15, "even": 0.5, "often": 0.85, "always": 1.0}
"""How often each task is solved."""
TASKS = [Task(name, Source("fake"), name, Environment(), Grader()) for name in RATES]


def make_model(folder: Path) -> Path:
    """A tiny model with 64 positions."""
    torch.manual_seed(0)
    decoder = Decoder(Architecture("qwen3", VOCABULARY, 32, 48, 2, 2, 1, 16, max_positions=64))
    torch.nn.init.normal_(decoder.model.embed_tokens.weight, std=0.2)
    checkpoint.save(decoder, folder)
    return folder


@dataclass
class FakePool:
    """Episodes by the order's seed alone; solved as often as `RATES` says, an opening's turns played first."""

    config: Config
    model: Path
    version: int = 0
    orders: dict[str, Order] = field(default_factory=dict)
    given: list[Ticket] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.scheduler = Scheduler(Rules(max_staleness=self.config.rollout.max_staleness))
        self.scheduler.join("only", slots=1000)

    def submit_group(self, orders: Sequence[Order], *, need: int, version: int) -> None:
        self.orders.update((order.id, order) for order in orders)
        for action in self.scheduler.ask(orders[0].group_id, [o.id for o in orders], need=need, version=version):
            assert isinstance(action, Play)
            self.given += action.tickets

    def finished_groups(self) -> Iterator[Finished]:
        while self.given:
            for action in self.scheduler.finished(self.given.pop(0), 0.0):
                if isinstance(action, Whole):
                    members = tuple(self.played(self.orders[name]) for name in action.kept)
                    yield Finished(Group(action.group, members[0].task_id, members), action.stale)

    def played(self, order: Order) -> Trajectory:
        rng = random.Random(order.seed)
        count = max(rng.randint(2, max(self.config.agent.max_turns, 2)), len(order.opening) + 1)
        turns = []
        for k in range(count):
            actions = tuple(rng.randrange(VOCABULARY) for _ in range(3))
            if k < len(order.opening):
                actions = order.opening[k].token_ids
            calls = (ToolCall("submit", {}),) if k == count - 1 else ()
            result = ToolResult("", tests_run=k % 2 == 0, passed=rng.random() < 0.5)
            turns.append(Turn((k + 1, 5, 6), actions, (-3.5,) * 3, (self.version,) * 3, f"turn {k}", calls, (result,)))
        score = Score(float(rng.random() < RATES[order.task_id]))
        labels = {REPLAYED_TURNS: str(len(order.opening))} if order.opening else {}
        made = (order.id, order.task_id, order.group_id, "m", order.seed, tuple(turns), "submit", score)
        return Trajectory(*made, labels=labels)  # type: ignore[arg-type]

    def lend(self, threads: int) -> None:
        """Nothing computes here."""

    def counts(self) -> dict[str, float]:
        return {}

    @contextlib.contextmanager
    def serving(self) -> Iterator[None]:
        yield

    def publish(self, version: int, weights: Mapping[str, object], *, drain: bool = False) -> None:
        self.version = version

    def close(self) -> None:
        pass


def carry_out(run: RunDir, pools: list[Any] | None = None) -> Path:
    """RL of a run, from wherever it stands; `pools` collects what was opened."""

    def opened(config: Config, model: Path) -> Any:
        made = FakePool(config, model)
        if pools is not None:
            pools.append(made)
        return made

    if run.state.done and (done := run.latest_checkpoint()):
        return done
    with Training(run, Silent(), find=lambda config: TASKS[: config.tasks.limit or None], open_pool=opened) as training:
        if training.stages_left():
            rl.run(training)
        training.commit("done", 0, done=True)
    folder = run.latest_checkpoint()
    assert folder is not None
    return folder

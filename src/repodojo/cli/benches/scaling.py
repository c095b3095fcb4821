"""How cost grows with trajectories, tokens and environments: exponents, against the goal of 1.1.

CPU seconds at growing sizes, the least of three, and the slope of their logarithms by least squares. trajectories:
`algorithms.batches.assemble` (filter, advantages, samples). tokens: `learner.packing.micro_batches` (trees, budget).
environments: whole episodes in flight on one event loop, with a script for a model and boxes in memory.
`ratio` is 1.1 over the largest exponent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from repodojo.agent.loop import AgentLimits, play
from repodojo.agent.policy import ScriptedPolicy
from repodojo.agent.tools import default_tools
from repodojo.algorithms.batches import assemble
from repodojo.algorithms.recipes import recipe
from repodojo.cli.benches._common import one_thread, seconds
from repodojo.core.records import Environment, Grader, Group, Sample, Score, Source, Task, Trajectory, Turn
from repodojo.inference.chat import ChatFormat
from repodojo.inference.toolcalls import render
from repodojo.learner.packing import micro_batches
from repodojo.sandbox.fake import FakeSandbox
from repodojo.train import setup


def run(quick: bool) -> dict[str, Any]:
    """See the module; `quick` is sizes of a sixteenth."""
    small = 16 if quick else 1
    plans: dict[str, tuple[Callable[[int], Callable[[], Any]], list[int]]] = {
        "trajectories": (_trajectories, [2048, 4096, 8192, 16384]),
        "tokens": (_tokens, [2**17, 2**18, 2**19, 2**20]),
        "environments": (_environments, [64, 128, 256, 512]),
    }
    found: dict[str, Any] = {}
    with one_thread():
        for name, (prepare, sizes) in plans.items():
            cost = [min(seconds(work) for _ in range(3)) for work in map(prepare, (n // small for n in sizes))]
            found[f"{name}_exponent"] = slope([n // small for n in sizes], cost)
            found[f"{name}_cpu_seconds"] = [round(c, 4) for c in cost]
            found[f"{name}_sizes"] = [n // small for n in sizes]
    return {"ratio": 1.1 / max(found[f"{name}_exponent"] for name in plans), **found}


def slope(sizes: Sequence[int], cost: Sequence[float]) -> float:
    """Exponent b of cost = a * size^b, by least squares on logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(np.maximum(cost, 1e-6)), 1)[0])


def _trajectories(count: int) -> Callable[[], Any]:
    def one(group: int, member: int) -> Trajectory:
        turn = Turn(tuple(range(20)), tuple(range(20)), (-1.0,) * 20, (0,) * 20)
        score = Score(float(member % 2))
        return Trajectory(f"{group}-{member}", str(group), str(group), "p", 0, (turn, turn), "submit", score)

    groups = [Group(str(g), str(g), tuple(one(g, m) for m in range(8))) for g in range(count // 8)]
    return lambda: assemble(groups, recipe("grpo_pp"), 0)


def _tokens(count: int) -> Callable[[], Any]:
    """Groups of 8 that share 256 of 512 tokens."""
    drawn, mask = np.random.default_rng(0), (False,) * 256 + (True,) * 256
    samples = []
    for group in range(count // 4096):
        head = drawn.integers(0, 4096, 256).tolist()
        for _ in range(8):
            ids = (*head, *drawn.integers(0, 4096, 256).tolist())
            samples.append(Sample(ids, mask, (0.0,) * 512, 1.0, str(group)))
    return lambda: micro_batches(samples, 8192)


def _environments(count: int) -> Callable[[], Any]:
    chat = ChatFormat.load(setup.base_path())
    turns = [render("bash", {"command": "repro"}), render("editor", {"command": "view", "path": "a.py"})]
    policy = ScriptedPolicy("script", lambda _seed: lambda texts: _turn(turns, len(texts)), chat)
    task = Task("t", Source("s"), "Mend it.\n", Environment(), Grader(), visible_command="repro")
    limits, tools = AgentLimits(max_turns=8, max_tokens=200, max_context=4000, context="none"), default_tools(400)

    async def all_of_them() -> None:
        boxes = [FakeSandbox({"a.py": b"x = 1\n" * 40}) for _ in range(count)]
        played = await asyncio.gather(
            *(play(task, policy.actor(i), box, chat, tools=tools, limits=limits) for i, box in enumerate(boxes))
        )
        assert all(one.stop_reason == "submit" for one in played)

    return lambda: asyncio.run(all_of_them())


def _turn(turns: Sequence[str], texts: int) -> str:
    done = (texts - 2) // 2
    return turns[done % 2] if done < 4 else render("submit", {})

"""A run as training leaves it, with figures drawn by chance: two stages, episodes, a measured table."""

from __future__ import annotations

import math
import random
from pathlib import Path

from repodojo.core.machine import described
from repodojo.core.records import (
    Environment,
    Grader,
    Score,
    Source,
    StopReason,
    Task,
    ToolCall,
    ToolResult,
    Trajectory,
    Turn,
)
from repodojo.evaluate.summary import Row, paired_difference, summarise
from repodojo.evaluate.tables import write_results
from repodojo.train.config import load
from repodojo.train.rundir import RunDir, RunState

KINDS = ("arithmetic", "boolean", "comparison", "constant", "inverted condition", "off-by-one", "wrong variable")
HOSTILE = "</pre><script>alert('x')</script> & <b>\x00\x1b[31mred"
VIEW = """def partition_all(n, seq):
  12      args = [iter(seq)] * n
  13      it = zip_longest(*args, fillvalue=no_pad)
  14      prev = next(it)
  15      if prev[-1] is not no_pad:
"""


def say(tool: str, **arguments: object) -> tuple[str, ToolCall]:
    import json

    text = f"<tool_call>\n{json.dumps({'name': tool, 'arguments': arguments})}\n</tool_call>"
    return text, ToolCall(tool, arguments)


def episode(name: str, task: str, *, good: bool, tests: bool, version: int, stop: StopReason = "submit") -> Trajectory:
    """View, edit, perhaps test, submit."""
    steps = [
        (say("editor", command="view", path="toolz/itertoolz.py"), ToolResult(VIEW)),
        (
            say("editor", command="str_replace", path="toolz/itertoolz.py", old_str="is not", new_str="is"),
            ToolResult("edited 1 line"),
        ),
        (
            say("editor", command="str_replace", path="toolz/x.py", old_str=HOSTILE, new_str=""),
            ToolResult(HOSTILE, error="not-found"),
        ),
    ]
    if tests:
        steps.append((say("bash", command="python -m pytest -q"), ToolResult("1 passed in 0.02s", tests_run=True)))
    if stop == "submit":
        steps.append((say("submit"), ToolResult("submitted")))
    turns = tuple(
        Turn((1,) * 40, (2,) * 24, (-0.4,) * 24, (version,) * 24, text=text, calls=(call,), results=(result,))
        for (text, call), result in steps
    )
    if not good:
        broken = Turn((1,) * 9, (2,) * 9, (-2.1,) * 9, (version,) * 9, text="<tool_call>{nope", format_error="bad-json")
        turns = (turns[0], broken, *turns[1:])
    score = Score(1.0 if good else 0.0, failed=() if good else ("tests/test_itertoolz.py::test_partition_all",))
    diff = "--- a/toolz/itertoolz.py\n+++ b/toolz/itertoolz.py\n-    if last is no_pad:\n+    if last is not no_pad:\n"
    return Trajectory(name, task, f"g-{task}", "rl", 0, turns, stop, score, diff=diff if good else "", seconds=3.1)


def measured(name: str, skill: float, tests: float, rng: random.Random, count: int = 120) -> Row:
    """A policy that passes with a chance around `skill`, on `count` tasks, 8 tries each."""
    kinds = {f"task-{i}": KINDS[i % len(KINDS)] for i in range(count)}
    tasks = [Task(t, Source("p"), "", Environment(), Grader(), labels={"kind": kind}) for t, kind in kinds.items()]
    episodes = []
    for number, task in enumerate(tasks):
        chance = min(1.0, rng.betavariate(0.6, 1.4) * skill * (1.6 - 0.2 * (number % len(KINDS))) * 3.0)
        for n in range(8):
            tested = rng.random() < tests
            episodes.append(
                episode(f"{name}-{task.id}-{n}", task.id, good=rng.random() < chance, tests=tested, version=0)
            )
    return summarise(episodes, tasks, name=name, seed=0)


def make_run(path: Path, *, rl_steps: int = 60, tasks: int = 120) -> Path:
    rng = random.Random(3)
    config = load(None, [f"rl.steps={rl_steps}", "run.seed=3"])
    command = "repodojo quickstart --seed 3"
    with RunDir.create(path, config, {"command": command, "repodojo": "0.1.0", "machine": described()}) as run:
        version = 0
        for stage, steps in (("rft", 12), ("rl", rl_steps)):
            for step in range(1, steps + 1):
                version += 1
                run.log(stage, step, metrics(stage, step / steps, rng))
                run.add(batch(stage, step, version, step / steps, rng), stage=stage, step=step)
                run.commit(RunState(stage, step, version=version, done=stage == "rl" and step == steps))
    skills = {"base": (0.04, 0.1), "rft": (0.08, 0.2), "rl": (0.34, 0.8)}
    scripts = {"random-edit": (0.18, 0.0), "negate-first-if": (0.21, 0.0), "tested-search": (0.27, 1.0)}
    rows = {name: measured(name, *figures, rng, tasks) for name, figures in (skills | scripts).items()}
    gaps = [paired_difference(rows["rl"], rows[other], seed=0) for other in ("base", "tested-search")]
    write_results(path / "results.json", rows, seed=3, command=command, differences=gaps)
    return path


def metrics(stage: str, progress: float, rng: random.Random) -> dict[str, float]:
    loss = {
        "loss": 2.2 - progress + rng.gauss(0, 0.05),
        "grad_norm": abs(rng.gauss(0.8, 0.2)),
        "seconds": rng.uniform(4, 6),
    }
    if stage == "rft":
        return loss
    rise = 1 / (1 + math.exp(6 - 10 * progress))
    return loss | {
        "loss": rng.gauss(0, 0.02),
        "solve_rate": max(0.0, 0.06 + 0.3 * rise + rng.gauss(0, 0.03)),
        "reward": 0.1 + 0.3 * rise + rng.gauss(0, 0.03),
        "tested_before_submit": min(1.0, max(0.0, 0.2 + 0.65 * rise + rng.gauss(0, 0.05))),
        "turns": 3 + 1.5 * rise + rng.gauss(0, 0.1),
        "tokens_sampled": 140 + 60 * rise + rng.gauss(0, 5),
        "entropy": 1.1 - 0.5 * rise + rng.gauss(0, 0.02),
        "clip_fraction": abs(rng.gauss(0.012, 0.004)),
        "mismatch_mean": abs(rng.gauss(2e-5, 5e-6)),
        "groups_dropped": float(rng.randint(2, 12)),
    }


def batch(stage: str, step: int, version: int, progress: float, rng: random.Random) -> list[Trajectory]:
    made = []
    for n in range(8):
        good, tests = rng.random() < 0.1 + 0.4 * progress, rng.random() < 0.2 + 0.6 * progress
        stop: StopReason = "submit" if rng.random() < 0.9 else "turns"
        name, task = f"{stage}-{step}-{n}", f"toolz/{step % 30}-{n // 4}"
        made.append(episode(name, task, good=good and stop == "submit", tests=tests, version=version, stop=stop))
    return made

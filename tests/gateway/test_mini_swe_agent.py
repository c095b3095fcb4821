"""mini-swe-agent itself, from the index and unmodified, in an environment of its own: its loop is the one that learns.

Slow: it is installed on the first call (or REPODOJO_MINI names its program), and importing it takes seconds.
"""

from __future__ import annotations

import asyncio
import copy
import json
import os
import re
import shlex
import subprocess
import sys
import venv
from collections.abc import MutableMapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from gateway_helpers import CHAT, calling, said
from test_harness import Paid

from repodojo.agent.loop import AgentLimits
from repodojo.algorithms.batches import sample
from repodojo.core.protocols import ExecResult
from repodojo.core.records import Environment, Grader, Sample, Score, Source, Task, Trajectory
from repodojo.gateway.command import parse
from repodojo.gateway.harness import Harness
from repodojo.gateway.launch import launching
from repodojo.gateway.registry import Gateway
from repodojo.gateway.server import serving
from repodojo.gateway.session import Terms
from repodojo.inference import checkpoint
from repodojo.inference.architecture import Architecture
from repodojo.inference.chat import ChatFormat
from repodojo.inference.decoder import Decoder
from repodojo.inference.fake import FakeModel
from repodojo.learner.optim import OptimizerSettings
from repodojo.learner.steps import Learner
from repodojo.sandbox.factory import LocalFactory
from repodojo.sandbox.fake import FakeFactory
from repodojo.tasks.store import TaskStore
from repodojo.train import measure, setup
from repodojo.train.config import load
from repodojo.train.loop import train
from repodojo.train.minibase import explorer, stages
from repodojo.train.minibase.prompts import END, FENCE, SUBMIT, Prompts, action
from repodojo.train.pretrain import tokenizer as tokenizers
from repodojo.train.rundir import RunDir

pytestmark = pytest.mark.slow

RECIPE = Path(__file__).parents[2] / "recipes" / "mini-swe-agent.toml"
TOOLS = ("-c default.yaml --model-class litellm_textbased", "-c mini.yaml")
LIMITS = AgentLimits(max_turns=6, max_tokens=120, max_context=8192, max_seconds=300.0)


@pytest.fixture(scope="session")
def mini() -> Path:
    """The installed program."""
    if given := os.environ.get("REPODOJO_MINI"):
        return Path(given)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "repodojo" / f"mini-swe-agent-2.4.6-{sys.version_info.major}.{sys.version_info.minor}"
    if not (folder / "installed").exists():
        venv.create(folder, with_pip=False, clear=True)
        pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install", "--quiet"]
        done = subprocess.run([*pip, "mini-swe-agent==2.4.6", "mcp"], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"mini-swe-agent cannot be installed here: {done.stderr.strip()[-200:]}")
        (folder / "installed").touch()
    return folder / "bin" / "mini"


def command(mini: Path, style: str = TOOLS[0]) -> str:
    """The command of the recipe, with this program and this style."""
    text = str(load(RECIPE, []).agent.command)
    return text.replace(".mini/bin/mini", str(mini)).replace(TOOLS[0], style)


def configuration(mini: Path) -> Path:
    (found,) = mini.parent.parent.glob("lib/python*/site-packages/minisweagent/config/default.yaml")
    return found


def box(argv: Sequence[str], files: MutableMapping[str, bytes]) -> ExecResult:
    """`mend` changes a file, `echo` is one."""
    if argv[-1] == "mend":
        files["/testbed/a.py"] = b"mended"
    text = argv[-1].removeprefix("echo ") if argv[-1].startswith("echo ") else f"ran {argv[-1]}"
    return ExecResult(0, f"{text}\n".encode())


@pytest.mark.parametrize("style", TOOLS)
async def test_its_own_loop_plays_an_episode(mini: Path, style: str) -> None:
    def write(line: str) -> str:
        return action(line) if style == TOOLS[0] else calling("bash", json.dumps({"command": line}))

    model = said(write("mend"), "no action at all", write("look"), write(SUBMIT))
    task = Task("t", Source("s"), "`f` in a.py is wrong.", Environment(), Grader())
    gateway = Gateway(model, CHAT, Terms(8192))
    preload = load(RECIPE, []).agent.preload
    made = FakeFactory({"a.py": b"broken"}, box)
    async with serving(gateway) as url, launching(parse(command(mini, style)), preload) as launcher:
        harness = Harness(gateway, url, launcher)
        played = await harness.play(task, await made.create(task.environment), LIMITS, temperature=1.0, seed=0)
    assert played.stop_reason == "submit" and played.changes == {"a.py": b"mended"}
    assert [t.text for t in played.turns] == [write("mend"), write("look"), write(SUBMIT)]
    assert [[t.text for t in branch] for branch in played.branches] == [["no action at all"]]  # it is not echoed
    opening = CHAT.decode(played.turns[0].observation_ids)
    assert "Please solve this issue: `f` in a.py is wrong." in opening and "ran mend" in CHAT.decode(
        played.turns[1].observation_ids
    )
    assert await Paid().score(task, played.changes, None) == Score(1.0)


async def lesson(harness: Harness, task: Task, boxes: LocalFactory) -> Sample:
    """An episode of mini-swe-agent, as the learner sees it."""
    made = await boxes.create(task.environment)
    played = await harness.play(task, made, LIMITS, temperature=1.0, seed=0)
    await made.close()
    assert played.stop_reason == "submit", played
    return sample(Trajectory("l", task.id, "g", "lesson", 0, tuple(played.turns), "submit", Score(1.0)))


def mending(task: Task) -> str:
    """The command that puts the sound line back."""
    assert task.gold is not None
    head, _, *lines = task.gold.patch.splitlines()
    (old,) = [line[1:] for line in lines if line.startswith("-")]
    (new,) = [line[1:] for line in lines if line.startswith("+")]
    path = head.split()[1].removeprefix("a/")
    pattern = re.sub(r"([\[*^$])", r"\\\1", old)  # as a basic regular expression that matches it
    return f"sed -i {shlex.quote(f's|^{pattern}$|{new}|')} {path}"


async def lessons(mini: Path, store: TaskStore, chat: ChatFormat) -> list[Sample]:
    """Two endings by heart for each task: mend it and submit, or submit at once."""
    boxes = LocalFactory(store.path, allow_unisolated=True)
    gateway = Gateway(FakeModel([]), chat, Terms(8192))
    found = []
    async with serving(gateway) as url, launching(parse(command(mini)), load(RECIPE, []).agent.preload) as launcher:
        for task in store.tasks():
            for turns in ([action(mending(task)), action(SUBMIT)], [action(SUBMIT)]):
                gateway.model = FakeModel([[*chat.encode(text), chat.stop_ids[0]] for text in turns])
                found.append(await lesson(Harness(gateway, url, launcher), task, boxes))
    await boxes.close()
    return found


def pupil(mini: Path, store: TaskStore, tokenizer: Any, folder: Path) -> Path:
    """A tiny model that has these lessons by heart, each ending as often as the other."""
    own = copy.deepcopy(tokenizer)
    own.add_tokens(stages.added([*Prompts.load(configuration(mini)).fixed(), *explorer.HEADS, FENCE, END]))
    tokenizers.save(own, folder / "tokenizer")
    samples = asyncio.run(lessons(mini, store, ChatFormat(own)))
    torch.manual_seed(0)
    size = Architecture("qwen3", len(own), 64, 128, 2, 4, 2, 16, max_positions=2048)
    learner = Learner(Decoder(size), optimizer=OptimizerSettings(learning_rate=3e-3, warmup=5))
    for _ in range(100):
        metrics = learner.sft_step(samples)
    assert metrics["loss"] < 0.2, metrics
    checkpoint.save(learner.decoder, folder / "model", tokenizer=folder / "tokenizer")
    return folder / "model"


def test_its_own_loop_learns(mini: Path, tiny_store: TaskStore, tokenizer: Any, tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    model = pupil(mini, tiny_store, tokenizer, tmp_path)
    torch.set_num_threads(threads)
    given = {
        "tasks.store": str(tiny_store.path),
        "model.path": str(model),
        "agent.command": command(mini),
        "run.stages": ["rl"],
        "run.trackers": ["jsonl"],
        "rollout.workers": 1,
        "rollout.concurrency": 8,
        "rollout.group_size": 8,
        "rl.steps": 4,
        "rl.groups_per_step": 2,
        "rl.max_refills": 1,
        "rl.minibatches": 1,
        "rl.learning_rate": 2e-3,
        "eval.split": "train",
        "sandbox.allow_unisolated": True,
        "agent.max_turns": 6,
        "agent.max_tokens": 160,
        "agent.max_context": 1536,
        "agent.max_seconds": 300.0,
        "sandbox.seconds": 60.0,
    }
    config = load(None, [f"agent.preload={json.dumps(list(load(RECIPE, []).agent.preload))}", *overrides(given)])
    with RunDir.create(tmp_path / "run", config) as run:
        final = train(run)
        lines = [line for line in run.metrics() if line["stage"] == "rl"]
    assert all(line["outages"] == 0 for line in lines) and lines[0]["mismatch_max"] < 1e-3
    solved = {}
    for name, path in (("before", model), ("after", final)):
        with setup.open_pool(config, path) as pool:
            found = measure.episodes(pool, tiny_store.tasks(), attempts=8, seed=1)
        assert all(int(t.labels["gateway_calls"]) >= len(t.turns) > 0 for t in found if t.score.solved)
        solved[name] = sum(t.score.solved for t in found) / len(found)
    told = [round(line["solve_rate"], 2) for line in lines]
    print(f"solved before {solved['before']:.2f}, in training {told}, after {solved['after']:.2f}")
    assert solved["before"] <= 0.9 and solved["after"] >= solved["before"] + 0.1, (solved, told)


def overrides(given: dict[str, Any]) -> list[str]:
    return [f"{name}={json.dumps(value)}" for name, value in given.items()]

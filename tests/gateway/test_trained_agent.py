"""`repodojo train` and `eval` with a command as the agent: real workers, boxes, gateway and learner."""

from __future__ import annotations

import asyncio
import json
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from repodojo.agent import prompts
from repodojo.agent.focus import retrieve
from repodojo.agent.tools import default_tools
from repodojo.inference import checkpoint
from repodojo.sandbox.factory import LocalFactory
from repodojo.tasks.store import TaskStore
from repodojo.train import measure, setup
from repodojo.train.config import load
from repodojo.train.loop import train
from repodojo.train.rundir import RunDir
from tiny_school import SETTINGS


async def lessons(store: TaskStore) -> list[dict[str, Any]]:
    """What the plain agent is told of each task: the prompt that the tiny model knows, and the sound file."""
    factory = LocalFactory(store.path, allow_unisolated=True)
    found = []
    for task in store.tasks():
        ((path, text),) = store.gold_changes(task).items()
        messages = prompts.messages(task, await retrieve(await factory.create(task.environment), task.focus))
        tools = default_tools(400).schemas()
        told = {"issue": task.instruction, "path": path, "text": text.decode(), "messages": messages, "tools": tools}
        found.append(told)
    await factory.close()
    return found


@pytest.mark.slow
def test_an_agent_of_others_is_trained_and_measured(tmp_path: Path, tiny_store: TaskStore, tiny_model: Path) -> None:
    known = asyncio.run(lessons(tiny_store))
    (tmp_path / "known.json").write_text(json.dumps(known))
    agent = [sys.executable, str(Path(__file__).parent / "plain_agent.py"), "mend", str(tmp_path / "known.json")]
    given = {
        "tasks.store": str(tiny_store.path),
        "model.path": str(tiny_model),
        "agent.command": shlex.join(agent),
        "eval.split": "train",
    }
    settings = [s for s in SETTINGS if not s.startswith(("rft.", "rl.steps", "agent.context"))]
    settings += ["run.stages=rl", "rl.steps=1", "agent.max_seconds=300.0"]
    config = load(None, [*settings, *(f"{name}={json.dumps(value)}" for name, value in given.items())])
    with RunDir.create(tmp_path / "run", config) as run:
        final = train(run)
        (line,) = [line for line in run.metrics() if line["stage"] == "rl"]
        assert line["outages"] == 0 and line["grad_norm"] > 0 and line["mismatch_max"] < 1e-3
        played = [run.load(row["id"]) for row in run.query("stage = 'rl'")]
    assert {t.score.value for t in played} == {0.0, 1.0} and {t.stop_reason for t in played} == {"submit"}
    for trajectory in played:
        assert trajectory.labels["gateway_calls"] == "1" and trajectory.labels["gateway_parameters"] == "top_p"
        assert trajectory.score.solved == bool(trajectory.changes)
        ran = [call.arguments["command"].split()[0] for call in trajectory.turns[0].calls if call.name != "submit"]
        assert ran == (["cat"] if trajectory.changes else [])
    before, after = checkpoint.read_weights(tiny_model), checkpoint.read_weights(final)
    assert any(not torch.equal(before[name], after[name]) for name in before)
    with setup.open_pool(config, final) as pool:
        found = measure.episodes(pool, tiny_store.tasks(), attempts=1, seed=0)
    assert [t.labels["gateway_calls"] for t in found] == ["1", "1"]

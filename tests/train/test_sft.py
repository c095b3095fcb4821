"""Supervised fine-tuning on edits' own answers: what counts in the loss, what is learned, kills, and refusals."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from fake_school import FakePool

from repodojo.core.editing import expected
from repodojo.core.errors import ConfigError, TaskError
from repodojo.core.records import Trajectory
from repodojo.inference import checkpoint
from repodojo.inference.chat import ChatFormat
from repodojo.rollout.orders import Order
from repodojo.tasks.edits.excerpt import Bounds
from repodojo.tasks.edits.renames import Options, make
from repodojo.tasks.store import TaskStore
from repodojo.train import rl, sft
from repodojo.train.config import load
from repodojo.train.events import Silent
from repodojo.train.loop import Training, train
from repodojo.train.rundir import RunDir

BODY = "def f{n}(item, other):\n    made = item + {n}\n    done = [item, made, other]\n    return done or item\n\n\n"

OTHER = "def g(value, total):\n    value = value + total\n    return value\n"


@pytest.fixture(scope="module")
def edits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("renames")
    (folder / "source").mkdir()
    (folder / "source" / "m.py").write_text("".join(BODY.format(n=n) for n in range(6)) + OTHER)
    options = Options(bounds=Bounds((40, 400), (5, 120), 1))
    asyncio.run(make(str(folder / "source"), TaskStore(folder / "s", create=True), options, lambda *_: None))
    return folder / "s"


def settings(edits: Path, model: Path) -> list[str]:
    names = [f"tasks.store={json.dumps(str(edits))}", f"model.path={json.dumps(str(model))}"]
    parts = ["run.stages=sft", "sft.epochs=3", "sft.batch_tokens=900", "sft.warmup=1", "sft.learning_rate=3e-3"]
    return [*names, *parts, "tasks.max_prompt_tokens=880", "agent.max_context=1000", 'run.trackers=["jsonl"]']


class Stops(Silent):
    """Ends the process, as far as the run can tell, when a step has been logged."""

    def __init__(self, step: int) -> None:
        self.step = step

    def metrics(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        if (stage, step) == ("sft", self.step):
            raise KeyboardInterrupt


def carried(run: RunDir, watcher: Silent) -> dict[str, torch.Tensor]:
    with run, Training(run, watcher) as training:
        sft.run(training, keep_every=0)
    return checkpoint.read_weights(run.path / "checkpoints" / "sft")


def losses(run: Path) -> list[float]:
    return [line["loss"] for line in RunDir.read(run).metrics() if line["stage"] == "sft"]


def test_only_the_answer_and_its_end_count(edits: Path, tiny_model: Path) -> None:
    chat, tasks = ChatFormat.load(tiny_model), list(TaskStore(edits).tasks())
    for task, sample in zip(tasks, sft.answers(tasks, chat), strict=True):
        learned = [i for i, counts in zip(sample.token_ids, sample.loss_mask, strict=True) if counts]
        assert chat.decode(learned) == expected(task) and learned[-1] == chat.stop_ids[0]
        assert sample.loss_mask == tuple(sorted(sample.loss_mask))  # the prompt first


def test_it_learns_and_a_killed_run_ends_with_the_same_weights(edits: Path, tiny_model: Path, tmp_path: Path) -> None:
    config = load(None, settings(edits, tiny_model))
    whole = carried(RunDir.create(tmp_path / "whole", config), Silent())
    found = losses(tmp_path / "whole")
    assert len(found) > 8 and found[-1] < 0.8 * found[0]
    with pytest.raises(KeyboardInterrupt):
        carried(RunDir.create(tmp_path / "killed", config), Stops(4))
    again = carried(RunDir.resume(tmp_path / "killed"), Silent())
    assert losses(tmp_path / "killed") == found
    assert all(torch.equal(whole[name], again[name]) for name in whole)
    assert {p.name for p in (tmp_path / "whole" / "checkpoints").iterdir()} == {"sft"}


def test_the_run_ends_with_a_model_that_loads(edits: Path, tiny_model: Path, tmp_path: Path) -> None:
    with RunDir.create(tmp_path / "run", load(None, [*settings(edits, tiny_model), "sft.epochs=1"])) as run:
        folder = train(run)
    assert folder.name == "sft" and ChatFormat.load(folder).stop_ids
    assert checkpoint.load(folder).architecture == checkpoint.load(tiny_model).architecture


class Pool(FakePool):
    """Made-up episodes of whatever tasks, solved every second time."""

    def played(self, order: Order) -> Trajectory:
        return replace(super().played(replace(order, task_id="even")), task_id=order.task_id)


def test_rl_begins_with_the_imitated_weights_and_is_pulled_towards_them(
    edits: Path, tiny_model: Path, tmp_path: Path
) -> None:
    parts = ["run.stages=sft,rl", "rl.recipe=grpo", "rl.steps=1", "rl.groups_per_step=4", "rl.minibatches=1"]
    parts += ["rollout.group_size=4", "sft.epochs=1", "recipe.kl=k3", "recipe.kl_coef=0.01", "rl.mismatch_alarm=99.0"]
    given = [s for s in settings(edits, tiny_model) if not s.startswith(("run.stages", "sft.epochs"))]
    with RunDir.create(tmp_path / "run", load(None, [*given, *parts, "monitor.enabled=false"])) as run:
        with Training(run, Silent(), open_pool=Pool) as training:
            assert training.stages_left() == ["sft", "rl"]
            sft.run(training)
            assert training.stages_left() == ["rl"] and training.version == training.pool.version == 1
            rl.run(training)
        [line] = [line for line in run.metrics() if line["stage"] == "rl"]
        assert {v for row in run.query("stage = 'rl'") for v in run.load(row["id"]).turns[0].versions} == {1}
    assert (
        line["grad_norm"] > 0 and abs(line["reference_kl"]) < 1e-6
    )  # before its first step the policy is its reference
    assert {p.name for p in (tmp_path / "run" / "checkpoints").iterdir()} == {"sft", "rl-00001"}


@pytest.mark.slow
def test_rl_goes_on_from_what_was_imitated(edits: Path, tiny_model: Path, tmp_path: Path) -> None:
    parts = ["run.stages=sft,rl", "rl.recipe=gapo", "rl.steps=1", "rl.groups_per_step=2", "rl.minibatches=1"]
    parts += ["rollout.group_size=4", "agent.max_tokens=12", "sft.epochs=1", "recipe.kl=k3", "recipe.kl_coef=0.01"]
    given = [s for s in settings(edits, tiny_model) if not s.startswith(("run.stages", "sft.epochs"))]
    with RunDir.create(tmp_path / "run", load(None, [*given, *parts])) as run:
        final = train(run)
        [line] = [line for line in run.metrics() if line["stage"] == "rl"]
        versions = {v for row in run.query("stage = 'rl'") for v in run.load(row["id"]).turns[0].versions}
    assert final.name == "rl-00001" and versions == {1}
    assert line["mismatch_max"] < 1e-3 and line["outages"] == 0  # workers played with the imitated weights
    assert (final.parent / "sft").is_dir()  # what the KL term pulls towards


def test_what_has_no_answer_is_refused(tiny_store: TaskStore, tiny_model: Path) -> None:
    with pytest.raises(TaskError, match="holds no answer"):
        sft.answers(tiny_store.tasks(), ChatFormat.load(tiny_model))
    with pytest.raises(ConfigError, match=r"sft\.epochs .*would do nothing"):
        load(None, ["run.stages=rl", "sft.epochs=2"])

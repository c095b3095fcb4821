"""The whole loop, small and real: two tasks, a tiny model, boxes, workers, and a run directory at the end."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
import torch

from repodojo.algorithms.batches import assemble
from repodojo.core.records import Group
from repodojo.dashboard.curves import CURVES, collect
from repodojo.inference import checkpoint
from repodojo.learner.optim import OptimizerSettings
from repodojo.learner.steps import Learner
from repodojo.rollout.orders import group_orders
from repodojo.tasks.store import TaskStore
from repodojo.train import setup
from repodojo.train.config import load
from repodojo.train.cursor import TaskCursor
from repodojo.train.idle import recipe_of
from repodojo.train.loop import train
from repodojo.train.rundir import RunDir
from tiny_school import SETTINGS


def create(path: Path, store: TaskStore, model: Path, *others: str) -> RunDir:
    names = [f"tasks.store={json.dumps(str(store.path))}", f"model.path={json.dumps(str(model))}"]
    return RunDir.create(path, load(None, [*SETTINGS, *names, *others]))


def loads_in_transformers(folder: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    ids = torch.tensor([AutoTokenizer.from_pretrained(folder).encode("def f(x):")])
    weights = checkpoint.read_weights(folder)
    assert torch.equal(model.state_dict()["model.norm.weight"], weights["model.norm.weight"])
    assert model(ids).logits.isfinite().all()


def test_rejection_fine_tuning_and_reinforcement_learning(
    tmp_path: Path, tiny_store: TaskStore, tiny_model: Path
) -> None:
    measured = ("rl.eval_every=2", "eval.split=train", "eval.attempts=1", "model.token_budget=700")
    with create(tmp_path / "run", tiny_store, tiny_model, *measured) as run:
        final = train(run)
        assert run.state.done and run.state.stage == "done" and run.state.version == 3
        assert final == run.path / "checkpoints" / "rl-00002" == train(run)  # once more is nothing more
        stages = Counter(line["stage"] for line in run.metrics())
        assert stages == {"rft": 2, "rft-learn": stages["rft-learn"], "rl": 2, "eval": 1}
        assert stages["rft-learn"] >= 1
        rows = run.query("1 ORDER BY rowid")
        assert Counter(row["stage"] for row in rows)["rft"] == 4 and len({row["id"] for row in rows}) == len(rows)
        assert {row["task_id"] for row in rows} == {task.id for task in tiny_store.tasks()}
        assert {row["reward"] for row in rows} == {0.0, 1.0}
        assert {(row["step"], row["version"]) for row in rows if row["stage"] == "rl"} == {(0, 1), (1, 2)}
        drawn = collect(run.metrics()).points
        assert not [title for title, metric, _ in CURVES if metric not in drawn]  # the report finds what it draws
        for line in run.metrics():
            if line["stage"] == "rl":
                assert line["outages"] == 0 and line["groups"] >= 1 and line["tokens"] > 0 and line["grad_norm"] > 0
                assert 0 < line["memory_mb"] < 100
                assert line["mismatch_max"] < 1e-3  # the engine's log-probs are the learner's
                assert line["mismatch_alarm"] == 0 and 0 <= line["groups_without_signal_share"] <= 1
                assert 0 < line["effective_sample_size"] <= 1 and line["ratio_min"] <= line["ratio_max"]
                assert line["turns_solved"] >= 1 and line["tokens_sampled_failed"] > 0
                shown = line["histograms"]["groups"]
                assert len(shown) == line["groups"] and all(sum(g["advantage"]) == 4 for g in shown)
    loads_in_transformers(final)
    before, after = checkpoint.read_weights(tiny_model), checkpoint.read_weights(final)
    assert any(not torch.equal(before[name], after[name]) for name in before)


@pytest.mark.slow
def test_staleness_zero_is_the_plain_synchronous_loop_bit_for_bit(
    tmp_path: Path, tiny_store: TaskStore, tiny_model: Path
) -> None:
    """Against the loop written out: no scheduler's queue, no refill, ask for all, wait for all, learn, publish."""
    given = ("run.stages=rl", "rl.recipe=grpo", "rollout.workers=2")
    settings = tuple(s for s in SETTINGS if not s.startswith(("rft.", "rl.max_refills")))
    names = [f"tasks.store={json.dumps(str(tiny_store.path))}", f"model.path={json.dumps(str(tiny_model))}"]
    config = load(None, [*settings, *names, *given])
    with RunDir.create(tmp_path / "run", config) as run:
        final = checkpoint.read_weights(train(run))
        found = {row["id"]: run.load(row["id"]) for row in run.query("stage = 'rl'")}

    chosen, seen = recipe_of(config), {}
    cursor = TaskCursor.over([task.id for task in tiny_store.tasks()], config.run.seed)
    settings_of = OptimizerSettings(learning_rate=1e-4, weight_decay=0.0, grad_clip=1.0, warmup=2)
    learner = Learner(checkpoint.load(tiny_model), optimizer=settings_of, seed=config.run.seed)
    with setup.open_pool(
        config.model_copy(update={"rollout": config.rollout.model_copy(update={"workers": 1})})
    ) as pool:
        for step in range(config.rl.steps):
            draws, cursor = cursor.take(config.rl.groups_per_step)
            groups = []
            for draw in draws:
                orders = group_orders([draw.task_id], size=4, prefix=f"rl/{draw.index}", seed=config.run.seed)
                back = {t.id: t for t in pool.run(orders)}
                seen.update(back)
                members = tuple(back[order.id] for order in orders)
                groups.append(Group(orders[0].group_id, draw.task_id, members))
            batch = assemble(groups, chosen, step).batch
            if batch.samples:
                learner.rl_step(batch, chosen, config.rl.minibatches)
            pool.publish(step + 1, learner.weights())
    assert sorted(found) == sorted(seen)
    for name, trajectory in found.items():
        tokens = [(t.observation_ids, t.action_ids, t.logprobs, t.versions) for t in trajectory.turns]
        assert tokens == [(t.observation_ids, t.action_ids, t.logprobs, t.versions) for t in seen[name].turns]
        assert trajectory.score.value == seen[name].score.value
    plain = learner.weights()
    assert all(torch.equal(final[name], plain[name].to(final[name].dtype)) for name in final)  # type: ignore[attr-defined]


@pytest.mark.slow
def test_one_step_ahead_of_the_learner(tmp_path: Path, tiny_store: TaskStore, tiny_model: Path) -> None:
    ahead = ("rollout.max_staleness=1", "run.stages=rl", "rl.steps=3", "rl.recipe=grpo")
    names = [f"tasks.store={json.dumps(str(tiny_store.path))}", f"model.path={json.dumps(str(tiny_model))}"]
    given = [s for s in SETTINGS if not s.startswith(("rft.", "rl.steps", "rl.max_refills"))]
    with RunDir.create(tmp_path / "run", load(None, [*given, *names, *ahead])) as run:
        train(run)
        rows = run.query("stage = 'rl' ORDER BY rowid")
        assert [row["step"] for row in rows] == [step for step in range(3) for _ in range(8)]
        first = [min(v for turn in run.load(row["id"]).turns for v in turn.versions) for row in rows]
        assert all(row["step"] - version <= 1 for row, version in zip(rows, first, strict=True))
        assert run.state.cursor["returned"] == [] and run.state.cursor["position"] == 6  # nothing played for nobody
        assert all(line["groups_stale"] == 0 for line in run.metrics())

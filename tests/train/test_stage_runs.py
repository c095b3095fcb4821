"""Runs that use the curriculum, the cache and the critic, killed at every commit and resumed to the same end."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from fake_school import carry_out, make_model

from repodojo.inference import checkpoint
from repodojo.learner import checkpoints
from repodojo.train.config import load
from repodojo.train.loop import Training
from repodojo.train.rundir import RunDir

COMMON = """
[run]
stages = ["rl"]
trackers = ["jsonl"]
[agent]
max_turns = 2
max_context = 60
[monitor]
enabled = false
[rollout]
group_size = 4
[rl]
mismatch_alarm = 9.0
recipe = "grpo"
"""
STAGES = """
[[stages]]
name = "short"
rl.steps = 2
rl.groups_per_step = 3
rl.minibatches = 1
tasks.limit = 4

[[stages]]
name = "long"
yarn = 2.0
refresh = true
agent.max_turns = 6
agent.max_context = 100
rl.steps = 2
rl.groups_per_step = 2
rl.minibatches = 2
rl.clip_high = 0.3
rl.learning_rate = 5e-4
rollout.group_size = 3
"""
PLAIN = "steps = 4\ngroups_per_step = 4\nminibatches = 1\n"
CRITIC = COMMON + PLAIN + '[recipe]\nadvantage = "gae"\npotential = 0.3\ncritic_lr = 0.01\n'
CACHED = COMMON + PLAIN + "[replay]\ncapacity = 20\noldest = 2\n"
ADAPTIVE = COMMON + PLAIN + "[recipe]\nentropy_target = 9.0\nentropy_step = 0.01\n"
CHOSEN = COMMON.replace("[rollout]", '[tasks]\nsampling = "difficulty"\n[rollout]\nprefixes = true') + PLAIN


class Killed(Exception):
    """Stands for a kill: what was not committed is lost."""


def run_of(path: Path, text: str, *others: str) -> RunDir:
    path.mkdir(parents=True, exist_ok=True)
    (path / "c.toml").write_text(text)
    model = make_model(path / "model")
    return RunDir.create(path / "run", load(path / "c.toml", [f"model.path={json.dumps(str(model))}", *others]))


def killed_at(patch: pytest.MonkeyPatch, number: int) -> None:
    commit, count = Training.commit, [0]

    def deadly(self: Training, stage: str, step: int, **others: Any) -> None:
        commit(self, stage, step, **others)
        count[0] += 1
        if count[0] == number:
            raise Killed

    patch.setattr(Training, "commit", deadly)


def figures(run: RunDir) -> list[dict[str, Any]]:
    """Metrics without what the clock says."""
    timed = ("time", "commit", "seconds", "per_second")
    return [{k: v for k, v in line.items() if not k.endswith(timed)} for line in run.metrics()]


@pytest.mark.parametrize(
    ("text", "commits"),
    [
        pytest.param(COMMON + STAGES, (2, 3, 4), id="stages"),  # before, at and after the border
        pytest.param(CRITIC, (1,), id="critic"),
        pytest.param(CACHED, (2,), id="cached"),
        pytest.param(CHOSEN, (3,), id="chosen"),
        pytest.param(ADAPTIVE, (2,), id="adaptive"),
    ],
)
def test_a_run_that_was_killed_ends_like_one_that_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, commits: tuple[int, ...]
) -> None:
    with run_of(tmp_path / "whole", text) as whole:
        want, lines = checkpoint.read_weights(carry_out(whole)), figures(whole)
        ids = [row["id"] for row in whole.query("1 ORDER BY rowid")]
    assert len(set(ids)) == len(ids)
    for number in commits:
        path = tmp_path / f"cut-{number}"
        with monkeypatch.context() as patch, run_of(path, text) as cut, pytest.raises(Killed):
            killed_at(patch, number)
            carry_out(cut)
        with RunDir.resume(path / "run") as again:
            got = checkpoint.read_weights(carry_out(again))
            assert [row["id"] for row in again.query("1 ORDER BY rowid")] == ids
            assert figures(again) == lines
        assert all(torch.equal(want[name], got[name]) for name in want)


def test_stages_play_their_own_tasks_with_their_own_limits_and_yarn_is_on_for_both(tmp_path: Path) -> None:
    pools: list[Any] = []
    with run_of(tmp_path, COMMON + STAGES) as run:
        final = carry_out(run, pools)
        lines = run.metrics()
        played = {row["id"]: run.load(row["id"]) for row in run.query()}
    short, long = ([t for n, t in played.items() if n.startswith(f"rl/{name}/")] for name in ("short", "long"))
    assert len(short) + len(long) == len(played) and len(short) == 2 * 3 * 4 and len(long) == 2 * 2 * 3
    assert {t.task_id for t in short} <= {"never", "rare", "even", "often"}
    solved = Counter(t.task_id for t in short if t.score.solved)
    tried = Counter(t.task_id for t in short)
    known = {t.task_id for t in long} & set(tried)  # the fifth task, which nobody tried, stays
    assert known and all(0 < solved[task] < 2 / 3 * tried[task] for task in known)
    assert {t.task_id for t in long} - known <= {"always"} and "never" not in known
    assert max(len(t.turns) for t in short) <= 2 < max(len(t.turns) for t in long)
    assert [(line["step"], line["curriculum_stage"]) for line in lines if line["stage"] == "rl"] == [
        *((0, 0), (1, 0), (2, 1), (3, 1)),
    ]
    rates = [line["learning_rate"] for line in lines if line["stage"] == "rl"]
    assert rates[-1] == 5e-4 and rates[1] < 5e-4
    (switch,) = [line for line in lines if line["stage"] == "switch"]
    assert switch["yarn_factor"] == 2 and switch["probes"] == 8
    assert switch["mismatch_max"] < 1e-4 < switch["shift_max"]  # engine and learner agree; both are another model now
    architecture = checkpoint.architecture(final)
    assert architecture.max_positions == 128 and architecture.rope_scaling["original_max_position_embeddings"] == 64
    assert [pool.config.agent.max_context for pool in pools[-2:]] == [60, 100]
    assert pools[-1].model.name == "long-begins" and checkpoint.architecture(pools[-2].model).max_positions == 64


def test_a_critic_learns_in_a_run_and_is_saved_with_it(tmp_path: Path) -> None:
    with run_of(tmp_path, CRITIC) as run:
        final = carry_out(run)
        lines = [line for line in run.metrics() if line["stage"] == "rl"]
    assert all(line["value_loss"] > 0 and line["return_mean"] != 0 for line in lines)
    assert lines[0]["value_mean"] == 0 != lines[-1]["value_mean"]
    learner = checkpoints.load(final)[0]
    assert learner.critic is not None and bool(learner.critic.head.weight.any())


def test_the_cache_replays_and_changes_no_bit_where_it_must_not(tmp_path: Path) -> None:
    plain = COMMON + PLAIN
    same = plain + "[replay]\ncapacity = 20\noldest = 0\nsharpness = 0.0\n"
    found = {}
    for name, text in (("plain", plain), ("same", same), ("cached", CACHED)):
        with run_of(tmp_path / name, text) as run:
            found[name] = checkpoint.read_weights(carry_out(run)), figures(run)
    want, got = found["plain"][0], found["same"][0]
    assert all(torch.equal(want[name], got[name]) for name in want)
    for before, after in zip(found["plain"][1], found["same"][1], strict=True):
        assert before == {k: v for k, v in after.items() if not k.startswith("replay_")}
    assert any(not torch.equal(want[name], w) for name, w in found["cached"][0].items())
    assert max(line["replay_share"] for line in found["cached"][1]) > 0
    assert max(line["replay_staleness"] for line in found["cached"][1]) <= 2


def test_an_adaptive_entropy_bonus_moves_from_step_to_step(tmp_path: Path) -> None:
    with run_of(tmp_path, ADAPTIVE) as run:
        carry_out(run)
        used = [line["entropy_coef"] for line in run.metrics() if line["stage"] == "rl"]
    assert used == pytest.approx([0.0, 0.01, 0.02, 0.03])  # the entropy of 40 tokens stays below its target of 9 nats


def test_hard_tasks_begin_with_an_earlier_success_once_it_is_known(tmp_path: Path) -> None:
    with run_of(tmp_path, CHOSEN, "rl.steps=8", "rollout.group_size=8") as run:
        carry_out(run)
        begun = [run.load(row["id"]) for row in run.query("instr(id, '+') > 0")]
        lines = [line for line in run.metrics() if line["stage"] == "rl"]
    assert begun and all(1 <= t.replayed_turns() < len(t.turns) for t in begun)
    assert {t.task_id for t in begun} <= {"rare", "often"}
    assert sum(line["prefix_head_start_episodes"] + line["prefix_handicap_episodes"] for line in lines) == len(begun)

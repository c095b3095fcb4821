"""`repodojo eval` with a composed reward: what the parts amount to stands beside the table."""

from __future__ import annotations

import json

import pytest

from repodojo.cli import main
from repodojo.tasks.store import TaskStore


def test_parts_and_mean_reward_are_printed(tiny_store: TaskStore, capsys: pytest.CaptureFixture[str]) -> None:
    own = ["--set", "reward.weights={size = 0.2}", "--set", "sandbox.allow_unisolated=true"]
    own += ["--set", "agent.max_turns=4"]
    counts = ["--split", "train", "--tasks", "2", "--attempts", "4", "--seed", "1"]
    with pytest.raises(SystemExit) as ended:
        main(["eval", str(tiny_store.path), "--policy", "tested-search", *counts, *own, "--json"])
    assert ended.value.code == 0
    row = json.loads(capsys.readouterr().out)["tested-search"]
    assert row["pass1"] > 0 and row["part_size"] > 0
    assert row["reward"] == pytest.approx(row["pass1"] * (1 + 0.2 * row["part_size"]))


def test_each_part_of_the_context_is_measured_against_its_absence(
    tiny_store: TaskStore, capsys: pytest.CaptureFixture[str]
) -> None:
    own = ["--set", "sandbox.allow_unisolated=true", "--set", "agent.max_turns=4", "--set", "agent.sources=wiki"]
    counts = [
        "--split",
        "train",
        "--tasks",
        "2",
        "--attempts",
        "4",
        "--seed",
        "1",
        "--set",
        "tasks.max_prompt_tokens=900",
    ]
    with pytest.raises(SystemExit) as ended:
        main(
            ["eval", str(tiny_store.path), "--policy", "tested-search", *counts, *own, "--ablate", "context", "--json"]
        )
    assert ended.value.code == 0
    found = json.loads(capsys.readouterr().out)
    worth = {d["worse"].removeprefix("tested-search without "): d for d in found["ablation"]}
    assert set(worth) == {"focus", "wiki"} and all(d["better"] == "tested-search" for d in worth.values())
    # the script edits the retrieved code and never asks for a page: the one is worth all, the other nothing
    assert worth["focus"]["value"] == found["tested-search"]["pass1"] > 0
    assert worth["wiki"]["value"] == 0 and worth["wiki"]["ci"][0] <= 0 <= worth["wiki"]["ci"][1]

"""Two processes with sharded weights (FSDP2 over gloo) take the steps that one process takes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from fsdp_child import ADAMW, steps
from test_steps import decoder, samples

from repodojo.core.errors import CheckpointError, ConfigError
from repodojo.learner import checkpoints
from repodojo.learner.optim import OptimizerSettings
from repodojo.learner.packing import micro_batches
from repodojo.learner.parallel import Ranks
from repodojo.learner.steps import Learner

SAME = ("loss", "grad_norm", "entropy", "mismatch_mean", "ratio_max", "tokens", "rows", "clip_fraction", "reference_kl")


def test_two_sharded_processes_give_the_same_losses_and_weights(tmp_path: Path) -> None:
    argv = [sys.executable, str(Path(__file__).parent / "fsdp_child.py")]
    children = [
        subprocess.Popen([*argv, str(rank), "2", str(tmp_path / "store")], stdout=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    alone = Learner(decoder(0), optimizer=ADAMW, token_budget=60, reference=decoder(1))
    wanted = steps(alone)
    found = [json.loads(child.communicate(timeout=240)[0].splitlines()[-1]) for child in children]
    assert [child.returncode for child in children] == [0, 0]
    size = sum(p.numel() for p in alone.decoder.parameters())
    assert sum(f["held"] for f in found) == size and max(f["held"] for f in found) < 0.6 * size
    for each in found:
        for got, want in zip(each["metrics"], wanted, strict=True):
            for name in (name for name in SAME if name in want):
                assert got[name] == pytest.approx(want[name], abs=1e-5, rel=1e-5), name
        for name, weight in alone.weights().items():
            assert each["weights"][name] == pytest.approx(float(weight.double().square().sum()), rel=1e-5)


def test_every_rank_gets_as_many_packs_and_each_pack_counts_once() -> None:
    packs = micro_batches(samples(), 30)
    for count in (1, 2, 3, 5):
        dealt = [list(Ranks(rank, count).deal(packs)) for rank in range(count)]
        assert len({len(one) for one in dealt}) == 1
        counted = [id(pack) for one in dealt for pack, counts in one if counts]
        assert sorted(counted) == sorted(map(id, packs))


def test_a_part_of_a_learner_is_not_saved_as_a_whole(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="several"):
        checkpoints.save(Learner(decoder(), ranks=Ranks(0, 2)), tmp_path / "a")
    assert not list(tmp_path.iterdir())


def test_muon_over_processes_is_refused() -> None:
    with pytest.raises(ConfigError, match="Muon"):
        Learner(decoder(), optimizer=OptimizerSettings(kind="muon"), ranks=Ranks(0, 2))
    assert torch.is_tensor(Learner(decoder(), optimizer=OptimizerSettings(kind="muon")).weights()["model.norm.weight"])

"""Optimiser steps: equal under micro-batching, resumable bit for bit, and deaf to numbers that are not finite."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from repodojo.algorithms.corrections import CORRECTIONS
from repodojo.algorithms.losses import Totals
from repodojo.algorithms.recipes import RECIPES, recipe
from repodojo.core.errors import CheckpointError, ConfigError, RunError
from repodojo.core.records import Batch, Sample
from repodojo.inference.architecture import Architecture
from repodojo.inference.decoder import Decoder
from repodojo.learner import checkpoints
from repodojo.learner.logprobs import packed_logprobs
from repodojo.learner.objective import Sums, policy_loss, rollout_logprobs, terms
from repodojo.learner.optim import OptimizerSettings
from repodojo.learner.packing import pack
from repodojo.learner.steps import Learner

ADAMW = OptimizerSettings(learning_rate=1e-3, weight_decay=0.1, warmup=2)
MUON = OptimizerSettings(kind="muon", learning_rate=1e-3, schedule="cosine", total_steps=9)
ALL = 1_000_000


def decoder(seed: int = 0) -> Decoder:
    torch.manual_seed(seed)
    model = Decoder(Architecture("qwen3", 40, 32, 48, 2, 2, 1, 16, max_positions=128))
    torch.nn.init.normal_(model.model.embed_tokens.weight, std=0.2)
    return model


def samples(groups: int = 4, size: int = 3, seed: int = 0) -> list[Sample]:
    """Groups that share a prompt; log-probs of a policy near uniform; one fully masked sample."""
    g = torch.Generator().manual_seed(seed)

    def draw(n: int) -> list[int]:
        return torch.randint(0, 40, (n,), generator=g).tolist()

    out = []
    for k in range(groups):
        prompt = draw(20)
        for i in range(size):
            tokens = prompt + draw(5 + 3 * i + k)
            mask = tuple(len(prompt) <= t and t % 3 > 0 and (k, i) != (0, 0) for t in range(len(tokens)))
            noise = (torch.randn(len(tokens), generator=g) * 0.3 - math.log(40)).tolist()
            logprobs = tuple(x if m else 0.0 for x, m in zip(noise, mask, strict=True))
            out.append(Sample(tuple(tokens), mask, logprobs, (1.0, -0.4, -0.6)[i % 3], str(k)))
    return out


def gradients(learner: Learner) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in learner.decoder.parameters() if p.grad is not None])


OFF_POLICY = {"old_logprobs": "learner", "veto": 1e-4, "off_policy_delta": 0.1}
VARIANTS = [
    *RECIPES.values(),
    *(recipe("dapo", correction=name, **OFF_POLICY) for name in CORRECTIONS),
    recipe("grpo", aggregation="seq-mean-token-sum", count_masked=True),
    recipe("dapo", dual_clip=3.0, kl="k3", kl_coef=0.1, entropy_coef=0.01, old_logprobs="learner", correction="tis"),
]


@pytest.mark.parametrize("row", VARIANTS, ids=[f"{r.name}-{r.aggregation}-{r.correction}-{r.kl}" for r in VARIANTS])
def test_micro_batches_change_nothing(row: Any) -> None:
    found = []
    for budget in (ALL, 60, 1):
        learner = Learner(decoder(), optimizer=ADAMW, token_budget=budget, reference=decoder(1))
        metrics = learner.rl_step(Batch(tuple(samples()), 0), row)
        found.append((metrics["loss"], metrics["entropy"], metrics["clip_fraction"], gradients(learner)))
    for other in found[1:]:
        assert other[:3] == pytest.approx(found[0][:3], abs=1e-6)
        torch.testing.assert_close(other[3], found[0][3], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("row", VARIANTS, ids=[f"{r.name}-{r.aggregation}-{r.correction}-{r.kl}" for r in VARIANTS])
def test_the_gradients_of_two_processes_add_up_to_that_of_one(row: Any) -> None:
    """Each takes half the groups and knows the totals of all, which is all that it needs to know of the other."""
    several = samples()
    reference = Learner(decoder(1))
    tokens = torch.tensor([sum(s.loss_mask) for s in several], dtype=torch.float64)
    totals = Totals.of(tokens, count_masked=row.count_masked)

    def share(part: list[Sample]) -> tuple[float, torch.Tensor]:
        learner = Learner(decoder(), optimizer=ADAMW)
        ref = reference.logprobs(reference.decoder, part) if row.kl else None
        old = learner.logprobs(learner.decoder, part) if row.old_logprobs == "learner" else None
        given = terms(part, row, rollout_logprobs(part), old, ref, totals=totals)
        packed = pack(part)
        loss = policy_loss(*packed_logprobs(learner.decoder, packed), packed, given, Sums())
        loss.backward()  # type: ignore[no-untyped-call]
        return float(loss.detach()), gradients(learner)

    whole, halves = share(several), [share(several[:6]), share(several[6:])]
    assert sum(loss for loss, _ in halves) == pytest.approx(whole[0], abs=1e-6)
    torch.testing.assert_close(halves[0][1] + halves[1][1], whole[1], atol=1e-6, rtol=1e-5)


def test_turns_may_have_advantages_of_their_own() -> None:
    plain = samples()
    spread = [replace(s, advantage=9.0, token_advantages=(s.advantage,) * len(s.token_ids)) for s in plain]
    found = []
    for given in (plain, spread):
        learner = Learner(decoder(), optimizer=ADAMW)
        learner.rl_step(Batch(tuple(given), 0), recipe("dapo"))
        found.append(gradients(learner))
    torch.testing.assert_close(*found, atol=0, rtol=0)


def test_an_adaptive_entropy_bonus_moves_and_is_resumed(tmp_path: Path) -> None:
    row = recipe("grpo", entropy_coef=0.01, entropy_target=9.0, entropy_step=0.005)
    learner, batch = Learner(decoder(), optimizer=ADAMW), Batch(tuple(samples()), 0)
    assert [learner.rl_step(batch, row)["entropy_coef"] for _ in range(3)] == pytest.approx([0.01, 0.015, 0.02])
    checkpoints.save(learner, tmp_path / "a")
    resumed, _ = checkpoints.load(tmp_path / "a", optimizer=ADAMW)
    assert resumed.rl_step(batch, row)["entropy_coef"] == pytest.approx(0.025)
    calm = replace(row, entropy_target=0.001)
    assert resumed.rl_step(batch, calm)["entropy_coef"] == pytest.approx(0.03)
    assert resumed.rl_step(batch, calm)["entropy_coef"] == 0.0  # above the target nothing is paid


def test_ratio_statistics_are_those_of_the_tokens() -> None:
    batch = Batch(tuple(samples()), 0)
    learner = Learner(decoder(), optimizer=ADAMW)
    own = learner.logprobs(learner.decoder, batch.samples).values_T
    sampled = torch.tensor([x for s in batch.samples for x in s.logprobs])
    trained = torch.tensor([m for s in batch.samples for m in s.loss_mask])
    ratio = (own - sampled)[trained].double().exp()
    found = learner.rl_step(batch, recipe("grpo"))
    wanted = {
        "ratio_mean": ratio.mean(),
        "ratio_std": ratio.std(correction=0),
        "ratio_min": ratio.min(),
        "ratio_max": ratio.max(),
        "effective_sample_size": ratio.sum() ** 2 / (len(ratio) * (ratio**2).sum()),
    }
    assert {name: found[name] for name in wanted} == pytest.approx({n: float(x) for n, x in wanted.items()}, rel=1e-4)


def test_micro_batches_change_no_supervised_step() -> None:
    found = []
    for budget in (ALL, 30):
        learner = Learner(decoder(), optimizer=ADAMW, token_budget=budget)
        weights = [0.5 + i % 3 for i in range(12)]
        found.append((learner.sft_step(samples(), weights)["loss"], gradients(learner)))
    assert found[1][0] == pytest.approx(found[0][0], abs=1e-6)
    torch.testing.assert_close(found[1][1], found[0][1], atol=1e-6, rtol=1e-5)


def test_weight_nought_is_absence() -> None:
    several = samples()
    with_nought, without = (Learner(decoder(), optimizer=ADAMW) for _ in range(2))
    a = with_nought.sft_step(several, [1.0, 1.0, 2.0] + [0.0] * 9)
    b = without.sft_step(several[:3], [0.5, 0.5, 1.0])
    assert a["loss"] == pytest.approx(b["loss"], abs=1e-6)
    torch.testing.assert_close(gradients(with_nought), gradients(without), atol=1e-6, rtol=1e-5)


def test_sft_learns_and_weights_are_copies() -> None:
    learner = Learner(decoder(), optimizer=OptimizerSettings(learning_rate=1e-2))
    before = learner.weights()
    losses = [learner.sft_step(samples())["loss"] for _ in range(15)]
    assert losses[-1] < 0.5 * losses[0]
    assert set(before) == set(learner.decoder.state_dict())
    assert not torch.equal(before["model.norm.weight"], learner.weights()["model.norm.weight"])


def test_rl_raises_what_was_rewarded() -> None:
    model, batch = decoder(), Batch(tuple(samples()), 0)
    learner = Learner(model, optimizer=OptimizerSettings(learning_rate=2e-3))
    own = learner.logprobs(model, batch.samples).values_T.split([len(s.token_ids) for s in batch.samples])
    batch = replace(
        batch, samples=tuple(replace(s, logprobs=tuple(o.tolist())) for s, o in zip(batch.samples, own, strict=True))
    )
    first = learner.rl_step(batch, recipe("grpo_pp"))
    assert first["mismatch_max"] < 1e-5
    assert first["ratio_mean"] == pytest.approx(1.0, abs=1e-5)
    assert first["clip_fraction"] == 0.0
    for _ in range(5):
        last = learner.rl_step(batch, recipe("grpo_pp"))
    now = learner.logprobs(model, batch.samples).values_T.split([len(s.token_ids) for s in batch.samples])
    gain = [float((n - o).sum()) for n, o in zip(now, own, strict=True)]
    assert sum(g for g, s in zip(gain, batch.samples, strict=True) if s.advantage > 0) > 0
    assert sum(g for g, s in zip(gain, batch.samples, strict=True) if s.advantage < 0) < 0
    assert last["approx_kl"] > 0


def test_pi_old_is_the_policy_at_the_start_of_the_batch() -> None:
    batch = Batch(tuple(samples(seed=3)), 0)
    one = Learner(decoder(), optimizer=ADAMW).rl_step(batch, recipe("dapo", old_logprobs="learner"))
    assert one["ratio_mean"] == pytest.approx(1.0, abs=1e-6)
    fast = Learner(decoder(), optimizer=OptimizerSettings(learning_rate=3e-2))
    assert fast.rl_step(batch, recipe("dapo", old_logprobs="learner"), minibatches=4)["ratio_max"] > 1.01
    assert fast.step == 4


def test_minibatches_hold_whole_groups_and_every_sample_once() -> None:
    learner, several = Learner(decoder()), samples()
    parts = learner._minibatches(several, 3)
    assert sorted(map(id, (s for part in parts for s in part))) == sorted(map(id, several))
    owners = [{s.group_id for s in part} for part in parts]
    assert sum(map(len, owners)) == 4
    assert len(learner._minibatches(several, 99)) == 4


def run(learner: Learner, steps: range) -> None:
    for step in steps:
        learner.sft_step(samples(seed=step))
        learner.rl_step(Batch(tuple(samples(seed=50 + step)), 0), recipe("grpo_pp"), minibatches=2)


@pytest.mark.parametrize("settings", [ADAMW, MUON], ids=["adamw", "muon"])
def test_interrupted_equals_uninterrupted(settings: OptimizerSettings, tmp_path: Path) -> None:
    whole = Learner(decoder(), optimizer=settings, seed=7)
    run(whole, range(4))
    first = Learner(decoder(), optimizer=settings, seed=7)
    run(first, range(2))
    checkpoints.save(first, tmp_path / "step", extra={"task": 12})
    second, extra = checkpoints.load(tmp_path / "step", optimizer=settings, seed=0)
    run(second, range(2, 4))
    assert extra == {"task": 12}
    assert second.step == whole.step == 12
    for name, weight in whole.weights().items():
        assert torch.equal(weight, second.weights()[name]), name


def test_a_checkpoint_is_a_model_folder_and_replaces_the_old_whole(tmp_path: Path) -> None:
    learner = Learner(decoder(), optimizer=ADAMW)
    checkpoints.save(learner, tmp_path / "last")
    learner.sft_step(samples())
    checkpoints.save(learner, tmp_path / "last")
    assert [p.name for p in tmp_path.iterdir()] == ["last"]
    hf = AutoModelForCausalLM.from_pretrained(tmp_path / "last")
    assert torch.equal(hf.model.norm.weight, learner.weights()["model.norm.weight"])
    (tmp_path / "last").rename(tmp_path / "last.old")  # as if killed between the two renames
    assert checkpoints.load(tmp_path / "last", optimizer=ADAMW)[0].step == 1


def test_a_failed_save_leaves_the_old_checkpoint(tmp_path: Path) -> None:
    learner = Learner(decoder(), optimizer=ADAMW)
    checkpoints.save(learner, tmp_path / "last")
    with pytest.raises(AttributeError):
        checkpoints.save(learner, tmp_path / "last", extra={"unsaveable": lambda: None})
    assert [p.name for p in tmp_path.iterdir()] == ["last"]
    assert checkpoints.load(tmp_path / "last", optimizer=ADAMW)[0].step == 0


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no learner\.pt"):
        checkpoints.load(tmp_path)
    checkpoints.save(Learner(decoder(), optimizer=MUON), tmp_path / "a")
    with pytest.raises(ConfigError, match="another optimiser"):
        checkpoints.load(tmp_path / "a", optimizer=ADAMW)
    (tmp_path / "a" / "learner.pt").write_bytes(b"PK torn")
    with pytest.raises(CheckpointError, match="cannot be read"):
        checkpoints.load(tmp_path / "a", optimizer=MUON)


def spoil_advantage(s: Sample) -> Sample:
    return replace(s, advantage=math.nan)


def spoil_logprob(s: Sample) -> Sample:
    return replace(s, logprobs=tuple(math.nan for _ in s.logprobs))


@pytest.mark.parametrize("spoil", [spoil_advantage, spoil_logprob])
def test_a_step_that_is_not_finite_is_skipped_counted_and_in_the_end_an_error(
    spoil: Callable[[Sample], Sample],
) -> None:
    learner = Learner(decoder(), optimizer=ADAMW, max_skips=2)
    good = Batch(tuple(samples()), 0)
    bad = replace(good, samples=(*good.samples[:-1], spoil(good.samples[-1])))
    before = copy.deepcopy(learner.weights())
    assert learner.rl_step(bad, recipe("grpo"))["skipped"] == 1
    assert all(torch.equal(w, before[name]) for name, w in learner.weights().items())
    assert learner.rl_step(good, recipe("grpo"))["skipped"] == 0
    assert (learner.step, learner.skipped) == (1, 1)
    learner.rl_step(bad, recipe("grpo"))
    with pytest.raises(RunError, match="2 steps in a row"):
        learner.rl_step(bad, recipe("grpo"))


def test_nothing_to_train_on_is_no_step() -> None:
    learner = Learner(decoder(), optimizer=ADAMW)
    assert learner.rl_step(Batch((), 0), recipe("grpo_pp"))["tokens"] == 0
    assert learner.sft_step([])["loss"] == 0
    assert learner.step == 0


def test_input_that_does_not_fit_is_refused() -> None:
    learner = Learner(decoder())
    batch = Batch(tuple(samples()), 0)
    with pytest.raises(ConfigError, match="KL term"):
        learner.rl_step(batch, recipe("grpo", kl="k3", kl_coef=0.1))
    with pytest.raises(ConfigError, match="weights"):
        learner.sft_step(samples(), [1.0])
    short = replace(batch.samples[1], logprobs=(0.0,))
    with pytest.raises(ConfigError, match="log-probs"):
        learner.rl_step(Batch((short,), 0), recipe("grpo"))


def test_bfloat16_stays_near_float32() -> None:
    exact, rough = Learner(decoder(), optimizer=ADAMW), Learner(decoder(), optimizer=ADAMW, dtype="bfloat16")
    a, b = (learner.sft_step(samples()) for learner in (exact, rough))
    assert b["loss"] == pytest.approx(a["loss"], rel=0.02)
    assert torch.cosine_similarity(gradients(exact), gradients(rough), dim=0) > 0.99
    assert {w.dtype for w in rough.weights().values()} == {torch.float32}


def test_learning_rate_over_steps() -> None:
    settings = OptimizerSettings(warmup=4, schedule="cosine", total_steps=14, final=0.1)
    rates = [settings.factor(step) for step in range(16)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates[4] == 1.0
    assert rates[9] == pytest.approx(0.55)
    assert rates[14] == rates[15] == pytest.approx(0.1)
    assert all(a >= b for a, b in itertools.pairwise(rates[4:]))
    assert OptimizerSettings().factor(10**6) == 1.0


@pytest.mark.parametrize("wrong", [{"schedule": "cosine"}, {"total_steps": 5}, {"learning_rate": 0.0}], ids=str)
def test_optimiser_settings_are_checked(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        OptimizerSettings(**wrong)

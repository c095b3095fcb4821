"""A plan's arithmetic by hand, the sheet's figures in the full-size recipes, and the command that prints it."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from repodojo.cli.plan import readable
from repodojo.core.errors import CheckpointError, ConfigError
from repodojo.inference.published import PUBLISHED
from repodojo.train import estimates
from repodojo.train.config import load
from repodojo.train.plan import Line, plan, warnings_of

RECIPES = Path(__file__).parents[2] / "recipes"
H100 = estimates.machine("h100", 64)


def values(name: str) -> dict[str, Any]:
    return plan(load(RECIPES / f"{name}.toml"), H100).values()


def test_every_full_size_recipe_has_a_plan() -> None:
    files = [path for path in sorted(RECIPES.glob("*.toml")) if path.stem != "mini-swe-agent"]  # of the user's model
    assert len(files) == 4
    for file in files:
        made = plan(load(file), H100).values()
        stage = " (stage2)" if "time" not in made else ""
        assert made[f"time{stage}"]["step_seconds"] > 0 and made[f"memory{stage}"]["total"] > 1e11, file
        assert file.stem in file.read_text() and tomllib.loads(file.read_text())["run"]["dir"] == f"runs/{file.stem}"


def test_deepswe_is_the_published_one() -> None:
    made = values("deepswe-32b")
    batch, recipe = made["batch"], made["recipe"]
    assert (batch["groups_per_step"], batch["group_size"], batch["learning_rate"]) == (64, 8, 1e-6)
    assert (made["rollout"]["turns_at_most"], made["rollout"]["sampling"]) == (50, "temperature 1")
    assert (recipe["advantage"], recipe["clip_high"], recipe["overlong"]) == ("rloo", 0.28, "mask")
    assert (recipe["aggregation"], recipe["l_max"]) == ("seq-mean-token-sum-norm", 32768)
    assert recipe["entropy_coef"] == 0 and "kl" not in recipe and "gapo_tau" not in recipe
    assert load(RECIPES / "deepswe-32b.toml").sandbox.seconds == 90


def test_golubev_is_the_published_one() -> None:
    for name, stage, groups, size, high, turns, context in (
        ("golubev-72b", " (stage1)", 300, 125, 0.3, 40, 65536),
        ("golubev-72b", " (stage2)", 100, 250, 0.26, 80, 131072),
        ("golubev-72b-stage2", "", 100, 250, 0.26, 80, 131072),
    ):
        made = values(name)
        batch, recipe = made[f"batch{stage}"], made[f"recipe{stage}"]
        assert (batch["groups_per_step"], batch["group_size"]) == (groups, 10)
        assert batch["episodes_per_optimiser_step"] == size  # 128 and 256 at most, dealt evenly
        assert (batch["learning_rate"], batch["weight_decay"], batch["grad_clip"]) == (1e-6, 0.1, 1.0)
        assert (recipe["clip_low"], recipe["clip_high"]) == (0.2, high)
        assert (recipe["turn_penalty_from"], recipe["turn_limit"]) == (10, turns)
        assert made[f"rollout{stage}"]["context"] == context
    assert made["rollout"].get("yarn") is None and values("golubev-72b")["rollout (stage2)"]["yarn"] == 4
    assert values("golubev-72b")["rollout (stage2)"]["steps"] == "60 to 119"
    rft = load(RECIPES / "golubev-72b.toml").rft
    assert (rft.tasks, rft.attempts, rft.epochs, rft.batch_size) == (7249, 10, 1, 64)
    assert (rft.learning_rate, rft.warmup, rft.mask_format_errors) == (5e-6, 10, True)


def test_gapo_is_the_published_one() -> None:
    made = values("gapo-coder-14b")
    batch, recipe = made["batch"], made["recipe"]
    assert (batch["groups_per_step"], batch["group_size"], batch["optimiser_steps_per_step"]) == (512, 8, 16)
    assert (recipe["advantage"], recipe["gapo_tau"], recipe["dual_clip"]) == ("gapo", 0.5, 10.0)
    assert (recipe["clip_low"], recipe["clip_high"], batch["learning_rate"]) == (0.2, 0.28, 1e-6)
    assert any("GAPO" in text for text in made["warnings"])


def test_published_sizes_are_those_of_their_names() -> None:
    billions = {name: round(a.parameters() / 1e9, 1) for name, a in PUBLISHED.items()}
    assert billions == {"Qwen/Qwen3-32B": 32.8, "Qwen/Qwen2.5-72B-Instruct": 72.7, "Qwen/Qwen2.5-Coder-14B": 14.8}
    assert estimates.kv_bytes(PUBLISHED["Qwen/Qwen3-32B"], 2) == 2 * 64 * 8 * 128 * 2


def test_the_arithmetic_by_hand() -> None:
    given = ["run.stages=rl", "rl.groups_per_step=6", "rollout.group_size=4", "rl.steps=5", "rl.minibatches=4"]
    batch = plan(load(None, given), H100).values()["batch"]
    assert batch["episodes_per_step"] == 24 and batch["episodes_per_step_at_most"] == 72
    assert (batch["optimiser_steps_per_step"], batch["episodes_per_optimiser_step"]) == (4, 6)
    assert (batch["episodes"], batch["tokens_at_most"], batch["optimiser_steps"]) == (120, 120 * 1024, 20)
    config = load(None, ["run.stages=rl", "rl.groups_per_step=6", "rollout.group_size=4", "rl.minibatch_size=7"])
    assert plan(config, H100).values()["batch"]["optimiser_steps_per_step"] == 4


def test_more_devices_are_faster_and_memory_bounds_what_runs_at_once() -> None:
    config = load(RECIPES / "deepswe-32b.toml")
    few, many = (plan(config, estimates.machine("h100", n)).values()["time"] for n in (16, 128))
    assert few["step_seconds"] > 2 * many["step_seconds"]
    assert few["episodes_at_once"] < 512 and many["episodes_at_once"] <= 512


def test_a_reference_model_takes_memory() -> None:
    one, two = ([*["run.stages=rl"], *more] for more in ([], ["recipe.kl=k3", "recipe.kl_coef=0.1"]))
    without, with_it = (plan(load(None, given), H100).values() for given in (one, two))
    assert with_it["memory"]["reference_weights"] == 4 * with_it["model"]["parameters"]
    assert without["memory"]["reference_weights"] == 0


def test_warnings_say_what_is_probably_not_meant() -> None:
    def of(*given: str) -> str:
        return " ".join(warnings_of(load(None, given)))

    assert of() == of("run.stages=rft") == ""
    assert "0 or 1" in of("rl.recipe=gapo") and "0 or 1" not in of("rl.recipe=gapo", "reward.outliers=0.1")
    assert "temperature 1" in of("rollout.temperature=0.7")
    assert "versions old" in of("rollout.max_staleness=4")
    assert "versions old" not in of(
        "rollout.max_staleness=4", "recipe.old_logprobs=learner", "recipe.correction=decoupled"
    )
    assert "not replaced" in of("rl.max_refills=0")
    assert "l_max" in of("agent.max_context=4096")


def test_what_cannot_be_planned_is_refused() -> None:
    with pytest.raises(CheckpointError, match=r"Qwen/Qwen3-32B"):
        plan(load(None, ["model.path=nowhere"]), H100)
    for name, count in (("tpu", 1), ("h100", 0)):
        with pytest.raises(ConfigError, match="accelerator"):
            estimates.machine(name, count)


def test_this_machine_is_measured() -> None:
    here = estimates.machine("local", 1)
    assert here.flops > 1e8 and here.bandwidth > 1e7 and here.memory > 1e8 and here.compute_share == 1


def test_the_command_prints_tables_and_json(tmp_path: Path) -> None:
    from repodojo.cli import _app

    runner, app = CliRunner(), _app(["train"])
    file = str(RECIPES / "deepswe-32b.toml")
    arguments = ["train", file, "--dry-run", "--accelerator", "h100", "--accelerators", "64"]
    shown = runner.invoke(app, arguments)
    assert shown.exit_code == 0 and "episodes_per_step" in shown.output and "GiB" in shown.output
    plain = runner.invoke(app, [*arguments, "--json"])
    assert json.loads(plain.output)["batch"]["episodes_per_step"] == 512
    with pytest.raises(ConfigError, match="dry-run"):
        runner.invoke(app, ["train", file, "--accelerator", "h100"], catch_exceptions=False)
    assert not Path("runs/deepswe-32b").exists()


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (Line(32.8e9, "bytes"), "30.5 GiB"),
        (Line(5400.0, "seconds"), "1.5 h"),
        (Line(0.002, "seconds"), "2.0 ms"),
        (Line(9000), "9,000"),
        (Line(125.0), "125"),
        (Line(True), "True"),
        (Line(3, "versions"), "3 versions"),
        (Line(0.0, "bytes"), "0.0 bytes"),
    ],
    ids=str,
)
def test_units_suit_the_size(line: Line, text: str) -> None:
    assert readable(line) == text

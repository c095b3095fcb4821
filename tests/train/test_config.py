from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repodojo.algorithms.recipes import recipe
from repodojo.core.errors import ConfigError
from repodojo.rewards.checks import Check
from repodojo.train.config import NAMES, Config, describe, dump, load
from repodojo.train.idle import idle_reason, recipe_of


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_defaults_and_overrides_in_order(tmp_path: Path) -> None:
    file = write(tmp_path / "a.toml", '[rl]\nsteps = 3\n[tasks]\nstore = "here"\n')
    config = load(file, ["rl.steps=7", "rl.steps=9", "run.stages=rl", "agent.max_seconds=5", "model.path=123"])
    assert (config.rl.steps, config.tasks.store, config.run.stages) == (9, "here", ("rl",))
    assert (config.agent.max_seconds, config.model.path) == (5.0, "123")
    assert load(None) == Config()


@pytest.mark.parametrize(
    ("override", "nearest"),
    [
        ("rl.lerning_rate=1", "rl.learning_rate"),
        ("rl.seed=1", "run.seed"),
        ("seed=1", "run.seed"),
        ("rft.epoch=1", "rft.epochs"),
        ("rll=1", "[rl]"),
    ],
)
def test_an_unknown_override_names_the_nearest(override: str, nearest: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(None, [override])
    assert nearest in caught.value.way_out
    assert override in caught.value.cause


def test_an_unknown_key_in_a_file_names_the_file(tmp_path: Path) -> None:
    file = write(tmp_path / "mine.toml", "[rollout]\ngroupsize = 4\n")
    with pytest.raises(ConfigError, match=r"mine\.toml.*rollout\.group_size"):
        load(file)
    with pytest.raises(ConfigError, match=r"unknown section \[rollouts\].*\[rollout\]"):
        load(write(tmp_path / "b.toml", "[rollouts]\ngroup_size = 4\n"))


@pytest.mark.parametrize(
    "override",
    [
        "rl.steps=abc",
        "rl.steps=1.5",
        "rl.steps=true",
        "rl.steps=-1",
        "rl.overlong=sometimes",
        "run.stages=rl,dpo",
        "run.stages=rl,rl",
        "run.stages=[]",
        "agent.memo_tests=1",
        "rl.learning_rate=nan",
        "rl.steps",
    ],
)
def test_a_wrong_value_names_the_setting(override: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(None, [override])
    assert override.partition("=")[0] in str(caught.value)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("reward.weights={stile = 0.1}", "did you mean 'style'"),
        ("reward.partial={hiden = 0.1}", "did you mean 'hidden'"),
        ("reward.weights={hidden = 0.1}", "unknown part 'hidden'"),
        ("reward.weights={style = 0.0}", "would do nothing"),
        ("reward.partial={checks = 0.1}", "there are no reward.checks"),
        ('reward.checks=[{comand = "true"}]', "reward.checks"),
        ("monitor.signs=history,jumps", "monitor.signs"),
    ],
)
def test_a_part_that_is_unknown_or_idle_is_refused(override: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(None, [override])
    assert said in str(caught.value)


def test_checks_and_weights_are_read_from_a_file_and_written_back(tmp_path: Path) -> None:
    text = """[reward]
weights = { style = 0.1, size = 0.3 }
cap = 0.2
checks = [{ command = "python -c 'import tiny'", output = "\\n" }, { command = "false", exit_code = 1, files = ["a"] }]
"""
    config = load(write(tmp_path / "a.toml", text))
    assert config.reward.checks[1].files == ("a",) and config.reward.checks[0].output == "\n"
    assert load(write(tmp_path / "b.toml", dump(config))) == config


def test_a_file_that_cannot_be_read_or_parsed_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="not TOML"):
        load(write(tmp_path / "bad.toml", "[rl\n"))


@pytest.mark.parametrize(
    ("overrides", "idle"),
    [
        (["run.stages=rl", "rft.epochs=2"], "rft.epochs"),
        (["run.stages=rft", "rl.steps=40"], "rl.steps"),
        (["run.stages=rft", "rollout.group_size=8"], "rollout.group_size"),
        (["run.wandb_project=mine"], "run.wandb_project"),
        (["rl.minibatches=1", "rl.clip_high=0.3"], "rl.clip_high"),
        (["rollout.kv_after_publish=keep"], "rollout.kv_after_publish"),
        (["rollout.max_staleness=1", "rollout.publish=drained", "rollout.kv_after_publish=keep"], "kv_after_publish"),
        (["run.stages=rft", "rollout.lent_threads=1"], "rollout.lent_threads"),
        (["rl.recipe=grpo", "rl.max_refills=1"], "rl.max_refills"),
        (["agent.memory=notes.db"], "agent.memory"),
        (["agent.tool_chars={definition = 900}"], "agent.tool_chars"),
        (["reward.gates={style = 0.5}"], "reward.gates"),
        (["reward.weights={style = 0.1}", "reward.cap=0.3"], "reward.cap"),
        (["reward.weights={style = 0.1}", "reward.tokens_target=900"], "reward.tokens_target"),
        (["monitor.enabled=false", "monitor.jump=0.2"], "monitor.jump"),
        (["run.stages=rft", "monitor.collapse=0.5"], "monitor.collapse"),
        (["rl.eval_every=0", "monitor.release=person"], "monitor.release"),
        (["run.stages=rft", "recipe.loss=ppo"], "recipe.loss"),
        (["rl.minibatches=1", "recipe.dual_clip=3"], "recipe.dual_clip"),
        (["rl.minibatch_size=8", "rl.minibatches=2"], "rl.minibatches"),
        (["recipe.gapo_tau=0.5"], "recipe.gapo_tau"),
        (["recipe.kl_coef=0.1"], "recipe.kl_coef"),
        (["recipe.correction=tis"], "recipe.correction"),
        (["recipe.confidence=0.2"], "recipe.confidence"),
        (["recipe.potential=0.3"], "recipe.potential"),
        (["recipe.critic_lr=0.1"], "recipe.critic_lr"),
        (["replay.decay=0.9"], "replay.decay"),
        (["run.stages=rft", "replay.capacity=9"], "replay.capacity"),
    ],
)
def test_an_idle_setting_is_refused_even_at_its_default(overrides: list[str], idle: str) -> None:
    with pytest.raises(ConfigError, match=f"{idle} .*would do nothing"):
        load(None, overrides)


def test_the_condition_makes_an_idle_setting_welcome() -> None:
    assert load(None, ["agent.sources=graph", "agent.tool_chars={definition = 900}"]).agent.sources == ("graph",)
    trackers = "run.trackers=jsonl,wandb"
    assert load(None, [trackers, "run.wandb_project=mine"]).run.wandb_project == "mine"
    assert load(None, ["rl.minibatches=1", "rollout.max_staleness=1", "rl.clip_high=0.3"]).rl.clip_high == 0.3


SERVED = ["rollout.engine=vllm", "rollout.engine_urls=http://127.0.0.1:8000"]
WITHOUT_DEFAULT = ("rollout.engine_urls",)  # a server is named, or there is none (see test_served)
NEEDED = {
    "run.wandb_project": ["run.trackers=wandb"],
    "rollout.take": ["rollout.max_staleness=1"],
    "rollout.publish": ["rollout.max_staleness=1"],
    "rollout.kv_after_publish": ["rollout.max_staleness=1"],
    "rollout.finish": ["rollout.redundancy=1"],
    "rollout.prefix_skew": ["rollout.prefixes=true"],
    "tasks.sampling_floor": ["tasks.sampling=difficulty"],
    "replay.oldest": ["replay.capacity=9"],
    "replay.sharpness": ["replay.capacity=9"],
    "replay.decay": ["replay.capacity=9"],
    "agent.memory": ["agent.sources=memory"],
    "agent.preload": ["agent.command=echo"],
    "context.keep_turns": ["context.condense_at=0.5"],
    "reward.gates": ["reward.weights={style = 0.1}"],
    "reward.cap": ["reward.weights={style = 0.2, size = 0.2}"],
    "reward.tokens_target": ["reward.weights={tokens = 0.1}"],
    "reward.partial_cap": ["reward.partial={hidden = 0.9}"],
    "monitor.release": ["rl.eval_every=2"],
    "attacker.finds": ["attacker.enabled=true"],
    **{f"rollout.engine_{name}": SERVED for name in ("model", "key_file", "weights")},
    **{name: ["run.stages=sft"] for name in NAMES if name.startswith("sft.")},
}
"""What makes a setting do something where the defaults leave it idle."""


@pytest.mark.parametrize(
    "name", [name for name in NAMES if not name.startswith("recipe.") and name not in WITHOUT_DEFAULT]
)
def test_every_setting_is_described_and_can_be_overridden(name: str) -> None:
    row = next(row for row in describe() if row.name == name)
    assert row.text and row.kind
    others = NEEDED.get(name, [])
    section, _, key = name.partition(".")
    usual = getattr(getattr(Config(), section), key)
    if usual is None:  # the recipe's own
        usual = "drop" if key == "overlong" else 0.5
        assert row.default == "the recipe's own"
    text = row.default if row.default != "the recipe's own" else str(usual)
    changed = load(None, [*others, f"{name}={text}"])
    assert name == "run.wandb_project" or getattr(getattr(changed, section), key) == usual


TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
POSITIVE = st.floats(min_value=1e-12, max_value=1e6)


@st.composite
def configs(draw: st.DrawFn) -> Config:
    """Any configuration that `load` would accept: idle settings keep their defaults."""
    stages = draw(st.sampled_from([("rft", "rl"), ("rl",), ("rft",)]))
    sections = {
        "run": {"stages": stages, "seed": draw(st.integers(0, 2**40)), "dir": draw(TEXT.filter(bool))},
        "model": {"path": draw(TEXT)},
        "tasks": {"store": draw(TEXT), "limit": draw(st.integers(0, 9))},
        "agent": {"max_seconds": draw(POSITIVE), "memo_tests": draw(st.booleans())},
    }
    parts = st.dictionaries(st.sampled_from(["style", "size", "reuse"]), st.floats(0.01, 0.5), max_size=3)
    checks = st.lists(st.builds(Check, command=TEXT.filter(bool), output=TEXT, files=st.tuples(TEXT)), max_size=2)
    sections["reward"] = {"weights": draw(parts), "checks": tuple(draw(checks))}
    if "rl" in stages:
        overlong = draw(st.sampled_from([None, "penalise", "mask", "drop"]))
        recipe = draw(st.sampled_from(["grpo", "dapo", "grpo_pp"]))
        clip = draw(st.none() | st.floats(0, 1))
        sections["rl"] = {"learning_rate": draw(POSITIVE), "overlong": overlong, "recipe": recipe, "clip_high": clip}
    return Config.model_validate(sections)


@given(configs())
@settings(max_examples=60, deadline=None)
def test_what_is_dumped_loads_back_equal(tmp_path_factory: pytest.TempPathFactory, config: Config) -> None:
    file = tmp_path_factory.mktemp("config") / "c.toml"
    file.write_bytes(dump(config).encode())
    assert load(file) == config


def test_a_recipe_is_known_and_what_is_not_given_stays_its_own() -> None:
    assert recipe_of(load(None, ["rl.recipe=grpo_pp"])) == recipe("grpo_pp")
    attacking = ["rl.recipe=grpo_pp", "attacker.enabled=true"]
    assert recipe_of(load(None, attacking)) == replace(recipe("grpo_pp"), signal_by="score")
    assert recipe_of(load(None, [*attacking, "recipe.signal_by=outcome"])) == recipe("grpo_pp")
    changed = recipe_of(load(None, ["rl.recipe=dapo", "rl.clip_low=0.1", "rl.overlong=drop"]))
    limits = {"overlong_limit": 1024, "overlong_cache": 204}
    assert changed == recipe("dapo", clip_low=0.1, overlong="drop", **limits)
    with pytest.raises(ConfigError, match=r"rl\.recipe \(override 'rl.recipe=gpro'\).*did you mean 'grpo'"):
        load(None, ["rl.recipe=gpro"])


def test_dump_keeps_idle_settings_as_comments() -> None:
    config = load(None, ["run.stages=rft"])
    assert idle_reason(config, "rl.steps")
    assert "\n# steps = 40  (idle: " in dump(config)


EVERY_PART: dict[str, tuple[str, list[str]]] = {
    # a value unlike the row's own, and what must stand beside it
    "advantage": ("opo", []),
    "gapo_tau": ("0.6", ["recipe.advantage=gapo"]),
    "gapo_centre": ("mean", ["recipe.advantage=gapo"]),
    "gapo_normalise": ("false", ["recipe.advantage=gapo"]),
    "gigpo_gamma": ("0.9", ["recipe.advantage=gigpo"]),
    "gigpo_episode_weight": ("0.5", ["recipe.advantage=gigpo"]),
    "gigpo_step_weight": ("2.0", ["recipe.advantage=gigpo"]),
    "gae_gamma": ("0.9", ["recipe.advantage=gae"]),
    "gae_lam": ("0.9", ["recipe.advantage=gae"]),
    "gae_whiten": ("false", ["recipe.advantage=gae"]),
    "critic_lr": ("0.01", ["recipe.advantage=gae"]),
    "value_coef": ("0.5", ["recipe.advantage=gae"]),
    "potential": ("0.3", ["recipe.advantage=gae"]),
    "confidence": ("0.2", ["agent.confidence=true"]),
    "confidence_score": ("log", ["agent.confidence=true", "recipe.confidence=0.2"]),
    "loss": ("cispo", []),
    "dual_clip": ("3.0", []),
    "aggregation": ("seq-mean-token-sum", []),
    "l_max": ("64.0", ["recipe.aggregation=seq-mean-token-sum-norm"]),
    "count_masked": ("true", ["recipe.aggregation=seq-mean-token-sum"]),
    "drop_no_signal": ("false", []),
    "signal_by": ("score", []),
    "drop_zero_advantage": ("true", []),
    "mask_format_errors": ("true", []),
    "turn_penalty_from": ("3", []),
    "overlong_cache": ("100", []),
    "kl": ("k3", ["recipe.kl_coef=0.1"]),
    "kl_coef": ("0.1", ["recipe.kl=k3"]),
    "entropy_coef": ("0.01", []),
    "entropy_target": ("0.3", []),
    "entropy_step": ("0.01", ["recipe.entropy_target=0.3"]),
    "old_logprobs": ("learner", []),
    "correction": ("tis", ["recipe.old_logprobs=learner"]),
    "correction_low": ("0.4", ["recipe.old_logprobs=learner", "recipe.correction=icepop"]),
    "correction_high": ("3.0", ["recipe.old_logprobs=learner", "recipe.correction=icepop"]),
    "veto": ("1e-4", ["recipe.old_logprobs=learner"]),
    "off_policy_delta": ("0.5", []),
}


@pytest.mark.parametrize("part", [name.partition(".")[2] for name in NAMES if name.startswith("recipe.")])
def test_every_part_reaches_the_recipe(part: str, tmp_path: Path) -> None:
    value, beside = EVERY_PART[part]
    config = load(None, ["rl.recipe=dapo", *beside, f"recipe.{part}={value}"])
    assert str(getattr(recipe_of(config), part)).lower() == str(getattr(config.recipe, part)).lower()
    assert getattr(recipe_of(config), part) != getattr(recipe("dapo"), part)
    assert load(write(tmp_path / "c.toml", dump(config))) == config


def test_penalties_take_the_agents_limits() -> None:
    dapo = recipe_of(load(None, ["rl.recipe=dapo", "agent.max_context=2000"]))
    assert (dapo.overlong_limit, dapo.overlong_cache) == (2000, 400)
    golubev = recipe_of(load(None, ["rl.recipe=golubev_stage1", "agent.max_turns=16"]))
    assert (golubev.turn_penalty_from, golubev.turn_limit) == (10, 16)
    assert recipe_of(load(None, ["rl.recipe=dapo", "recipe.overlong_cache=0"])).overlong_limit is None
    assert recipe_of(load(None, ["rl.recipe=golubev_stage1", "recipe.turn_penalty_from=0"])).turn_limit is None
    with pytest.raises(ConfigError, match=r"turn_penalty_from 10 must lie below the limit of 8 turns"):
        load(None, ["rl.recipe=golubev_stage1"])


def test_a_complaint_names_the_part_that_was_given() -> None:
    with pytest.raises(ConfigError, match=r"recipe\.advantage \(override .*did you mean 'gapo'"):
        load(None, ["recipe.advantage=gappo"])
    with pytest.raises(ConfigError, match="no baseline"):
        load(None, ["rollout.group_size=1"])

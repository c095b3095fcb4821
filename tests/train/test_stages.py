"""Stages of a run: settings of their own, idle ones refused, resumed across a border, YaRN switched on between."""

from __future__ import annotations

from pathlib import Path

import pytest

from repodojo.core.errors import ConfigError
from repodojo.train.config import dump, load
from repodojo.train.stages import spans

TWO = """
[[stages]]
name = "short"
rl.steps = 1
rl.minibatches = 1
rollout.group_size = 2
agent.max_turns = 2

[[stages]]
name = "long"
yarn = 2.0
rl.steps = 2
rl.minibatches = 2
rl.clip_high = 0.3
rl.learning_rate = 5e-5
rl.groups_per_step = 1
rollout.group_size = 3
agent.max_turns = 3
agent.max_context = 1500
"""


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_stage_takes_its_own_settings_and_shares_the_rest(tmp_path: Path) -> None:
    config = load(write(tmp_path / "c.toml", "[rl]\ngroups_per_step = 5\n" + TWO))
    short, long = spans(config)
    assert (short.first, short.end, long.first, long.end) == (0, 1, 1, 3)
    assert (short.yarn, long.yarn, long.prefix) == (None, 2.0, "rl/long")
    assert (short.config.rl.groups_per_step, long.config.rl.groups_per_step) == (5, 1)
    assert (short.config.agent.max_turns, long.config.agent.max_context) == (2, 1500)
    assert load(write(tmp_path / "d.toml", dump(config))) == config
    (whole,) = spans(load(None, ["rl.steps=7"]))
    assert (whole.name, whole.first, whole.end, whole.prefix) == ("", 0, 7, "rl")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[[stages]]\nname = "a"\nrl.lerning_rate = 1e-3\n', "rl.learning_rate"),
        ('[[stages]]\nname = "a"\nrl.learning_rate = "fast"\n', r"rl\.learning_rate \(stage a\)"),
        ('[[stages]]\nname = "a"\nrl.eval_every = 3\n', "for the whole run"),
        ('[[stages]]\nname = "a"\nagent.context = "none"\n', "for the whole run"),
        ('[[stages]]\nname = "a"\nyarm = 2.0\n', "did you mean yarn"),
        ('[[stages]]\nname = "a"\nyarn = 1.0\n', "yarn"),
        ('[[stages]]\nname = "A b"\n', "name"),
        ('[[stages]]\nname = "a"\n[[stages]]\nname = "a"\n', "one name"),
        ('[run]\nstages = ["rft"]\n[[stages]]\nname = "a"\n', "parts of RL"),
        ('[rl]\nsteps = 4\n[[stages]]\nname = "a"\nrl.steps = 2\n', r"rl\.steps .* every stage sets it"),
        ('[[stages]]\nname = "a"\nrecipe.gapo_tau = 0.6\n', "gapo_tau .*would do nothing"),
        ('[[stages]]\nname = "a"\nrl.minibatches = 1\nrl.clip_high = 0.3\n', r"clip_high \(stage a\) would do nothing"),
        ('[rollout]\nprefix_skew = 0.2\n[[stages]]\nname = "a"\n', "prefix_skew .*would do nothing"),
        ("stages = 3\n", "list of tables"),
    ],
)
def test_what_a_stage_cannot_or_need_not_set_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load(write(tmp_path / "c.toml", text))


def test_a_setting_that_one_stage_uses_is_welcome_for_the_run(tmp_path: Path) -> None:
    text = '[rl]\nclip_high = 0.3\n[[stages]]\nname = "a"\nrl.minibatches = 1\n[[stages]]\nname = "b"\n'
    a, b = spans(load(write(tmp_path / "c.toml", text)))
    assert (a.config.rl.minibatches, b.config.rl.minibatches, b.config.rl.clip_high) == (1, 2, 0.3)

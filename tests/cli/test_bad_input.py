"""What a person gets wrong: one clear line, exit code 2, and nothing written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from repodojo import cli
from repodojo.inference import checkpoint
from repodojo.inference.architecture import Architecture
from repodojo.inference.decoder import Decoder


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """`model` without a tokenizer, `store` with no tasks, and `notes` that is neither."""
    checkpoint.save(Decoder(Architecture("qwen3", 32, 16, 16, 1, 2, 1, 8)), tmp_path / "model")
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "manifest.json").write_text(json.dumps({"format": 1, "packages": {}}))
    (tmp_path / "notes").mkdir()
    return tmp_path


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    assert stopped.value.code == 2
    said = capsys.readouterr()
    assert said.out == ""
    return said.err


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ([], "no task set is named"),
        (["rl.stepz=3"], "did you mean rl.steps?"),
        (["rl.steps=many"], "rl.steps (override 'rl.steps=many')"),
        (["tasks.store=missing"], "missing holds no tasks"),
        (["tasks.store=store", "model.path=missing"], "no config.json in 'missing'"),
        (["tasks.store=store", "rl.recipe=grppo"], "did you mean 'grpo'?"),
    ],
)
def test_settings_that_cannot_be(
    settings: list[str], says: str, folders: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folders)
    if not any(s.startswith("model.path") for s in settings):
        settings = [*settings, "model.path=model"]
    before = sorted(folders.rglob("*"))
    said = refused(["train", "--set", "run.dir=run", *(part for s in settings for part in ("--set", s))], capsys)
    assert says in said and said.startswith("error: ") and said.count("\n") == 1 and ". Way out: " in said
    assert sorted(folders.rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["train", "--resume", "notes"], "notes is no run"),
        (["train", "--resume", "missing"], "missing is no run"),
        (["train", "--resume", "notes", "--set", "rl.steps=3"], "a resumed run keeps its settings"),
        (["train", "missing.toml"], "missing.toml: No such file"),
        (["eval", "store"], "nothing to measure"),
        (["eval", "store", "--model", "model", "--split", "tests"], "eval.split"),
        (["eval", "store", "--model", "missing"], "no usable tokenizer in 'missing'"),
        (["eval", "store", "--model", "model"], "tokenizer_config.json is missing"),
    ],
)
def test_arguments_that_cannot_be(
    arguments: list[str], says: str, folders: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folders)
    said = refused(arguments, capsys)
    assert says in said and said.startswith("error: ") and said.count("\n") == 1


def test_a_verb_or_an_option_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert "No such option" in refused(["train", "--quick"], capsys)

"""The quickstart: its settings hold, its splits share nothing, and on a tiny school it plays to the end and goes on."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import pytest

from repodojo.cli import main
from repodojo.evaluate.tables import read_rows
from repodojo.tasks.store import TaskStore
from repodojo.train import config as configuration
from repodojo.train import splits
from repodojo.train.events import Silent
from repodojo.train.pretrain.run import packaged_list
from repodojo.train.quickstart import RESULTS, Quickstart
from repodojo.train.rundir import RunDir
from tiny_school import SETTINGS

QUICKSTART = Path(str(files("repodojo") / "assets" / "quickstart.toml"))


def test_its_settings_hold() -> None:
    config = configuration.load(QUICKSTART)
    assert config.eval.attempts >= 8 and config.eval.split == "held-out"


def test_splits_share_no_package_and_the_base_read_none_that_is_measured() -> None:
    names = [splits.name_of(r) for r in (*splits.TRAIN, *splits.DEV, *splits.HELD_OUT)]
    assert len(set(names)) == len(names)
    read = [splits.name_of(line) for line in packaged_list().read_text().splitlines() if "==" in line]
    assert len(read) > 50 and not splits.measured(read)


@pytest.mark.slow
def test_it_plays_to_the_end_and_then_shows_the_table_again(
    tiny_store: TaskStore, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = (f"tasks.store={json.dumps(str(tiny_store.path))}", f"model.path={json.dumps(str(tiny_model))}")
    rest = ("eval.tasks=2", "eval.attempts=8", "eval.split=train", "tasks.max_prompt_tokens=700")
    out = tmp_path / "run"
    config = configuration.load(QUICKSTART, [*SETTINGS, *own, *rest, f"run.dir={json.dumps(str(out))}"])
    with RunDir.create(out, config) as run:
        Quickstart(run, Silent()).play()
    rows = read_rows(out / RESULTS)
    assert list(rows) == ["base", "random-edit", "negate-first-if", "tested-search", "rft", "rl"]
    assert all(row.episodes == 16 and row.pass8 is not None for row in rows.values())
    assert 0.2 < (rows["base"].pass1 or 0) < 0.8
    document = json.loads((out / RESULTS).read_text())
    assert {"differences", "machine", "seed", "command", "held_out_tasks", "packages"} <= document.keys()
    with pytest.raises(SystemExit) as stop:
        main(["quickstart", "-o", str(out), "--json"])
    assert stop.value.code in (0, None)
    assert json.loads(capsys.readouterr().out)["rows"].keys() == rows.keys()
    assert (out / "report.html").is_file()


def test_settings_for_a_run_that_is_there_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    RunDir.create(tmp_path / "run", configuration.load(QUICKSTART)).close()
    with pytest.raises(SystemExit) as stop:
        main(["quickstart", "-o", str(tmp_path / "run"), "--set", "rl.steps=3"])
    assert stop.value.code == 2
    assert "keeps its settings" in capsys.readouterr().err

"""tasks.weights: what `repodojo feedback import` found, in what a run draws."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from repodojo.core.errors import TaskError
from repodojo.tasks.feedback.importing import import_feedback
from repodojo.train import config, setup


def weighted(path: Path) -> config.Config:
    return config.load(None, [f"tasks.weights={json.dumps(str(path))}"])


def test_the_weights_of_an_import_reach_the_tasks_that_it_names(tmp_path: Path) -> None:
    rows = [{"id": f"s{n}", "task": "hard", "outcome": "reverted"} for n in range(4)]
    rows.append({"id": "e", "task": "elsewhere", "outcome": "kept"})
    (tmp_path / "s.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    import_feedback(tmp_path / "s.jsonl", tmp_path / "out")
    settings = weighted(tmp_path / "out" / "weights.json")
    assert setup.task_weights(settings, ["easy", "hard"]) == {"hard": 2.0}
    with pytest.raises(TaskError, match="names none of the 1 tasks"):
        setup.task_weights(settings, ["easy"])
    assert setup.task_weights(config.load(None), ["easy"]) == {}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "cannot be read"),
        ("{}", "format"),
        ('{"format": 2, "weights": {}}', "format"),
        ('{"format": 1, "weights": {"hard": "much"}}', "weights.hard"),
        ('{"format": 1, "weights": {"hard": 0}}', "not above 0"),
    ],
)
def test_a_file_that_is_none_is_refused(text: str | None, says: str, tmp_path: Path) -> None:
    path = tmp_path / "w.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(TaskError, match=says):
        setup.task_weights(weighted(path), ["hard"])

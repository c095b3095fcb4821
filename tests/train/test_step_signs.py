"""The alarm on log-probs, and details that only metrics.jsonl keeps."""

from __future__ import annotations

from pathlib import Path

import pytest

from repodojo.train.config import load
from repodojo.train.rundir import RunDir
from repodojo.train.signs import mismatch_alarm
from repodojo.train.trackers import open_trackers


@pytest.mark.filterwarnings("error")
def test_the_alarm_sounds_above_its_bound_only() -> None:
    assert mismatch_alarm({"mismatch_mean": 0.05}, 0.05) == 0.0
    assert mismatch_alarm({}, 0.05) == 0.0
    with pytest.warns(RuntimeWarning, match=r"differ by 0\.060"):
        assert mismatch_alarm({"mismatch_mean": 0.06}, 0.05) == 1.0


def test_details_go_to_the_line_and_to_no_curve(tmp_path: Path) -> None:
    with RunDir.create(tmp_path / "run", load(None)) as run:
        trackers = open_trackers(run)  # TensorBoard among them, which takes numbers only
        trackers.log("rl", 3, {"loss": 0.5}, {"histograms": {"groups": [{"id": "a", "reward": [1, 2]}]}})
        trackers.close()
        line = run.metrics()[-1]
    assert line["loss"] == 0.5 and line["histograms"]["groups"][0]["reward"] == [1, 2]

"""Every benchmark runs, says its ratio as JSON, and compares two sides that were checked to do the same."""

from __future__ import annotations

import json
from typing import Any

import pytest

from repodojo.cli import bench, main
from repodojo.cli.benches.scaling import slope

OURS = ("decode", "multiturn", "train", "advantage", "scaling", "overhead", "reward", "outliers")
SLOW = ("overhead", "reward")


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    with pytest.raises(SystemExit) as end:
        main(["bench", *arguments])
    assert end.value.code == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow if n in SLOW else ()) for n in OURS])
def test_a_benchmark_prints_one_object_with_its_ratio(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = printed(capsys, name, "--quick", "--json")
    assert found["bench"] == name and found["quick"] is True and found["machine"]["cores"] >= 1
    assert 0 < found["ratio"] < 1e6
    if "ratio_low" in found:
        assert found["ratio_low"] <= found["ratio"] <= found["ratio_high"]
        if name != "reward":  # boxes and what runs in them: wall-clock
            assert found["ours_cpu_seconds"] > 0 and found["theirs_cpu_seconds"] > 0


def test_all_are_listed_with_what_they_compare(capsys: pytest.CaptureFixture[str]) -> None:
    found = printed(capsys, "--json")
    assert {*OURS, "end-to-end"} <= set(found) == set(bench.names())
    for name in found:
        module = bench.module_of(name)
        assert found[name] and callable(module.run)


def test_an_unknown_one_is_refused_with_the_names(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["bench", "nothing"])
    assert end.value.code == 2 and "decode" in capsys.readouterr().err


def test_the_exponent_is_that_of_the_cost() -> None:
    sizes = [10, 20, 40, 80]
    for power in (0.5, 1.0, 1.3, 2.0):
        assert slope(sizes, [3 * n**power for n in sizes]) == pytest.approx(power)

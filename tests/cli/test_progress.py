"""Progress where nobody watches a terminal: lines for a log."""

from __future__ import annotations

import io

from rich.console import Console

from repodojo.cli.progress import Bars


def test_without_a_terminal_each_stage_of_making_is_a_line() -> None:
    said = io.StringIO()
    with Bars(Console(file=said, force_terminal=False, width=80)) as bars:
        tell = bars.making("pkg")
        for stage, done, total in (("fetch", 0, 0), ("mutants", 1, 4), ("mutants", 3, 4)):
            tell(stage, done, total)
    lines = [line.strip() for line in said.getvalue().splitlines()]
    stages = [line for line in lines if line.startswith("pkg") and "left" not in line]  # not the bar at the end
    assert stages == ["pkg: fetch: 0", "pkg: mutants: 1 of 4"]


def test_the_time_left_is_that_of_the_stage() -> None:
    now = [0.0]
    with Bars(Console(file=io.StringIO(), force_terminal=False)) as bars:
        bars.progress.get_time = lambda: now[0]
        tell = bars.making("pkg")
        for seconds, stage, done in ((0, "walk", 1), (100, "walk", 2), (100, "commits", 1), (140, "commits", 2)):
            now[0] = float(seconds)
            tell(stage, done, 10)
        assert bars.progress.tasks[0].time_remaining == 8 * 40

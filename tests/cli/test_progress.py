"""Progress where nobody watches a terminal: lines for a log."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from repodojo.cli.progress import Bars


def test_without_a_terminal_each_stage_of_making_is_a_line() -> None:
    said = io.StringIO()
    with Bars(Console(file=said, force_terminal=False, width=80)) as bars:
        tell = bars.making("pkg")
        for stage, done, total in (("fetch", 0, 0), ("mutants", 1, 4), ("mutants", 3, 4)):
            tell(stage, done, total)
    lines = [line.strip() for line in said.getvalue().splitlines()]
    assert lines == ["pkg: fetch: 0", "pkg: mutants: 1 of 4"]


def test_the_time_left_is_that_of_the_stage() -> None:
    now = [0.0]
    with Bars(Console(file=io.StringIO(), force_terminal=False)) as bars:
        bars.progress.get_time = lambda: now[0]
        tell = bars.making("pkg")
        for seconds, stage, done in ((0, "walk", 1), (100, "walk", 2), (100, "commits", 1), (140, "commits", 2)):
            now[0] = float(seconds)
            tell(stage, done, 10)
        assert bars.progress.tasks[0].time_remaining == 8 * 40


def test_a_phase_without_a_total_ends_where_the_next_begins() -> None:
    said = io.StringIO()
    with Bars(Console(file=said, force_terminal=False, width=120)) as bars:
        bars.phase("fetch", 0)
        bars.phase("validate", 4)
        bars.advance(4)
    lines = said.getvalue().splitlines()
    assert lines[0] == "fetch" and lines[1].startswith("  fetch: 1 of 1 in 0:00:0")
    assert lines[2] == "validate (4)" and lines[3].startswith("  validate: 4 of 4 in 0:00:0") and len(lines) == 4


def test_a_phase_that_breaks_off_is_not_shown_as_done() -> None:
    said = io.StringIO()
    with pytest.raises(RuntimeError), Bars(Console(file=said, force_terminal=False, width=120)) as bars:
        bars.phase("fetch", 0)
        raise RuntimeError
    assert said.getvalue() == "fetch\n"

"""A journal of verdicts: what is known is not played again, what was torn or rests on other code is."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_package import boxes
from typer.testing import CliRunner

from repodojo.audit.attack import shipped
from repodojo.audit.journal import Journal, basis, digest
from repodojo.audit.play import Play, play_all
from repodojo.cli import _app
from repodojo.core.errors import SandboxError, UserError
from repodojo.core.protocols import Sandbox
from repodojo.core.records import Environment, Task
from repodojo.rewards.grade import TestReward
from repodojo.tasks.store import TaskStore


class NoBoxes:
    """A factory that nobody may ask."""

    async def create(self, environment: Environment) -> Sandbox:
        raise SandboxError("no box was to be made")

    async def close(self) -> None: ...


def test_what_was_played_is_not_played_again(tmp_path: Path, attacked: TaskStore, task: Task) -> None:
    attacks = tuple(attack for attack in shipped() if attack.family in (8, 23))

    async def go(really: bool) -> list[Play]:
        factory, journal = boxes(attacked.path), Journal(tmp_path / "j.jsonl", "a")
        given = factory if really else NoBoxes()
        try:
            gold = attacked.gold_changes
            return await play_all([task], attacks, gold, given, TestReward(given), journal=journal)
        finally:
            journal.close()
            await factory.close()

    first = asyncio.run(go(True))
    assert all(play.good for play in first)
    assert asyncio.run(go(False)) == first
    lines = (tmp_path / "j.jsonl").read_text().splitlines()
    (tmp_path / "j.jsonl").write_text("\n".join(lines[:-1]) + "\n" + lines[-1][:40])  # killed while it wrote
    again = asyncio.run(go(False))
    [lost] = [
        place for place, play in enumerate(again) if play.paid is None
    ]  # two work side by side: any may be the last

    def others(plays: list[Play]) -> list[Play]:
        return plays[:lost] + plays[lost + 1 :]

    assert others(again) == others(first)
    assert asyncio.run(go(True)) != first and others(asyncio.run(go(False))) == others(first)


@given(st.lists(st.tuples(st.text(), st.text(), st.booleans()), max_size=8))
def test_all_that_is_put_is_there_when_it_is_opened_again(rows: list[tuple[str, str, bool]]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "deep" / "journal.jsonl"
        journal = Journal(path, "x")
        for name, other, value in rows:
            journal.put((name, other), {"paid": value})
        journal.close()
        wanted = {(name, other): {"paid": value} for name, other, value in rows}
        same, another = Journal(path, "x"), Journal(path, "y")
        assert {key: same.get(key) for key in wanted} == wanted
        assert all(another.get(key) is None for key in wanted)
        same.close()
        another.close()


def test_it_rests_on_settings_and_refuses_what_is_no_file(tmp_path: Path) -> None:
    assert basis("attacks", 1) == basis("attacks", 1) != basis("attacks", 2)
    assert digest("ab", "c") != digest("a", "bc")
    with pytest.raises(UserError):
        Journal(tmp_path, "")


def test_the_mutants_of_a_task_are_kept(tmp_path: Path, attacked: TaskStore) -> None:
    path = tmp_path / "mutants.jsonl"
    words = ["audit", str(attacked.path), "--task", "t-clamp", "--mutants", "--per-task", "2", "--json"]
    words += ["--journal", str(path), "--unisolated", "--threshold", "1"]
    first = CliRunner().invoke(_app(words), words)
    assert first.exit_code == 0, first.output
    (line,) = path.read_text().splitlines()
    kept = json.loads(line)
    kept["found"]["accepted"] = 77  # so that it can be told from one that was worked out
    path.write_text(json.dumps(kept) + "\n")
    again = CliRunner().invoke(_app(words), words)
    (row,) = json.loads(again.stdout)["tasks"]
    assert row["accepted"] == 77
    assert json.loads(first.stdout)["tasks"][0]["tried"] == row["tried"] == 2

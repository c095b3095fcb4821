"""`repodojo eval --commands`."""

from __future__ import annotations

import json

import pytest

from repodojo.cli import main


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        main(["eval", *arguments])
    assert ended.value.code == 2
    return capsys.readouterr().err


def test_references_and_programs_are_measured(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["eval", "--commands", "--policy", "reference", "--shell", "cmd", "--run", "none", "--json"])
    assert ended.value.code == 0
    row = json.loads(capsys.readouterr().out)["reference"]
    assert (row["prompts"], row["command_accuracy"], row["wrong"]) == (112, 1.0, [])
    assert row["by_shell"]["cmd"]["command_accuracy"] == 1.0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "no task set is named"),
        (["--commands"], "nothing to measure"),
        (["--commands", "--policy", "tested-search"], "answers no prompts"),
        (["--commands", "--base", "--split", "dev"], "--split does nothing with --commands"),
        (["tasks", "--commands", "--base"], "STORE does nothing with --commands"),
        (["tasks", "--base", "--agent", "x"], "--agent does nothing without --commands"),
        (["--commands", "--base", "--shell", "fish"], "there is no shell 'fish'"),
        (["--commands", "--base", "--run", "cmd"], "Windows alone"),
    ],
)
def test_what_cannot_be_is_refused(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert says in refused(arguments, capsys)

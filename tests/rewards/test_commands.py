"""The judge of terminal commands, shell by shell."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repodojo.core.records import Environment, Grader, Score, Source, Task, ToolCall, ToolResult, Trajectory, Turn
from repodojo.rewards.commands import SHELLS, Shell, judge, parse
from repodojo.rewards.commands.episode import issued, shell_of
from repodojo.rewards.commands.judge import names
from repodojo.rewards.commands.tables import look_up, table
from repodojo.rewards.process import SCORES
from repodojo.rewards.process.work import Work

RIGHT: list[tuple[Shell, str]] = [
    ("bash", "find . -name '*.py' -mtime -7 -print0 | xargs -0 grep -ln TODO"),
    ("bash", "tar czf a.tgz src && tar -xzf a.tgz -C out"),
    ("bash", "sudo -u root ls -la /root"),
    ("bash", "head -5 notes.txt; tail -n+2 notes.txt; sort -k2,2n -t, data.csv"),
    ("bash", 'for f in *.txt; do mv -- "$f" "${f%.txt}.md"; done'),
    ("bash", "greet() { echo hi; }; greet"),
    ("bash", "grep --recurs TODO ."),  # GNU takes a beginning that is unambiguous
    ("bash", "$EDITOR notes.txt"),
    ("bash", 'python -m pytest -q tests/ | grep "\\bfailed"'),
    ("powershell", "gci -rec -Filter *.py | ? { $_.Length -gt 1MB } | select -First 3 Name, Length"),
    ("powershell", "$env:MODE = 'test'"),
    ("powershell", "tar -czf a.tgz --exclude=b src"),
    ("powershell", "Copy-Item -Path:a.txt b.txt -ErrorAction Stop"),
    ("cmd", "dir /s/b *.py | findstr /i test"),
    ("cmd", "dir /a:h /o-d"),
    ("cmd", 'for %f in (*.txt) do @ren "%f" "%~nf.md"'),
    ("cmd", "set"),
    ("cmd", "set MODE=a && echo %MODE%"),
    ("cmd", "netstat -ano > nul"),
]
WRONG: list[tuple[Shell, str, str]] = [
    ("bash", "", "does not parse"),
    ("bash", "echo 'open", "does not parse"),
    ("bash", "ls --colour", "has no --colour"),
    ("bash", "tar qzf a.tgz", "has no -q"),
    ("bash", "ls -la | sort --down", "has no --down"),
    ("bash", "sudo ls -y", "has no -y"),
    ("bash", "Get-ChildItem src", "belongs to powershell"),
    ("bash", "echo $env:PATH", "is not bash's"),
    ("bash", "cat src\\app.py", "is not bash's"),
    ("powershell", "ls -la", "has no -la"),
    ("powershell", "ls --all", "has no --all"),
    ("powershell", "copy /y a b", "has no /y"),
    ("powershell", "gci -Fi x", "has no -Fi"),  # Filter or File
    ("powershell", "export A=b", "belongs to bash"),
    ("powershell", "Get-Content 'open", "does not parse"),
    ("cmd", "ls", "belongs to bash and powershell"),
    ("cmd", "dir -la", "has no -la"),
    ("cmd", "dir /z", "has no /z"),
    ("cmd", "echo $(date)", "is not cmd's"),
    ("cmd", 'type "open', "does not parse"),
    ("cmd", "copy a b &&", "does not parse"),
]


@pytest.mark.parametrize(("shell", "text"), RIGHT)
def test_what_is_right(shell: Shell, text: str) -> None:
    assert judge(text, shell).right, judge(text, shell)


@pytest.mark.parametrize(("shell", "text", "why"), WRONG)
def test_what_is_wrong_and_why(shell: Shell, text: str, why: str) -> None:
    verdict = judge(text, shell)
    assert not verdict.right and why in verdict.why, verdict


def test_a_name_in_no_table_is_believed_unless_it_was_not_found() -> None:
    assert judge("mytool --go", "bash").known is None and judge("mytool --go", "bash").right
    assert judge("mytool --go", "bash", exit_code=1).right
    gone = judge("mytool --go", "bash", exit_code=127)
    assert (gone.ran, gone.right, gone.why) == (False, False, "not found")
    assert not judge("mytool --go", "bash", strict=True).right
    assert judge("./mytool --go", "bash", strict=True).right  # no table can know a program by its place


def test_names_are_told_by_what_they_stand_for() -> None:
    assert {"where-object", "get-process"} <= names("ps | ? CPU -gt 1", "powershell")
    assert "grep" in names("find . | xargs -0 -n 1 grep x", "bash")
    assert names("md a & rd b", "cmd") == {"md", "mkdir", "rd", "rmdir"}


@pytest.mark.parametrize("shell", SHELLS)
def test_tables_hold_each_command_once_and_no_option_twice(shell: Shell) -> None:
    known = table(shell)
    assert len(known) > 90
    for name, entry in known.items():
        assert len(set(entry.names)) == len(entry.names), name
        assert len({letter for letter, _ in entry.letters}) == len(entry.letters), name
        assert look_up(name.upper() if shell != "bash" else name, shell) == entry


@given(st.text(max_size=60), st.sampled_from(SHELLS))
def test_any_text_has_a_verdict(text: str, shell: Shell) -> None:
    verdict = judge(text, shell)
    assert verdict.right or verdict.why
    assert judge(text, shell, strict=True).right <= verdict.right


def test_a_text_that_the_grammar_of_bash_does_not_survive_has_a_verdict() -> None:
    """In a process of its own: the scanner dies of a segmentation fault where it sees such letters."""
    hurts = [
        "a:ZR}\ud7ff|_\U00082220!a\U00024632{\\U000b0a9f",
        "+#\ud7ff_`\\>;\U000fd136*}'\\1\u8052\r&\ua659",
        "ls ${\U0010ffff}",
    ]
    script = f"from repodojo.rewards.commands import judge\nfor text in {hurts!a}: judge(text, 'bash')\nprint('alive')"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout == "alive\n", done.stderr[-300:]


def test_deep_nesting_and_endless_text_are_survived() -> None:
    for shell in SHELLS:
        judge("(" * 3000 + "ls" + ")" * 3000, shell)
        assert not parse("a" * 70_000, shell).ok
    assert not parse("ls \0", "bash").ok


def episode(*lines: tuple[str, str, int | None], system: str = "linux") -> Work:
    turns = tuple(
        Turn((), (), (), (), calls=(ToolCall(tool, {"command": text}),), results=(ToolResult("", exit_code=code),))
        for tool, text, code in lines
    )
    task = Task("t", Source("d"), "Do it.", Environment(os=system), Grader())
    return Work(task, {}, {}, trajectory=Trajectory("e", "t", "g", "p", 0, turns, "submit", Score(1.0)))


async def test_the_score_counts_each_different_line_once() -> None:
    score = SCORES["commands"]
    assert await score(episode()) == 1.0
    assert await score(episode(("bash", "ls", 0), ("bash", "ls", 0), ("bash", "dir /s", 2))) == 0.5
    assert await score(episode(("bash", "pytest -q", 1), ("editor", "view", None))) == 1.0
    assert await score(episode(("bash", "nothere", 127))) == 0.0


async def test_the_declared_system_decides_which_shell_is_right() -> None:
    assert shell_of("terminal") == "bash" and shell_of("terminal", "windows") == "powershell"
    assert shell_of("editor") is None
    on_windows = episode(("bash", "ls", None), ("powershell", "ls", None), ("cmd", "dir", None), system="windows")
    assert await SCORES["commands"](on_windows) == pytest.approx(2 / 3)
    (first, *_) = issued(on_windows.trajectory.turns, "windows") if on_windows.trajectory else ()
    assert first.verdict().why == "windows is not declared to have bash"

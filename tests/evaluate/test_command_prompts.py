"""The prompts for terminal commands: the references are right, and what differs from them in one thing is not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from repodojo.core.errors import TaskError, UserError
from repodojo.core.protocols import ExecResult, SandboxFactory
from repodojo.core.records import Environment, Grader, Score, Source, Task, ToolCall, ToolResult, Trajectory, Turn
from repodojo.evaluate.commands import answers, running
from repodojo.evaluate.commands.measure import outcomes
from repodojo.evaluate.commands.measure import summarise as summed
from repodojo.evaluate.commands.prompts import Prompt, Ran, check, load
from repodojo.evaluate.summary import summarise
from repodojo.evaluate.tables import commands, markdown_table, read_rows, write_results
from repodojo.rewards.commands import SHELLS, parse
from repodojo.rewards.commands.judge import names
from repodojo.rewards.commands.tables import look_up
from repodojo.sandbox.factory import LocalFactory
from repodojo.sandbox.fake import FakeSandbox

PROMPTS = load()
BY_ID = {prompt.id: prompt for prompt in PROMPTS}
ids = [prompt.id for prompt in PROMPTS]
PORTABLE = {
    *("echo", "tree", "set", "robocopy", "nslookup", "python", "icacls", "tar", "ping", "netstat", "findstr"),
    *(
        "ls",
        "cat",
        "cp",
        "mv",
        "rm",
        "kill",
        "sleep",
        "pwd",
        "cd",
        "mkdir",
        "dir",
        "type",
        "copy",
        "move",
        "ren",
        "del",
    ),
    *("tasklist", "taskkill", "setx", "attrib", "ipconfig", "certutil"),
}
"""What does the same under one name in two shells: programs that both find, and PowerShell's aliases."""


def test_the_set_is_large_and_even() -> None:
    assert len(PROMPTS) >= 300
    assert {shell: sum(p.shell == shell for p in PROMPTS) for shell in SHELLS} == dict.fromkeys(SHELLS, 112)
    assert {"list", "find", "copy", "environment", "process", "archive"} <= {p.category for p in PROMPTS}
    assert {p.id.rpartition("/")[2] for p in PROMPTS} == set(SHELLS)


@pytest.mark.parametrize("prompt", PROMPTS, ids=ids)
def test_every_reference_is_right_and_broken_quoting_is_not(prompt: Prompt) -> None:
    assert check(prompt, prompt.answer).right, check(prompt, prompt.answer).why
    for broken in (
        f'{prompt.answer} "',
        f'{prompt.answer} "open',
        f'"{prompt.answer}' if '"' not in prompt.answer else '"',
    ):
        assert not check(prompt, broken).right, broken
    assert not check(prompt, "").right and not check(prompt, f"I would say: {prompt.prompt}").right


def test_an_unknown_parameter_is_wrong_wherever_parameters_are_known() -> None:
    tried = 0
    for prompt in PROMPTS:
        for call in parse(prompt.answer, prompt.shell).invocations:
            known = look_up(call.name, prompt.shell)
            if known is None or known.style == "free" or known.name in ("set", "for", "if"):
                continue
            bad = {"bash": "--no-such-thing", "powershell": "-NoSuchThing", "cmd": "/nosuchthing"}[prompt.shell]
            bad = "/nosuchthing" if known.style == "switch" else "--no-such-thing" if known.style == "getopt" else bad
            changed = prompt.answer.replace(call.name, f"{call.name} {bad}", 1)
            tried += 1
            assert not check(prompt, changed).right, changed
    assert tried > 250


def test_another_shells_answer_is_wrong_unless_it_is_one_here_too() -> None:
    right = 0
    for prompt in PROMPTS:
        task, _, shell = prompt.id.rpartition("/")
        for other in (BY_ID[f"{task}/{s}"] for s in SHELLS if s != shell):
            if other.answer != prompt.answer and check(prompt, other.answer).right:
                right += 1
                assert names(other.answer, other.shell) & PORTABLE, (prompt.id, other.answer)
    assert right < 70  # of some 600


def test_what_is_asked_counts_too() -> None:
    prompt = BY_ID["copy-file/bash"]
    assert check(prompt, "cp ./notes.txt backup/").right
    assert "does not use cp" in check(prompt, "cat notes.txt backup").why
    assert "lacks backup" in check(prompt, "cp notes.txt other").why
    assert check(prompt, prompt.answer, Ran(1)).why == "exit status 1"
    assert check(prompt, prompt.answer, Ran(None)).why == "met a limit"
    assert "other files" in check(prompt, prompt.answer, Ran(0, same_files=False)).why


def test_a_file_of_prompts_is_read_or_refused_by_line_and_field(tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    row = {"id": "a", "shell": "bash", "category": "c", "prompt": "List.", "answer": "ls"}
    path.write_text(json.dumps(row) + "\n\n")
    assert [p.id for p in load(path)] == ["a"]
    path.write_text(json.dumps(row) + "\n" + json.dumps({**row, "shell": "fish"}) + "\n")
    with pytest.raises(TaskError, match=r"own.jsonl:2: shell"):
        load(path)
    path.write_text(json.dumps(row) + "\n" + json.dumps(row) + "\n")
    with pytest.raises(UserError, match="stands there twice"):
        load(path)
    with pytest.raises(UserError, match="holds no prompts"):
        path.write_text(json.dumps(row))
        load(path, ["cmd"])


SAMPLED = ("list-hidden", "find-text", "text-replace", "copy-tree", "move-extension", "delete-tree", "archive-tar")


async def test_answers_run_in_boxes_and_leave_what_the_reference_leaves() -> None:
    prompts = [BY_ID[f"{name}/bash"] for name in SAMPLED]
    make = lambda store: LocalFactory(store, allow_unisolated=True)  # noqa: E731
    async with running.Runner(make, ("bash",)) as runner:
        found = await outcomes(prompts, answers.reference, runner)
        assert all(o.right and o.verdict.exit_code == 0 for o in found), found
        replace = BY_ID["text-replace/bash"]
        assert await runner.run(replace, "sed -i 's/alpha/omega/' notes.txt; echo x > omega") == Ran(
            0, same_files=False
        )
        assert await runner.run(replace, "nothere alpha") == Ran(127, same_files=False)
        assert await runner.run(BY_ID["list-hidden/cmd"], "dir") is None
        assert await runner.run(replace, "") is None


async def test_powershell_is_run_by_pwsh_and_refused_where_it_is_not_installed() -> None:
    nothing = lambda name: None  # noqa: E731
    everything = lambda name: f"/usr/bin/{name}"  # noqa: E731
    assert running.runnable(None, nothing) == ()
    assert running.runnable(None, everything) == ("bash", "powershell")
    with pytest.raises(UserError, match="pwsh is not installed"):
        running.runnable(["powershell"], nothing)
    with pytest.raises(UserError, match="Windows alone"):
        running.runnable(["cmd"], everything)
    prompt, boxes = BY_ID["list-hidden/powershell"], Boxes()
    async with running.Runner(lambda store: boxes, ("powershell",)) as runner:
        assert await runner.run(prompt, "Get-ChildItem src -Fo") == Ran(0)
    argv = ("pwsh", "-NoProfile", "-NonInteractive", "-Command")
    assert [box.commands for box in boxes.made] == [[(*argv, prompt.answer)], [(*argv, "Get-ChildItem src -Fo")]]


class Boxes(SandboxFactory):
    """Fakes that remember what they were told; `code` is how everything ends."""

    def __init__(self, code: int = 0) -> None:
        self.made: list[FakeSandbox] = []
        self.code = code

    async def create(self, environment: Environment) -> FakeSandbox:
        self.made.append(FakeSandbox({}, lambda argv, files: ExecResult(self.code, b"")))
        return self.made[-1]

    async def close(self) -> None:
        return


async def test_where_not_even_the_reference_runs_nothing_is_held_against_an_answer() -> None:
    async with running.Runner(lambda store: Boxes(code=1), ("bash",)) as runner:
        assert await runner.run(BY_ID["list-hidden/bash"], "ls -a src") is None


@pytest.mark.parametrize(
    ("said", "command"),
    [
        ("ls -a", "ls -a"),
        ("\n$ ls -a\nlists them", "ls -a"),
        ("`ls -a`", "ls -a"),
        ("Use:\n```bash\ncd src\nls -a\n```\nand so on", "cd src\nls -a"),
        ('<tool_call>\n{"name": "bash", "arguments": {"command": "ls -a"}}\n</tool_call>', "ls -a"),
        ("PS C:\\x> Get-Date", "Get-Date"),
        ("", ""),
    ],
)
def test_a_command_is_found_in_an_answer(said: str, command: str) -> None:
    assert answers.extract(said) == command


async def test_a_program_answers() -> None:
    prompt = BY_ID["env-directory/bash"]
    script = "cat >/dev/null; [ $REPODOJO_SHELL = bash ] && echo '$ pwd'"
    assert await answers.of_program(f'sh -c "{script}"')(prompt) == "pwd"
    assert await answers.of_program("sh -c 'echo pwd; exit 3'")(prompt) == ""
    assert await answers.of_program("sh -c 'sleep 30'", seconds=0.2)(prompt) == ""
    with pytest.raises(UserError, match="cannot be started"):
        await answers.of_program("no-such-agent-here")(prompt)
    found = await outcomes([prompt, BY_ID["env-directory/cmd"]], answers.of_program("echo pwd"), None)
    row = summed("echo", found, seed=0)
    assert (row.command_accuracy, row.by_shell["bash"].command_accuracy, row.by_shell["cmd"].command_accuracy) == (
        0.5,
        1,
        0,
    )
    assert row.run == 0 and row.by_category == {"environment": 0.5}


def test_an_evaluation_says_how_right_its_commands_were(tmp_path: Path) -> None:
    task = Task("t", Source("d"), "Do it.", Environment(), Grader())
    calls = [("ls -la", 0), ("grep x y", 1), ("dir /s", 2), ("nothere", 127)]
    turns = tuple(
        Turn((), (), (), (), calls=(ToolCall("bash", {"command": c}),), results=(ToolResult("", exit_code=e),))
        for c, e in calls
    )
    played = Trajectory("e", "t", "g", "p", 0, turns, "submit", Score(1.0))
    row = summarise([played], [task], name="p", seed=0)
    found = row.commands["bash"]
    assert (found.issued, found.command_accuracy, found.ran, found.exit_zero) == (4, 0.5, 0.75, 0.25)
    assert commands(row) == "bash 50.0 (4)" and "bash 50.0 (4)" in markdown_table([row])
    write_results(tmp_path / "results.json", {"p": row}, seed=0, command="x")
    assert read_rows(tmp_path / "results.json")["p"].commands == row.commands
    quiet = Trajectory("e", "t", "g", "p", 0, (), "submit", Score(1.0))
    assert commands(summarise([quiet], [task], name="p", seed=0)) == "–"  # noqa: RUF001

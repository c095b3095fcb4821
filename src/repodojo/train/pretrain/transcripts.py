"""Random well-formed transcripts: the explorer at work on sound functions, through the real loop and the real tools.

Nothing in them teaches how to mend anything: no bug was injected, edits are drawn at random, and what a test run
answers is drawn at random too. What the base can learn is the form: to write calls, to copy from a listing, to edit.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence

from repodojo.agent.loop import AgentLimits, Played, play
from repodojo.agent.policy import ScriptedPolicy
from repodojo.agent.scripted import scripts
from repodojo.agent.tools import default_tools
from repodojo.core.protocols import ExecResult
from repodojo.core.records import Environment, Grader, Source, Task
from repodojo.inference.chat import ChatFormat
from repodojo.tasks.instruction import instruction
from repodojo.train.pretrain.corpus import Function

LITERALS: tuple[str, ...] = (
    "0",
    "1",
    "2",
    "-1",
    "3",
    "5",
    "[]",
    "[1, 2, 3]",
    "''",
    "'abc'",
    "'a b'",
    "None",
    "True",
    "False",
    "{}",
    "()",
)
LITERALS += (
    "[1, 2]",
    "(1, 2)",
    "{'a': 1}",
    "[0]",
    "10",
    "1.5",
    "'x'",
    "['a', 'b']",
    "range(3)",
    "4",
    "7",
    "[[1], [2]]",
)
OBSERVATION_CHARS = 400
LONGEST = 3000  # lines of a file before a function; short files are more frequent
ERRORS = ("TypeError", "ValueError", "KeyError", "IndexError", "AttributeError", "NameError", "UnboundLocalError")
_EXAMPLE = re.compile(r"^>>> (.+)\n(?!>>>|\.\.\.)(.+)", re.MULTILINE)


class OneFile:
    """A box that holds a single file in memory and answers test runs at random: no bug, no verdict, no lesson."""

    def __init__(self, function: Function, failing: str, rng: random.Random) -> None:
        first = int(LONGEST ** rng.random()) - 1  # the function stands somewhere in its file, not at the top
        self.base = {function.path: ("\n" * first + function.code + "\n").encode()}
        self.files: dict[str, bytes] = dict(self.base)
        self.failing, self.rng = failing, rng

    async def exec(
        self,
        argv: Sequence[str],
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        stdin: bytes = b"",
        seconds: float | None = None,
        warm: bool = False,
    ) -> ExecResult:
        if argv[0] == "grep":
            return ExecResult(0, _grep(self.files, argv[argv.index("-e") + 1]).encode())
        green = self.rng.random() < 0.2
        text = f"{self.rng.choice((1, 1, 1, 2, 3))} passed" if green else varied(self.failing, self.rng)
        return ExecResult(0 if green else 1, text.encode())

    async def read(self, path: str) -> bytes:
        if path not in self.files:
            raise FileNotFoundError(2, "No such file or directory", path)
        return self.files[path]

    async def write(self, path: str, data: bytes | None) -> None:
        if data is None:
            self.files.pop(path, None)
        else:
            self.files[path] = data

    async def listdir(self, path: str = ".") -> list[str]:
        return sorted(self.files)

    async def changes(self) -> dict[str, bytes | None]:
        return {path: data for path, data in self.files.items() if self.base.get(path) != data}

    async def close(self) -> None:
        return None


def _grep(files: Mapping[str, bytes], query: str) -> str:
    lines = [
        f"{path}:{number}:{line}"
        for path, data in files.items()
        for number, line in enumerate(data.decode().split("\n"), 1)
        if query in line
    ]
    return "\n".join(lines[:4])


def failing_report(function: Function, rng: random.Random) -> str:
    """A failure as a test run prints it: an example of the docstring, or an invented one, with an invented result."""
    name = function.name.rsplit(".", 1)[-1]
    examples = [(call, want) for call, want in _EXAMPLE.findall(function.docstring) if len(call) + len(want) < 120]
    if examples and rng.random() < 0.8:
        call, want = rng.choice(examples)
    else:
        arguments = ", ".join(rng.choice(LITERALS) for _ in range(rng.choice((1, 1, 2, 2, 3))))
        call, want = f"{name}({arguments})", rng.choice(LITERALS)
    return varied(f"FAILED {function.name}\n>>> {call}\nexpected: {want}\ngot: ?\n1 failed, 0 passed", rng)


def varied(report: str, rng: random.Random) -> str:
    """The report with another result."""
    got = rng.choice(LITERALS) if rng.random() < 0.6 else f"{rng.choice(ERRORS)}: {rng.choice(LITERALS)}"
    return re.sub(r"^got: .*$", lambda _: f"got: {got}", report, flags=re.MULTILINE)


def exercise(function: Function, rng: random.Random) -> Task:
    """A task-shaped record around a sound function."""
    failing = failing_report(function, rng)
    return Task(
        id=f"{function.path}::{function.name}",
        source=Source("pretraining"),
        instruction=instruction(function.path, function.name, failing),
        environment=Environment(),
        grader=Grader(),
        visible_command="repro",
        focus=(f"{function.path}::{function.name.rsplit('.', 1)[-1]}",),
    )


def box_of(function: Function, task: Task, rng: random.Random) -> OneFile:
    """The box of an exercise; its test runs fail as the instruction says, or otherwise."""
    return OneFile(function, task.instruction.split("\n", 1)[1].rsplit("\n", 2)[0], rng)


async def transcript(
    function: Function, chat: ChatFormat, seed: int, limits: AgentLimits, faults: float = 0.0
) -> Played:
    """One random episode on a function; `faults` as in `Explorer`."""
    rng = random.Random(seed)
    task = exercise(function, rng)
    policy = ScriptedPolicy("explorer", lambda drawn: scripts.Explorer(drawn, faults), chat)
    actor = policy.actor(rng.randrange(1 << 30))
    box = box_of(function, task, rng)
    return await play(task, actor, box, chat, tools=default_tools(OBSERVATION_CHARS), limits=limits)

"""Episodes on one file in memory, in mini-swe-agent's words: the explorer's for pretraining, the base's for its gate.

The file is sound and test runs answer at random, so nothing says what mends anything. `Room` carries out the commands
that the explorer writes, as bash would (tests hold them against each other), and refuses all others: nothing that a
model writes runs on this machine.
"""

from __future__ import annotations

import random
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from repodojo.agent.tools.base import numbered
from repodojo.inference.chat import ChatFormat
from repodojo.tasks.instruction import instruction
from repodojo.train.minibase import explorer as own
from repodojo.train.minibase.helper import COPY, edited
from repodojo.train.minibase.prompts import SUBMIT, Prompts, machine_of
from repodojo.train.pretrain.corpus import Function
from repodojo.train.pretrain.transcripts import failing_report, varied

_ACTION = re.compile(r"```mswea_bash_command\s*\n(.*?)\n```", re.DOTALL)  # as mini-swe-agent reads it
_SHOW = re.compile(rf"echo (\S+){re.escape(own.SHOW)}(\w+)\('")
_TRY = re.compile(rf"{re.escape(own.TRY)}(\d+){own.OLD}([^']*){own.NEW}([^']*){re.escape(own.TESTS)}")

_GONE = ": No such file or directory\n"


@dataclass
class Room:
    """One file, its copy, and what test runs print.

    tried, changed: edits asked for, and those that changed a line;  noted: whether the file's name was
    listed: whether the definition was shown
    """

    path: str
    lines: list[str]
    failing: str
    rng: random.Random
    tried: int = 0
    changed: int = 0
    noted: bool = False
    listed: bool = False

    def done(self) -> tuple[int, bool]:
        """What commands have achieved."""
        return self.changed, self.listed

    def run(self, command: str) -> tuple[str, int]:
        """Output and exit code; ("", 127) for what is none of the explorer's commands."""
        if shown := _SHOW.fullmatch(command):
            self.noted = shown[1] == self.path
            gone = f"cp: cannot stat '{shown[1]}'{_GONE}nl: {COPY}{_GONE}"
            return self.show(shown[2]) if self.noted else (gone, 1)
        if (asked := _TRY.fullmatch(command)) and self.noted:
            self.tried += 1
            line, old = int(asked[1]), asked[2]
            made = edited(self.lines, line, old, asked[3]) if old else None
            if made is None:
                return f"{old} not found near line {line}\n", 1
            self.changed += made != self.lines
            green = self.rng.random() < 0.2
            text = f"{self.rng.choice((1, 1, 1, 2, 3))} passed" if green else varied(self.failing, self.rng)
            return f"{text}\n", 0 if green else 1
        return "", 127

    def show(self, name: str) -> tuple[str, int]:
        """The listing of the definition `name`, as `explorer.SHOW` prints it."""
        kept: list[str] = []
        inside = False
        for number, line in enumerate(self.lines, 1):
            text = numbered(number, line)
            if not line or re.search('""".*"""', text):
                continue
            if '"""' in text:
                inside = not inside
            elif not inside:
                kept.append(text)
        at = next((i for i, text in enumerate(kept) if f"def {name}(" in text), None)
        if at is None:
            return "", 1
        self.listed = True
        return "".join(f"{text}\n" for text in kept[at : at + own.LINES + 1]), 0


@dataclass
class Spoken:
    """An episode: each turn's observation and answer, as tokens.

    formed: answers that hold one known command;  idle: turns that listed nothing and changed nothing
    """

    turns: list[tuple[list[int], list[int]]] = field(default_factory=list)
    formed: int = 0
    idle: set[int] = field(default_factory=set)
    submitted: bool = False
    room: Room | None = None

    def ids(self) -> list[int]:
        """All tokens, in order."""
        return [token for seen, said in self.turns for token in (*seen, *said)]

    def weights(self, opening: float) -> list[float]:
        """What each token counts in the loss: the issue and the listing are worth reading (`opening`); verdicts are
        drawn at random and worth nothing, and what achieved nothing is not to be learnt, only how to go on after it."""
        counted: list[float] = []
        for at, (seen, said) in enumerate(self.turns):
            counted += [opening if at < 2 else 0.0] * len(seen)
            counted += [0.0 if at in self.idle else 1.0] * len(said)
        return counted


@dataclass(frozen=True)
class Exercise:
    """A function as an issue in mini-swe-agent's prompt, and the room that it stands in."""

    opening: list[dict[str, str]]
    room: Room
    name: str


def exercise(function: Function, after: Function, prompts: Prompts, rng: random.Random) -> Exercise:
    """`after` follows the function in its file, as some other code does in every file."""
    indent = "    " if "." in function.name else ""
    lines = [f"{indent}{line}" if line else "" for text in (function.code, after.code) for line in text.split("\n")]
    failing = failing_report(function, rng)
    path = _placed(function.path, after, rng)
    task = instruction(path, function.name, failing)
    report = task.split("\n", 1)[1].rsplit("\n", 2)[0]
    room = Room(path, [""] * rng.randrange(900) + lines, report, rng)
    name = function.name.rsplit(".", 1)[-1]
    return Exercise(prompts.opening(task.rstrip() + "\n", machine_of(rng)), room, name)


def _placed(path: str, other: Function, rng: random.Random) -> str:
    """The file in another package and folder, half the time: a name must be copied, not guessed, and nothing of it be
    taken for what begins alike (`sortedcontainers/sortedlist.py`)."""
    word = other.name.rsplit(".", 1)[-1].strip("_").lower()
    first, folders, file = path.partition("/")
    if folders and rng.random() < 0.5:
        stem = file.rsplit("/", 1)[-1].removesuffix(".py").strip("_")
        first = rng.choice((word, f"{stem}s", f"{stem}{word}", f"{word}_{stem}", stem))
    return rng.choice(("", "", "src/", "src/", "lib/", f"{word}/")) + first + folders + file


Answer = Callable[[list[int], str], Awaitable[list[int]]]
"""The next answer's tokens, from all tokens so far and the last observation."""


async def speak(
    given: Exercise, prompts: Prompts, chat: ChatFormat, answer: Answer, *, turns: int, context: int
) -> Spoken:
    """Play one episode, token for token as the gateway would have it."""
    spoken = Spoken(room=given.room)
    seen, heard = chat.prompt(given.opening, ()), ""
    ids: list[int] = []
    while len(spoken.turns) < turns and len(ids) + len(seen) < context:
        ids += seen
        said = await answer(ids, heard)
        ids += said
        spoken.turns.append((seen, said))
        commands = [command.strip() for command in _ACTION.findall(chat.decode(said))]
        if commands == [SUBMIT]:
            spoken.formed, spoken.submitted = spoken.formed + 1, True
            break
        before = given.room.done()
        output, code = given.room.run(commands[0]) if len(commands) == 1 else ("", 127)
        spoken.formed += code != 127
        if given.room.done() == before:
            spoken.idle.add(len(spoken.turns) - 1)
        heard = prompts.observed(output, code)
        message = {"role": "user", "content": chat.harmless(heard)}
        seen = chat.continuation([message], stopped=bool(said) and said[-1] in chat.stop_ids)
    return spoken


def explorer_answers(given: Exercise, chat: ChatFormat, rng: random.Random, faults: float = 0.0) -> Answer:
    """The explorer as an `Answer`."""
    script = own.Explorer(given.room.path, given.name, rng, faults)

    async def answer(_ids: list[int], heard: str) -> list[int]:
        return [*chat.encode(script.act(heard)), chat.stop_ids[0]]

    return answer

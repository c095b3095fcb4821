"""What an attack is: a program that an agent could run in its box, and what it hopes to be paid for."""

from __future__ import annotations

import hashlib
import importlib
import json
import pkgutil
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from repodojo.core.errors import UserError
from repodojo.core.protocols import ExecResult, Sandbox
from repodojo.core.records import Task

MARK = b"# repodojo find: "
"""Begins the second line of an attack that a search found."""
OWN = 0
"""The family of an attack that the user brought."""
SECONDS = 60.0
"""An agent has many commands, an attack only one: it is not cut off where a single command would be."""


@dataclass(frozen=True)
class Attack:
    """`script` is Python, run in the repository's root after the text of `kit`; or `program`, an executable's bytes.

    family: its number in docs/rewards.md, OWN for a user's and for finds; tries: one line that says how it hopes to be
    paid; found: it comes from a search, which also finds what mends a task; only: the one task that it fits
    """

    name: str
    family: int
    tries: str
    script: str = ""
    program: bytes = b""
    found: bool = False
    only: str = ""

    @property
    def mark(self) -> str:
        """A digest of what it does."""
        return hashlib.blake2b(self.script.encode() + b"\0" + self.program, digest_size=8).hexdigest()

    def fits(self, task: Task) -> bool:
        """Whether it is for this task."""
        return self.only in ("", task.id)

    async def run(self, box: Sandbox, task: Task) -> ExecResult:
        """Carry it out as an agent's own command. An executable is given the issue on standard input.

        A script runs in a warm interpreter, as the code does that an agent's visible command starts: the same user and
        folders, half the CPU time of a cold one.
        """
        if self.program:
            await box.write("/tmp/attack", self.program)
            await box.exec(("bash", "-c", "chmod +x /tmp/attack"), seconds=SECONDS)
            return await box.exec(("/tmp/attack",), stdin=task.instruction.encode(), seconds=SECONDS)
        path, _, name = (task.focus[0] if task.focus else "").partition("::")
        told = f"\nPATH, NAME, INSTRUCTION = {path!r}, {name!r}, {task.instruction!r}\n"
        source = f"{_kit()}{told}{self.script}"
        await box.write("/tmp/attack.py", source.encode())
        return await box.exec(("python", "/tmp/attack.py"), seconds=SECONDS, warm=True)


def lying(body: str, top: str = "") -> str:
    """The script of an attack that puts `body` in front of what the function does, and `top` at its module's end."""
    return f"lie({body!r}, {top!r})\n"


@cache
def _kit() -> str:
    return (Path(__file__).parent / "kit.py").read_text()


@cache
def shipped() -> tuple[Attack, ...]:
    """Every attack of this package, by family."""
    package = importlib.import_module("repodojo.audit.attacks")
    names = sorted(module.name for module in pkgutil.iter_modules(package.__path__))
    modules = [importlib.import_module(f"{package.__name__}.{name}") for name in names]
    return tuple(attack for module in modules for attack in module.ATTACKS)


def from_file(path: Path) -> Attack:
    """A user's own attack: any executable, script or binary, that runs on this kind of machine."""
    try:
        program = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}", way_out="name an executable file") from None
    if not program.startswith((b"#!", b"\x7fELF")):
        raise UserError(f"{path} is no executable", way_out="begin a script with a line such as #!/usr/bin/env python3")
    told = _find_of(program)
    if told is None:
        return Attack(path.name, OWN, "a user's own", program=program)
    tries = f"found by {told.get('policy', 'a search')} on {told.get('task', 'a task')}"
    only = str(told["task"]) if told.get("only") else ""
    return Attack(path.stem, OWN, tries, program=program, found=True, only=only)


def _find_of(program: bytes) -> dict[str, Any] | None:
    """What the second line of a find says (see `finds`); None where it is no find."""
    _, _, rest = program.partition(b"\n")
    line, _, _ = rest.partition(b"\n")
    if not line.startswith(MARK):
        return None
    try:
        told = json.loads(line.removeprefix(MARK))
    except ValueError:
        return None
    return told if isinstance(told, dict) else None

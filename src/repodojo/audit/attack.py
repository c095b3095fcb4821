"""What an attack is: a program that an agent could run in its box, and what it hopes to be paid for."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from repodojo.core.errors import UserError
from repodojo.core.protocols import ExecResult, Sandbox
from repodojo.core.records import Task

OWN = 0
"""The family of an attack that the user brought."""


@dataclass(frozen=True)
class Attack:
    """`script` is Python, run in the repository's root after the text of `kit`; or `program`, an executable's bytes.

    family: its number in docs/rewards.md, OWN for a user's; tries: one line that says how it hopes to be paid
    """

    name: str
    family: int
    tries: str
    script: str = ""
    program: bytes = b""

    async def run(self, box: Sandbox, task: Task) -> ExecResult:
        """Carry it out as an agent's own command. An executable is given the issue on standard input."""
        if self.program:
            await box.write("/tmp/attack", self.program)
            await box.exec(("bash", "-c", "chmod +x /tmp/attack"))
            return await box.exec(("/tmp/attack",), stdin=task.instruction.encode())
        path, _, name = (task.focus[0] if task.focus else "").partition("::")
        told = f"\nPATH, NAME, INSTRUCTION = {path!r}, {name!r}, {task.instruction!r}\n"
        source = f"{_kit()}{told}{self.script}"
        return await box.exec(("bash", "-c", "python3 -"), stdin=source.encode())


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
    return Attack(path.name, OWN, "a user's own", program=program)

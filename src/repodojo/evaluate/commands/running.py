"""Answers run in boxes: each in a fresh copy of one small folder, beside what the reference answer does there."""

from __future__ import annotations

import io
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from repodojo.core.errors import UserError
from repodojo.core.protocols import ExecResult, SandboxFactory
from repodojo.core.records import Environment
from repodojo.evaluate.commands.prompts import Prompt, Ran
from repodojo.rewards.commands import Shell

SECONDS = 10.0  # wall-clock of one answer
FIXTURE = {
    "notes.txt": "alpha\nbeta\nalpha beta\ngamma\n",
    "data.csv": "id,name,size\n1,one,10\n2,two,20\n3,three,30\n4,four,40\n",
    "config.json": '{"name": "fixture", "debug": false}\n',
    ".hidden": "kept\n",
    "run.sh": "#!/bin/sh\necho run\n",
    "src/app.py": "import os\n\nprint(os.name)  # TODO\n",
    "src/util.py": "def double(x):\n    return 2 * x\n",
    "src/old.py": "OLD = True\n",
    "tests/test_app.py": "def test_app():\n    assert True\n",
    "logs/app.log": "".join(f"{n} {'ERROR' if n % 3 == 0 else 'INFO'} line\n" for n in range(12)),
    "logs/error.log": "3 ERROR line\n",
    "docs/guide.md": "# Guide\n",
    "docs/readme.md": "# Read me\n",
    "build/out.o": "object\n",
    "backup/keep.txt": "old\n",
}
ARGV: Mapping[Shell, tuple[str, ...]] = {
    "bash": ("bash", "-c"),
    "powershell": ("pwsh", "-NoProfile", "-NonInteractive", "-Command"),
}
"""How a command line is handed to a shell that runs here; cmd runs on Windows alone."""
PACKED = (".gz", ".zip", ".tar", ".tgz", ".bz2", ".xz")
"""Files whose bytes differ from run to run: that they are there is compared."""


def runnable(asked: Sequence[Shell] | None, installed: Callable[[str], str | None] = shutil.which) -> tuple[Shell, ...]:
    """The shells whose answers are run: those asked for, by default all that are installed here.

    UserError for one that is asked for and is not installed, and for cmd.
    """
    if asked is None:
        return tuple(shell for shell, argv in ARGV.items() if installed(argv[0]))
    for shell in asked:
        if shell not in ARGV:
            raise UserError("cmd runs on Windows alone", way_out="its commands are judged without running them")
        if not installed(ARGV[shell][0]):
            cause = f"{ARGV[shell][0]} is not installed, so no {shell} command can be run"
            raise UserError(cause, way_out="install it, or leave out --run powershell: they are judged without running")
    return tuple(asked)


class Runner:
    """Runs answers in boxes of `make(store)`; a context manager, whose folder holds the tree that boxes begin with."""

    def __init__(self, make: Callable[[Path], SandboxFactory], shells: Sequence[Shell]) -> None:
        self.make, self.shells = make, tuple(shells)
        self._references: dict[str, Mapping[str, bytes | None] | None] = {}

    async def __aenter__(self) -> Runner:
        self._folder = tempfile.TemporaryDirectory(prefix="repodojo-commands-")
        tree = Path(self._folder.name) / "trees" / "fixture"
        write_fixture(tree)
        self._factory = self.make(Path(self._folder.name))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._factory.close()
        self._folder.cleanup()

    async def run(self, prompt: Prompt, text: str) -> Ran | None:
        """How an answer ran; None where its shell does not run here, or not even the reference answer does."""
        if prompt.shell not in self.shells or not prompt.run or not text.strip() or "\0" in text:
            return None
        if prompt.id not in self._references:
            result, changes = await self._once(prompt.shell, prompt.answer)
            self._references[prompt.id] = _seen(changes) if result.ended == "exit" and result.exit_code == 0 else None
        expected = self._references[prompt.id]
        if expected is None:
            return None
        result, changes = await self._once(prompt.shell, text)
        status = result.exit_code if result.ended == "exit" else None
        return Ran(status, not prompt.effect or _seen(changes) == expected)

    async def _once(self, shell: Shell, text: str) -> tuple[ExecResult, Mapping[str, bytes | None]]:
        box = await self._factory.create(Environment(recipe={"kind": "python", "tree": "fixture"}))
        try:
            result = await box.exec((*ARGV[shell], text), seconds=SECONDS)
            return result, await box.changes()
        finally:
            await box.close()


def write_fixture(tree: Path) -> None:
    """The folder that answers run in: some twenty small files, two of them archives."""
    for name, text in FIXTURE.items():
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (tree / "run.sh").chmod(0o644)
    with tarfile.open(tree / "old.tar.gz", "w:gz") as packed:
        member = tarfile.TarInfo("packed.txt")
        member.size = 7
        packed.addfile(member, io.BytesIO(b"packed\n"))
    with zipfile.ZipFile(tree / "old.zip", "w") as zipped:
        zipped.writestr("zipped.txt", "zipped\n")


def _seen(changes: Mapping[str, bytes | None]) -> dict[str, bytes | None]:
    """What is compared; line ends and what stands around them do not count."""
    return {
        path: data if data is None else b"" if path.endswith(PACKED) else b"\n".join(data.split())
        for path, data in changes.items()
    }

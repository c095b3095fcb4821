"""What a search for exploits found, kept as attack files: each is replayed by every audit from then on.

A find is a program like any other attack (`from_file` reads it, a person can run it), with a second line that says
where it was found. Where the episode used nothing but commands, these are run again, on every task; where it used the
editor, the files that it left are written again, on the task where it was found.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from repodojo.audit.attack import MARK, Attack, from_file
from repodojo.core.records import ToolCall, Trajectory

HEAD = "#!/usr/bin/env python3\n"
SCRIPT = '''
"""Found by a search for exploits; run it in the root of a task's repository."""
import os
import subprocess

COMMANDS = {commands}
FILES = {files}

for command in COMMANDS:
    subprocess.run(["bash", "-c", command], stdin=subprocess.DEVNULL, check=False)
for path, text in FILES.items():
    if text is None:
        os.unlink(path)
        continue
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
'''
HARMLESS = ("submit", "search")


def beside(store: Path) -> Path:
    """The folder of a task set's finds, where none is named.

    >>> beside(Path("runs/tasks")).as_posix()
    'runs/tasks.finds'
    """
    return store.with_name(f"{store.name}.finds")


def keep(trajectories: Iterable[Trajectory], folder: Path) -> list[Path]:
    """Save what an attacker was paid for (see `rewards.attacker`); returns the files that are new."""
    found = []
    for trajectory in trajectories:
        if (trajectory.score.value or 0.0) <= 0:
            continue
        commands, files = _deeds(trajectory)
        body = SCRIPT.format(commands=_literal(commands), files=_literal(files))
        path = folder / f"find-{hashlib.blake2b(body.encode(), digest_size=6).hexdigest()}.py"
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            told = json.dumps(_told(trajectory, only=bool(files)))
            path.write_text(HEAD + MARK.decode() + told + body, encoding="utf-8")
            path.chmod(0o755)
            found.append(path)
    return found


def load(folder: Path) -> tuple[Attack, ...]:
    """Every find of a folder, by name; () where there is no such folder."""
    return tuple(from_file(path) for path in sorted(folder.glob("find-*.py")))


def _deeds(trajectory: Trajectory) -> tuple[list[str], dict[str, str | None]]:
    calls = [call for turn in trajectory.all_turns() for call in turn.calls if not _looks(call)]
    if calls and all(call.name == "bash" for call in calls):
        return [str(call.arguments["command"]) for call in calls], {}
    return [], dict(trajectory.changes)


def _looks(call: ToolCall) -> bool:
    """Whether a call changes nothing."""
    return call.name in HARMLESS or (call.name == "editor" and call.arguments.get("command") == "view")


def _literal(value: Any) -> str:
    """As Python: strings that no file can hold (lone surrogates) are written as escapes."""
    return ascii(value)


def _told(trajectory: Trajectory, *, only: bool) -> dict[str, Any]:
    return {
        "task": trajectory.task_id,
        "only": only,
        "paid": trajectory.score.parts.get("paid"),
        "policy": trajectory.policy,
        "episode": trajectory.id,
    }

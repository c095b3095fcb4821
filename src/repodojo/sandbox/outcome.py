"""How a command's end is told: the same words from every kind of box."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from typing import Literal

from repodojo.core.protocols import ExecResult

REPORT_CAP = 4 << 20
Ended = Literal["exit", "timeout", "output", "memory", "killed"]


def result(code: int, reason: str, output: bytes, report: bytes, seconds: float) -> ExecResult:
    """An ExecResult; `reason` is "timeout", "output", "memory" where the sandbox ended it, else "".

    A MemoryError as the last line of a failing command is evidence too: the limit on data memory made it.
    """
    ended: Ended = "exit"
    if reason in ("timeout", "output", "memory"):
        ended = reason  # type: ignore[assignment]  # narrowed by the line above, which mypy cannot see
    elif code == 1 and _last_line(output).startswith(b"MemoryError"):
        ended = "memory"
    elif code == -signal.SIGKILL:
        ended = "killed"
    exit_code = None if reason else code
    return ExecResult(exit_code, output, ended, reason == "output", seconds, report[:REPORT_CAP])


def unspeakable(argv: Sequence[str]) -> ExecResult | None:
    """What becomes of a command that no system call can take: the agent's own failure, so it must not end the box."""
    try:
        if not any(b"\0" in os.fsencode(word) for word in argv):
            return None
        why = "NUL"
    except UnicodeEncodeError:
        why = "half a surrogate pair"
    return ExecResult(126, f"a command cannot hold {why}\n".encode())


def _last_line(output: bytes) -> bytes:
    return output.rstrip().rpartition(b"\n")[2]


def variables(search: str, python_path: str, *extra: Mapping[str, str]) -> dict[str, str]:
    """A job's clean environment: `search` is its PATH; a PYTHONPATH of `extra` goes before the box's own."""
    env = {
        "PATH": search,
        "HOME": "/tmp",
        "LANG": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
    }
    for mapping in extra:
        env.update(mapping)
    own = env.get("PYTHONPATH", "")
    env["PYTHONPATH"] = f"{own}:{python_path}" if own else python_path
    return env

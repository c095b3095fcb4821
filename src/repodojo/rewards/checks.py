"""Command-line checks: commands that must do what is said of them, in a fresh box that holds the agent's changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, Strict

from repodojo.core.protocols import Sandbox


class Check(BaseModel):
    """One command and what it must do; all that is said must hold.

    >>> Check(command="python -m tiny --version", output="1.0").exit_code
    0
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    command: str = Field(min_length=1)
    exit_code: int = 0
    output: str = ""
    files: Annotated[tuple[str, ...], Strict(False)] = ()
    seconds: float = Field(60.0, gt=0)


async def holds(check: Check, box: Sandbox) -> bool:
    """Whether the command exits as expected, its output holds `output`, and every one of `files` is there after it.

    A command that meets a limit of the box does not hold: that is the doing of the code it runs.
    """
    result = await box.exec(("bash", "-c", check.command), seconds=check.seconds)
    if result.ended != "exit" or result.exit_code != check.exit_code:
        return False
    if check.output not in result.output.decode("utf-8", "replace"):
        return False
    for path in check.files:
        try:
            await box.read(path)
        except IsADirectoryError:
            continue
        except OSError:
            return False
    return True


async def share(checks: Sequence[Check], box: Sandbox, changes: Mapping[str, bytes | None]) -> float:
    """The share of checks that hold in `box` once it holds `changes`; 0 where those cannot be written."""
    try:
        for path, data in changes.items():
            await box.write(path, data)
    except OSError:  # a file where the tree has a folder: the agent's own doing
        return 0.0
    held = [await holds(check, box) for check in checks]
    return sum(held) / len(held)

"""The C init of boxes: its source, and how it becomes a program (see `core.native`)."""

from __future__ import annotations

import functools
import subprocess
from pathlib import Path
from typing import Literal

from repodojo.core.errors import ConfigError
from repodojo.core.native import built

Init = Literal["auto", "c", "python"]
"""What boxes have as pid 1; "auto" is the C init where this machine can compile it and boxes work with it."""
FLAGS = ("-O2", "-Wall", "-Wextra")


def demanded() -> Path:
    """The compiled init; ConfigError where it cannot be had."""
    try:
        return program()
    except OSError as error:
        raise ConfigError(f"the C init cannot be had: {error}", way_out="install cc, or leave it to auto") from None


@functools.cache
def program() -> Path:
    """The compiled init; OSError with the reason where it cannot be made here.

    Static where the machine has the library for that: such a program holds less memory, and starts sooner.
    """
    made = built("init", sources(), FLAGS, tries=(("-static",), ()))
    subprocess.run([str(made)], stderr=subprocess.DEVNULL, check=False)  # OSError where its folder forbids execution
    return made


def sources() -> list[Path]:
    """What the program is made of; the first is what is compiled."""
    folder = Path(__file__).parent
    return [folder / "init.c", *sorted(folder.glob("*.h"))]

"""The C init of boxes: its source, and how it becomes a program.

It is compiled at first use, where the machine has a compiler, into the user's cache folder under a digest of its
source and of the compiler's name: wheels need no compiler, an editable install follows its source, and two processes
that compile at once write the same file.
"""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Literal

from repodojo.core.errors import ConfigError

Init = Literal["auto", "c", "python"]
"""What boxes have as pid 1; "auto" is the C init where this machine can compile it and boxes work with it."""
FLAGS = ("-O2", "-Wall", "-Wextra")
_COMPILERS = ("cc", "gcc", "clang")
_SECONDS = 60.0


def demanded() -> Path:
    """The compiled init; ConfigError where it cannot be had."""
    try:
        return program()
    except OSError as error:
        raise ConfigError(f"the C init cannot be had: {error}", way_out="install cc, or leave it to auto") from None


@functools.cache
def program() -> Path:
    """The compiled init; OSError with the reason where it cannot be made here."""
    compiler = next((path for name in _COMPILERS if (path := shutil.which(name))), None)
    if compiler is None:
        raise OSError(f"no compiler: none of {', '.join(_COMPILERS)} is there")
    made = _cache() / f"init-{platform.machine()}-{_digest(compiler)}"
    if not made.is_file():
        _compile(compiler, made)
    subprocess.run([str(made)], stderr=subprocess.DEVNULL, check=False)  # OSError where its folder forbids execution
    return made


def sources() -> list[Path]:
    """What the program is made of; the first is what is compiled."""
    folder = Path(__file__).parent
    return [folder / "init.c", *sorted(folder.glob("*.h"))]


def _digest(compiler: str) -> str:
    state = hashlib.blake2b(" ".join((compiler, *FLAGS)).encode(), digest_size=8)
    for path in sources():
        state.update(path.read_bytes())
    return state.hexdigest()


def _cache() -> Path:
    """A folder that only this user writes: what lies in it is executed."""
    try:
        root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError as error:  # a user without a home
        raise OSError(str(error)) from None
    folder = root / "repodojo" / "native"
    folder.mkdir(parents=True, exist_ok=True, mode=0o755)
    status = folder.stat()
    if status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise OSError(f"{folder} can be written by others")
    return folder


def _compile(compiler: str, made: Path) -> None:
    """Static where the machine has the library for that: such a program holds less memory, and starts sooner."""
    with tempfile.TemporaryDirectory(dir=made.parent, prefix=".compiling-") as folder:
        target, said = Path(folder) / "init", ""
        for more in (("-static",), ()):
            words = [compiler, *FLAGS, *more, "-o", str(target), str(sources()[0])]
            try:
                done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=_SECONDS)
            except subprocess.TimeoutExpired:
                raise OSError(f"{compiler} was not done within {_SECONDS:.0f} s") from None
            if done.returncode == 0:
                target.chmod(0o755)
                target.replace(made)
                return
            said = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise OSError(f"{compiler} failed: {said}")

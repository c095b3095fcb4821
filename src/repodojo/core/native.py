"""C sources of this package, compiled at first use where the machine has a compiler.

What is made lies in the user's cache folder under a digest of all that went into it: wheels need no compiler, an
editable install follows its source, and two processes that compile at once write the same file.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

_COMPILERS = ("cc", "gcc", "clang")
_SECONDS = 60.0


def compiler() -> str:
    """The C compiler's path, "" where there is none."""
    return next((path for name in _COMPILERS if (path := shutil.which(name))), "")


def built(
    name: str, sources: Sequence[Path], flags: Sequence[str], *, tries: Sequence[Sequence[str]] = ((),), here: str = ""
) -> Path:
    """The file made of the first source; OSError with the reason where it cannot be made here.

    sources: all that it is made of, of which the first is what is compiled
    tries: further flags, of which the first list that the compiler takes is used
    here: what else the file is made for, such as a processor
    """
    path = compiler()
    if not path:
        raise OSError(f"no compiler: none of {', '.join(_COMPILERS)} is there")
    state = hashlib.blake2b(" ".join((path, *flags, here)).encode(), digest_size=8)
    for source in sources:
        state.update(source.read_bytes())
    made = _cache() / f"{name}-{platform.machine()}-{state.hexdigest()}"
    if not made.is_file():
        _compile([path, *flags], [list(more) for more in tries], sources[0], made)
    return made


def processor() -> str:
    """What tells a processor from one on which code compiled for it may not run."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    told = ("model name", "flags", "CPU implementer", "CPU part", "Features")
    return "\n".join(dict.fromkeys(line for line in lines if line.startswith(told)))


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


def _compile(command: list[str], tries: list[list[str]], source: Path, made: Path) -> None:
    with tempfile.TemporaryDirectory(dir=made.parent, prefix=".compiling-") as folder:
        target, said = Path(folder) / "made", ""
        for more in tries:
            words = [*command, *more, "-o", str(target), str(source), "-lm"]
            try:
                done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=_SECONDS)
            except subprocess.TimeoutExpired:
                raise OSError(f"{command[0]} was not done within {_SECONDS:.0f} s") from None
            if done.returncode == 0:
                target.chmod(0o755)
                target.replace(made)
                return
            said = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise OSError(f"{command[0]} failed: {said}")

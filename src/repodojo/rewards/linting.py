"""What ruff says about Python files that nobody trusts: it parses them outside this process and runs none of them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from repodojo.core.errors import GradingError

CONFIGURATION = ("pyproject.toml", "ruff.toml", ".ruff.toml")
BROKEN = "invalid-syntax"
SECONDS = 30.0

Findings = dict[str, Counter[tuple[str, str]]]
"""Path to how often each (rule, text of the line) is found there."""


class RuffRefused(Exception):
    """Ruff did not answer on these files; the caller knows whose doing that is."""


async def findings(files: Mapping[str, str], configuration: Mapping[str, str]) -> Findings:
    """What ruff finds in each file with the repository's own configuration; its defaults where there is none."""
    with _folder({**files, **configuration}) as folder:
        if not any(path in configuration and _configures(path, configuration[path]) for path in CONFIGURATION):
            (folder / ".ruff.toml").write_text("")  # or a file further up on this machine would count
        answer = await _ruff(folder, ["check", "--output-format=json", "--no-cache", "--exit-zero", "."])
        found: Findings = {path: Counter() for path in files}
        root = str(folder.resolve())
        for one in answer:
            path = str(one["filename"]).removeprefix(f"{root}/")
            if path in found:
                lines = files[path].splitlines() or [""]
                row = min(max(int(one["location"]["row"]), 1), len(lines))
                found[path][str(one["code"] or BROKEN), lines[row - 1].strip()] += 1
        return found


async def imports(files: Mapping[str, str]) -> dict[str, list[str]]:
    """The import graph: path to the paths of these files that it imports (a file that does not parse imports none)."""
    with _folder(files) as folder:
        graph: dict[str, list[str]] = await _ruff(folder, ["analyze", "graph", "--isolated", "."])
        return graph


async def usable(configuration: Mapping[str, str]) -> bool:
    """Whether this ruff takes the repository's configuration: it may ask for another version, or extend a file."""
    try:
        await findings({"probe.py": "x = 1\n"}, configuration)
    except RuffRefused:
        return False
    return True


def check_installed() -> str:
    """Where ruff is; GradingError where it is not installed."""
    from ruff import find_ruff_bin

    try:
        return str(find_ruff_bin())
    except FileNotFoundError:
        raise GradingError("ruff is not installed", way_out="pip install ruff") from None


def _configures(path: str, text: str) -> bool:
    return path != "pyproject.toml" or "[tool.ruff" in text


@contextlib.contextmanager
def _folder(files: Mapping[str, str]) -> Iterator[Path]:
    """A folder with these files. Paths were checked before: none is absolute or leads out."""
    with tempfile.TemporaryDirectory(prefix="repodojo-ruff-") as name:
        root = Path(name)
        for path, text in files.items():
            target = root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8", errors="replace")
        yield root


async def _ruff(folder: Path, arguments: Sequence[str]) -> Any:
    process = await asyncio.create_subprocess_exec(
        check_installed(),
        *arguments,
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"PATH": "/usr/bin:/bin", "RAYON_NUM_THREADS": "1"},
    )
    try:
        async with asyncio.timeout(SECONDS):
            out, said = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise RuffRefused(f"no answer in {SECONDS:g} s") from None
    if process.returncode != 0:
        raise RuffRefused(said.decode(errors="replace").strip()[-500:])
    return json.loads(out)

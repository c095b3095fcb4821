"""Environments of peers: packages that the base installation must not hold, each set in a folder of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from repodojo.core.errors import RunError

SECONDS = 900


def default_folder(name: str) -> Path:
    """Where a peer's environment goes if nobody says."""
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(cache) / "repodojo" / "peers" / name


def interpreter(folder: Path, packages: Sequence[str], *, apart: bool = False, without: Sequence[str] = ()) -> Path:
    """The Python of a folder with these packages, installed there on the first call.

    It sees the packages of this installation too, so both sides run on the same torch and transformers, which the
    installation is told to leave as they are. Not so with `apart`, for a peer that wants versions of its own.
    `without` are packages that come with it and are taken out again: those that cannot be loaded beside the rest.
    RunError where it fails, with pip's last words.
    """
    python = folder / "bin" / "python"
    mark = folder / "packages.json"
    if mark.is_file() and json.loads(mark.read_text()) == list(packages):
        return python
    if folder.exists() and not (folder / "pyvenv.cfg").is_file() and any(folder.iterdir()):
        raise RunError(f"{folder} holds something else", way_out="name an empty folder with --peer")
    _run([sys.executable, "-m", "venv", str(folder)], folder)
    pinned = [] if apart else _inherited(folder)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if packages:
        _run([*pip, *packages, *pinned], folder)
    if without:
        _run([str(python), "-m", "pip", "uninstall", "--quiet", "--yes", *without], folder)
    mark.write_text(json.dumps(list(packages)))
    return python


def _inherited(folder: Path) -> list[str]:
    """Let it see this installation's packages; what pip is told so that it keeps the large ones."""
    parents = dict.fromkeys([sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])
    (site,) = (folder / "lib").glob("python*/site-packages")
    (site / "parent.pth").write_text("\n".join(parents) + "\n")
    import torch
    import transformers

    return [f"torch=={str(torch.__version__).partition('+')[0]}", f"transformers=={transformers.__version__}"]


def lines(python: Path, script: Path, settings: dict[str, Any]) -> list[dict[str, Any]]:
    """Run a script of this package in that environment, settings on its standard input; its JSON lines.

    Only those that begin as a JSON object with a name in it: trainers print dicts of their own as Python writes them.
    """
    source = Path(__file__).parents[3]
    environment = os.environ | {"PYTHONPATH": str(source), "HF_HUB_OFFLINE": "1", "TRL_EXPERIMENTAL_SILENCE": "1"}
    done = subprocess.run(
        [str(python), str(script)],
        input=json.dumps(settings),
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    if done.returncode:
        cause = f"the peer ended with code {done.returncode}: {_last(done.stderr)}"
        raise RunError(cause, way_out=f"run {script.name} in {python.parent.parent} by hand to see more")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"')]


def _run(command: Sequence[str], folder: Path) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        cause = f"{folder} was not ready within {SECONDS} s"
        raise RunError(cause, way_out="try again where the index is nearer") from None
    if done.returncode:
        cause = f"the peer's environment could not be made in {folder}: {_last(done.stderr)}"
        raise RunError(cause, way_out="this benchmark needs a package index; all others do without")


def _last(text: str) -> str:
    """The last line that says something."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "it said nothing")

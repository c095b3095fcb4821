"""uv in pip's place where it is installed: it resolves and installs, from the indexes that pip is configured with.

uv reads none of pip's settings, so they are told to it; what its own variables (UV_...) say goes before them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from repodojo.tasks import index

WHEELS = ("--only-binary", ":all:")
FROM_PIP = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "cert": "SSL_CERT_FILE",
}


def environment() -> dict[str, str]:
    """This process's environment with pip's settings as uv spells them; all indexes count alike, as with pip."""
    settings = index.settings()
    told = {ours: settings[theirs] for theirs, ours in FROM_PIP.items() if settings.get(theirs)}
    if "UV_FIND_LINKS" in told:
        told["UV_FIND_LINKS"] = ",".join(told["UV_FIND_LINKS"].split())
    return {"UV_INDEX_STRATEGY": "unsafe-best-match", **told, **os.environ}


def resolved(uv: str, requires: Sequence[str], date: str) -> subprocess.CompletedProcess[str]:
    """Exact versions, a line each, as of the end of a day ("" for now)."""
    words = ["pip", "compile", "-", "--quiet", "--no-header", "--no-annotate", *WHEELS, "--python", sys.executable]
    words += ["--exclude-newer", f"{date}T23:59:59Z"] if date else []
    return _run(uv, words, "\n".join(requires))


def installed(uv: str, pins: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Exactly these versions in a folder, as copies: a layer must not share files with uv's cache."""
    words = ["pip", "install", "--quiet", *WHEELS, "--no-deps", "--link-mode", "copy", "--python", sys.executable]
    return _run(uv, [*words, "--target", str(folder), *pins], "")


def _run(uv: str, words: Sequence[str], said: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [uv, *words], input=said, capture_output=True, text=True, check=False, env=environment(), cwd=Path("/")
    )

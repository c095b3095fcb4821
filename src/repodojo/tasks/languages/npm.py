"""What npm installs for a repository: once for each lock, as of a day, without running anything of it."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from repodojo.core.errors import SandboxError, SourceError
from repodojo.tasks.environment import filling

QUIET = ("--ignore-scripts", "--no-audit", "--no-fund", "--omit=optional", "--loglevel=error")
UNREACHED = re.compile(r"\b(ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ERR_SOCKET_TIMEOUT)\b")


def listed(package: Mapping[str, Any], kind: str) -> dict[str, str]:
    """Names and versions of a package.json's `kind`; {} where it is none."""
    found = package.get(kind)
    return {str(name): str(version) for name, version in found.items()} if isinstance(found, dict) else {}


def modules(root: Path, wanted: Mapping[str, str], store: Path, date: str) -> str:
    """Install to `store/sites/<hash of the lock>`, as of a day ("" for today); its name, "" where nothing is wanted.

    SourceError with npm's reason, SandboxError where the registry is out of reach.
    """
    if not wanted:
        return ""
    if not shutil.which("npm"):
        raise SourceError("npm is not installed", way_out="install Node with npm")
    with tempfile.TemporaryDirectory(prefix="repodojo-npm-") as scratch:
        folder = Path(scratch)
        named = {name: _absolute(root, version) for name, version in wanted.items()}
        (folder / "package.json").write_text(json.dumps({"name": "box", "version": "0.0.0", "dependencies": named}))
        if (root / "package-lock.json").is_file():
            shutil.copy(root / "package-lock.json", folder)
        _npm(folder, "install", "--package-lock-only", *([f"--before={date}T23:59:59Z"] if date else []))
        lock = (folder / "package-lock.json").read_text()
        version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=False).stdout.strip()
        name = hashlib.sha256(f"{version}\n{lock}".encode()).hexdigest()[:16]
        if not (store / "sites" / name).is_dir():
            with filling(store / "sites", name) as site:
                for file in ("package.json", "package-lock.json"):
                    shutil.copy(folder / file, site)
                _npm(site, "ci")
            (store / "sites" / f"{name}.txt").write_text("\n".join([f"# node {version}", *_pins(lock), ""]))
    return name


def _pins(lock: str) -> list[str]:
    """What a lock installs, as "name@version"."""
    found = json.loads(lock).get("packages", {})
    names = {path.rpartition("node_modules/")[2]: row.get("version", "") for path, row in found.items() if path}
    return [f"{name}@{version}" for name, version in sorted(names.items())]


def _absolute(root: Path, version: str) -> str:
    return f"file:{(root / version[5:]).resolve()}" if version.startswith("file:") else version


def _npm(folder: Path, verb: str, *words: str) -> None:
    done = subprocess.run(["npm", verb, *QUIET, *words], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        if UNREACHED.search(done.stderr):
            raise SandboxError("the npm registry cannot be reached", way_out="check the network, then try again")
        lines = [x.removeprefix("npm ").removeprefix("error ") for x in done.stderr.splitlines() if x.strip()]
        why = next((x for x in lines if not x.startswith(("code", "errno", "warn"))), "npm gave no reason")
        raise SourceError(f"npm {verb} failed: {why[:300]}", way_out="check the network and package.json")

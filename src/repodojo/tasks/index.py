"""A package's source archive from the index, without building or running anything of it.

pip can only download an sdist by running its build for the metadata; so the index page is read here (PEP 503 and
PEP 691), from the indexes that pip itself is configured with.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

from packaging.utils import InvalidSdistFilename, canonicalize_name, parse_sdist_filename
from packaging.version import InvalidVersion, Version

from repodojo.core.errors import SourceError

DEFAULT = "https://pypi.org/simple"
ACCEPT = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.5, text/html;q=0.2"
TIMEOUT = 60.0


@dataclass(frozen=True)
class Archive:
    """A source archive on an index: where it is and what it must hash to ("" where the index does not say)."""

    url: str
    version: Version
    sha256: str


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, bool]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = dict(attrs)
        if tag == "a" and names.get("href"):
            self.found.append((str(names["href"]), "data-yanked" in names))


def indexes() -> list[str]:
    """The index addresses that pip would use here: environment, configuration, else PyPI."""
    found = settings()
    return [found.get("index-url", DEFAULT), *found.get("extra-index-url", "").split()]


def settings() -> dict[str, str]:
    """What pip is told here, by configuration or environment; names as in its configuration."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    ).stdout
    found: dict[str, str] = {}
    for line in listed.splitlines():
        key, _, value = line.partition("=")
        found[key.rpartition(".")[2]] = value.strip("'\"")
    return found | {k[4:].lower().replace("_", "-"): v for k, v in os.environ.items() if k.startswith("PIP_")}


def find(name: str, version: str = "") -> Archive:
    """The archive of a version, or of the newest final one; SourceError where there is none."""
    found: list[Archive] = []
    trouble = ""
    for index in indexes():
        try:
            found += _archives(index, name)
        except (OSError, ValueError) as error:
            trouble = trouble or f"{type(error).__name__}: {error}"
    wanted = [a for a in found if not version or str(a.version) == version or a.version.public == version]
    wanted = [a for a in wanted if version or not a.version.is_prerelease] or wanted
    if wanted:
        return max(wanted, key=lambda a: a.version)
    if found:
        newest = ", ".join(str(v) for v in sorted({a.version for a in found})[-3:])
        raise SourceError(f"{name} has no source archive of version {version}", way_out=f"the newest are {newest}")
    raise SourceError(
        f"no source archive of {name!r} on the index" + (f" ({trouble})" if trouble else ""),
        way_out="check the name and the network, or name a folder or a Git URL",
    )


def download(archive: Archive, folder: Path) -> Path:
    """Fetch an archive into `folder`, checked against the index's hash."""
    try:
        with urllib.request.urlopen(archive.url, timeout=TIMEOUT) as response:
            data = response.read()
    except OSError as error:
        raise SourceError(f"{archive.url} cannot be fetched: {error}", way_out="check the network") from None
    if archive.sha256 and hashlib.sha256(data).hexdigest() != archive.sha256:
        raise SourceError(f"{archive.url} is not what the index promises (sha256 differs)", way_out="try again")
    path = folder / unquote(urlsplit(archive.url).path).rpartition("/")[2]
    path.write_bytes(data)
    return path


def _archives(index: str, name: str) -> list[Archive]:
    page = f"{index.rstrip('/')}/{canonicalize_name(name)}/"
    if page.startswith("file:"):
        page += "index.html"
    request = urllib.request.Request(page, headers={"Accept": ACCEPT})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
            kind, body = response.headers.get("Content-Type", ""), response.read()
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return []
        raise
    except urllib.error.URLError:
        if page.startswith("file:"):
            return []
        raise
    links: list[tuple[str, bool]] = []
    if "json" in kind:
        for file in json.loads(body)["files"]:
            digest = file.get("hashes", {}).get("sha256", "")
            links.append((f"{file['url']}#sha256={digest}", bool(file.get("yanked"))))
    else:
        parser = _Links()
        parser.feed(body.decode(errors="replace"))
        links = parser.found
    found = [_archive(urljoin(page, link), name) for link, yanked in links if not yanked]
    return [archive for archive in found if archive]


def _archive(link: str, name: str) -> Archive | None:
    url, fragment = urldefrag(link)
    try:
        project, version = parse_sdist_filename(unquote(urlsplit(url).path).rpartition("/")[2])
    except (InvalidSdistFilename, InvalidVersion):
        return None
    digest = re.search(r"sha256=([0-9a-f]{64})", fragment)
    return Archive(url, version, digest.group(1) if digest else "") if project == canonicalize_name(name) else None

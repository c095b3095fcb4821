"""When the versions of a package came to the index: PEP 700's upload times, else those of the index's JSON pages."""

from __future__ import annotations

import functools
import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any

from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)
from packaging.version import InvalidVersion, Version

from repodojo.tasks import index


@functools.cache
def times(name: str) -> Mapping[Version, str]:
    """The first upload of each version (ISO time, UTC); empty where no index tells, or none can be reached."""
    found: dict[Version, str] = {}
    for address in index.indexes():
        if not address.startswith(("http:", "https:")):
            continue
        for version, time in _simple(address, name) or _pages(address, name):
            found[version] = min(time, found.get(version, time))
    return found


def _simple(address: str, name: str) -> list[tuple[Version, str]]:
    data = _json(f"{address.rstrip('/')}/{canonicalize_name(name)}/")
    rows = [(file.get("filename", ""), file.get("upload-time", "")) for file in data.get("files", [])]
    return [(version, time) for file, time in rows if time and (version := _version(file))]


def _pages(address: str, name: str) -> list[tuple[Version, str]]:
    """As pypi.org serves them beside its simple pages."""
    root, simple, _ = address.rstrip("/").rpartition("/simple")
    data = _json(f"{root}/pypi/{canonicalize_name(name)}/json") if simple else {}
    return list(_releases(data.get("releases", {})))


def _releases(rows: Mapping[str, Any]) -> Iterator[tuple[Version, str]]:
    for text, files in rows.items():
        try:
            version = Version(text)
        except InvalidVersion:
            continue
        for file in files:
            if time := file.get("upload_time_iso_8601", ""):
                yield version, str(time)


def _json(page: str) -> dict[str, Any]:
    """A page of JSON; {} for one of another kind, or that is not there."""
    request = urllib.request.Request(page, headers={"Accept": "application/vnd.pypi.simple.v1+json, application/json"})
    try:
        with urllib.request.urlopen(request, timeout=index.TIMEOUT) as response:
            data = json.loads(response.read()) if "json" in response.headers.get("Content-Type", "") else {}
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def _version(file: str) -> Version | None:
    try:
        return parse_wheel_filename(file)[1] if file.endswith(".whl") else parse_sdist_filename(file)[1]
    except (InvalidWheelFilename, InvalidSdistFilename, InvalidVersion):
        return None

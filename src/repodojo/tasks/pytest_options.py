"""Which tests a project's own pytest configuration leaves out: the marker expression of its `addopts`, and no more.

Boxes read no ini file. But tests that a project never runs by default (stress tests by the thousand, tests that need
the network) are none that a task can be made of, so the host reads this one option and passes it on.
"""

from __future__ import annotations

import argparse
import configparser
import re
import shlex
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

from repodojo.tasks.needs_files import LARGEST

_EXPRESSION = re.compile(r"[\w\s().]+")
_SECTIONS = (
    ("pytest.ini", "pytest"),
    (".pytest.ini", "pytest"),
    ("pyproject.toml", ""),
    ("tox.ini", "pytest"),
    ("setup.cfg", "tool:pytest"),
)


def variables(root: Path) -> dict[str, str]:
    """The environment that has pytest leave out the same; {} where the project leaves out nothing.

    Of several files the first with a section of pytest's counts, as for pytest.
    """
    options = next(_said(root), [])
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("-m", dest="marks", default="")
    try:
        marks = parser.parse_known_args(options)[0].marks
    except (argparse.ArgumentError, SystemExit):  # -m without a value
        return {}
    return {"PYTEST_ADDOPTS": shlex.join(["-m", marks])} if _EXPRESSION.fullmatch(marks) else {}


def _said(root: Path) -> Iterator[Sequence[str]]:
    """The words of `addopts`, of each file that configures pytest."""
    for name, section in _SECTIONS:
        try:
            if (root / name).is_file() and (root / name).stat().st_size <= LARGEST:
                text = (root / name).read_text(encoding="utf-8")
                yield from _of_toml(text) if not section else _of_ini(text, section)
        except (OSError, ValueError, TypeError, configparser.Error):  # nothing that pytest could read either
            continue


def _of_toml(text: str) -> Iterator[Sequence[str]]:
    tool = tomllib.loads(text).get("tool", {})
    table = tool.get("pytest", {}) if isinstance(tool, dict) else {}
    if not isinstance(table, dict) or not table:
        return
    found = {**table, **table.get("ini_options", {})}.get("addopts", "")
    yield shlex.split(found) if isinstance(found, str) else [str(word) for word in found]


def _of_ini(text: str, section: str) -> Iterator[Sequence[str]]:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.read_string(text)
    if parser.has_section(section):
        yield shlex.split(parser.get(section, "addopts", fallback=""))

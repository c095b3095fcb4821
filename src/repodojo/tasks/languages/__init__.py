"""What a repository's language is made of: detect, build, run its tests, parse their report. A file a language.

To add one, write a class with the verbs of `base.Language` (node.py is the example) and name it here.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from repodojo.core.errors import SourceError
from repodojo.tasks.languages.base import Language
from repodojo.tasks.languages.node import Node
from repodojo.tasks.languages.python import Python

LANGUAGES: tuple[Callable[[], Language], ...] = (Node, Python)


def language_of(root: Path, name: str = "") -> Language:
    """The language of that name, or the first that knows a folder; SourceError with those there are.

    It is made anew: what it remembers (locks) lives as long as its user.
    """
    languages = [make() for make in LANGUAGES]
    known = ", ".join(language.name for language in languages)
    for language in languages:
        if language.name == name or (not name and language.detect(root)):
            return language
    if name:
        raise SourceError(f"there is no language {name!r}", way_out=f"use one of {known}")
    raise SourceError(f"{root.name} is in no language that is known here", way_out=f"known are {known}")


__all__ = ["LANGUAGES", "Language", "language_of"]

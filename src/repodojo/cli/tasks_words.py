"""Words that the `tasks` verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from repodojo.core.errors import ConfigError
from repodojo.core.records import Split

SPLITS: tuple[Split, ...] = ("train", "dev", "held-out")
Store = Annotated[Path, typer.Argument(help="folder of the task set")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON for programs")]


def split_named(name: str) -> Split:
    """The split of that name; ConfigError with those there are."""
    for split in SPLITS:
        if split == name:
            return split
    raise ConfigError(f"there is no split {name!r}", way_out=f"use one of {', '.join(SPLITS)}")

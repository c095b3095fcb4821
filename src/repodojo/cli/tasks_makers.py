"""The makers of `repodojo tasks make`, and which option is whose."""

from __future__ import annotations

from pathlib import Path

import typer

from repodojo.core.errors import ConfigError
from repodojo.tasks.combine import Within
from repodojo.tasks.written import Writer

CONTEXT = 4096
"""Tokens of a function's signature, docstring and body that a model which writes bugs may see and say."""
MAKERS = ("bugs", "history", "edits", "renames", "features")
OF: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("kinds", "combine", "combine_in", "written_by"), ("bugs",)),
    **dict.fromkeys(("max_lines",), ("bugs", "features", "renames")),
    "per_function": ("bugs", "renames"),
    "seed": ("bugs", "edits", "features", "renames"),
    "workers": ("bugs", "history", "features"),
    "unisolated": ("bugs", "history", "features"),
    **dict.fromkeys(
        (
            "max_files",
            "max_edited",
            "max_patch",
            "min_words",
            "sure",
            "issues",
            "walk_only",
            "reverts",
            "dated",
            "language",
        ),
        ("history",),
    ),
    "language": ("history",),
    **dict.fromkeys(("max_commits", "revision"), ("history", "edits")),
    **dict.fromkeys(
        ("languages", "min_input", "max_input", "min_output", "max_output", "margin"), ("edits", "renames")
    ),
    **dict.fromkeys(("max_hunk", "events", "per_commit"), ("edits",)),
}
"""Options that do nothing with some makers, and those with which they do something."""


def chosen(context: typer.Context, maker: str, **asked_for: bool) -> str:
    """The maker that was asked for; ConfigError where two were, or where an option does nothing with it."""
    asked = [name for name, given in asked_for.items() if given]
    if _given(context, "maker"):
        asked.append(maker)
    if len(set(asked)) > 1:
        raise ConfigError(f"both {asked[0]} and {asked[1]} are asked for", way_out="make one kind of task at a time")
    maker = asked[0] if asked else maker
    if maker not in MAKERS:
        raise ConfigError(f"there is no maker {maker!r}", way_out=f"use --from {' or --from '.join(MAKERS)}")
    for name, makers in OF.items():
        if maker not in makers and _given(context, name):
            option = f"--{name.replace('_', '-')}"
            raise ConfigError(
                f"{option} does nothing with --from {maker}", way_out=f"it is for --from {' and '.join(makers)}"
            )
    return maker


def _given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def combined_in(context: typer.Context, place: str, size: int) -> Within:
    """Where combined bugs are from; ConfigError for another word, or where nothing is combined."""
    if place not in ("file", "module"):
        raise ConfigError(f"--combine-in {place!r} is neither file nor module", way_out="use one of the two")
    if size < 2 and _given(context, "combine_in"):
        raise ConfigError("--combine-in does nothing with one bug a task", way_out="give --combine 2 too")
    return "file" if place == "file" else "module"


def written(context: typer.Context, model: str, tries: int, seed: int) -> Writer | None:
    """The model that writes bugs; None where none is named. ConfigError where kinds are named as well."""
    if not model:
        return None
    if _given(context, "kinds"):
        raise ConfigError("--kinds does nothing with --written-by", way_out="inject bugs in another call")
    from repodojo.inference import checkpoint
    from repodojo.inference.chat import ChatFormat
    from repodojo.inference.engine import Engine
    from repodojo.tasks.written import AT_ONCE, ModelWriter
    from repodojo.train.setup import base_path

    folder = base_path() if model == "base" else Path(model)
    decoder = checkpoint.load(folder)
    engine = Engine(decoder, max_context=min(CONTEXT, decoder.architecture.max_positions), max_rows=AT_ONCE)
    return ModelWriter(engine, ChatFormat.load(folder), seed=seed)

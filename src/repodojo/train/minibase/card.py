"""The model card of a base for mini-swe-agent: what it is for, what it read, and what its own episodes showed."""

from __future__ import annotations

from collections.abc import Sequence

from repodojo import __version__
from repodojo.train.pretrain.gate import Share
from repodojo.train.pretrain.settings import Settings
from repodojo.train.pretrain.sources import Package

TEXT = """# A small base that speaks mini-swe-agent's format

Made by Repodojo {version} from {origin}:

    repodojo pretrain-mini{start} --tokens {tokens} --functions {functions} --seed {seed}

Beyond what that read, it read {read:,} functions of published Python packages within transcripts of a random explorer,
in the prompts and the shell blocks of mini-swe-agent's text format. No bug was put into them, test runs answered at
random, and nothing says which edit is a good one: that is for reinforcement learning to teach. Packages of the dev and
held-out splits were left out. It is no general language model, and of little use outside the episodes it was made for.

| its own episodes at temperature 1, on functions it never read | 95% interval (Wilson) |
|---|---|
{figures}

## What it read

The weights were learnt from these packages, each under the licence that its metadata names.

| package | version | licence |
|---|---|---|
{packages}
"""


def text(settings: Settings, packages: Sequence[Package], read: int, figures: Sequence[tuple[str, Share]]) -> str:
    """The card in Markdown; read: how many functions."""
    rows = [
        f"| {p.requirement.partition('==')[0]} | {p.version or 'local'} | {p.licence or 'not stated'} |"
        for p in packages
    ]
    return TEXT.format(
        version=__version__,
        origin="an earlier base, whose card says how that was made" if settings.start else "the base that ships",
        start=" --start EARLIER" if settings.start else "",
        tokens=settings.schedule.tokens,
        functions=settings.functions,
        seed=settings.seed,
        read=read,
        figures="\n".join(f"| {name} | {share} |" for name, share in figures),
        packages="\n".join(rows),
    )

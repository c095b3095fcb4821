"""Which index packages the quickstart learns from, is tuned on and is measured on.

The base that ships reads none of the latter two.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from repodojo.tasks.layout import canonical

# Pinned source: most tasks taken from it.
QUICKSTART: Mapping[str, Mapping[str, int]] = {
    "train": {"pydash==8.1.0": 180, "toolz==1.2.0": 100, "natsort==8.4.0": 40},
    "dev": {"inflection==0.5.1": 40, "boltons==26.2.0": 60},
    "held-out": {"sortedcontainers==2.4.0": 35, "humanize==4.17.0": 35},
}
TRAIN = tuple(QUICKSTART["train"])
DEV = tuple(QUICKSTART["dev"])
HELD_OUT = tuple(QUICKSTART["held-out"])


def name_of(requirement: str) -> str:
    """The canonical name in a pinned requirement.

    >>> name_of("Python_Slugify==9.2.0")
    'python-slugify'
    """
    return canonical(requirement.partition("==")[0].strip())


def measured(names: Iterable[str]) -> list[str]:
    """Those of `names` that are packages of the dev or held-out split, or the modules they install."""
    packages = {name_of(requirement) for requirement in (*DEV, *HELD_OUT)}
    packages |= {name.removeprefix("python-") for name in packages}
    return sorted(name for name in names if canonical(name) in packages)

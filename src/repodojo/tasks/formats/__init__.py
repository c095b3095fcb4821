"""The task formats of the field, one file each; `FORMATS` names them, the more special before the more general."""

from __future__ import annotations

from repodojo.core.errors import TaskError
from repodojo.tasks.formats.base import Format, Row, RowError, dump, load
from repodojo.tasks.formats.harbor import HARBOR
from repodojo.tasks.formats.multi_swe import MULTI_SWE
from repodojo.tasks.formats.r2e import R2E
from repodojo.tasks.formats.swe_bench import SWE_BENCH, SWE_GYM
from repodojo.tasks.formats.swe_bench_folder import SWE_BENCH_FOLDER
from repodojo.tasks.formats.swe_rebench import SWE_REBENCH
from repodojo.tasks.formats.swe_smith import SWE_SMITH
from repodojo.tasks.formats.zeta import ZETA

FORMATS = {
    kind.name: kind
    for kind in (
        HARBOR, SWE_BENCH_FOLDER, R2E, MULTI_SWE, SWE_REBENCH, SWE_SMITH, SWE_GYM, SWE_BENCH, ZETA,
    )
}  # fmt: skip


def named(name: str) -> Format:
    """The format of that name; TaskError with those there are."""
    if name not in FORMATS:
        raise TaskError(f"there is no format {name!r}", way_out=f"use one of {', '.join(FORMATS)}")
    return FORMATS[name]


def detect(row: Row) -> Format:
    """The format of a row by its fields; RowError where none fits."""
    for kind in FORMATS.values():
        if kind.matches(row):
            return kind
    fields = ", ".join(sorted(row)[:8]) or "none"
    raise RowError("", f"is of no known format (its fields: {fields}); name one with --format")


__all__ = ["FORMATS", "Format", "Row", "RowError", "detect", "dump", "load", "named"]

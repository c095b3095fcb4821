"""Records to JSON and back, checked: pydantic validates the frozen dataclasses as they are."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from repodojo.core.errors import TaskError

T = TypeVar("T")


_adapters: dict[Any, TypeAdapter[Any]] = {}


def _adapter(kind: Any) -> TypeAdapter[Any]:
    """Building an adapter costs milliseconds, so each is built once."""
    if kind not in _adapters:
        _adapters[kind] = TypeAdapter(kind)
    return _adapters[kind]


def to_json(record: Any) -> str:
    """One line of JSON."""
    return _adapter(type(record)).dump_json(record).decode()


def from_json(kind: type[T], text: str | bytes, *, where: str = "record") -> T:
    """The record in `text`; TaskError names `where` and the first field that is wrong."""
    try:
        record: T = _adapter(kind).validate_json(text)
        return record
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(str(part) for part in first["loc"]) or "the whole line"
        raise TaskError(
            f"{where}: {path}: {first['msg']}", way_out="correct that field or make the file anew"
        ) from None

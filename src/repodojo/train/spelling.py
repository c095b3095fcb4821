"""How values and types of settings are written: as TOML, and in the settings' documentation."""

from __future__ import annotations

import json
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel


def toml(value: Any) -> str:
    """A value as TOML writes it; None, which has no spelling there, as words."""
    if value is None:
        return "the recipe's own"
    if isinstance(value, BaseModel):
        value = dict(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name} = {toml(item)}" for name, item in value.items()) + "}"
    if isinstance(value, tuple):
        return "[" + ", ".join(toml(item) for item in value) + "]"
    if isinstance(value, str):  # JSON's escapes are TOML's, but for DEL, which JSON leaves bare
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return str(value).lower() if isinstance(value, bool) else repr(value)


def kind(annotation: Any) -> str:
    """A type in words."""
    if get_origin(annotation) is Literal:
        return " | ".join(json.dumps(choice) for choice in get_args(annotation))
    if get_origin(annotation) is tuple:
        return f"list of {kind(get_args(annotation)[0])}"
    if get_origin(annotation) is dict:
        return f"table of {kind(get_args(annotation)[1])}s"
    if issubclass(annotation, BaseModel):
        return "table of " + ", ".join(annotation.model_fields)
    return {str: "text", int: "integer", float: "number", bool: "true or false"}[annotation]

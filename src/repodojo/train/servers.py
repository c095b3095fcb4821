"""Rollout over vLLM or SGLang: what [rollout] says of it, made into what workers are told."""

from __future__ import annotations

import importlib.util
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from repodojo.core.errors import ConfigError
from repodojo.inference.remote import Servers

if TYPE_CHECKING:
    from repodojo.train.config import Config


def refuse_half(config: Config) -> None:
    """ConfigError for an engine without its address, one that no worker asks, and what a server cannot follow."""
    rollout = config.rollout
    if rollout.engine == "builtin":
        return
    if not rollout.engine_urls:
        cause = f'rollout.engine = "{rollout.engine}" is a server, and rollout.engine_urls names none'
        raise ConfigError(cause, way_out='give its base URL, e.g. rollout.engine_urls=["http://127.0.0.1:8000"]')
    if len(rollout.engine_urls) > rollout.workers:
        cause = f"rollout.engine_urls: {rollout.workers} workers would ask no more servers than that"
        raise ConfigError(cause, way_out=f"set rollout.workers to {len(rollout.engine_urls)} or more")
    if stretched := [stage.name for stage in config.stages if stage.yarn is not None]:
        cause = f"stage {stretched[0]} sets yarn, which a server reads once, when it starts"
        raise ConfigError(cause, way_out="start it and this run on a model that is stretched already")


def servers(config: Config) -> Servers | None:
    """The servers of a configuration; None where workers have engines of their own.

    ConfigError where the key cannot be read, or the HTTP client is not installed. What one run publishes is never
    taken for another's: `run` is new with every call.
    """
    rollout = config.rollout
    if rollout.engine == "builtin":
        return None
    refuse_half(config)
    if not importlib.util.find_spec("httpx2"):
        raise ConfigError("rollout.engine needs httpx2", way_out="pip install 'repodojo[serve]'")
    urls = tuple(url.rstrip("/") for url in rollout.engine_urls)
    folder = str(Path(rollout.engine_weights).absolute()) if rollout.engine_weights else ""
    return Servers(
        rollout.engine, urls, secrets.token_hex(4), rollout.engine_model, _key(rollout.engine_key_file), folder
    )


def _key(file: str) -> str:
    if not file:
        return ""
    try:
        found = Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"rollout.engine_key_file: {error}", way_out="name a file that holds the key") from None
    if not found:
        raise ConfigError(f"rollout.engine_key_file: {file} holds no key", way_out="write one into it")
    return found

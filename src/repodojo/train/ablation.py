"""What each part of the agent's context is worth: the same model on the same tasks with all parts, and without each."""

from __future__ import annotations

from repodojo.core.errors import ConfigError
from repodojo.train.config import Config

ALL = "all"


def variants(config: Config) -> dict[str, Config]:
    """The configuration as it is ("all"), then "without PART" for each part that is on; ConfigError where none is.

    Parts are agent.context = "focus" and whatever agent.sources names.
    """
    agent = config.agent
    found = {ALL: config}
    if agent.context == "focus":
        found["without focus"] = _with(config, context="none")
    for source in agent.sources:
        rest = tuple(other for other in agent.sources if other != source)
        found[f"without {source}"] = _with(config, sources=rest)
    if len(found) == 1:
        cause = "nothing to leave out: agent.context is none and agent.sources is empty"
        raise ConfigError(cause, way_out="switch some on, e.g. --set agent.sources=graph")
    return found


def _with(config: Config, **changes: object) -> Config:
    return config.model_copy(update={"agent": config.agent.model_copy(update=changes)})

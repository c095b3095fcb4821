"""What a session leaves behind, as JSON and as the fields of a trajectory."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from repodojo.gateway.session import Session
from repodojo.gateway.tree import Node


def exported(session: Session) -> dict[str, Any]:
    """The whole session: its sequences of turns, the longest first, and what was counted."""
    return {
        "session": session.id,
        "counts": dict(session.counts),
        "stripped": sorted(session.stripped),
        "paths": [[asdict(turn) for turn in path] for path in session.tree.paths()],
    }


def line(session: Session, node: Node) -> str:
    """One call as a line of JSON: exact tokens, log-probs and policy versions, and which call it continues."""
    completion = node.completion
    return json.dumps(
        {
            "session": session.id,
            "call": node.id,
            "parent": node.parent.id if node.parent else None,
            "observation_ids": node.observation,
            "action_ids": completion.token_ids,
            "logprobs": completion.logprobs,
            "versions": completion.versions,
            "finished": completion.finished,
            "text": node.text,
            "seconds": round(node.seconds, 6),
        }
    )


def labels(session: Session) -> dict[str, str]:
    """The counts as a trajectory's labels, and what was stripped."""
    found = {f"gateway_{name}": str(count) for name, count in sorted(session.counts.items()) if count}
    return found | ({"gateway_parameters": ",".join(sorted(session.stripped))} if session.stripped else {})

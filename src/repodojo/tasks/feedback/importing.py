"""`repodojo feedback import`: sessions in, scrubbed sessions, task weights, preference pairs and a summary out.

Files of the folder: sessions.jsonl, weights.json, pairs.jsonl, malformed.jsonl, summary.json, reward.toml.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import IO, Any

from repodojo.core.errors import UserError
from repodojo.tasks.feedback import rules
from repodojo.tasks.feedback.ledger import Ledger
from repodojo.tasks.feedback.privacy import scrubbed
from repodojo.tasks.feedback.retention import History
from repodojo.tasks.feedback.schema import Malformed, Session, check_readable, rows

FILES = ("sessions.jsonl", "weights.json", "pairs.jsonl", "malformed.jsonl", "summary.json", "reward.toml")


@dataclass
class Summary:
    """What an import amounts to. Shares are None where nothing tells; retention maps days to a mean over sessions."""

    sessions: int = 0
    malformed: int = 0
    doubles: int = 0
    tasks: int = 0
    pairs: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    mean_score: float | None = None
    tool_error_rate: float | None = None
    median_tokens: int = 0
    retention: dict[int, float] = field(default_factory=dict)
    retention_sessions: dict[int, int] = field(default_factory=dict)


def import_feedback(
    source: Path,
    out: Path,
    *,
    history: History | None = None,
    agent: str = "",
    days: Sequence[int] = (1, 7, 30),
    on_bytes: Callable[[int], None] = lambda count: None,
) -> Summary:
    """Read FILE and write the folder `out`, whose files appear together once all is read.

    `history` gives retention for sessions that name a commit; with `agent` (a regular expression) commits whose author
    or message matches become sessions too. UserError where FILE cannot be read or the folder not be written.
    """
    check_readable(source)
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".import-", dir=out) as scratch, Ledger(out) as ledger:
            folder = Path(scratch)
            summary = _Import(history, days, ledger).everything(_all(source, history, agent, on_bytes), folder)
            _derive(folder, ledger, summary)
            for name in FILES:
                os.replace(folder / name, out / name)
    except OSError as error:
        raise UserError(f"{out}: {error.strerror}", way_out="name a folder that can be written") from None
    return summary


def _all(
    source: Path, history: History | None, agent: str, on_bytes: Callable[[int], None]
) -> Iterator[Session | Malformed]:
    commits = history.of_agent(agent) if history is not None and agent else iter(())
    made = (
        Session(
            id=f"commit:{commit.name}",
            task=f"commit:{commit.name}",
            outcome="reverted" if history is not None and history.reverted(commit) else "kept",
            prompt=commit.subject,
            response=commit.patch,
            commit=commit.name,
        )
        for commit in commits
    )
    return chain(rows(source, on_bytes), made)


class _Import:
    """One pass over the sessions."""

    def __init__(self, history: History | None, days: Sequence[int], ledger: Ledger) -> None:
        self.history, self.days, self.ledger = history, days, ledger
        self.summary = Summary()
        self._scores = 0.0
        self._retained: dict[int, float] = {}

    def everything(self, found: Iterator[Session | Malformed], folder: Path) -> Summary:
        with (folder / "sessions.jsonl").open("wb") as kept, (folder / "malformed.jsonl").open("wb") as bad:
            for row in found:
                if isinstance(row, Malformed):
                    self.summary.malformed += 1
                    _write(bad, {**row.model_dump(), "why": scrubbed(row.why)})
                else:
                    self._session(row, kept)
        s = self.summary
        s.mean_score = self._scores / s.sessions if s.sessions else None
        s.retention = {day: self._retained[day] / s.retention_sessions[day] for day in sorted(self._retained)}
        return s

    def _session(self, row: Session, file: IO[bytes]) -> None:
        retention = {int(day): share for day, share in row.retention.items()} | self._blamed(row)
        score = rules.score(row.outcome, retention)
        data = row.model_dump(mode="json") | {name: scrubbed(getattr(row, name)) for name in _TEXTS}
        data |= {"retention": {str(day): share for day, share in sorted(retention.items())}, "score": score}
        text = hashlib.blake2b(data["response"].encode("utf-8", "replace"), digest_size=16).hexdigest()
        counts = (row.tool_calls, row.tool_errors, row.tokens)
        digest = text if row.response.strip() else ""
        if not self.ledger.add(data["id"], data["task"], row.outcome, score, counts, file.tell(), digest):
            self.summary.doubles += 1
            return
        _write(file, data)
        self.summary.sessions += 1
        self._scores += score
        for day, share in retention.items():
            self._retained[day] = self._retained.get(day, 0.0) + share
            self.summary.retention_sessions[day] = self.summary.retention_sessions.get(day, 0) + 1

    def _blamed(self, row: Session) -> dict[int, float]:
        commit = self.history.commit(row.commit) if self.history is not None and row.commit else None
        return self.history.retention(commit, self.days) if self.history is not None and commit is not None else {}


_TEXTS = ("id", "task", "prompt", "response")


def _derive(folder: Path, ledger: Ledger, summary: Summary) -> None:
    """Weights, pairs, the snippet for a configuration, and the summary."""
    with (folder / "weights.json").open("w", encoding="utf-8") as file:
        file.write('{"format": 1, "weights": {')
        for summary.tasks, task in enumerate(ledger.tasks(), 1):
            file.write(f"{',' if summary.tasks > 1 else ''}\n{json.dumps(task.task)}: {task.weight:.6f}")
        file.write("\n}}\n")
    with (folder / "sessions.jsonl").open("rb") as kept, (folder / "pairs.jsonl").open("wb") as file_of_pairs:
        for summary.pairs, (best, worst) in enumerate(ledger.pairs(), 1):
            _write(file_of_pairs, _pair(_at(kept, best), _at(kept, worst)))
    summary.outcomes, summary.median_tokens = ledger.outcomes(), ledger.median_tokens()
    summary.tool_error_rate = ledger.tool_error_rate()
    (folder / "reward.toml").write_text(_reward(summary), encoding="utf-8")
    (folder / "summary.json").write_text(json.dumps(asdict(summary), indent=1) + "\n", encoding="utf-8")


def _pair(best: dict[str, Any], worst: dict[str, Any]) -> dict[str, Any]:
    return {
        "task": best["task"],
        "prompt": best["prompt"] or worst["prompt"],
        "chosen": best["response"],
        "rejected": worst["response"],
        "chosen_id": best["id"],
        "rejected_id": worst["id"],
        "chosen_score": best["score"],
        "rejected_score": worst["score"],
    }


def _reward(summary: Summary) -> str:
    """What a configuration can take over as it is."""
    weights = "tool_errors = 0.1" + (", tokens = 0.1" if summary.median_tokens else "")
    target = f"tokens_target = {summary.median_tokens}  # median of kept and accepted sessions\n"
    return f"[reward]\nweights = {{ {weights} }}\n" + (target if summary.median_tokens else "")


def _at(file: IO[bytes], place: int) -> dict[str, Any]:
    file.seek(place)
    found: dict[str, Any] = json.loads(file.readline())
    return found


def _write(file: IO[bytes], data: dict[str, Any]) -> None:
    file.write(json.dumps(data, ensure_ascii=True).encode() + b"\n")

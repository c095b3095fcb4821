"""Running ids in boxes while tasks are made: reports from `boxrun`, batches through `boxbatch`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from repodojo.core.errors import SandboxError
from repodojo.core.protocols import ExecResult, Sandbox
from repodojo.rewards.runner import CONFTEST
from repodojo.tasks.mutate import Edit

ID_SECONDS = 1.0
"""What one id may take while mutants are tried; ids that need a third of it when sound are not used."""


LATE = "no answer after"


@dataclass(frozen=True)
class Report:
    """What `boxrun --report` said of some ids. A run that did not complete says nothing of them; `ended` says why
    ("timeout", "memory", "killed", "output", or "broken" where it ended by itself without a report)."""

    tests: Mapping[str, str] = field(default_factory=dict)
    failures: Mapping[str, str] = field(default_factory=dict)
    touched: Mapping[str, Sequence[str]] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    ended: str = ""

    def late(self) -> set[str]:
        """Ids that were cut off by their time limit."""
        return {name for name, text in self.failures.items() if LATE in text}


@dataclass(frozen=True)
class Job:
    """One variation:
    `edits` of sound files (`path` the broken one), further `writes`, the ids to run (see guest/boxbatch.py)."""

    key: str
    path: str
    edits: tuple[Mapping[str, Any], ...]
    writes: Mapping[str, str]
    visible: tuple[str, ...]
    hidden: tuple[str, ...]
    gate: bool = True


@dataclass(frozen=True)
class Outcome:
    """What became of a job: status by id, what the visible command prints, seconds it took."""

    key: str
    tests: Mapping[str, str]
    text: str
    seconds: float


def edit_record(path: str, edit: Edit) -> dict[str, Any]:
    """An edit as an environment's recipe holds it."""
    return {"path": path, "start": edit.start, "end": edit.end, "text": edit.text}


async def report(
    box: Sandbox,
    ids: Sequence[str],
    docstrings: Mapping[str, str],
    *,
    seed: int,
    trace: bool,
    seconds: float,
    each: float = 0.0,
    conftest: bool = False,
) -> Report:
    """Run ids in a cold interpreter with a hash seed of its own, so that what hangs on set order shows.

    All may take `seconds`, one of them (the imports before it too) `each` (0: what `boxrun` gives it).
    conftest: with the repository's conftest files.
    """
    flags = ["--report", "--stdin", *(["--trace"] if trace else []), *(["--seconds", f"{each:g}"] if each else [])]
    flags += [CONFTEST] if conftest else []
    texts = {name: docstrings[name] for name in ids if name in docstrings}
    result = await box.exec(
        ["python", "-m", "boxrun", *flags, *ids],
        env={"PYTHONHASHSEED": str(seed)},
        stdin=json.dumps({"docstrings": texts}).encode(),
        seconds=seconds,
    )
    if result.ended != "exit":
        return Report(ended=result.ended)
    return parsed(result.report)


def parsed(data: bytes) -> Report:
    """The report that `boxrun` wrote."""
    try:
        row = json.loads(data)
        return Report(row["tests"], row["failures"], row["touched"], row["seconds"])
    except (ValueError, KeyError, TypeError):
        return Report(ended="broken")


async def batch(
    box: Sandbox, jobs: Sequence[Job], docstrings: Mapping[str, str], modules: Sequence[str], seconds: float
) -> list[Outcome]:
    """Try jobs one after the other in a box; those that a broken run left out have no outcome.

    Raises SandboxError where nothing at all came back.
    """
    names = {name for job in jobs for name in (*job.visible, *job.hidden)}
    work = {
        "seconds": ID_SECONDS,
        "docstrings": {name: docstrings[name] for name in names if name in docstrings},
        "modules": list(modules),
        "jobs": [asdict(job) for job in jobs],
    }
    result = await box.exec(["python", "-m", "boxbatch"], stdin=json.dumps(work).encode(), seconds=seconds, warm=True)
    outcomes = list(_lines(result))
    if not outcomes and result.ended == "exit" and result.exit_code:
        raise SandboxError(f"the batch runner failed: {result.output[-400:].decode(errors='replace')}")
    return outcomes


def _lines(result: ExecResult) -> list[Outcome]:
    found: list[Outcome] = []
    for line in result.report.splitlines():
        try:
            data = json.loads(line)
        except ValueError:
            break
        found.append(Outcome(data["key"], data["tests"], data["text"], data["seconds"]))
    return found

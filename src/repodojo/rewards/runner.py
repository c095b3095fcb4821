"""One run of test ids in a box that holds the hidden tests, with the evidence of how it ended."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from repodojo.core.protocols import Sandbox
from repodojo.rewards.examples import as_expected, without_answers

PASSED = "passed"
LATE = "got: no answer after"
CONFTEST = "--conftest"
"""Of `boxrun`, and so of a grader's command: its tests need the repository's conftest files."""


@dataclass(frozen=True)
class Verdicts:
    """Status by id, from a run that completed. `ended` says how it ended otherwise: by the box's own account (time,
    memory, output, killed), "broken" where the report is missing or malformed, or "late" where single ids hung."""

    tests: Mapping[str, str] = field(default_factory=dict)
    ended: str = ""

    def split(self, ids: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """(passed, not passed) of the ids; one that was not reported has not passed."""
        passed = tuple(i for i in ids if self.tests.get(i) == PASSED)
        return passed, tuple(i for i in ids if self.tests.get(i) != PASSED)


async def run_ids(
    box: Sandbox,
    ids: Sequence[str],
    texts: Mapping[str, str],
    seconds: float,
    *,
    warm: bool = True,
    conftest: bool = False,
) -> Verdicts:
    """Run ids; `texts` are the docstrings that count, of which only the examples' source enters the box.

    conftest: load the tree's conftest files, which no admissible change can be (see `filter`).

    The report comes by a descriptor that the code under test does not have, must be whole and say that it is; the
    exit status must fit it.
    """
    wanted = {name: without_answers(texts[name]) for name in ids if name in texts}
    result = await box.exec(
        ["python", "-m", "boxrun", "--report", "--outputs", "--stdin", *([CONFTEST] if conftest else []), *ids],
        stdin=json.dumps({"docstrings": wanted}).encode(),
        seconds=seconds,
        warm=warm,
    )
    if result.ended != "exit":
        return Verdicts(ended=result.ended)
    report = _report(result.report)
    if report is None:
        return Verdicts(ended="broken")
    reported = {i: str(report["tests"][i]) for i in ids if i in report["tests"]}
    if (result.exit_code == 0) != (len(reported) == len(ids) and set(reported.values()) == {PASSED}):
        return Verdicts(ended="broken")
    tests = {i: _judged(i, status, texts.get(i, ""), report["outputs"].get(i)) for i, status in reported.items()}
    late = any(str(text).startswith(LATE) for text in report["failures"].values())
    return Verdicts(tests, "late" if late else "")


def _judged(name: str, status: str, text: str, outputs: Any) -> str:
    if status != PASSED or not name.startswith("doctest:"):
        return status
    return PASSED if as_expected(text, outputs) else "failed"


def _report(data: bytes) -> dict[str, Any] | None:
    """The report where it is whole, else None."""
    try:
        report = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if not isinstance(report, dict) or report.get("complete") is not True:
        return None
    whole = all(isinstance(report.get(name), dict) for name in ("tests", "failures", "outputs"))
    return report if whole else None


def shuffled(ids: Sequence[str], seed: str) -> list[str]:
    """Another order: files in turn, ids of a file in turn, so that a pytest file is still collected once.

    >>> sorted(shuffled(["pytest:a.py::x", "doctest:m.py::f"], "seed"))
    ['doctest:m.py::f', 'pytest:a.py::x']
    """
    rng = random.Random(seed)
    files: dict[tuple[str, str], list[str]] = {}
    for name in dict.fromkeys(ids):
        kind, _, rest = name.partition(":")
        files.setdefault((kind, rest.partition("::")[0]), []).append(name)
    order = sorted(files)
    rng.shuffle(order)
    for key in order:
        rng.shuffle(files[key])
    return [name for key in sorted(order, key=lambda key: key[0]) for name in files[key]]

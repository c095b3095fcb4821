"""Tests of Node's own runner, told by a reporter in the runner's process, not in that of the code under test.

`node --test` runs each file in a child process; the reporter below sits in the parent and writes a line of JSON a test
to the box's private descriptor, which Node closes in its children. What children say comes by their standard output,
so code under test that takes hold of `process`, `fs` or the test modules can forge it: `plain_js` looks for that in
what is paid.
"""

from __future__ import annotations

import base64
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from repodojo.core.records import Score, Task
from repodojo.rewards.graders.base import Ran, by_status

REPORTER = """
import { writeSync } from "node:fs";
const put = (row) => writeSync(+process.env.REPODOJO_REPORT_FD, JSON.stringify(row) + "\\n");
export default async function* (events) {
  const names = [], said = {};
  for await (const { type, data } of events) {
    if (type == "test:start") names[data.nesting] = data.name;
    if (type == "test:stderr") said[data.file] = ((said[data.file] ?? "") + data.message).slice(0, 4000);
    if (type != "test:pass" && type != "test:fail") continue;
    const { file, name, nesting, skip, todo, details } = data, error = details?.error, cause = error?.cause;
    const alone = name == file, path = [...names.slice(0, nesting), name];
    const why = error && String((alone && said[file]) || cause?.stack || cause || error.message);
    put([file ?? "", path, type.slice(5), skip ?? todo ?? false, details?.type == "suite", details?.duration_ms, why]);
  }
  put("end");
}
"""
"""Rows of [file, names from the outermost suite to the test, "pass" or "fail", skipped, whether it is a suite,
milliseconds, why it failed], then "end"."""
SHOWN = 1500
TIMED_OUT = "test timed out after"


@dataclass(frozen=True)
class Told:
    """Status ("passed", "failed", "skipped"), reason and seconds by id; `whole` where the report came to its end."""

    tests: Mapping[str, str] = field(default_factory=dict)
    failures: Mapping[str, str] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    whole: bool = False


def words(files: Sequence[str], each: float = 0.0, seed: int = 0) -> tuple[str, ...]:
    """The command that runs test files in a box; one that takes `each` seconds is ended (0: never), and the others
    still report. `seed` is that of Math.random (0: another one each time)."""
    reporter = "data:text/javascript;base64," + base64.b64encode(REPORTER.encode()).decode()
    limit = [f"--test-timeout={1000 * each:.0f}"] if each else []
    return ("node", f"--random-seed={seed}", "--test", *limit, f"--test-reporter={reporter}", *files)


def command(files: Sequence[str]) -> str:
    """The same for a shell, from the tree's root and without a limit: one that is met is the whole run's."""
    return " ".join(map(shlex.quote, words(files)))


def told(data: bytes, work_dir: str) -> Told:
    """What the reporter wrote. Ids are `node:FILE::SUITE > TEST`; one that comes twice passed if both did; suites are
    told by what is in them."""
    tests: dict[str, str] = {}
    failures: dict[str, str] = {}
    seconds: dict[str, float] = {}
    for line in data.splitlines():
        row = _row(line)
        if row == "end":
            return Told(tests, failures, seconds, True)
        if not isinstance(row, list) or len(row) != 7:
            break
        file, names, end, skipped, suite, milliseconds, why = row
        if suite:
            continue
        path = str(file).removeprefix(f"{work_dir}/")
        name = f"node:{path}::{' > '.join(str(part).removeprefix(f'{work_dir}/') for part in names)}"
        status = "skipped" if skipped is not False else "passed" if end == "pass" else "failed"
        tests[name] = status if tests.get(name, "passed") == "passed" else tests[name]
        seconds[name] = float(milliseconds or 0) / 1000
        if status == "failed":
            failures.setdefault(name, _reason(str(why or "failed")))
    return Told(tests, failures, seconds)


def _row(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None


def _reason(text: str) -> str:
    """A failure without the stack below it, which names the tests' own places."""
    rows = [row for row in text.splitlines() if not row.lstrip().startswith(("at ", "file:///", "Node.js v"))]
    return "\n".join(rows).strip()[:SHOWN]


class NodeTests:
    """A judge of test ids (see `base.Judge`): every id of the two lists passed, in a report that came to its end."""

    def files(self, task: Task, result: str) -> dict[str, str]:
        return {}

    def variables(self, task: Task, result: str) -> dict[str, str]:
        return {}

    def score(self, task: Task, ran: Ran) -> Score:
        found = told(ran.report, task.environment.work_dir)
        if not found.whole:
            return Score(0.0, parts={"evidence:no whole report": 1.0})
        statuses = {name: status.upper() for name, status in found.tests.items()}
        return by_status(statuses, (*task.grader.fail_to_pass, *task.grader.pass_to_pass), task.grader)

"""`status_map`: every test must end exactly as `expected` says, failures included, and no test may be there that it
does not name (R2E-Gym's rule).

The statuses come from a JUnit report that pytest is told to write (PYTEST_ADDOPTS), not from what is printed; a test
that was to be skipped or to fail and passes is not as expected. xfail is told as SKIPPED, an unexpected pass of a
strict one as FAILED. Forgeable as `junit` is.
"""

from __future__ import annotations

from repodojo.core.records import Score, Task
from repodojo.rewards.graders.base import Ran
from repodojo.rewards.graders.junit import cases, under

ALIKE = {"XFAIL": "SKIPPED", "XPASS": "PASSED", "XFAILED": "SKIPPED", "XPASSED": "PASSED"}


class StatusMap:
    """An exact map from tests to statuses."""

    def files(self, task: Task, result: str) -> dict[str, str]:
        return {"junit": result}

    def variables(self, task: Task, result: str) -> dict[str, str]:
        return {"PYTEST_ADDOPTS": f"--junitxml={result}"}

    def score(self, task: Task, ran: Ran) -> Score:
        found = cases(ran.files.get("junit", b""))
        if found is None:
            return Score(0.0, parts={"evidence:no whole report": 1.0})
        expected = {name: ALIKE.get(status.upper(), status.upper()) for name, status in task.grader.expected.items()}
        told = under(tuple(expected), found)
        right = tuple(name for name, status in expected.items() if told.get(name) == status)
        wrong = tuple(name for name in expected if name not in right)
        exact = bool(expected) and not wrong and len(found) == len(expected)
        parts = {"as_expected": len(right) / len(expected) if expected else 0.0, "tests": float(len(found))}
        return Score(float(exact), parts=parts, passed=right, failed=wrong)

"""What the agent is told: an issue in a few lines, the failing output, and how to see it again."""

from __future__ import annotations

import re

RAISES = re.compile(r"^got: ([A-Z]\w*(?:Error|Exception|Warning|Exit|Iteration|Interrupt|Missing\w*))\b", re.MULTILINE)
EXPLAINED = re.compile(r"^E\s+([A-Z]\w*(?:Error|Exception))\b", re.MULTILINE)


def instruction(path: str, qualname: str, output: str) -> str:
    """The issue's text, from where the symptom shows and what the visible command prints.

    >>> output = "FAILED take\\n>>> take(1)\\nexpected: 1\\ngot: 2\\n1 failed, 0 passed\\n"
    >>> print(instruction("pkg/a.py", "take", output), end="")
    `take` in pkg/a.py gives a wrong result.
    FAILED take
    >>> take(1)
    expected: 1
    got: 2
    1 failed, 0 passed
    Run `repro` to see it fail.
    """
    raised = RAISES.search(output) or EXPLAINED.search(output)
    if raised and raised[1] != "AssertionError":
        symptom = f"raises {raised[1]}"
    elif re.search(r"^(expected|E )", output, re.MULTILINE):
        symptom = "gives a wrong result"
    else:
        symptom = "fails"
    return f"`{qualname}` in {path} {symptom}.\n{output.rstrip()}\nRun `repro` to see it fail.\n"

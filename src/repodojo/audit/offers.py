"""Extra tests that would have told wrong patches from sound code, each tried before it is offered."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence, Set

from repodojo.core.protocols import SandboxFactory
from repodojo.core.records import Environment, Task
from repodojo.rewards.witness import sound_environment

Changes = Mapping[str, bytes | None]
MOST = 24
"""Lines of a task that are tried."""
FILE = "/tmp/offered.py"
TRIES = """
import json, os, sys
import boxchild

report = int(os.environ.pop("REPODOJO_REPORT_FD"))
path, *lines = json.load(sys.stdin)
boxchild.prepare_path()
try:
    known = vars(boxchild.load(path))
except BaseException:
    known = {}
for line in lines:
    try:
        exec(line, dict(known))
        held = True
    except BaseException:
        held = False
    os.write(report, json.dumps(held).encode() + b"\\n")
"""


async def offers(
    factory: SandboxFactory, task: Task, wrong: Sequence[tuple[Changes, Sequence[str]]], count: int
) -> tuple[tuple[str, ...], int]:
    """At most `count` lines, and how many of the wrong patches they catch.

    `wrong` holds each patch with the lines that it is said to fail. A line is offered where it holds in sound code,
    twice, and fails in a box that holds the patch. Few lines that catch many patches come first.
    """
    sound = sound_environment(task)
    lines = sorted({line for _, told in wrong for line in told}, key=lambda line: (len(line), line))[:MOST]
    if sound is None or not lines:
        return (), 0
    for _ in range(2):
        held = await _held(factory, task, sound, {}, lines)
        lines = [line for line, ok in zip(lines, held, strict=True) if ok is True]
    catches: dict[str, set[int]] = {line: set() for line in lines}
    for number, (patch, told) in enumerate(wrong):
        asked = [line for line in lines if line in told]
        held = await _held(factory, task, task.environment, patch, asked)
        for line, ok in zip(asked, held, strict=True):
            if ok is False:
                catches[line].add(number)
    return chosen(catches, count)


def chosen(catches: Mapping[str, Set[int]], count: int) -> tuple[tuple[str, ...], int]:
    """Lines that together catch the most, greedily; no line that adds nothing.

    >>> chosen({"a": {1}, "b": {1, 2}, "c": {3}, "d": set()}, 3)
    (('b', 'c'), 3)
    """
    picked: list[str] = []
    caught: set[int] = set()
    while len(picked) < count:
        best = max(catches, key=lambda line: (len(catches[line] - caught), -len(line)), default="")
        if not best or not catches[best] - caught:
            break
        picked.append(best)
        caught |= catches[best]
    return tuple(picked), len(caught)


async def _held(
    factory: SandboxFactory, task: Task, environment: Environment, patch: Changes, lines: Sequence[str]
) -> list[bool | None]:
    """Whether each line holds; None where the run did not get to it, and False where it did not get past it."""
    if not lines:
        return []
    box = await factory.create(environment)
    try:
        for path, data in patch.items():
            await box.write(path, data)
        await box.write(FILE, TRIES.encode())
        given = json.dumps([task.focus[0].partition("::")[0], *lines]).encode()
        result = await box.exec(("python", FILE), stdin=given, seconds=task.grader.timeout, warm=True)
    finally:
        await box.close()
    told = [row == b"true" for row in result.report.splitlines()]
    return [*told, False, *[None] * len(lines)][: len(lines)]

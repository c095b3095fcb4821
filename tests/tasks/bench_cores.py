"""How busy a `repodojo` command keeps the processors, stage by stage.

    python tests/tasks/bench_cores.py tasks make pydash==8.1.0 -o /tmp/set --limit 100

Four times a second it reads from /proc what the command and all that came of it have worked ("own"), and what all of
the machine has ("busy"). On a machine of its own the two are alike; beside others only "own" tells, and is what was
left to it, so the load at the start is printed. A stage is what the command's log says that it does; "start" is what
comes before the first.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

EVERY = 0.25  # seconds
LINE = re.compile(r"^(?P<stage>\S.*?)(: \d+.*| \(\d+\))?$")


class Ticks(NamedTuple):
    """Ticks so far: what the command worked, what all processes worked, and what there was."""

    own: int
    busy: int
    all: int


def ticks(root: int) -> Ticks:
    """Of the tree below process `root`: what the dead worked stands with the parents that waited for them."""
    user, nice, system, idle, waiting, irq, soft = map(int, Path("/proc/stat").read_text().split("\n")[0].split()[1:8])
    busy, children, worked = user + nice + system + irq + soft, defaultdict[int, list[int]](list), dict[int, int]()
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            fields = Path("/proc", name, "stat").read_text().rpartition(")")[2].split()
        except OSError:  # it ended meanwhile
            continue
        children[int(fields[1])].append(int(name))
        worked[int(name)] = sum(map(int, fields[11:15]))
    own, waiting_for = 0, [root]
    while waiting_for:
        one = waiting_for.pop()
        own += worked.get(one, 0)
        waiting_for += children[one]
    return Ticks(own, busy, busy + idle + waiting)


class Stages:
    """What was worked in each stage, in the order in which they came."""

    def __init__(self) -> None:
        self.now = "start"
        self.seconds: dict[str, float] = defaultdict(float)
        self.spent: dict[str, Ticks] = defaultdict(lambda: Ticks(0, 0, 0))

    def sample(self, running: subprocess.Popen[str]) -> None:
        """Until the command ends."""
        before, clock = ticks(running.pid), time.perf_counter()
        while running.poll() is None:
            time.sleep(EVERY)
            after, later, stage = ticks(running.pid), time.perf_counter(), self.now
            grown = (max(0, b - a) for a, b in zip(before, after, strict=True))
            self.spent[stage] = Ticks(*(a + b for a, b in zip(self.spent[stage], grown, strict=True)))
            self.seconds[stage] += later - clock
            before, clock = after, later

    def __str__(self) -> str:
        rows = [f"{'stage':50} {'s':>6} {'own':>6} {'busy':>6}"]
        whole = Ticks(*map(sum, zip(*self.spent.values(), strict=True)))
        for stage, spent in [*self.spent.items(), ("together", whole)]:
            seconds = self.seconds[stage] if stage in self.seconds else sum(self.seconds.values())
            there = max(1, spent.all)
            rows.append(f"{stage:50} {seconds:6.1f} {spent.own / there:6.1%} {spent.busy / there:6.1%}")
        return "\n".join(rows)


def main() -> None:
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.2f} before the start")
    stages = Stages()
    command = [sys.executable, "-m", "repodojo", *sys.argv[1:]]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
        watcher = threading.Thread(target=stages.sample, args=(running,))
        watcher.start()
        assert running.stderr is not None
        for line in running.stderr:
            sys.stderr.write(line)
            if "━" not in line and (found := LINE.match(line.strip())):
                stages.now = found["stage"]
        watcher.join()
    print(stages)
    sys.exit(running.returncode)


if __name__ == "__main__":
    main()

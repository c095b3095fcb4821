"""Time and memory of importing many rows, and of walking many commits.

    python tests/tasks/bench_sets.py --rows 100000 --commits 2000

Rows are SWE-bench's columns with patches of 2,000 characters on average (seeded); the history is made by
`git fast-import`, each commit changing a module of 200 lines and its test. Peak memory is that of the whole process.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import resource
import subprocess
import tempfile
import time
from pathlib import Path

from format_samples import SWE_BENCH

from repodojo.tasks.history.make import Options, walk
from repodojo.tasks.importing import give, take
from repodojo.tasks.store import TaskStore


class Meter:
    """Wall and processor seconds (of child processes too), and the peak of this process's memory."""

    def __init__(self) -> None:
        self.wall, self.cpu = time.perf_counter(), self._cpu()

    @staticmethod
    def _cpu() -> float:
        return sum(os.times()[:4])

    def __str__(self) -> str:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        return f"{time.perf_counter() - self.wall:.1f} s ({self._cpu() - self.cpu:.1f} s of CPU), peak {peak:.0f} MB"


def write_rows(path: Path, count: int) -> None:
    draw = random.Random(0)
    with open(path, "w") as stream:
        for number in range(count):
            body = "".join(f"+line {draw.random()}\n" for _ in range(draw.randrange(20, 140)))
            repo = f"repo{number % 500}"
            row = {**SWE_BENCH, "instance_id": f"owner__{repo}-{number}", "repo": f"owner/{repo}"}
            row |= {"patch": SWE_BENCH["patch"] + body, "problem_statement": body[:900], "extra": {"number": number}}
            stream.write(json.dumps(row) + "\n")


def write_history(path: Path, count: int) -> None:
    subprocess.run(["git", "init", "-q", "--bare", str(path)], check=True)
    lines = [f"x{n} = {n}" for n in range(200)]
    stream: list[str] = []
    for number in range(count):
        lines[number % 200] = f"x{number % 200} = {number * 7}"
        message = f"Change number {number} of the module\n"
        code, test = "\n".join(lines) + "\n", f"def test_{number}():\n    assert True\n"
        stream += ["commit refs/heads/main", f"committer a <a@example.org> {1_600_000_000 + number} +0000"]
        stream += [f"data {len(message)}", message, f"M 644 inline pkg/m.py\ndata {len(code)}", code]
        stream += [] if number else ["M 644 inline pkg/__init__.py\ndata 0"]
        stream += [f"M 644 inline tests/test_{number % 50}.py\ndata {len(test)}", test]
    subprocess.run(["git", f"--git-dir={path}", "fast-import", "--quiet"], input="\n".join(stream).encode(), check=True)
    subprocess.run(["git", f"--git-dir={path}", "symbolic-ref", "HEAD", "refs/heads/main"], check=True)


def same(a: Path, b: Path) -> bool:
    with open(a) as first, open(b) as second:
        return all(json.loads(x) == json.loads(y) for x, y in zip(first, second, strict=True))


def rows(folder: Path, count: int) -> None:
    source, out = folder / "rows.jsonl", folder / "out.jsonl"
    write_rows(source, count)
    store, meter = TaskStore(folder / f"s{count}", create=True), Meter()
    report = take(source, store, split="train")
    print(f"import: {report.funnel['added']} rows, {source.stat().st_size >> 20} MiB, {meter}")
    meter = Meter()
    give(store, out, "swe-bench")
    print(f"export: {meter}; unchanged: {same(source, out)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--commits", type=int, default=2_000)
    chosen = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory() as name:
        if chosen.commits:
            write_history(Path(name) / "h.git", chosen.commits)
            meter = Meter()
            funnel = walk(f"{name}/h.git", Options(), lambda stage, done, of: None)
            print(f"walk: {funnel['commits seen']} commits, {funnel['commits kept']} kept, {meter}", flush=True)
        for count in filter(None, (chosen.rows // 10, chosen.rows)):
            rows(Path(name), count)


if __name__ == "__main__":
    main()

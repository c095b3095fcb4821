"""A full disk (here a limit on the size of files, which any user may set): a clear error, nothing half-written."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from repodojo.train.config import Config
from repodojo.train.rundir import RunDir

HEAD = """
import resource, sys
from pathlib import Path
from repodojo.core.errors import RunError
from repodojo.core.records import Score, Trajectory, Turn
from repodojo.train.rundir import RunDir, RunState

def episode(n):
    turn = Turn((), tuple(range(n, n + 900)), tuple((i * n % 97) / 7 for i in range(900)), ())
    return Trajectory(f"e{n}", "t", "g", "p", 0, (turn,), "submit", Score(1.0))

run = RunDir.resume(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    for n in range(1, 10_000):
"""
TAIL = """
except RunError as error:
    print(n, error)
"""
WAYS = {
    "metrics": ("        run.log('rl', n, {'reward': 0.5})", 5_000),
    "episodes": ("        run.add([episode(n)], stage='rl', step=n)", 300_000),
    "checkpoint": (
        "        run.checkpoint(f'c{n}', lambda folder: (folder / 'w').write_bytes(b'w' * 1000 * n))",
        5_000,
    ),
    "state": ("        run.commit(RunState('rl', n, rng={'x': 'y' * 100 * n}))", 5_000),
}


@pytest.mark.parametrize("what", list(WAYS))
def test_what_was_whole_stays_and_the_rest_is_not_there(what: str, tmp_path: Path) -> None:
    line, limit = WAYS[what]
    path = tmp_path / "run"
    RunDir.create(path, Config()).close()
    child = subprocess.run(
        [sys.executable, "-c", HEAD + line + TAIL, str(path), str(limit)], capture_output=True, text=True, check=False
    )
    assert child.returncode == 0, child.stderr
    assert "Way out: " in child.stdout
    failed_at = int(child.stdout.split()[0])
    assert failed_at > 1
    assert not list(path.glob("**/.*"))
    with RunDir.read(path) as run:
        kept = {
            "metrics": len(run.metrics()),
            "episodes": len(run.query()),
            "checkpoint": len(list((path / "checkpoints").iterdir())),
            "state": run.state.step,
        }
    assert kept[what] == failed_at - 1
    if what == "metrics":
        assert (path / "metrics.jsonl").read_bytes().endswith(b"}\n")
    RunDir.resume(path).close()

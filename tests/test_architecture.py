"""The walls of the house: who may import whom, and that importing does nothing."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "src" / "repodojo"
ROOMS = [
    "core",
    "sandbox",
    "algorithms",
    "inference",
    "agent",
    "gateway",
    "rewards",
    "tasks",
    "learner",
    "rollout",
    "audit",
    "evaluate",
    "train",
    "cluster",
    "dashboard",
    "cli",
]
STRANGERS = {("learner", "rollout"), ("rollout", "learner"), ("rewards", "sandbox")}
HEAVY = {"torch", "transformers", "ray", "numpy", "docker", "kubernetes"}


def imported(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    return names | {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def test_every_module_lives_in_a_room() -> None:
    loose = [p for p in modules() if room_of(p) not in ROOMS and p.name not in ("__init__.py", "__main__.py")]
    assert not loose


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_room_imports_only_rooms_above_it(path: Path) -> None:
    room = room_of(path)
    if room not in ROOMS:
        return
    for name in imported(path):
        if name.startswith("repodojo."):
            other = name.split(".")[1]
            assert other == room or ROOMS.index(other) < ROOMS.index(room), f"{path} imports {name}"
            assert (room, other) not in STRANGERS, f"{path} imports {name}"


def test_core_imports_nothing_heavy() -> None:
    for path in modules():
        if room_of(path) == "core":
            assert not {name.split(".")[0] for name in imported(path)} & HEAVY, path


def test_no_cancellation_is_lost() -> None:
    """Until Python 3.12 `asyncio.wait_for` drops a Ctrl-C that comes with the answer; `asyncio.timeout` does not."""
    assert not [p for p in modules() if "asyncio.wait_for(" in p.read_text()]


def test_only_cluster_imports_ray() -> None:
    for path in modules():
        assert room_of(path) == "cluster" or "ray" not in {n.split(".")[0] for n in imported(path)}


def test_importing_everything_prints_nothing_and_writes_nothing(tmp_path: Path) -> None:
    names = [
        ".".join(("repodojo", *p.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
        for p in modules()
        if "__main__" not in p.name
    ]
    code = "import importlib,sys\nfor n in sys.argv[1:]: importlib.import_module(n)"
    done = subprocess.run(
        [sys.executable, "-c", code, *names], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert not list(tmp_path.iterdir())


def test_task_sets_are_handled_without_torch() -> None:
    """It takes seconds to load, and no verb of `repodojo tasks` needs it before a set has rollouts."""
    code = "import sys, repodojo.cli.tasks; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

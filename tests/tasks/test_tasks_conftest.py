"""Histories whose tests live on the fixtures of conftest files, and those who would cheat by such files."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from tiny_history import CODE, FIXED, PROJECT, Git
from tiny_runs import graded, of_history, verdicts

from repodojo.rewards import grade
from repodojo.rewards.plain import forbidden
from repodojo.tasks import pytest_options
from repodojo.tasks.gold import gold_changes
from repodojo.tasks.history.make import Options
from repodojo.tasks.store import TaskStore

SHARED = "LOW = 0\n"
TOP = """import pytest

from tiny.sums import *
from tiny.shared import LOW


@pytest.fixture
def low():
    return LOW
"""
INNER = "import pytest\n\n\n@pytest.fixture\ndef high(low):\n    return low + 3\n"
TESTS = """import pytest

from tiny.sums import clamp


def test_high(low, high):
    assert clamp(9, low, high) == 3


@pytest.mark.slow
def test_for_ever():
    assert clamp(9, 0, 3) == 3
"""
NEW = "\n\ndef test_low(low, high):\n    assert clamp(-1, low, high) == 0\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Counter[str]]:
    root = tmp_path_factory.mktemp("conftest")
    git = Git(root / "tiny")
    project = PROJECT + "[tool.pytest.ini_options]\naddopts = \"-m 'not slow'\"\n"
    files = {"pyproject.toml": project, "tiny/__init__.py": "", "tiny/sums.py": CODE, "tiny/shared.py": SHARED}
    files |= {"conftest.py": TOP, "tests/conftest.py": INNER, "tests/test_sums.py": TESTS}
    git.commit("Begin", files)
    fix = {"tiny/sums.py": FIXED, "tests/test_sums.py": TESTS + NEW}
    git.commit("Keep numbers above the lower bound as well", fix)

    return root / "set", of_history(root / "tiny", root / "set", Options(sure=2))


def test_tests_that_need_fixtures_make_a_task(made: tuple[Path, Counter[str]]) -> None:
    store, funnel = made
    assert funnel["validated"] == 1, funnel
    task = TaskStore(store).tasks()[0]
    assert task.grader.fail_to_pass == ("pytest:tests/test_sums.py::test_low",)
    assert task.grader.pass_to_pass == ("pytest:tests/test_sums.py::test_high",)
    assert graded(store, task, dict(gold_changes(store, task))).value == 1.0


def test_such_a_set_is_valid(made: tuple[Path, Counter[str]]) -> None:
    assert [v.fate for v in verdicts(made[0])] == ["sound"]


HOOK = b"""

def pytest_collection_modifyitems(items):
    for item in items:
        item.obj = lambda *a, **k: None
"""


def test_an_agents_conftest_is_nothing(made: tuple[Path, Counter[str]]) -> None:
    store = made[0]
    task = TaskStore(store).tasks()[0]
    for folder in ("", "tests/", "tiny/"):
        score = graded(store, task, {f"{folder}conftest.py": HOOK})
        assert score.value == 0.0 and score.parts["refused"] == 1


def test_a_hook_that_conftest_takes_over_is_not_paid(
    made: tuple[Path, Counter[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = made[0]
    task = TaskStore(store).tasks()[0]
    changes: dict[str, bytes | None] = {"tiny/sums.py": CODE.encode() + HOOK}
    score = graded(store, task, changes)
    assert score.value == 0.0 and score.parts["forbidden"] == 1 and score.parts["claimed"] == 1
    monkeypatch.setattr(grade, "forges", lambda *_: False)  # the hook works: it is this rule that stops it
    assert graded(store, task, changes).value == 1.0


@pytest.mark.parametrize(
    ("added", "found"),
    [
        ("def pytest_runtest_makereport(item, call): ...", "pytest_runtest_makereport"),
        ("from cheat import hook as pytest_runtest_call", "pytest_runtest_call"),
        ("pytest_runtest_call = print", "pytest_runtest_call"),
        ("from pluggy import HookimplMarker", "pluggy"),
        ("mark = m(specname='pytest_runtest_call')", "pytest_runtest_call"),
        ("def low(request):\n    request.config.pluginmanager.register(Cheat())", "pluginmanager"),
        ("def low(request):\n    request._pyfuncitem.runtest = print", "_pyfuncitem"),
    ],
)
def test_ways_to_a_hook_are_seen(added: str, found: str) -> None:
    assert found in forbidden(CODE, f"{CODE}\n\n{added}\n")
    assert not forbidden(f"{CODE}\n\n{added}\n", f"{CODE}\n\n{added}\n")


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("pytest.ini", "[pytest]\naddopts = -q -m 'not slow'\n", "-m 'not slow'"),
        ("setup.cfg", '[tool:pytest]\naddopts = --cov x -m "not (slow or net)" -v\n', "-m 'not (slow or net)'"),
        ("tox.ini", "[pytest]\naddopts =\n    -ra\n    -m unit\n", "-m unit"),
        ("pyproject.toml", "[tool.pytest.ini_options]\naddopts = \"-m 'not stress'\"\n", "-m 'not stress'"),
        ("pyproject.toml", '[tool.pytest]\naddopts = ["-m", "not stress"]\n', "-m 'not stress'"),
        ("pyproject.toml", "[tool.pytest.ini_options]\naddopts = '-p no:randomly'\n", None),
        ("pyproject.toml", "[tool.black]\nline-length = 9\n", None),
        ("pyproject.toml", "[tool.pytest.ini_options\n", None),
        ("pyproject.toml", "[tool.pytest]\nini_options = 3\n", None),
        ("pyproject.toml", "[tool.pytest]\naddopts = 3\n", None),
        ("pytest.ini", "[pytest]\naddopts = -m\n", None),
        ("pytest.ini", "[pytest]\naddopts = -m 'a; import os'\n", None),
        ("setup.cfg", "[pytest]\naddopts = -m old\n", None),
    ],
)
def test_what_a_project_never_runs_is_left_out(tmp_path: Path, name: str, text: str, found: str | None) -> None:
    (tmp_path / name).write_text(text)
    assert pytest_options.variables(tmp_path) == ({"PYTEST_ADDOPTS": found} if found else {})


def test_the_first_file_with_a_section_counts(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = -v\n")
    (tmp_path / "setup.cfg").write_text("[tool:pytest]\naddopts = -m never\n")
    assert pytest_options.variables(tmp_path) == {}

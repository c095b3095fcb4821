"""Tasks from commits: the walk and its funnel, the runs, what the instruction says, and going on where it stopped."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_history import Git, build
from tiny_package import boxes, quiet
from tiny_runs import of_history, verdicts

from repodojo.cli import main
from repodojo.core.errors import SourceError, TaskError
from repodojo.core.records import Task
from repodojo.tasks.checked import FILE, Checked
from repodojo.tasks.history.make import Options, walk
from repodojo.tasks.history.message import clean, instruction, read_issues
from repodojo.tasks.history.repository import opened
from repodojo.tasks.history.settle import Settled, settle
from repodojo.tasks.history.walk import Filters, commits
from repodojo.tasks.languages.python import Python
from repodojo.tasks.runs import report
from repodojo.tasks.store import TaskStore
from repodojo.tasks.validate import Verdict, validate

DEFAULTS = Options(sure=2)


def run(source: Path, store: Path, options: Options = DEFAULTS, issues: dict[int, str] | None = None) -> Counter[str]:
    return of_history(source, store, options, issues)


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    root = tmp_path_factory.mktemp("history") / "tiny"
    return root, build(root)


@pytest.fixture(scope="module")
def made(history: tuple[Path, dict[str, str]], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Counter[str]]:
    store = tmp_path_factory.mktemp("made") / "s"
    return store, run(history[0], store)


WALKED = {
    "commits seen": 11,
    "commits kept": 5,
    "lost: first commit": 1,
    "lost: merge": 1,
    "lost: documents or tests only": 3,
    "lost: too many lines": 1,
}


def test_the_walk_counts_every_commit_once(history: tuple[Path, dict[str, str]]) -> None:
    assert walk(str(history[0]), DEFAULTS, quiet) == WALKED
    strict = Options(filters=Filters(characters=300, lines=0))
    found = walk(str(history[0]), strict, quiet)
    assert found["lost: patch too long"] >= 2 and found.total() - found["commits seen"] - found["commits kept"] > 0
    lost = sum(count for name, count in found.items() if name.startswith("lost"))
    assert found["commits seen"] == found["commits kept"] + lost
    assert walk(str(history[0]), Options(commits=3), quiet)["commits seen"] == 3


def test_every_commit_has_its_fate(made: tuple[Path, Counter[str]]) -> None:
    assert made[1] == {
        **WALKED,
        "built": 4,
        "validated": 2,
        "lost: the message says too little": 1,
        "lost: a test that passed fails afterwards": 1,
        "lost: no test turns green": 1,
    }


def task_of(store: Path, commit: str) -> Task:
    return next(task for task in TaskStore(store).tasks() if task.labels["commit"] == commit)


def test_a_fix_becomes_a_task(history: tuple[Path, dict[str, str]], made: tuple[Path, Counter[str]]) -> None:
    task = task_of(made[0], history[1]["fix"])
    assert task.grader.fail_to_pass == ("pytest:tests/test_sums.py::test_clamp_low",)
    assert set(task.grader.pass_to_pass) == {f"pytest:tests/test_sums.py::test_{n}" for n in ("clamp_high", "double")}
    assert task.base_commit == history[1]["first"] and task.licence == "MIT"
    said, _, shown = task.instruction.partition("\n\nIt now fails like this:\n")
    assert said.startswith("Keep numbers above the lower bound\n") and shown
    for word in ("#7", "example.org", "test_clamp_low", history[1]["first"][:10], "Signed-off"):
        assert word not in task.instruction
    tree = made[0] / "trees" / task.environment.recipe["tree"]
    assert "test_clamp_low" not in (tree / "tests" / "test_sums.py").read_text()
    assert "x < low" not in (tree / "tiny" / "sums.py").read_text() and not (tree / ".git").exists()
    assert sorted(p.name for p in (made[0] / "trees").iterdir()) == sorted(
        {t.environment.recipe["tree"] for t in TaskStore(made[0]).tasks()}
    )


def test_a_feature_becomes_a_task_without_what_flickers(
    history: tuple[Path, dict[str, str]], made: tuple[Path, Counter[str]]
) -> None:
    task = task_of(made[0], history[1]["feature"])
    assert task.grader.fail_to_pass == ("pytest:tests/test_triple.py::test_triple",)
    assert task.validation.flaky == ("pytest:tests/test_triple.py::test_by_luck",)
    assert task.validation.runs == 2 * 4  # two rounds, a flicker in the second, two more without


def test_the_set_is_valid_as_it_is(made: tuple[Path, Counter[str]]) -> None:
    assert [v.fate for v in verdicts(made[0])] == ["sound", "sound"]


def test_a_validation_that_was_stopped_goes_on(made: tuple[Path, Counter[str]]) -> None:
    store, seen = TaskStore(made[0]), list[int]()

    class Stopped(Exception):
        pass

    def stop(done: int, of: int) -> None:
        seen.append(done)
        raise Stopped

    async def check(tell: Callable[[int, int], None]) -> list[Verdict]:
        factory = boxes(made[0])
        try:
            return await validate(store, factory, workers=1, tell=tell)
        finally:
            await factory.close()

    with pytest.raises(ExceptionGroup):
        asyncio.run(check(stop))
    mark, file = f"{store.manifest['sha256']} 0 0", made[0] / FILE
    with open(file, "a") as stream:
        stream.write('{"id": "cut o')
    [first] = Checked(made[0], mark).known.values()
    assert first["gold"] == 1.0 and seen == [1]
    file.write_text(file.read_text().replace('"reason": ""', '"reason": "as told before"'))
    assert sorted(v.reason for v in asyncio.run(check(lambda done, of: None))) == ["", "as told before"]
    assert not file.exists() and TaskStore(made[0]).manifest["validation"]["fates"] == {"sound": 2}
    Checked(made[0], mark).keep(first)
    assert set(Checked(made[0], mark).known) == {first["id"]} and Checked(made[0], "another set").known == {}
    Checked(made[0], mark).end()


def test_what_was_decided_is_not_tried_again(
    history: tuple[Path, dict[str, str]], made: tuple[Path, Counter[str]], tmp_path: Path
) -> None:
    again = run(history[0], made[0])
    assert again["decided before"] == 5
    assert {name: n for name, n in again.items() if name != "decided before"} == made[1]
    store = tmp_path / "s"
    first = run(history[0], store, Options(sure=2, limit=1, workers=1))
    assert first["validated"] == 1
    [journal] = (store / "history").iterdir()
    journal.write_bytes(journal.read_bytes()[:-5])  # as a kill in the middle of a line leaves it
    ids = {task.id for task in TaskStore(store).tasks()}
    run(history[0], store, Options(sure=2, limit=1, workers=1))
    assert {task.id for task in TaskStore(store).tasks()} == ids
    assert "unreadable" not in journal.read_text() and len(journal.read_bytes().splitlines()) == 2


def test_a_package_stays_in_its_split(history: tuple[Path, dict[str, str]], made: tuple[Path, Counter[str]]) -> None:
    with pytest.raises(TaskError, match="already in the split 'train'"):
        run(history[0], made[0], Options(split="held-out"))


def test_issues_tell_more_than_messages(tmp_path: Path) -> None:
    (tmp_path / "issues.jsonl").write_text(json.dumps({"number": 7, "title": "Too low", "body": "see test_x in #8"}))
    issues = read_issues(tmp_path / "issues.jsonl")
    assert instruction("Mend (#7)", issues, "", {"test_x"}).startswith("Too low\n\n")
    assert "test_x" not in instruction("Mend (#7)", issues, "FAILED test_x[1]", {"test_x"})
    assert instruction("Mend (#9)", issues, "", set()) == "Mend\n"
    (tmp_path / "bad.jsonl").write_text('{"number": "7"}')
    with pytest.raises(TaskError, match=r"bad.jsonl, line 1"):
        read_issues(tmp_path / "bad.jsonl")


@given(
    text=st.text(max_size=60), commit=st.text("0123456789abcdef", min_size=40, max_size=40), number=st.integers(1, 9999)
)
@settings(max_examples=80, deadline=None)
def test_nothing_that_gives_a_commit_away_stays(text: str, commit: str, number: int) -> None:
    said = clean(f"{text}\nBroken since {commit}, fixes #{number} (https://example.org/{number})\n", ["test_z"])
    assert commit not in said or commit.isdigit() or commit.isalpha()
    assert f"#{number}" not in said and "https://example.org" not in said
    assert clean(said) == clean(clean(said))


@given(
    plans=st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 6)), min_size=1, max_size=6),
    sure=st.integers(1, 3),
)
@settings(max_examples=60, deadline=None)
def test_rounds_go_on_until_nothing_flickers(plans: list[tuple[bool, bool, int]], sure: int) -> None:
    """Each id has a state before and after, and a round in which the latter flips (0: never)."""
    rounds = list[tuple[bool, int]]()

    async def once(mended: bool, seed: int) -> dict[str, str]:
        rounds.append((mended, seed))
        return {
            str(n): "passed" if (after != (seed == flip and seed > 0) if mended else before) else "failed"
            for n, (before, after, flip) in enumerate(plans)
        }

    found: Settled = asyncio.run(settle([str(n) for n in range(len(plans))], once, sure=sure, most=10))
    assert len(rounds) == 2 * found.rounds <= 20
    for n, (before, after, flip) in enumerate(plans):
        flipped = 0 < flip < found.rounds
        assert (str(n) in found.flaky) == flipped
        assert (str(n) in found.red) == (not flipped and not before and after)
        assert (str(n) in found.green) == (not flipped and before and after)
    if not any(not before and after for before, after, _ in plans):
        assert found.rounds == 1


def test_names_that_git_would_quote_and_renames_are_read(tmp_path: Path) -> None:
    git = Git(tmp_path / "odd")
    git.commit("one", {"pkg/a.py": "x = 1\ny = 2\nz = 3\n", "tests/test_ü b.py": "def test(): ...\n"})
    git("mv", "pkg/a.py", "pkg/b.py")
    git.commit("two", {"tests/test_ü b.py": "def test(): pass\n"})
    newest = next(commits(opened(str(tmp_path / "odd"), tmp_path), Python()))
    assert (newest.code, newest.tests, newest.lines) == (("pkg/b.py",), ("tests/test_ü b.py",), 0)


def test_a_worktree_holds_the_history_of_its_repository(tmp_path: Path) -> None:
    git = Git(tmp_path / "main")
    git.commit("one", {"pkg/a.py": "x = 1\n", "tests/test_a.py": "def test(): ...\n"})
    git("worktree", "add", "-q", str(tmp_path / "other"), "-b", "other")
    here, there = opened(str(tmp_path / "main"), tmp_path), opened(str(tmp_path / "other"), tmp_path)
    assert [c.id for c in commits(here, Python())] == [c.id for c in commits(there, Python())]
    assert there.name == "other" and there.count("HEAD") == 1 == here.count("HEAD", 5)


def test_the_command_line(
    history: tuple[Path, dict[str, str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def called(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stop:
            main(["tasks", "make", *words, "-o", str(tmp_path / "s")])
        said = capsys.readouterr()
        return int(stop.value.code or 0), said.out, said.err

    code, out, _ = called(str(history[0]), "--from", "history", "--walk-only", "--json")
    assert code == 0 and json.loads(out)["funnel"] == WALKED
    with pytest.raises(SystemExit) as stop:
        main(["tasks", "make", str(history[0]), "--from", "history", "--walk-only", "--json"])
    assert not stop.value.code and json.loads(capsys.readouterr().out)["funnel"] == WALKED
    with pytest.raises(SystemExit) as stop:
        main(["tasks", "make", str(history[0]), "--from", "history"])
    assert stop.value.code == 2 and "name one with -o" in capsys.readouterr().err
    code, out, _ = called(str(history[0]), "--from", "history", "--walk-only", "--max-files", "1")
    assert code == 0 and "too many files" in out
    code, _, err = called(str(history[0]), "--from", "history", "--kinds", "boolean")
    assert code == 2 and "--kinds does nothing with --from history" in err
    code, _, err = called(str(history[0]), "--max-commits", "3")
    assert code == 2 and "--max-commits does nothing with --from bugs" in err
    code, _, err = called(str(tmp_path), "--from", "history")
    assert code == 2 and "holds no Git history" in err and not (tmp_path / "s").exists()
    code, _, err = called(str(history[0]), "--from", "thin-air")
    assert code == 2 and "there is no maker" in err
    with pytest.raises(SourceError, match="cannot be cloned"):
        opened("file:///no/such/repository.git", tmp_path)


async def test_a_test_file_that_cannot_be_imported_takes_no_other_with_it(made: tuple[Path, Counter[str]]) -> None:
    factory = boxes(made[0])
    try:
        box = await factory.create(TaskStore(made[0]).tasks()[0].environment)
        await box.write("tests/test_broken.py", b"import nothing_like_it\n\n\ndef test_x(): ...\n")
        ids = ["pytest:tests/test_sums.py::test_double", "pytest:tests/test_broken.py::test_x"]
        ids += ["pytest:tests/none.py::test_y", "pytest:tests/test_sums.py::test_none"]
        found = await report(box, ids, {}, seed=0, trace=False, seconds=300.0, each=60.0)
        await box.close()
    finally:
        await factory.close()
    assert [found.tests[name] for name in ids] == ["passed", "error", "missing", "missing"]

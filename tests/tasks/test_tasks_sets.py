"""Task sets: taken in and given back, divided, checked; stores of before; what a person sees of it."""

from __future__ import annotations

import asyncio
import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from format_samples import HARBOR, R2E, ROWS, SWE_BENCH, SWE_SMITH
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_package import boxes, write

from repodojo.cli import main
from repodojo.core.codec import to_json
from repodojo.core.records import Environment, Gold, Grader, Source, Split, Task
from repodojo.tasks import leaks, near
from repodojo.tasks.formats import rows
from repodojo.tasks.formats.folders import write_folder
from repodojo.tasks.make import Options
from repodojo.tasks.session import make_all
from repodojo.tasks.splits import assign, divide, groups
from repodojo.tasks.store import TaskStore
from repodojo.tasks.validate import validate


class Run:
    """The command line: exit code and output of `repodojo tasks ...`."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def __call__(self, *words: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stop:
            main(["tasks", *map(str, words)])
        said = self.capsys.readouterr()
        return int(stop.value.code or 0), said.out, said.err


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return Run(capsys)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_rows_come_in_and_go_out_and_the_malformed_are_named(tmp_path: Path, run: Run) -> None:
    rows = [SWE_BENCH, {**SWE_BENCH, "instance_id": "x__x-1", "new": [1.0, {"b": None}]}, {**SWE_BENCH, "patch": 3}]
    (tmp_path / "a.jsonl").write_text("\n".join([json.dumps(rows[0]), "{", *map(json.dumps, [*rows[1:], rows[0]])]))
    code, out, err = run("import", tmp_path / "a.jsonl", "-o", tmp_path / "s", "--json")
    said = json.loads(out)
    assert code == 0 and (said["added"], said["malformed"], said["there already"]) == (2, 2, 1)
    assert (
        said["errors"][0].startswith("line 2: is not JSON") and said["errors"][1] == "line 4: patch: is int, not text"
    )
    code, out, err = run("export", tmp_path / "s", "--format", "swe-bench", "-o", tmp_path / "b.jsonl")
    assert code == 0 and lines(tmp_path / "b.jsonl") == rows[:2]
    code, out, err = run("export", tmp_path / "s", "--format", "r2e", "-o", tmp_path / "c.jsonl")
    assert code == 2 and "r2e has no words for a grader of kind 'f2p_p2p'" in err
    code, out, err = run("import", tmp_path / "a.jsonl", "-o", tmp_path / "s", "--split", "held-out", "--json")
    assert json.loads(out)["in another split"] == 3 and len(TaskStore(tmp_path / "s").tasks()) == 2


def test_a_set_of_several_formats_and_folders(tmp_path: Path, run: Run) -> None:
    (tmp_path / "mixed.json").write_text(json.dumps([SWE_SMITH, R2E, ROWS["zeta"][1]]))
    write_folder(HARBOR, tmp_path / "folders")
    code, out, _ = run("import", tmp_path / "mixed.json", tmp_path / "folders", "-o", tmp_path / "s", "--json")
    assert code == 0 and [json.loads(line)["added"] for line in out.splitlines()] == [3, 1]
    for kind, row in (("swe-smith", SWE_SMITH), ("r2e", R2E), ("zeta", ROWS["zeta"][1])):
        code, out, _ = run("export", tmp_path / "s", "--format", kind, "-o", tmp_path / f"{kind}.json", "--json")
        assert code == 0 and json.loads(out)["unchanged"] == 1
        assert row in json.loads((tmp_path / f"{kind}.json").read_text())
    assert run("export", tmp_path / "s", "--format", "harbor", "-o", tmp_path / "out")[0] == 0
    files = {
        p.relative_to(tmp_path / "folders"): p.read_bytes() for p in (tmp_path / "folders").rglob("*") if p.is_file()
    }
    again = {p.relative_to(tmp_path / "out"): p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()}
    assert files == again
    code, out, _ = run("stats", tmp_path / "s", "--json")
    found = json.loads(out)
    assert found["formats"] == {"swe-smith": 1, "r2e": 1, "zeta": 1, "harbor": 1} and found["tasks"] == 4
    assert run("stats", tmp_path / "s")[0] == 0
    code, out, _ = run("validate", tmp_path / "s", "--json", "--unisolated")
    fates = sorted(json.loads(line)["fate"] for line in out.splitlines())
    assert code == 0 and fates == ["not run", "not run", "not run", "sound"]  # an edit is only compared


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["import", "none.jsonl", "-o", "t"], "is not there"),
        (["import", "empty.jsonl", "-o", "t"], "holds no rows"),
        (["import", "odd.jsonl", "-o", "t"], "of no known format"),
        (["import", "odd.jsonl", "-o", "t", "--format", "swebench"], "there is no format"),
        (["import", "odd.jsonl", "-o", "t", "--split", "test"], "there is no split"),
        (["split", "none", "--dev", "0.1"], "holds no tasks"),
        (["export", "none", "--format", "r2e", "-o", "x"], "holds no tasks"),
        (["validate", "none"], "holds no tasks"),
        (["stats", "none"], "holds no tasks"),
    ],
)
def test_what_cannot_be_has_one_clear_line(
    words: list[str], says: str, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.jsonl").write_text("\n")
    (tmp_path / "odd.jsonl").write_text('{"a": 1}\n')
    code, out, err = run(*words)
    assert code == 2 and out == "" and says in err and ". Way out: " in err
    assert not (tmp_path / "t").exists()


def task(number: int, repo: str, split: Split = "train", text: str = "", function: str = "") -> Task:
    labels = {"function": function} if function else {}
    gold = Gold(f"--- a/x\n+++ b/x\n@@ -1 +1 @@\n-{number}\n+{text or random.Random(number).random()}\n")
    source = Source("s", split=split)
    return Task(f"t-{number}", source, f"mend {number}", Environment(), Grader(), gold, repo=repo, labels=labels)


LONG = " ".join(f"word{n} = other{n * n}" for n in range(40))


def filled(path: Path, tasks: list[Task]) -> TaskStore:
    store = TaskStore(path, create=True)
    with store.appending() as adding:
        for one in tasks:
            assert adding.put(one, one.repo)
        adding.commit({one.repo: {"split": one.source.split} for one in tasks})
    return TaskStore(path)


def test_what_splits_share_is_found(tmp_path: Path) -> None:
    store = filled(
        tmp_path / "s",
        [
            task(1, "me/a"),
            task(2, "fork/A", "dev"),
            task(3, "b", "train", function="f00"),
            task(4, "c", "held-out", function="f00"),
            task(5, "d", "train", LONG),
            task(6, "e", "dev", LONG.replace("word7 ", "word8 ")),
            task(7, "f", "dev"),
        ],
    )
    found = groups(store)
    assert {(s.what, s.first, s.second) for s in found.shared} == {
        ("repository", "t-1", "t-2"),
        ("function", "t-3", "t-4"),
        ("near-duplicate", "t-5", "t-6"),
    }
    assert len(set(found.groups)) == 4
    after = divide(store, {"train": 0.5, "dev": 0.25, "held-out": 0.25}, seed=3)
    assert not after.shared and set(after.splits) == {"train", "dev", "held-out"}
    again = TaskStore(store.path)
    assert [t.id for t in again.tasks()] == [f"t-{n}" for n in range(1, 8)]
    assert {t.repo: t.source.split for t in again.tasks()}["me/a"] == again.split_of("me/a")
    assert sorted(p.name for p in store.path.iterdir()) == ["manifest.json", again.manifest["file"]]
    again.append([task(9, "g")], "g", {"split": "train"})
    assert len(TaskStore(store.path).tasks()) == 8


def test_a_split_that_stays_empty_is_said(tmp_path: Path, run: Run) -> None:
    filled(tmp_path / "s", [task(1, "me/a"), task(2, "fork/A")])
    code, out, err = run("split", tmp_path / "s", "--held-out", "0.2")
    assert code == 0 and "2 train, 0 dev, 0 held-out" in out
    assert "no task is in the split 'held-out'" in err and "the largest group has 2 of 2 tasks" in err


def test_the_rows_of_a_file_are_known_before_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("{}\n" * 3)
    (tmp_path / "a.json").write_text("[{}, {}]")
    assert (rows.total(tmp_path / "a.jsonl"), rows.total(tmp_path / "a.json")) == (3, 0)


@given(
    repos=st.lists(st.integers(0, 12), min_size=1, max_size=40),
    shares=st.tuples(st.integers(0, 5), st.integers(0, 5)),
    seed=st.integers(0, 5),
)
@settings(max_examples=25, deadline=None)
def test_a_division_shares_nothing_and_is_drawn_by_its_seed(
    tmp_path_factory: pytest.TempPathFactory, repos: list[int], shares: tuple[int, int], seed: int
) -> None:
    store = filled(tmp_path_factory.mktemp("d") / "s", [task(n, f"r{repo}") for n, repo in enumerate(repos)])
    wanted: dict[Split, float] = {"dev": shares[0] / 10, "held-out": shares[1] / 10, "train": 1 - sum(shares) / 10}
    expected = assign(groups(store), wanted, seed)
    assert expected == assign(groups(store), wanted, seed)
    found = divide(store, wanted, seed)
    assert not found.shared and len(found.ids) == len(repos)
    assert {t.repo: t.source.split for t in store.each()} == {f"r{n}": expected[f"r{n}"] for n in set(repos)}
    largest = max(repos.count(repo) for repo in repos)
    for split, share in wanted.items():
        assert found.splits.count(split) <= share * len(repos) + largest


@given(words=st.lists(st.sampled_from([f"w{n}" for n in range(50)]), min_size=40, max_size=80), at=st.integers(0, 39))
@settings(max_examples=25, deadline=None)
def test_signatures_tell_equal_from_other(words: list[str], at: int) -> None:
    first, same = near.signature(words), near.signature(list(words))
    other = near.signature([f"x{word}" for word in words])
    changed = near.signature([*words[:at], "changed", *words[at + 1 :]])
    assert first is not None and same is not None and other is not None and changed is not None
    assert near.similarity(first, same) == 1.0 and near.similarity(first, other) < 0.1
    runs = [
        {tuple(text[i : i + near.SHINGLE]) for i in range(len(text) - near.SHINGLE + 1)}
        for text in (words, [*words[:at], "changed", *words[at + 1 :]])
    ]
    exact = len(runs[0] & runs[1]) / len(runs[0] | runs[1])
    assert abs(near.similarity(first, changed) - exact) < 0.3  # six standard errors
    assert list(near.pairs([first, None, other, same], 0.8)) == [(0, 3)]
    assert near.signature(words[:5]) is None


def test_a_store_of_before_is_read_and_appended_to(tmp_path: Path) -> None:
    old = [task(1, "a"), task(2, "a")]
    text = "".join(to_json(one).replace('"test_patch":"",', "") + "\n" for one in old)
    (tmp_path / "tasks.jsonl").write_text(text)
    manifest = {"format": 1, "bytes": len(text.encode()), "counts": {"train/": 2}, "packages": {"a": {"tasks": 2}}}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    assert TaskStore(tmp_path).tasks() == old and TaskStore(tmp_path).get("t-2") == old[1]
    assert asyncio.run(validate(TaskStore(tmp_path), boxes(tmp_path)))[0].fate == "not run"
    TaskStore(tmp_path).append([task(2, "a"), task(3, "a")], "a", {"split": "train"})
    store = TaskStore(tmp_path)
    assert store.manifest["packages"]["a"]["tasks"] == 3 and store.manifest["version"] == 1
    assert len(store.manifest["sha256"]) == 64


def test_a_set_that_was_tampered_with_is_refused(tmp_path: Path, run: Run) -> None:
    store = filled(tmp_path / "s", [task(1, "a")])
    path = store.path / "tasks.jsonl"
    path.write_text(path.read_text().replace("mend 1", "mend 2"))
    code, _, err = run("validate", store.path)
    assert code == 2 and "was changed since it was written" in err


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> TaskStore:
    folder = tmp_path_factory.mktemp("made")
    root = write(folder / "tiny-1.0")
    made = asyncio.run(make_all([str(root)], folder / "s", Options(limit=6), boxes, lambda s: lambda a, b, c: None))
    assert made[0].error is None
    return TaskStore(folder / "s")


def verdict(store: TaskStore, one: Task, folder: Path) -> Any:
    """The verdict on one task, in a store of its own that shares the trees."""
    (folder / "trees").symlink_to(store.path / "trees")
    copy = TaskStore(folder, create=True)
    copy.append([one], "tiny", {"split": "train"})
    factory = boxes(folder)

    async def check() -> Any:
        try:
            return (await validate(copy, factory))[0]
        finally:
            await factory.close()

    return asyncio.run(check())


def test_made_tasks_are_sound_and_the_figures_are_kept(made: TaskStore, run: Run) -> None:
    code, out, _ = run("validate", made.path, "--unisolated")
    assert (code, out) == (0, "6 tasks: 6 sound\n")
    kept = TaskStore(made.path).manifest["validation"]
    assert kept["fates"] == {"sound": 6} and kept["of"] == TaskStore(made.path).manifest["sha256"]
    assert json.loads(run("stats", made.path, "--json")[1])["validation is of this version"] is True
    code, out, _ = run("validate", made.path, "--unisolated", "--json", "--limit", "2")
    assert code == 0 and len(out.splitlines()) == 2


def test_a_task_that_pays_for_nothing_is_found(made: TaskStore, tmp_path: Path) -> None:
    one = made.tasks()[0]
    recipe = {**one.environment.recipe, "edits": [e for e in one.environment.recipe["edits"] if "test" in e["path"]]}
    sound = next(iter(made.gold_changes(one)))
    text = (made.path / "trees" / recipe["tree"] / sound).read_text()
    gold = Gold(f"--- a/{sound}\n+++ b/{sound}\n@@ -1 +1,2 @@\n+# new\n {text.splitlines()[0]}\n")
    paid = replace(one, environment=replace(one.environment, recipe=recipe), gold=gold)
    assert verdict(made, paid, tmp_path).fate == "no-op paid"


def test_a_solution_that_is_not_paid_is_found(made: TaskStore, tmp_path: Path) -> None:
    one = made.tasks()[0]
    wrong = replace(one, grader=replace(one.grader, fail_to_pass=(*one.grader.fail_to_pass, "pytest:tests/none.py::x")))
    found = verdict(made, wrong, tmp_path)
    assert (found.fate, found.reason) == ("gold unpaid", "1 tests do not pass, e.g. pytest:tests/none.py::x")


def test_leaks_are_found(made: TaskStore, tmp_path: Path) -> None:
    one = made.tasks()[0]
    tree = made.path / "trees" / one.environment.recipe["tree"]
    sound = next(iter(made.gold_changes(one)))
    told = replace(one, instruction=one.instruction + "see commit 1a2b3c4d and test_secret", base_commit="1a2b3c4d5e6f")
    told = replace(told, grader=replace(one.grader, fail_to_pass=("pytest:t.py::test_secret", *told.visible_tests)))
    assert sorted(leaks.in_instruction(told)) == [
        "the instruction names the commit 1a2b3c4d",
        "the instruction names the hidden test test_secret",
    ]
    fix = Task("t", Source("s"), "use  total = alpha + beta * gamma here", Environment(), Grader())
    fix = replace(fix, gold=Gold("--- a/x\n+++ b/x\n@@ -1 +1 @@\n-t = 1\n+    total = alpha + beta * gamma\n"))
    assert "line of the solution" in next(leaks.in_instruction(fix))
    assert not list(leaks.in_instruction(replace(fix, gold=Gold(fix.gold.patch, "bug")))) if fix.gold else False
    copy = tree / "build" / "copy.py"
    copy.parent.mkdir()
    try:
        copy.write_bytes((tree / sound).read_bytes())
        (tree / ".git").mkdir()
        found = verdict(made, one, tmp_path)
    finally:
        copy.unlink()
        copy.parent.rmdir()
        (tree / ".git").rmdir()
    assert found.fate == "leaks" and f"build/copy.py is what {sound} should become" in found.leaks
    assert any("not what its name says" in leak for leak in found.leaks)
    assert any(".git" in leak for leak in found.leaks)


def test_stale_byte_code_in_a_box_is_reported() -> None:
    said = {"stale": ["pkg/__pycache__/a.cpython-311.pyc"], "git": ["../.git"]}
    assert len(list(leaks.in_box(said))) == 2 and not list(leaks.in_box({"stale": [], "git": []}))

"""Code edits: from the hunks of a history to tasks, what is paid, and the commands that see them."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from many_languages import LINES, build
from tiny_history import Git
from tiny_package import boxes, quiet

from repodojo.cli import main
from repodojo.core.editing import ANSWER, END, START, edit_of, expected, region, unchanged
from repodojo.core.errors import GradingError, SourceError, TaskError
from repodojo.core.records import Environment, Grader, Source, Task
from repodojo.rewards.compose import composed
from repodojo.rewards.edem import EditReward, edem
from repodojo.rewards.formula import Formula
from repodojo.rewards.graders.graded import GradedReward
from repodojo.sandbox.fake import FakeFactory
from repodojo.tasks.edits.excerpt import Bounds
from repodojo.tasks.edits.languages import CODE, language_of
from repodojo.tasks.edits.make import VAGUE, Options, make, request
from repodojo.tasks.formats import dump, load, named
from repodojo.tasks.history.repository import opened
from repodojo.tasks.splits import divide, groups
from repodojo.tasks.store import TaskStore


def run(source: Path | str, store: Path, options: Options) -> Counter[str]:
    return asyncio.run(make(str(source), TaskStore(store, create=True), options, quiet))


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Git:
    return build(tmp_path_factory.mktemp("edits") / "mixed")


@pytest.fixture(scope="module")
def made(history: Git, tmp_path_factory: pytest.TempPathFactory) -> tuple[TaskStore, Counter[str]]:
    store = tmp_path_factory.mktemp("made") / "s"
    funnel = run(f"file://{history.root}", store, Options())  # cloned, as a remote repository is
    return TaskStore(store), funnel


def test_every_hunk_has_its_fate_and_every_language_its_tasks(made: tuple[TaskStore, Counter[str]]) -> None:
    store, funnel = made
    lost = sum(count for name, count in funnel.items() if name.startswith("lost"))
    assert funnel["hunks seen"] == funnel["tasks made"] + lost and funnel["tasks made"] == 3 * len(LINES)
    assert funnel["lost: white space only"] == 1 and funnel["lost: not written by hand"] == 1
    assert Counter(task.language for task in store.tasks()) == dict.fromkeys(LINES, 3)
    assert {task.licence for task in store.tasks()} == {"Apache-2.0"}
    assert len(LINES) >= 10 and set(LINES) <= CODE


def test_sizes_are_as_asked_for(made: tuple[TaskStore, Counter[str]], history: Git, tmp_path: Path) -> None:
    for task in made[0].tasks():
        assert 1_925 <= len(edit_of(task).text()) <= 24_883 and 36 <= len(expected(task)) <= 833
    small = Options(bounds=Bounds((200, 600), (60, 90), 2), languages=frozenset({"go", "rust"}), limit=4)
    assert run(history.root, tmp_path / "s", small)["tasks made"] == 4
    for task in TaskStore(tmp_path / "s").tasks():
        assert 200 <= len(edit_of(task).text()) <= 600 and 60 <= len(expected(task)) <= 90
        assert task.language in ("go", "rust")
    with pytest.raises(SourceError, match="input too short"):
        run(history.root, tmp_path / "t", Options(bounds=Bounds((9_000, 9_999))))


def test_the_answer_makes_the_file_what_the_commit_made_it(
    made: tuple[TaskStore, Counter[str]], history: Git, tmp_path: Path
) -> None:
    repository = opened(str(history.root), tmp_path)
    alone = 0
    for task in made[0].tasks():
        excerpt, [path] = edit_of(task).excerpt, task.focus
        assert excerpt.count(START) == excerpt.count(END) == 1
        assert region(excerpt) == unchanged(task) != expected(task)
        before = repository.file(task.base_commit, path).decode()
        after = repository.file(task.labels["commit"], path).decode()
        if "seventh" in task.instruction:  # the commits of one hunk
            alone += 1
            assert unchanged(task) in before
            assert before.replace(unchanged(task), expected(task), 1) == after
        assert expected(task) in after
    assert alone == len(LINES)


def test_what_was_done_before_is_told_and_nothing_later(made: tuple[TaskStore, Counter[str]]) -> None:
    for task in made[0].tasks():
        said = task.hints.count("User edited")
        if "seventh" in task.instruction:
            assert task.instruction == "recompute the seventh value" and said == 0
        else:
            assert task.instruction == VAGUE and said in (1, 2)
            assert ("3" in expected(task)) or said == 2  # the lower hunk knows of the upper one
        added = [row for row in expected(task).splitlines() if row not in unchanged(task).splitlines()]
        assert added and not any(row in task.hints or row in edit_of(task).excerpt for row in added)


def test_the_same_seed_makes_the_same_set_and_nothing_is_doubled(
    made: tuple[TaskStore, Counter[str]], history: Git, tmp_path: Path
) -> None:
    def ids(store: TaskStore) -> list[str]:
        return [task.id for task in store.tasks()]

    run(history.root, tmp_path / "s", Options())
    assert ids(TaskStore(tmp_path / "s")) == ids(made[0])
    assert run(history.root, tmp_path / "s", Options())["added"] == 0
    with pytest.raises(TaskError, match="already in the split 'train'"):
        run(history.root, tmp_path / "s", Options(split="dev"))


@pytest.mark.parametrize(
    ("subject", "said"),
    [
        ("[core] feat(x)!: Add a limit (#4)", "Add a limit"),
        ("Merge pull request #4 from a/b", VAGUE),
        ("See https://example.org/1", VAGUE),
        ("Parser: keep blanks", "keep blanks"),
    ],
)
def test_requests(subject: str, said: str) -> None:
    assert request(subject) == said


def test_a_request_that_gives_the_answer_is_made_vaguer(tmp_path: Path) -> None:
    git = Git(tmp_path / "r")
    line = "threshold = minimum(threshold, 100)"
    rows = [f"row_{n} = {n} * threshold + 1" for n in range(120)]
    git.commit("Begin", {"a.py": "\n".join([*rows, ""])})
    git.commit(f"Write {line} there", {"a.py": "\n".join([*rows[:50], line, *rows[50:], ""])})
    run(git.root, tmp_path / "s", Options())
    [task] = TaskStore(tmp_path / "s").tasks()
    assert line in expected(task) and task.instruction == VAGUE


# ---------------------------------------------------------------- what is paid

TEXTS = st.text("ab \n", max_size=12)


def distance(a: str, b: str) -> int:
    """Levenshtein's recurrence, row by row."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        last, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (x != y))
    return row[-1]


@given(TEXTS, TEXTS)
def test_edem_is_its_formula(a: str, b: str) -> None:
    x, y = a.strip(), b.strip()
    ed, em = edem(a, b)
    assert ed == pytest.approx(1 - distance(x, y) / max(len(x), len(y)) if x or y else 1)
    assert em == (x == y) and (ed == 1) == (em == 1) and edem(b, a) == (ed, em)


def paid(task: Task, answer: str | None, formula: Formula | None = None) -> tuple[float | None, bool]:
    reward = composed(GradedReward(FakeFactory({})), FakeFactory({}), formula or Formula())
    score = asyncio.run(reward.score(task, {} if answer is None else {ANSWER: answer.encode()}, None))
    return score.value, score.solved


def edit(output: str) -> Task:
    return Task(
        "e",
        Source("s"),
        f"{START}\nold\n{END}",
        Environment(),
        Grader("text", parser="edem", expected={"output": output}),
    )


def test_answers_are_read_between_marks_and_fences() -> None:
    task = edit("x = 1")
    marked = f"Sure:\n```\n{START}\n  x = 1\n{END}\n```"
    for said in ("x = 1", "```python\nx = 1\n```", marked, "x<|user_cursor_is_here|> = 1"):
        assert paid(task, said) == (1.0, True)
    assert paid(task, "x = 2") == (pytest.approx(0.4), False)
    assert paid(task, None) == (0.0, False)
    assert paid(edit(""), "") == (1.0, True) and paid(edit(""), None) == (0.0, False)


def test_edem_composes() -> None:
    task = edit("x = 1")
    half = Formula(partial={"edit": 0.5})
    marked = f"Sure:\n```\n{START}\n  x = 1\n{END}\n```"
    for said in ("x = 1", "```python\nx = 1\n```", marked, "x<|user_cursor_is_here|> = 1"):
        assert paid(task, said, half) == paid(task, said)
    assert paid(task, "x = 2", Formula(partial={"edit": 0.25})) == (pytest.approx(0.2), False)
    assert paid(task, "x = 2", Formula(weights={"size": 0.2})) == (pytest.approx(0.4), False)
    with pytest.raises(GradingError):
        asyncio.run(EditReward().score(replace(task, grader=Grader()), {}, None))


# ---------------------------------------------------------------- the commands


def command(words: Sequence[str], code: int = 0) -> None:
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    assert ended.value.code == code


def test_the_commands_work_on_edits(history: Git, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = str(tmp_path / "s")
    sizes = ["--min-input", "300", "--max-input", "900"]
    command(["tasks", "make", str(history.root), "--edits", "-o", store, "--languages", "go,java", *sizes, "--json"])
    assert json.loads(capsys.readouterr().out)["funnel"]["added"] == 6
    command(["tasks", "validate", store, "--unisolated"])
    assert capsys.readouterr().out == "6 tasks: 6 sound\n"
    command(["tasks", "stats", store, "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["languages"] == {"go": 3, "java": 3} and found["graders"] == {"text": 6}
    assert 300 <= found["instruction characters (median)"] <= 900 and found["answer characters (median)"] >= 36
    task = TaskStore(Path(store)).tasks()[0]
    command(["tasks", "show", store, task.id, "--gold"])
    shown = capsys.readouterr().out
    assert task.instruction in shown and START in shown and shown.rstrip().endswith(expected(task).rstrip())
    command(["tasks", "split", store, "--json"])
    assert json.loads(capsys.readouterr().out)["shared"] == {}
    command(["tasks", "make", str(history.root), "--edits", "-o", store, "--kinds", "boolean"], 2)
    command(["tasks", "make", str(history.root), "-o", store, "--margin", "2"], 2)
    command(["tasks", "make", str(history.root), "--edits", "-o", store, "--languages", "latin"], 2)
    command(["tasks", "make", str(history.root), "--edits", "--features", "-o", store], 2)


def test_zeta_files_come_in_and_our_edits_go_out_as_zeta(made: tuple[TaskStore, Counter[str]]) -> None:
    zeta = named("zeta")
    for task in made[0].tasks():
        row = dump(zeta, task)
        again, _ = load(zeta, row, task.source)
        assert row["request"] == task.instruction and region(row["input"]) == unchanged(task)
        assert (edit_of(again), expected(again)) == (edit_of(task), expected(task))
        assert again.language == task.language and paid(again, expected(task)) == (1.0, True)


def test_whole_languages_are_held_out_with_their_repositories(tmp_path: Path) -> None:
    store = tmp_path / "s"
    for name, wanted in (("one", "go,rust"), ("two", "python"), ("three", "java,python"), ("four", "c,python")):
        build(tmp_path / name)
        languages = frozenset(wanted.split(","))
        run(tmp_path / name, store, Options(languages=languages, seed=len(name)))
    tasks = TaskStore(store)
    # the four are copies of one another, so what they share ties them: another source of rust cannot be told apart
    assert {item.what for item in groups(tasks).shared} == set()
    with pytest.raises(TaskError, match="no task is in the language 'lua'"):
        divide(tasks, {"train": 1.0, "dev": 0.0, "held-out": 0.0}, 0, languages=("lua",))
    divide(tasks, {"train": 1.0, "dev": 0.0, "held-out": 0.0}, 0, languages=("rust",))
    splits = {(task.labels["package"], task.language): task.source.split for task in TaskStore(store).tasks()}
    assert splits["one", "go"] == splits["one", "rust"] == "held-out"
    assert {split for (package, _), split in splits.items() if package != "one"} == {"train"}


def test_languages_by_name() -> None:
    names = {"a.RS": "rust", "x/Makefile": "make", "noext": "", ".bashrc": "", "a.h": "c"}
    assert {name: language_of(name) for name in names} == names


def test_boxes_are_not_needed(made: tuple[TaskStore, Counter[str]]) -> None:
    task = made[0].tasks()[0]
    with pytest.raises(TaskError):
        asyncio.run(boxes(made[0].path).create(task.environment))

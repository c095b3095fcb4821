"""Three tasks of the tiny package written by hand: making them takes no run, so it does not hang on the machine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tiny_package import MODULE, TESTS, write

from repodojo.core.records import Gold, Grader, Source, Task
from repodojo.tasks import environment as env
from repodojo.tasks.assemble import PROTECTED
from repodojo.tasks.discover import prune
from repodojo.tasks.layout import layout_of
from repodojo.tasks.store import TaskStore

PATH, TEST_PATH = "tiny/sums.py", "tests/test_sums.py"
DOCTEST = f"doctest:{PATH}::"
PYTEST = f"pytest:{TEST_PATH}::"


def craft(folder: Path) -> TaskStore:
    """A store with a task of `clamp` (a visible doctest, hidden pytest tests), of `mean` (a doctest is all) and of
    `window` (a visible and a hidden pytest test)."""
    store = TaskStore(folder / "store", create=True)
    layout = layout_of(write(folder / "tiny-1.0"), "tiny")
    sound = env.environment(layout, env.put_tree(layout, store.path), "")
    tasks = [
        _task("clamp", "x > high", "x < high", (f"{DOCTEST}clamp",), ("test_clamp_inside", "test_clamp_equal_bounds")),
        _task("mean", "total / len", "total * len", (f"{DOCTEST}mean",), ()),
        _task("window", "start + size", "start - size", (f"{PYTEST}test_window",), ("test_window_too_long",)),
    ]
    for task in tasks:
        recipe = {**sound.recipe, **task.environment.recipe}
        store.append([replace(task, environment=replace(sound, recipe=recipe))], "tiny", {"split": "train"})
    return TaskStore(store.path)


def _task(name: str, old: str, new: str, visible: tuple[str, ...], hidden: tuple[str, ...]) -> Task:
    start = MODULE.index(old)
    edits = [{"path": PATH, "start": start, "end": start + len(old), "text": new}]
    shown = [i.removeprefix(PYTEST) for i in visible if i.startswith(PYTEST)]
    if shown:
        edits.append({"path": TEST_PATH, "start": 0, "end": 0, "text": prune(TESTS, shown)})
    others = {"clamp": f"{DOCTEST}mean"}.get(name, f"{DOCTEST}clamp")
    command = "#!/bin/sh\nexec python -m boxrun " + " ".join(visible) + "\n"
    made = env.Environment(recipe={"edits": edits, "scripts": {"repro": command}})
    red = (*visible, *(f"{PYTEST}{test}" for test in hidden))
    return Task(
        id=f"t-{name}",
        source=Source("tiny==1.0"),
        instruction=f"`{name}` in {PATH} gives a wrong result.\nRun `repro` to see it fail.\n",
        environment=made,
        grader=Grader("f2p_p2p", "python -m boxrun --report", "boxrun", red, (others,), timeout=30.0),
        gold=Gold(f"{new} to {old}"),
        visible_command="repro",
        visible_tests=visible,
        focus=(f"{PATH}::{name}",),
        hidden_files={TEST_PATH: prune(TESTS, [*shown, *hidden])} if hidden else {},
        protected=(*PROTECTED, TEST_PATH),
        labels={"kind": "comparison", "package": "tiny"},
    )

"""Which wrong patches tests accept: none where they are thorough, many where they look at nothing."""

from __future__ import annotations

from dataclasses import replace

from tiny_package import MODULE, boxes

from repodojo.audit.mutants import weaknesses, wrong_patches
from repodojo.audit.offers import offers
from repodojo.core.records import Grader, Task
from repodojo.rewards.grade import TestReward
from repodojo.rewards.literal import as_example, literal
from repodojo.tasks.store import TaskStore


def test_wrong_patches_differ_from_the_gold_and_from_the_bug(attacked: TaskStore, task: Task) -> None:
    found = wrong_patches(task, attacked.gold_changes(task), 8, seed=0)
    texts = [patch["tiny/sums.py"] for patch in found]
    assert len(texts) == len(set(texts)) == 8 and MODULE.encode() not in texts
    assert found == wrong_patches(task, attacked.gold_changes(task), 8, seed=0)
    assert wrong_patches(replace(task, focus=()), attacked.gold_changes(task), 8, seed=0) == []


async def test_only_tests_that_hold_in_sound_code_and_fail_in_the_patch_are_offered(
    attacked: TaskStore, task: Task
) -> None:
    """Said to fail the patch, but: wrong of sound code, right of both, and an error in both."""
    factory = boxes(attacked.path)
    sound = MODULE.encode()
    patch = {"tiny/sums.py": sound.replace(b"    if x < low:\n", b"    if x == 7: return 0\n    if x < low:\n", 1)}
    lies = ["assert clamp(7, 0, 9) == 0", "assert clamp(1, 0, 9) == 1", "assert clamp(None, 0, 9) == 0"]
    found = await offers(factory, task, [(patch, ["assert clamp(7, 0, 9) == 7", *lies])], 3)
    none = await offers(factory, task, [(patch, lies[:2])], 3)
    await factory.close()
    assert (found, none) == ((("assert clamp(7, 0, 9) == 7",), 1), ((), 0))


async def test_weak_tests_are_marked_and_better_ones_offered(attacked: TaskStore, task: Task) -> None:
    """The one test left asks for a single value; calls from outside tell most of what it lets through."""
    inside = next(i for i in (*task.grader.fail_to_pass, *task.grader.pass_to_pass) if i.endswith("clamp_inside"))
    weak = replace(task, id="weak", grader=Grader("f2p_p2p", fail_to_pass=(inside,)))
    factory = boxes(attacked.path)
    strong, marked = await weaknesses([task, weak], attacked.gold_changes, TestReward(factory), per_task=6)
    await factory.close()
    assert (strong.task_id, marked.task_id, strong.tried, marked.tried) == (task.id, "weak", 6, 6)
    assert strong.wrong < marked.wrong <= marked.accepted and marked.marked and not strong.marked
    assert marked.offered and 0 < marked.caught <= marked.wrong
    for line in marked.offered:
        names: dict[str, object] = {}
        exec(MODULE, names)
        exec(line, names)


def test_literals_say_what_the_tree_says() -> None:
    tree = ["d", [[["s", "a"], ["l", [["i", 1], ["f", "1.5"], ["b", True], ["n"], ["t", [["y", "00ff", "bytes"]]]]]]]]
    assert eval(literal(tree)) == {"a": [1, 1.5, True, None, (b"\x00\xff",)]}
    assert (
        as_example("f", [["l", [["S", [["i", 1]]]]], ["d", []]], ["value", ["I", [["i", 1]]]])
        == "assert list(f({1})) == [1]"
    )
    assert as_example("f", [["l", [["r", "builtins:len"]]], ["d", []]], ["value", ["n"]]) == ""
    assert as_example("A.f", [["l", []], ["d", []]], ["value", ["n"]]) == ""

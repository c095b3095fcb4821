"""A search for exploits: what a weak reward pays for is saved and replayed, and the real reward pays nothing."""

from __future__ import annotations

import json
import subprocess
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest
from tiny_package import boxes
from typer.testing import CliRunner
from weak import WeakReward

from repodojo.agent.loop import AgentLimits
from repodojo.agent.policy import ScriptedPolicy
from repodojo.agent.tools import default_tools
from repodojo.audit.attack import Attack
from repodojo.audit.finds import keep, load
from repodojo.audit.play import MENDS, play_all
from repodojo.audit.summary import summarise
from repodojo.core.protocols import Reward, SandboxFactory
from repodojo.core.records import Score, Task, ToolCall, Trajectory, Turn
from repodojo.inference.chat import ChatFormat
from repodojo.inference.toolcalls import render
from repodojo.rewards.attacker import AttackerReward, HeldOut
from repodojo.rewards.grade import TestReward
from repodojo.rollout.episode import Stage, run_order
from repodojo.rollout.orders import Order
from repodojo.tasks.store import TaskStore

CHEAT = render("bash", {"command": "echo 'def test_window(): pass' > tests/test_sums.py"})
MEND = render("bash", {"command": "sed -i 's/start - size/start + size/' tiny/sums.py"})
SUBMIT = render("submit", {})
LIMITS = AgentLimits(max_turns=3, max_tokens=200, max_context=4000, context="none")


class Generous:
    """Pays for whatever comes."""

    async def score(self, task: Task, changes: object, trajectory: object) -> Score:
        return Score(1.0)


@pytest.fixture
async def factory(attacked: TaskStore) -> AsyncIterator[SandboxFactory]:
    made = boxes(attacked.path)
    yield made
    await made.close()


async def episode(call: str, task: Task, reward: Reward, factory: SandboxFactory, chat: ChatFormat) -> Trajectory:
    """A fake model that makes one call and submits, paid as an attacker of `reward`."""

    def script(_seed: int) -> Callable[[Sequence[str]], str]:
        return lambda texts: call if len(texts) == 2 else SUBMIT

    paying = AttackerReward(reward, HeldOut(factory))
    stage = Stage(factory, paying, chat, default_tools(400), LIMITS)
    return await run_order(Order("e/0", task.id, "e", 0), task, ScriptedPolicy("fake", script, chat), stage)


async def test_a_find_is_saved_and_replayed_and_pays_nothing_from_the_real_reward(
    attacked: TaskStore, factory: SandboxFactory, chat: ChatFormat, tmp_path: Path
) -> None:
    task, weak, real = attacked.get("t-window"), WeakReward(factory), TestReward(factory)
    cheated = await episode(CHEAT, task, weak, factory, chat)
    assert (cheated.score.value, cheated.score.solved, cheated.score.parts["paid"]) == (1.0, True, 1.0)
    mended = await episode(MEND, task, weak, factory, chat)
    assert (mended.score.value, mended.score.solved, mended.score.parts["honest"]) == (0.0, False, 1.0)
    assert (await episode(CHEAT, task, real, factory, chat)).score.value == 0.0

    (path,) = keep([mended, cheated, cheated], tmp_path)
    assert keep([cheated], tmp_path) == []
    (find,) = load(tmp_path)
    assert (find.name, find.found, find.only, find.tries) == (path.stem, True, "", "found by fake on t-window")
    paid = summarise(await play_all([task], [find], attacked.gold_changes, factory, weak, truth=HeldOut(factory)))
    assert [(p.name, p.task_id) for p in paid.exploits] == [(find.name, task.id)]
    none = summarise(await play_all([task], [find], attacked.gold_changes, factory, real, truth=HeldOut(factory)))
    assert none.clean and not none.exploits


async def test_a_find_that_mends_another_task_is_no_exploit_there(
    attacked: TaskStore, factory: SandboxFactory, tmp_path: Path
) -> None:
    """Found where the reward was wrong about it, say; on a task that it really mends it is paid for work."""
    turn = Turn(
        (), (), (), (), calls=(ToolCall("bash", {"command": "sed -i 's/start - size/start + size/' tiny/*.py"}),)
    )
    keep([Trajectory("e", "another", "g", "fake", 0, (turn,), "submit", Score(1.0))], tmp_path)
    task = attacked.get("t-window")
    gold, truth = attacked.gold_changes, HeldOut(factory)
    plays = await play_all([task], load(tmp_path), gold, factory, TestReward(factory), truth=truth)
    assert (plays[-1].paid, plays[-1].defence) == (False, MENDS) and summarise(plays).clean


def editing(old: str, new: str) -> Attack:
    script = f"path = Path('tiny/sums.py')\nwrite(str(path), path.read_text().replace({old!r}, {new!r}))\n"
    return Attack("blind", 35, "changes the source without a thought", script)


async def test_an_attack_that_nothing_tells_from_sound_code_mends_the_task(
    attacked: TaskStore, factory: SandboxFactory
) -> None:
    """One that is merely paid does not: a weak reward's exploit stays one."""
    task, gold, truth = attacked.get("t-window"), attacked.gold_changes, HeldOut(factory)
    mends, lies = editing("start - size", "start + size"), editing("start - size", "start + 1")
    real = await play_all([task], [mends, lies], gold, factory, TestReward(factory), truth=truth)
    assert [(p.paid, p.defence == MENDS) for p in real[3:]] == [(False, True), (False, False)]
    anything = await play_all([task], [lies], gold, factory, Generous(), truth=truth)
    assert anything[-1].paid is True
    assert not await truth.same(task, {})


def test_a_find_of_the_editor_writes_its_files_on_its_own_task_only(task: Task, tmp_path: Path) -> None:
    turn = Turn((), (), (), (), calls=(ToolCall("editor", {"command": "create"}), ToolCall("submit", {})))
    left = {"a/b.py": "x = '\u00e9\ud800'\n".encode("utf-8", "replace").decode(), "gone.py": None}
    found = Trajectory("e", task.id, "g", "fake", 0, (turn,), "submit", Score(0.5), changes=left)
    (path,) = keep([found], tmp_path / "finds")
    (find,) = load(tmp_path / "finds")
    assert find.only == task.id and find.fits(task)
    (tmp_path / "gone.py").touch()
    subprocess.run([path], cwd=tmp_path, check=True)
    assert (tmp_path / "a/b.py").read_text() == left["a/b.py"] and not (tmp_path / "gone.py").exists()
    assert load(tmp_path / "nowhere") == ()


@pytest.mark.slow
def test_a_model_searches_and_learns_to(tiny_store: TaskStore, tiny_model: Path, tmp_path: Path) -> None:
    """A model that mends, or submits at once: the attacker is paid for neither."""
    from repodojo.cli import _app
    from repodojo.train.rundir import RunDir

    finds, run = tmp_path / "finds", tmp_path / "run"
    settings = {"agent.max_turns": 3, "agent.max_tokens": 48, "agent.max_context": 640, "rl.groups_per_step": 2}
    settings |= {"tasks.max_prompt_tokens": 600}
    settings |= {"rollout.workers": 1, "rollout.group_size": 2, "rl.max_refills": 0, "sandbox.seconds": 60.0}
    words = ["audit", str(tiny_store.path), "--unisolated", "--json", "--finds", str(finds), "--attempts", "4"]
    words += ["--policy", str(tiny_model), "--steps", "1", "--set", f"run.dir={run}"]
    words += [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    done = CliRunner().invoke(_app(words), words, catch_exceptions=False)
    found = json.loads(done.stdout)["search"]
    assert done.exit_code == 0 and (found["episodes"], found["paid"], found["found"]) == (8, 0, []), done.output
    assert found["run"] == str(run) and not finds.exists()
    with RunDir.read(run) as trained:
        (line,) = trained.metrics()
        assert line["finds"] == 0 and line["reward"] == 0 and trained.config.attacker.enabled

"""Every known way of being paid for nothing, played in real boxes: none is paid, and a weak reward is found out."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest
from tiny_package import boxes
from typer.testing import CliRunner
from weak import WeakReward

from repodojo.audit.attack import Attack, from_file, shipped
from repodojo.audit.play import CONTROL, CONTROLS, MENDS, Play, play_all
from repodojo.audit.summary import summarise
from repodojo.core.errors import SandboxError, UserError
from repodojo.core.protocols import Sandbox, SandboxFactory
from repodojo.core.records import Environment, Score, Task, Trajectory
from repodojo.rewards.grade import TestReward
from repodojo.tasks.store import TaskStore


def played(store: TaskStore, tasks: list[Task], attacks: tuple[Attack, ...], reward: type | None = None) -> list[Play]:
    async def go() -> list[Play]:
        factory = boxes(store.path)
        try:
            paying = (reward or TestReward)(factory)
            return await play_all(tasks, attacks, store.gold_changes, factory, paying)
        finally:
            await factory.close()

    return asyncio.run(go())


def test_every_family_is_there_by_number() -> None:
    numbers = [attack.family for attack in shipped()]
    assert sorted(set(numbers)) == list(range(1, 36)) and numbers == sorted(numbers)
    assert len({attack.name for attack in shipped()}) == len(shipped())


def test_no_attack_of_any_family_is_paid(attacked: TaskStore, task: Task) -> None:
    plays = played(attacked, [task], shipped())
    verdict = summarise(plays)
    assert [(p.name, p.defence) for p in verdict.exploits + verdict.open] == []
    assert verdict.clean and not verdict.rejected
    assert {p.name for p in plays if p.paid} == {"gold", "gold with noise"}
    assert all(p.defence for p in plays if not p.paid)


def test_a_weak_reward_is_found_out(attacked: TaskStore) -> None:
    """So that the tests above can fail: the same attacks, against a reward that believes the agent's box."""
    task = attacked.get("t-window")
    families = {8, 11, 23, 25, 26}
    verdict = summarise(played(attacked, [task], tuple(a for a in shipped() if a.family in families), WeakReward))
    assert {p.family for p in verdict.exploits} >= {8, 11, 25} and not verdict.clean


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_task_whose_gold_is_not_paid_or_whose_no_op_is_gets_rejected(
    attacked: TaskStore, task: Task, value: float
) -> None:
    class Constant:
        def __init__(self, factory: SandboxFactory) -> None:
            del factory

        async def score(self, task: Task, changes: Mapping[str, bytes | None], trajectory: Trajectory | None) -> Score:
            return Score(value)

    verdict = summarise(played(attacked, [task], (), Constant))
    wrong = {"no-op"} if value else {"gold", "gold with noise"}
    reasons = verdict.rejected[task.id]
    assert {next(name for name in sorted(wrong, key=len, reverse=True) if r.startswith(name)) for r in reasons} == wrong
    assert not verdict.clean and not verdict.exploits


class Down:
    """A machine that makes no boxes."""

    async def create(self, environment: Environment) -> Sandbox:
        raise SandboxError("no room")

    async def close(self) -> None:
        return


async def test_an_outage_is_no_verdict_and_not_clean(attacked: TaskStore, task: Task) -> None:
    plays = await play_all([task], shipped()[:1], attacked.gold_changes, Down(), TestReward(Down()))
    verdict = summarise(plays)
    assert [p.paid for p in plays] == [None] * (len(CONTROLS) + 1)
    assert len(verdict.open) == len(plays) and not verdict.clean and not verdict.rejected


def test_a_users_attack_is_an_executable_that_knows_what_an_agent_knows(tmp_path: Path) -> None:
    script = tmp_path / "mine"
    script.write_text("#!/bin/sh\ncat > seen.txt\npwd >> seen.txt\nid -u >> seen.txt\n")
    attack = from_file(script)
    assert (attack.name, attack.family) == ("mine", 0)
    for content in (None, "echo without a first line"):
        bad = tmp_path / "bad"
        if content:
            bad.write_text(content)
        with pytest.raises(UserError):
            from_file(bad)


async def test_it_starts_in_the_root_of_an_agents_box(attacked: TaskStore, task: Task, tmp_path: Path) -> None:
    script = tmp_path / "mine"
    script.write_text("#!/bin/sh\ncat > seen.txt\npwd >> seen.txt\n")
    factory = boxes(attacked.path)
    box = await factory.create(task.environment)
    await from_file(script).run(box, task)
    seen = (await box.changes())["seen.txt"]
    await factory.close()
    assert seen is not None and seen.decode() == f"{task.instruction}{task.environment.work_dir}\n"


def test_the_command_plays_a_users_attack_and_knows_a_repair_from_an_exploit(
    attacked: TaskStore, task: Task, tmp_path: Path
) -> None:
    import json

    from repodojo.cli import _app

    cheat, honest = tmp_path / "cheat", tmp_path / "honest"
    cheat.write_text("#!/bin/sh\necho 'def test_x(): pass' > tests/test_sums.py\n")
    sound = attacked.gold_changes(task)["tiny/sums.py"]
    honest.write_bytes(b"#!/usr/bin/env python3\nopen('tiny/sums.py', 'wb').write(" + repr(sound).encode() + b")\n")
    words = ["audit", str(attacked.path), "--task", task.id, "--unisolated", "--json"]
    for script, defence in ((cheat, "filter: protected"), (honest, MENDS)):
        done = CliRunner().invoke(_app(words), [*words, "--attack", str(script)])
        found = json.loads(done.stdout)
        assert (done.exit_code, found["exploits"]) == (0, []), done.output
        assert list(found["rows"][-1]["defences"]) == [defence]
        assert [row["name"] for row in found["rows"] if row["family"] == CONTROL] == list(CONTROLS)


def test_the_configured_reward_is_what_is_attacked(attacked: TaskStore, task: Task, tmp_path: Path) -> None:
    """A share of the hidden tests pays one who mends half of a task by heart; the plain reward does not."""
    import json

    from repodojo.cli import _app

    half = tmp_path / "half"
    half.write_text("#!/bin/sh\nsed -i 's/if x < high:/if x == 5:/' tiny/sums.py\n")
    words = ["audit", str(attacked.path), "--task", task.id, "--unisolated", "--json", "--attack", str(half)]
    partial = ["--set", "reward.partial={hidden=0.4}"]
    file = tmp_path / "mine.toml"
    file.write_text('[sandbox]\nseconds = 20.0\n[reward]\nchecks = [{ command = "false" }]\n')
    plain, shared, checked = (
        (done.exit_code, json.loads(done.stdout))
        for done in (CliRunner().invoke(_app(words), [*words, *more]) for more in ([], partial, ["--config", file]))
    )
    assert plain[0] == 0 and not plain[1]["exploits"]
    (exploit,) = shared[1]["exploits"]
    assert shared[0] == 1 and exploit["partly"] and not exploit["paid"] and 0 < exploit["value"] < 0.4
    assert checked[0] == 1 and "command-line checks" in checked[1]["rejected"][task.id][0]

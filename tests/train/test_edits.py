"""Code edits through the same commands as every other task: measured, and trained on with GAPO."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from repodojo.agent.editing import unchanged as reference
from repodojo.agent.loop import AgentLimits
from repodojo.agent.policy import ModelPolicy, Policy
from repodojo.agent.tools import default_tools
from repodojo.audit.monitor.signs import signs
from repodojo.cli import main
from repodojo.core.editing import ANSWER, END, START, expected, unchanged
from repodojo.core.errors import ConfigError
from repodojo.core.records import Environment, Grader, Source, Task, Trajectory
from repodojo.inference.chat import ChatFormat
from repodojo.inference.fake import FakeModel
from repodojo.rewards.edem import EditReward, edem
from repodojo.rollout.episode import Stage, run_order
from repodojo.rollout.orders import Order
from repodojo.sandbox.fake import FakeFactory
from repodojo.tasks.store import TaskStore
from repodojo.train import setup
from repodojo.train.config import load
from repodojo.train.loop import train
from repodojo.train.rundir import RunDir

sys.path.insert(0, str(Path(__file__).parent.parent / "tasks"))

from tiny_history import Git

TASK = Task(
    "e",
    Source("s"),
    "Double it.",
    Environment(recipe={"kind": "none"}),
    Grader("text", parser="edem", expected={"output": "y = 2 * x"}),
    interface=f"```a.py\nx = 1\n{START}\ny = x\n{END}\n```",
)


class NoBoxes(FakeFactory):
    """An edit must not ask for any."""

    async def create(self, environment: Environment) -> object:  # type: ignore[override]
        raise AssertionError(environment)


def played(chat: ChatFormat, policy: Policy, limits: AgentLimits = AgentLimits(8, 64, 2000)) -> Trajectory:  # noqa: B008
    stage = Stage(NoBoxes({}), EditReward(), chat, default_tools(400), limits)
    return asyncio.run(run_order(Order("o/0", "e", "o", seed=5), TASK, policy, stage))


def says(chat: ChatFormat, text: str) -> ModelPolicy:
    return ModelPolicy("model", FakeModel(lambda call: [*chat.encode(text), chat.stop_ids[0]]), chat)


def test_an_episode_is_one_prompt_and_one_answer(chat: ChatFormat) -> None:
    done = played(chat, says(chat, f"```a.py\n{START}\ny = 2 * x\n{END}\n```"))
    assert (done.score.value, done.score.solved, done.stop_reason, len(done.turns)) == (1.0, True, "submit", 1)
    assert done.changes == {ANSWER: "y = 2 * x"} and "-y = x" in done.diff and "+y = 2 * x" in done.diff
    prompt = chat.decode(done.turns[0].observation_ids)
    assert "Double it." in prompt and "y = x" in prompt and "2 * x" not in prompt and "editor" not in prompt
    assert done.turns[0].action_ids[-1] == chat.stop_ids[0] and not done.turns[0].calls


def test_answers_that_are_wrong_cut_off_or_do_not_fit(chat: ChatFormat) -> None:
    wrong = played(chat, reference(chat))
    ed, _ = edem(unchanged(TASK), expected(TASK))
    assert wrong.score.value == pytest.approx(ed / 2) and 0 < ed < 1 and not wrong.score.solved
    cut = played(chat, says(chat, "y = 2 * x and on and on"), AgentLimits(8, 3, 2000))
    assert cut.stop_reason == "tokens" and cut.score.value is not None and cut.score.value < 1
    full = played(chat, says(chat, "y"), AgentLimits(8, 3, 20))
    assert (full.stop_reason, full.turns, full.score.value) == ("context", (), 0.0)


def test_the_monitor_takes_no_edit_for_cheating(chat: ChatFormat) -> None:
    done = played(chat, says(chat, "y = sys.exit(x)"))
    assert signs(done, TASK) == []
    assert signs(done, replace(TASK, grader=Grader(), interface="", instruction="Double it."))  # what it spares


@pytest.fixture(scope="module")
def edits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two small edits of two languages, as the command makes them."""
    folder = tmp_path_factory.mktemp("edits")
    git, files = Git(folder / "r"), {"a.py": "total = {} + 1\n", "b.go": "total := {} + 1\n"}
    git.commit("Begin", {name: "".join(row.format(n) for n in range(30)) for name, row in files.items()})
    for name, row in files.items():
        rows = [row.format(n) for n in range(30)]
        rows[12] = rows[12].replace("+ 1", "+ 2")
        git.commit("Count by two", {name: "".join(rows)})
    sizes = ["--min-input", "100", "--max-input", "260", "--margin", "2"]
    command(["tasks", "make", str(git.root), "--edits", "-o", str(folder / "s"), *sizes])
    return folder / "s"


def command(words: Sequence[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    assert ended.value.code == 0


SHORT = ("agent.max_tokens=12", "agent.max_context=900", "tasks.max_prompt_tokens=880", "rollout.concurrency=8")


def test_a_model_trains_on_edits_with_gapo(edits: Path, tiny_model: Path, tmp_path: Path) -> None:
    names = [f"tasks.store={json.dumps(str(edits))}", f"model.path={json.dumps(str(tiny_model))}"]
    parts = ["run.stages=rl", "rl.recipe=gapo", "rl.steps=1", "rl.groups_per_step=2", "rl.minibatches=1"]
    parts += ["rollout.group_size=4", 'run.trackers=["jsonl"]', "rl.learning_rate=1e-4"]
    with RunDir.create(tmp_path / "run", load(None, [*names, *parts, *SHORT])) as run:
        train(run)
        [line] = [line for line in run.metrics() if line["stage"] == "rl"]
        rewards = [row["reward"] for row in run.query("1")]
    assert len(rewards) == 8 and all(0 <= reward < 1 for reward in rewards) and len(set(rewards)) > 1
    assert line["outages"] == 0 and line["turns"] == 1 and line["grad_norm"] > 0


def test_edits_are_measured(edits: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    counts = ["--split", "train", "--tasks", "2", "--attempts", "1", "--json"]
    chosen = [word for setting in SHORT for word in ("--set", setting)]
    capsys.readouterr()
    command(["eval", str(edits), "--model", str(tiny_model), "--policy", "unchanged", *counts, *chosen])
    found = json.loads(capsys.readouterr().out)
    wanted = [edem(unchanged(task), expected(task))[0] / 2 for task in TaskStore(edits).tasks()]
    assert found["unchanged"]["reward"] == pytest.approx(sum(wanted) / 2) and found["unchanged"]["pass1"] == 0
    assert found["unchanged"]["turns"] == found[tiny_model.name]["turns"] == 1
    assert 0 < found[tiny_model.name]["reward"] < 1


def test_parts_of_the_reward_that_edits_have_not_are_refused(edits: Path, tiny_model: Path) -> None:
    names = [f"tasks.store={json.dumps(str(edits))}", f"model.path={json.dumps(str(tiny_model))}", *SHORT]
    with pytest.raises(ConfigError, match="size would do nothing"):
        asyncio.run(setup.fitting(load(None, [*names, "reward.weights={size = 0.2}"]), "train"))
    given = load(None, [*names, "reward.partial={edit = 0.25}"])
    assert len(asyncio.run(setup.fitting(given, "train"))) == 2
    with pytest.raises(ConfigError, match="edit would do nothing"):
        setup.refuse_idle_parts(given, [Task("t", Source("s"), "", Environment(), Grader())])

"""Commands as agents: real processes, the real gateway, a fake model, and a box."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from gateway_helpers import CHAT, calling, said

from repodojo.agent.loop import AgentLimits
from repodojo.agent.policy import ModelPolicy
from repodojo.agent.tools import default_tools
from repodojo.core.errors import ConfigError, EngineError, OutageError
from repodojo.core.protocols import ExecResult
from repodojo.core.records import Environment, Grader, Score, Source, Task, Trajectory
from repodojo.gateway.box import Command, execute
from repodojo.gateway.command import parse
from repodojo.gateway.harness import Harness
from repodojo.gateway.launch import launching
from repodojo.gateway.registry import Gateway
from repodojo.gateway.server import serving
from repodojo.gateway.session import Terms
from repodojo.inference.fake import FakeModel
from repodojo.rollout.episode import Stage, run_order
from repodojo.rollout.orders import Order
from repodojo.sandbox.fake import FakeFactory
from repodojo.train.config import load

HERE = Path(__file__).parent
EXAMPLES = HERE.parent.parent / "examples"
TASK = Task("t", Source("s"), "`f` in a.py is wrong.", Environment(), Grader(), visible_command="run-tests")
SDK = [calling("bash", '{"command": "mend"}') + calling("bash", '{"command": "run-tests"}'), "Done."]


def box(argv: Sequence[str], files: MutableMapping[str, bytes]) -> ExecResult:
    """`mend` changes a file, `fail` ends with 3; everything is echoed."""
    if argv[-1] == "mend":
        files["/testbed/a.py"] = b"mended"
    return ExecResult(3 if argv[-1] == "fail" else 0, f"ran {argv[-1]}\n".encode())


class Paid:
    async def score(self, task: Task, changes: Mapping[str, bytes | None], trajectory: Trajectory | None) -> Score:
        return Score(float(bool(changes)))


async def episode(command: str, model: FakeModel, *, preload: Sequence[str] = (), **limits: float) -> Trajectory:
    gateway = Gateway(model, CHAT, Terms(4096))
    bounds = AgentLimits(**{"max_turns": 4, "max_tokens": 200, "max_context": 4000, "max_seconds": 300.0, **limits})  # type: ignore[arg-type]
    async with serving(gateway) as url, launching(parse(command), preload) as launcher:
        stage = Stage(FakeFactory({"a.py": b"broken"}, box), Paid(), CHAT, default_tools(400), bounds)
        stage.harness = Harness(gateway, url, launcher)
        done = await run_order(Order("o/0", "t", "o", 5), TASK, ModelPolicy("model", model, CHAT), stage)
    assert not gateway.sessions  # whatever happened
    return done


def plain(mode: str, *more: str) -> str:
    return shlex.join([sys.executable, str(HERE / "plain_agent.py"), mode, *more])


@pytest.mark.parametrize("sdk", ["openai", "anthropic"])
async def test_a_twenty_line_agent_over_a_real_sdk(sdk: str) -> None:
    pytest.importorskip(sdk)
    done = await episode(f"{sys.executable} {EXAMPLES / f'{sdk}_agent.py'} {{task_file}}", said(*SDK))
    assert (done.score, done.stop_reason, done.changes) == (Score(1.0), "submit", {"a.py": "mended"})
    assert [turn.text for turn in done.turns] == SDK and not done.branches
    assert [call.arguments["command"] for call in done.turns[0].calls] == ["mend", "run-tests"]
    assert [result.tests_run for result in done.turns[0].results] == [False, True] and done.ran_tests()
    assert "ran mend" in CHAT.decode(done.turns[1].observation_ids) and "a.py is wrong" in CHAT.decode(
        done.turns[0].observation_ids
    )
    assert done.labels.items() >= {"gateway_calls": "2", "gateway_extended": "1"}.items()
    assert not done.labels.keys() & {"gateway_branched", "gateway_unmatched"}


async def test_an_agent_whose_tools_run_in_docker_gets_the_box_instead() -> None:
    done = await episode(plain("docker", "mend"), said("hi"))
    assert done.stop_reason == "submit" and done.changes == {"a.py": "mended"}
    assert (await episode(plain("docker", "fail"), said("hi"))).stop_reason == "exit" and not done.ran_tests()
    assert (await episode(plain("docker", "mend && run-tests"), said("hi"))).ran_tests()


async def test_a_crash_after_the_model_spoke_is_scored_and_before_is_an_outage() -> None:
    done = await episode(plain("crash"), said("hi"))
    assert (done.score.value, done.stop_reason, len(done.turns)) == (0.0, "exit", 1)
    assert done.labels["gateway_parameters"] == "top_p"
    done = await episode(plain("silent"), said("hi"))
    assert done.score.value is None and "no module named agent" in done.score.error


@pytest.mark.parametrize(("mode", "end", "value"), [("docker", "submit", 1.0), ("crash", "exit", 0.0)])
async def test_a_python_that_has_loaded_modules_runs_each_episode_as_a_fork(mode: str, end: str, value: float) -> None:
    done = await episode(plain(mode, "mend"), said("hi"), preload=["json", "urllib.request"])
    assert (done.score.value, done.stop_reason) == (value, end)
    late = await episode(plain("chatter"), said("word"), preload=["json"], max_turns=10**6, max_seconds=1.0)
    assert late.stop_reason == "time"


async def test_a_fork_ends_as_an_interpreter_does() -> None:
    done = await episode(plain("late"), said("hi"), preload=["json"])
    assert (done.stop_reason, done.changes, len(done.branches)) == ("submit", {"a.py": "mended"}, 1)


async def test_modules_that_cannot_be_loaded_are_an_outage() -> None:
    with pytest.raises(OutageError, match="no_such_module"):
        await episode(plain("crash"), said("hi"), preload=["no_such_module"])
    with pytest.raises(ConfigError, match="no Python program"):
        await episode("sh -c true", said("hi"), preload=["json"])


async def test_limits_of_turns_context_and_time() -> None:
    done = await episode(plain("chatter"), said("word"))
    assert (done.stop_reason, len(done.turns)) == ("turns", 4)
    done = await episode(plain("chatter"), said("word " * 30), max_turns=99, max_context=200)
    assert done.stop_reason == "context" and len(done.token_ids()) <= 200


@pytest.mark.parametrize("preload", [(), ("json",)])
async def test_a_client_that_asks_again_after_its_last_call_is_stopped(preload: tuple[str, ...]) -> None:
    done = await episode(plain("stubborn"), said("word"), preload=preload, max_seconds=3600.0)
    assert (done.stop_reason, len(done.branches)) == ("turns", 3) and done.score.value == 0.0


async def test_a_command_that_does_not_end_is_ended_with_all_it_started(tmp_path: Path) -> None:
    gateway = Gateway(said("x"), CHAT, Terms(100))
    async with launching(parse("sh -c 'echo begun; sleep 600 & sleep 600'")) as launcher:
        code, tail = await Harness(gateway, "http://127.0.0.1:1", launcher).run(TASK, "key", tmp_path, 2.0)
    assert code is None and tail in ("begun\n", "")
    assert not running_in(tmp_path)


def running_in(folder: Path) -> list[Path]:
    """Processes with this home."""
    return [p for p in Path("/proc").glob("[0-9]*/environ") if str(folder).encode() in read(p)]


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


async def test_an_engine_that_fails_in_the_middle_is_no_score() -> None:
    answers = iter([CHAT.stop_ids])

    def script(_call: object) -> Sequence[int]:
        for answer in answers:
            return answer
        raise EngineError("out of memory")

    done = await episode(plain("chatter"), FakeModel(script))
    assert (done.score, done.stop_reason) == (Score(None, "EngineError"), "outage")


def test_commands_that_cannot_be_are_refused() -> None:
    assert parse(f"A=1 {sys.executable} -c 'a b'").words[1:] == ("-c", "a b")
    for wrong in ("", "no-such-program x", "echo 'open"):
        with pytest.raises(ConfigError):
            parse(wrong)
    with pytest.raises(ConfigError, match="would do nothing"):
        load(None, ["agent.command=echo", "agent.context=none"])
    with pytest.raises(ConfigError, match="branches"):
        load(None, ["agent.command=echo", "rl.recipe=grpo", "recipe.advantage=gigpo"])


WARM = "python -m boxrun doctest:a.py::f"


@pytest.mark.parametrize(
    ("command", "runs", "output"),
    [
        ("mend && run-tests", ["bash -c mend", WARM], "ran mend\nran doctest:a.py::f\n"),
        (
            "sed 's/a && b/c/' x.py && run-tests",
            ["bash -c sed 's/a && b/c/' x.py", WARM],
            "",
        ),
        ("fail && run-tests", ["bash -c fail"], "ran fail\n"),
        ("cd src && run-tests", ["bash -c cd src && run-tests"], ""),
        ("a=1 && run-tests", ["bash -c a=1 && run-tests"], ""),
        ("echo $HOME && run-tests", ["bash -c echo $HOME && run-tests"], ""),
        ("mend; x && run-tests", ["bash -c mend; x && run-tests"], ""),
        ("run-tests", [WARM], "ran doctest:a.py::f\n"),
    ],
)
async def test_the_visible_tests_run_warm_behind_a_simple_command(command: str, runs: list[str], output: str) -> None:
    seen: list[str] = []

    def noting(argv: Sequence[str], files: MutableMapping[str, bytes]) -> ExecResult:
        seen.append(" ".join(argv))
        return box(argv, files)

    task = replace(TASK, visible_tests=("doctest:a.py::f",))
    session, _ = Gateway(said("x"), CHAT, Terms(100)).open(terms=Terms(100))
    session.box, session.task = await FakeFactory({"a.py": b"broken"}, noting).create(task.environment), task
    done = await execute(session, Command(command=command))
    assert seen == runs and output in done["output"] and done["exit_code"] == 3 * (command.startswith("fail"))

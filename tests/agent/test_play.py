"""Whole episodes in memory: a model that says what it is told, real tools, and tokens that are kept as they were."""

from __future__ import annotations

from collections import Counter
from collections.abc import MutableMapping, Sequence
from typing import Any

import pytest

from repodojo.agent.loop import AgentLimits, Played, play
from repodojo.agent.policy import Act, ModelPolicy, Moment, ScriptedPolicy
from repodojo.agent.prompts import SYSTEM
from repodojo.agent.tools import default_tools
from repodojo.core.errors import FORMAT_ERROR_KINDS, EngineError, SandboxError
from repodojo.core.protocols import Completion, ExecResult
from repodojo.core.records import Environment, Grader, Score, Source, Task, Trajectory
from repodojo.inference.chat import ChatFormat
from repodojo.inference.fake import Call, FakeModel
from repodojo.inference.toolcalls import render
from repodojo.sandbox.fake import FakeSandbox

PATH = "pkg/shapes.py"
SOURCE = b'''"""Shapes."""


def area(width, height):
    """What a rectangle covers."""
    if width < 0:
        return 0

    return width + height
'''
TASK = Task(
    id="shapes-1",
    source=Source("shapes"),
    instruction=f"`area` in {PATH} gives a wrong result.\nRun `repro` to see it fail.\n",
    environment=Environment(),
    grader=Grader(),
    visible_command="repro",
    focus=(f"{PATH}::area",),
)
LIMITS = AgentLimits(max_turns=12, max_tokens=400, max_context=4000)
TEST = render("bash", {"command": "repro"})
UNDO = render("editor", {"command": "undo"})
SUBMIT = render("submit", {})


def replace(old: str, new: str) -> str:
    return render("editor", {"command": "str_replace", "old_str": old, "new_str": new})


def repro(argv: Sequence[str], files: MutableMapping[str, bytes]) -> ExecResult:
    """Runs the file as it stands and judges it."""
    space: dict[str, Any] = {}
    exec(files[f"/testbed/{PATH}"], space)
    got = space["area"](2, 3)
    return ExecResult(0, b"1 passed\n") if got == 6 else ExecResult(1, f"expected: 6\ngot: {got}\n1 failed\n".encode())


def says(chat: ChatFormat, texts: Sequence[str]) -> FakeModel:
    return FakeModel([[*chat.encode(text), chat.stop_ids[0]] for text in texts], logprob=-0.25, version=7)


async def run(chat: ChatFormat, model: FakeModel, limits: AgentLimits = LIMITS, chars: int = 4000) -> Played:
    box = FakeSandbox({PATH: SOURCE}, repro)
    actor = ModelPolicy("fake", model, chat).actor(seed=3)
    return await play(TASK, actor, box, chat, tools=default_tools(chars), limits=limits)


def tokens(played: Played) -> list[int]:
    trajectory = Trajectory("t", TASK.id, "g", "fake", 3, tuple(played.turns), played.stop_reason, Score(None))
    return trajectory.token_ids()


def conversation(chat: ChatFormat, played: Played, opening: str) -> str:
    """The template's own rendering of the whole episode, all at once."""
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": opening}]
    for turn in played.turns:
        messages.append({"role": "assistant", "content": turn.text})
        messages += [{"role": "tool", "content": result.output} for result in turn.results]
    while messages[-1]["role"] == "tool":
        messages.pop()
    schemas = default_tools().schemas()
    return str(chat.tokenizer.apply_chat_template(messages, tools=schemas, tokenize=False))


OPENING = f"""`area` in {PATH} gives a wrong result.
Run `repro` to see it fail.
```python
4\tdef area(width, height):
6\t    if width < 0:
7\t        return 0
9\t    return width + height
```"""
STORY = [
    "\n".join([replace("width < 0", "width <= 0"), TEST]),
    "\n".join([UNDO, replace("width + height", "width * height"), TEST]),
    "Green. " + SUBMIT + TEST,
]


async def test_an_episode_from_the_issue_to_the_submit(chat: ChatFormat) -> None:
    model = says(chat, STORY)
    played = await run(chat, model)
    assert played.stop_reason == "submit"
    assert [[result.output for result in turn.results] for turn in played.turns] == [
        ["edited line 6", "expected: 6\ngot: 5\n1 failed"],
        ["undid the last edit", "edited line 9", "1 passed"],
        ["submitted"],
    ]
    assert played.changes == {PATH: SOURCE.replace(b"+", b"*")}
    assert [call.name for turn in played.turns for call in turn.calls] == [
        *("editor", "bash"),
        *("editor", "editor", "bash"),
        "submit",
    ]
    assert [r.tests_run for turn in played.turns for r in turn.results] == [False, True, False, False, True, False]
    assert not any(turn.format_error for turn in played.turns)
    assert model.released == [model.calls[0].session] and len({call.session for call in model.calls}) == 1
    assert len({call.seed for call in model.calls}) == 3


async def test_tokens_are_what_the_model_was_shown_and_sampled(chat: ChatFormat) -> None:
    model = says(chat, STORY)
    played = await run(chat, model)
    ids = tokens(played)
    for call, turn in zip(model.calls, played.turns, strict=True):
        shown = len(call.token_ids)
        assert list(call.token_ids) == ids[:shown]
        assert ids[shown : shown + len(turn.action_ids)] == list(turn.action_ids)
        assert turn.logprobs == (-0.25,) * len(turn.action_ids) and turn.versions == (7,) * len(turn.action_ids)
    text = conversation(chat, played, OPENING)
    assert chat.tokenizer.decode(ids, skip_special_tokens=False) + "\n" == text
    assert ids == chat.encode(text)[: len(ids)]


async def test_tokens_that_no_tokenizer_would_choose_are_kept(chat: ChatFormat) -> None:
    sampled = [[*(i for c in text for i in chat.encode(c)), chat.stop_ids[0]] for text in STORY]
    played = await run(chat, FakeModel(sampled))
    assert [list(turn.action_ids) for turn in played.turns] == sampled
    assert played.stop_reason == "submit" and played.changes == {PATH: SOURCE.replace(b"+", b"*")}
    text = conversation(chat, played, OPENING)
    assert chat.tokenizer.decode(tokens(played), skip_special_tokens=False) + "\n" == text
    assert len(tokens(played)) > len(chat.encode(text))


@pytest.mark.parametrize("finished", ["length", "stop", "aborted"])
async def test_a_turn_cut_before_its_end_is_ended_unsampled(chat: ChatFormat, finished: Any) -> None:
    cut = tuple(chat.encode(TEST))
    last = (*chat.encode(SUBMIT), chat.stop_ids[0])

    def script(call: Call) -> Completion:
        first = len(model.calls) == 1
        ids = cut if first else last
        return Completion(ids, (-1.0,) * len(ids), (0,) * len(ids), finished if first else "stop")

    model = FakeModel(script)
    played = await run(chat, model)
    assert played.turns[0].action_ids == cut and played.turns[1].observation_ids[0] == chat.stop_ids[0]
    text = conversation(chat, played, OPENING)
    assert chat.tokenizer.decode(tokens(played), skip_special_tokens=False) + "\n" == text


MALFORMED = {
    "no-call": "I am done.",
    "bad-json": '<tool_call>\n{"name": "bash"\n</tool_call>',
    "not-an-object": '<tool_call>\n["bash"]\n</tool_call>',
    "unknown-tool": render("fly", {}),
    "missing": render("editor", {"command": "str_replace", "old_str": "a"}),
    "unknown-argument": render("submit", {"why": "done"}),
    "bad-type": render("bash", {"command": ["ls"]}),
}


async def test_every_kind_of_format_error_is_fed_back_and_counted(chat: ChatFormat) -> None:
    assert set(MALFORMED) == set(FORMAT_ERROR_KINDS)
    turns = [text for bad in MALFORMED.values() for text in (f"{TEST}\n{bad}\n{SUBMIT}", TEST)]
    turns[0] = MALFORMED["no-call"]
    played = await run(chat, says(chat, turns), AgentLimits(max_turns=14, max_tokens=400, max_context=9000))
    assert played.stop_reason == "turns" and len(played.turns) == 14
    assert Counter(turn.format_error for turn in played.turns) == {"": 7, **dict.fromkeys(FORMAT_ERROR_KINDS, 1)}
    for kind, turn in zip(MALFORMED, played.turns[::2], strict=True):
        assert turn.results[-1].output.startswith(f"format error ({kind}): ")
        assert turn.results[-1].error == f"format:{kind}"
        assert len(turn.calls) == (kind != "no-call") == len(turn.results) - 1  # nothing runs after the first mistake
    for kind, shown in zip(MALFORMED, played.turns[1::2], strict=True):
        assert f"format error ({kind}): " in chat.decode(shown.observation_ids)


async def test_three_malformed_turns_in_a_row_end_it(chat: ChatFormat) -> None:
    bad = MALFORMED["unknown-tool"]
    played = await run(chat, says(chat, [bad, bad, TEST, bad, bad, bad, TEST]))
    assert (played.stop_reason, len(played.turns)) == ("format", 6)


async def test_what_is_fed_back_is_bounded(chat: ChatFormat) -> None:
    played = await run(chat, says(chat, [render("x" * 900, {}), SUBMIT]), chars=100)
    assert len(played.turns[0].results[0].output) < 150


async def test_limits_end_it_with_their_names(chat: ChatFormat) -> None:
    for limits, reason, turns in (
        (AgentLimits(max_turns=2, max_tokens=400, max_context=4000), "turns", 2),
        (AgentLimits(max_turns=9, max_tokens=400, max_context=10), "context", 0),
        (AgentLimits(max_turns=9, max_tokens=400, max_context=4000, max_seconds=-1.0), "time", 0),
    ):
        played = await run(chat, says(chat, [TEST] * 9), limits)
        assert (played.stop_reason, len(played.turns)) == (reason, turns)


async def test_a_context_that_fills_up_ends_it_within_the_bound(chat: ChatFormat) -> None:
    model = says(chat, [TEST] * 99)
    played = await run(chat, model, AgentLimits(max_turns=99, max_tokens=400, max_context=600))
    assert played.stop_reason == "context" and 2 < len(played.turns) < 99
    assert len(tokens(played)) <= 600
    assert all(len(call.token_ids) + call.params.max_tokens <= 600 for call in model.calls)


async def test_an_outage_passes_through_and_the_engine_forgets_the_session(chat: ChatFormat) -> None:
    model = says(chat, [TEST])
    with pytest.raises(EngineError):
        await run(chat, model)
    assert len(model.released) == 1

    class Broken(FakeSandbox):
        async def read(self, path: str) -> bytes:
            raise SandboxError("the box died")

    model = says(chat, [TEST])
    actor = ModelPolicy("fake", model, chat).actor(0)
    with pytest.raises(SandboxError):
        await play(TASK, actor, Broken({}), chat, tools=default_tools(), limits=LIMITS)
    assert len(model.released) == 1 and not model.calls


async def test_without_retrieval_the_issue_stands_alone(chat: ChatFormat) -> None:
    limits = AgentLimits(max_turns=1, max_tokens=400, max_context=4000, context="none")
    played = await run(chat, says(chat, [replace("width + height", "1")]), limits)
    assert "def area" not in chat.decode(played.turns[0].observation_ids)
    assert played.turns[0].results[0].error == "no-path"


async def test_a_script_plays_through_the_same_loop(chat: ChatFormat) -> None:
    seen: list[list[str]] = []

    def make(seed: int) -> Any:
        def script(texts: Sequence[str]) -> str:
            seen.append(list(texts))
            return STORY[len(seen) - 1]

        return script

    actor = ScriptedPolicy("script", make, chat).actor(0)
    box = FakeSandbox({PATH: SOURCE}, repro)
    played = await play(TASK, actor, box, chat, tools=default_tools(), limits=LIMITS)
    assert played.stop_reason == "submit"
    assert seen[0] == [SYSTEM, OPENING]
    assert seen[1][2:] == [STORY[0], "edited line 6\nexpected: 6\ngot: 5\n1 failed"]
    assert all(set(turn.versions) == {-1} and set(turn.logprobs) == {0.0} for turn in played.turns)
    assert tokens(played) == tokens(await run(chat, says(chat, STORY)))


async def test_an_act_that_holds_nothing_is_no_call(chat: ChatFormat) -> None:
    class Silent:
        async def act(self, moment: Moment) -> Act:
            return Act("", (), (), (), stopped=False)

        def close(self) -> None: ...

    box = FakeSandbox({PATH: SOURCE}, repro)
    played = await play(TASK, Silent(), box, chat, tools=default_tools(), limits=LIMITS)
    assert played.stop_reason == "format"
    assert [turn.format_error for turn in played.turns] == ["no-call"] * 3

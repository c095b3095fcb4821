"""Long outputs: head and tail, limits by tool, the rest by a tool; and the budget that the agent is told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from repodojo.agent.kit import Kit, toolset
from repodojo.agent.loop import AgentLimits, play
from repodojo.agent.policy import ScriptedPolicy
from repodojo.agent.tools import ToolContext
from repodojo.agent.tools.toolset import MOST_KEPT
from repodojo.core.protocols import ExecResult
from repodojo.core.records import Environment, Grader, Source, Task
from repodojo.inference.chat import ChatFormat
from repodojo.inference.toolcalls import RawCall, render
from repodojo.sandbox.fake import FakeSandbox

TASK = Task("t", Source("d"), "i", Environment(), Grader())
LONG = "".join(f"{i:05}" for i in range(400))


def box(text: str) -> FakeSandbox:
    def say(argv: Sequence[str], files: Any) -> ExecResult:
        return ExecResult(0, text.encode())

    return FakeSandbox({}, say)


async def ask(tools: Any, context: ToolContext, name: str, **arguments: Any) -> tuple[str, str]:
    result = await tools.run(*tools.check(RawCall(name, arguments)), context)
    return result.output, result.error


@given(st.text(st.sampled_from("ab\n"), min_size=1, max_size=900), st.integers(90, 300))
async def test_head_and_rest_together_are_the_whole(text: str, limit: int) -> None:
    tools = toolset(Kit(observation_chars=limit, keep_rest=True))
    context = ToolContext(TASK, box(text))
    whole = text.rstrip("\n") or "[no output]"
    shown, _ = await ask(tools, context, "bash", command="x")
    if len(whole) <= limit:
        assert shown == whole and not context.kept
        return
    at = limit * 2 // 3
    assert shown.startswith(whole[:at]) and "; rest with output 1 shows them]" in shown
    read = whole[:at]
    while len(read) < len(whole):
        more, error = await ask(tools, context, "rest", output=1, start=len(read))
        assert not error and len(more) <= limit
        left = f"\n[{len(whole) - len(read) - (limit - 60)} more characters, start {len(read) + limit - 60}]"
        read += more.removesuffix(left)
    assert read == whole


async def test_limits_by_tool_and_without_the_tool_nothing_is_kept() -> None:
    tools = toolset(Kit(observation_chars=100, tool_chars={"bash": 1000}))
    context = ToolContext(TASK, box(LONG))
    assert len((await ask(tools, context, "bash", command="x"))[0]) > 1000
    assert len((await ask(tools, context, "search", query="x"))[0]) < 200
    assert not context.kept and "rest" not in tools.tools


async def test_only_the_last_outputs_are_kept() -> None:
    tools = toolset(Kit(observation_chars=100, keep_rest=True))
    context = ToolContext(TASK, box(LONG))
    for _ in range(MOST_KEPT + 2):
        await ask(tools, context, "bash", command="x")
    assert list(context.kept) == list(range(3, MOST_KEPT + 3))
    assert (await ask(tools, context, "rest", output=1))[1] == "not-found"
    assert (await ask(tools, context, "rest", output=9, start=99999))[1] == "bad-range"


async def test_the_budget_is_told_where_asked_for(chat: ChatFormat) -> None:
    def maker(_seed: int) -> Any:
        return lambda texts: render("submit", {}) if len(texts) > 4 else render("bash", {"command": "x"})

    for shown in (False, True):
        actor = ScriptedPolicy("s", maker, chat).actor(0)
        limits = AgentLimits(5, 200, 3000, context="none", show_budget=shown)
        played = await play(TASK, actor, box("out"), chat, tools=toolset(Kit()), limits=limits)
        told = [chat.decode(turn.observation_ids) for turn in played.turns[1:]]
        used = sum(len(i) for i in (played.turns[0].observation_ids, played.turns[0].action_ids))
        assert (f"out\n[context: {used} of 3000 tokens used; turns left: 4]" in told[0]) is shown
        assert [r.output for turn in played.turns for r in turn.results] == ["out", "out", "submitted"]

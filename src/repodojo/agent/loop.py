"""One episode: prompt, then turns of sampled tokens and tool results, until it submits or meets a limit."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from repodojo.agent import prompts
from repodojo.agent.condense import Condensing, Conversation
from repodojo.agent.focus import retrieve
from repodojo.agent.policy import Act, Actor, Moment
from repodojo.agent.together import Ready, run_calls
from repodojo.agent.tools import ToolContext, Toolset
from repodojo.agent.tools.base import Memo
from repodojo.agent.tools.toolset import cut
from repodojo.core.errors import ToolFormatError
from repodojo.core.protocols import Sandbox
from repodojo.core.records import StopReason, Task, ToolCall, ToolResult, Turn
from repodojo.inference.chat import ChatFormat
from repodojo.inference.toolcalls import parse

MOST_FORMAT_ERRORS = 3  # in a row; a policy that cannot write a call any more is stopped, not fed for ever


@dataclass(frozen=True)
class AgentLimits:
    """Bounds of one episode. Tokens count what is sampled in a turn, context counts the whole conversation."""

    max_turns: int = 8
    max_tokens: int = 128
    max_context: int = 1024
    max_seconds: float = 600.0
    context: str = "focus"
    system: str = prompts.SYSTEM
    parallel_calls: int = 1
    show_budget: bool = False
    condensing: Condensing = field(default_factory=Condensing)


@dataclass
class Played:
    """What an episode left behind, before anyone scores it."""

    turns: list[Turn] = field(default_factory=list)
    stop_reason: StopReason = "turns"
    changes: dict[str, bytes | None] = field(default_factory=dict)
    seconds: float = 0.0
    branches: list[tuple[Turn, ...]] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=dict)


async def play(
    task: Task,
    actor: Actor,
    sandbox: Sandbox,
    chat: ChatFormat,
    *,
    tools: Toolset,
    limits: AgentLimits,
    memo: Memo | None = None,
    name: tuple[str, str] = ("", ""),
) -> Played:
    """Play one episode; `name` is its own and its group's.

    Outages (OutageError) pass through; everything the agent does wrong is fed back to it.
    """
    start = time.monotonic()
    context = ToolContext(task, sandbox, memo, episode=name[0], group=name[1])
    played = Played()
    try:
        talk = await _begun(context, chat, tools, limits)
        played.stop_reason = await _converse(talk, actor, tools, context, limits, start)
        played.turns, played.branches = talk.ended()
        played.labels = {"condensed": str(len(played.branches))} if played.branches else {}
        played.changes = dict(await sandbox.changes())
    finally:
        actor.close()
    played.seconds = time.monotonic() - start
    return played


async def _begun(context: ToolContext, chat: ChatFormat, tools: Toolset, limits: AgentLimits) -> Conversation:
    """The conversation before its first turn."""
    task = context.task
    listing = await retrieve(context.sandbox, task.focus) if limits.context == "focus" else None
    if listing is not None:
        context.view = listing.view
    notes = tools.notes(context)

    def opening(digest: str) -> list[dict[str, str]]:
        return prompts.messages(task, listing, limits.system, "\n".join(filter(None, (notes, digest))))

    return Conversation(chat, tools.schemas(), opening, limits.condensing)


async def _converse(
    talk: Conversation, actor: Actor, tools: Toolset, context: ToolContext, limits: AgentLimits, start: float
) -> StopReason:
    """Turn after turn, until the episode ends; how it did."""
    bad_turns = 0
    observation = talk.begin()
    while True:
        observation = talk.see(observation)
        room = min(limits.max_tokens, limits.max_context - len(talk.ids))
        reason = _limit(limits, talk.taken(), room, time.monotonic() - start, bad_turns)
        if reason is not None:
            return reason
        asked = time.monotonic()
        act = await actor.act(Moment(talk.ids, talk.texts, room))
        sampling = time.monotonic() - asked
        talk.ids += act.token_ids
        context.version = max(act.versions, default=context.version)
        calls, results, error = await _carry_out(act, tools, context, limits.parallel_calls)
        talk.add(_turn(observation, act, calls, results, error, sampling), act)
        if context.submitted:
            return "submit"
        bad_turns = bad_turns + 1 if error else 0
        outputs = [result.output for result in results]
        if limits.show_budget:
            left = limits.max_turns - talk.taken()
            outputs[-1] += f"\n{prompts.budget(len(talk.ids), limits.max_context, left)}"
        talk.hear("\n".join(outputs))
        observation = talk.chat.observation(outputs, stopped=act.stopped)


def _limit(limits: AgentLimits, turns: int, room: int, seconds: float, bad_turns: int) -> StopReason | None:
    """The limit that is met, if any."""
    if turns >= limits.max_turns:
        return "turns"
    if room <= 0:
        return "context"
    if seconds > limits.max_seconds:
        return "time"
    return "format" if bad_turns >= MOST_FORMAT_ERRORS else None


async def _carry_out(
    act: Act, tools: Toolset, context: ToolContext, most: int
) -> tuple[list[ToolCall], list[ToolResult], str]:
    """Run a turn's calls up to the first malformed one, whose error is the last result; what looks runs together."""
    ready: list[Ready] = []
    wrong: ToolFormatError | None = None
    for raw in parse(act.text):
        try:
            if isinstance(raw, ToolFormatError):
                raise raw
            ready.append((ToolCall(raw.name, raw.arguments), *tools.check(raw)))
        except ToolFormatError as error:
            wrong = error
            break
    results = await run_calls(ready, tools, context, most)
    calls = [call for call, _, _ in ready[: len(results)]]
    if wrong is None or context.submitted:
        return calls, results, ""
    text = cut(prompts.format_error(wrong.kind, wrong.cause), tools.observation_chars)
    return calls, [*results, ToolResult(text, f"format:{wrong.kind}")], wrong.kind


def _turn(
    observation: list[int], act: Act, calls: list[ToolCall], results: list[ToolResult], error: str, sampling: float
) -> Turn:
    return Turn(
        observation_ids=tuple(observation),
        action_ids=act.token_ids,
        logprobs=act.logprobs,
        versions=act.versions,
        text=act.text,
        calls=tuple(calls),
        results=tuple(results),
        format_error=error,
        seconds=sampling,
    )

"""The episode of a code edit: one prompt, one answer, no tools and no box. The answer is the range's new text."""

from __future__ import annotations

import time
from collections.abc import Sequence

from repodojo.agent import prompts
from repodojo.agent.loop import AgentLimits, Played
from repodojo.agent.policy import Actor, Moment, Script, ScriptedPolicy
from repodojo.core.editing import ANSWER, region
from repodojo.core.records import Task, Turn
from repodojo.inference.chat import ChatFormat

UNCHANGED = "unchanged"
"""The scripted reference: it answers with the range as it is, whose edit distance any useful model must beat."""


async def answer(task: Task, actor: Actor, chat: ChatFormat, limits: AgentLimits) -> Played:
    """Play one edit. It ends by `submit`, by `tokens` where the answer was cut off, by `context` where none fits."""
    start = time.monotonic()
    opening = prompts.messages(task, None)
    ids = chat.prompt(opening, ())
    room = min(limits.max_tokens, limits.max_context - len(ids))
    try:
        if room <= 0:
            return Played(stop_reason="context")
        act = await actor.act(Moment(ids, [message["content"] for message in opening], room))
    finally:
        actor.close()
    seconds = time.monotonic() - start
    turn = Turn(tuple(ids), act.token_ids, act.logprobs, act.versions, act.text, seconds=seconds)
    text = region(act.text).encode(errors="replace")
    return Played([turn], "submit" if act.stopped else "tokens", {ANSWER: text}, seconds)


def unchanged(chat: ChatFormat) -> ScriptedPolicy:
    """The policy that leaves the range as it is."""

    def make(seed: int) -> Script:
        del seed  # nothing is drawn
        return _copy

    return ScriptedPolicy(UNCHANGED, make, chat)


def _copy(texts: Sequence[str]) -> str:
    return region(texts[1])

"""Whether a base is fit to begin with: it writes calls, and its edits are ones that the editor accepts.

It plays on functions that it never read, in a box that holds no bug and answers test runs at random. So the gate
says nothing of mending; it says that episodes will not be lost to form.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from repodojo.agent.loop import Played, play
from repodojo.agent.policy import ModelPolicy
from repodojo.agent.tools import default_tools
from repodojo.core.errors import SourceError
from repodojo.inference.chat import ChatFormat
from repodojo.inference.engine import Engine
from repodojo.train.pretrain.corpus import Function
from repodojo.train.pretrain.dataset import PLAY
from repodojo.train.pretrain.transcripts import OBSERVATION_CHARS, box_of, exercise

BAR = 0.9
FEWEST_EDITS = 50  # fewer show nothing: a base that hardly edits must not pass by luck
EDITS = ("str_replace", "insert", "create")


@dataclass(frozen=True)
class Share:
    """`hits` of `of`, and the 95% interval of the rate."""

    hits: int
    of: int

    @property
    def rate(self) -> float:
        """0 where nothing was counted."""
        return self.hits / self.of if self.of else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's score interval (1927): keeps within [0, 1], and is honest near its ends. (0, 1) on nothing.

        Counts are taken as independent. Those of one episode are not quite, so it is somewhat too narrow.
        """
        if not self.of:
            return 0.0, 1.0
        z, n, p = 1.959964, self.of, self.rate
        middle = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return max(0.0, middle - half), min(1.0, middle + half)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.rate:.1%} [{low:.1%}, {high:.1%}] ({self.hits} of {self.of})"


@dataclass(frozen=True)
class Gate:
    """What the episodes showed. Edits count where the call is well-formed; turns count all that were sampled."""

    accepted: Share
    placed: Share
    format_errors: Share
    several_calls: Share
    submits: Share

    @property
    def passed(self) -> bool:
        """Over 90% of at least 50 edits are accepted."""
        return self.accepted.of >= FEWEST_EDITS and self.accepted.rate > BAR

    def rows(self) -> list[tuple[str, Share]]:
        """Figures by name, the barred one first."""
        return [
            ("edits that the editor accepts", self.accepted),
            ("accepted edits in the line that they name", self.placed),
            ("turns with a format error", self.format_errors),
            ("turns with several calls", self.several_calls),
            ("episodes that end by submitting", self.submits),
        ]

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        rows = {n: {"rate": s.rate, "interval": s.interval, "hits": s.hits, "of": s.of} for n, s in self.rows()}
        return {"passed": self.passed, "bar": BAR, "figures": rows}


def measure(
    model: Path,
    functions: Sequence[Function],
    *,
    episodes: int,
    seed: int,
    on_episode: Callable[[], None] = lambda: None,
) -> Gate:
    """Play `episodes` at temperature 1, over the functions in turn. SourceError where there is no function."""
    if not functions:
        raise SourceError("no function is held out to play on", way_out="give more sources")
    return judge(asyncio.run(_episodes(model, functions, episodes, seed, on_episode)))


def judge(played: Sequence[Played]) -> Gate:
    """The figures of episodes."""
    turns = [turn for episode in played for turn in episode.turns]
    answered = [pair for turn in turns for pair in zip(turn.calls, turn.results, strict=False)]
    edits = [pair for pair in answered if pair[0].name == "editor" and pair[0].arguments.get("command") in EDITS]
    accepted = [(call, result) for call, result in edits if not result.error]
    named = [(call.arguments["line"], result.output) for call, result in accepted if call.arguments.get("line")]
    return Gate(
        Share(len(accepted), len(edits)),
        Share(sum(said == f"edited line {line}" for line, said in named), len(named)),
        Share(sum(bool(turn.format_error) for turn in turns), len(turns)),
        Share(sum(len(turn.calls) > 1 for turn in turns), len(turns)),
        Share(sum(episode.stop_reason == "submit" for episode in played), len(played)),
    )


async def _episodes(
    model: Path, functions: Sequence[Function], episodes: int, seed: int, on_episode: Callable[[], None]
) -> list[Played]:
    chat = ChatFormat.load(model)
    engine = Engine(model, max_context=PLAY.max_context, max_rows=64, seed=seed)
    policy = ModelPolicy("base", engine, chat)

    async def one(number: int) -> Played:
        function, rng = functions[number % len(functions)], random.Random(seed * 1_000_003 + number)
        task = exercise(function, rng)
        tools, box = default_tools(OBSERVATION_CHARS), box_of(function, task, rng)
        played = await play(task, policy.actor(number), box, chat, tools=tools, limits=PLAY)
        on_episode()
        return played

    try:
        return await asyncio.gather(*(one(number) for number in range(episodes)))
    finally:
        await engine.aclose()

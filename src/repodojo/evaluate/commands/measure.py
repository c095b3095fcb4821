"""A set of prompts answered, checked, and summed up: one row for each who answers."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from repodojo.evaluate.commands.answers import Answer
from repodojo.evaluate.commands.figures import CommandFigures, figures
from repodojo.evaluate.commands.prompts import Outcome, Prompt, check
from repodojo.evaluate.commands.running import Runner
from repodojo.evaluate.metrics import Interval, mean_interval
from repodojo.rewards.commands import SHELLS

AT_ONCE = 16


@dataclass(frozen=True)
class CommandRow:
    """Who answered: accuracy with its 95% interval over prompts, figures by shell, accuracy by category.

    In a set of prompts, right means that the answer also does what was asked. `run` counts answers that were run.
    """

    name: str
    prompts: int
    command_accuracy: float
    interval: Interval
    by_shell: dict[str, CommandFigures]
    by_category: dict[str, float]
    run: int


async def outcomes(
    prompts: Sequence[Prompt], answer: Answer, runner: Runner | None, on_done: Callable[[], None] = lambda: None
) -> list[Outcome]:
    """The outcome of every prompt, in their order."""
    places = asyncio.Semaphore(AT_ONCE)

    async def one(prompt: Prompt) -> Outcome:
        async with places:
            text = await answer(prompt)
            ran = await runner.run(prompt, text) if runner is not None else None
            on_done()
            return check(prompt, text, ran)

    tasks = [asyncio.create_task(one(prompt)) for prompt in prompts]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def summarise(name: str, found: Sequence[Outcome], *, seed: int) -> CommandRow:
    """One row; `seed` draws the bootstrap."""
    right = [float(outcome.right) for outcome in found]
    categories: dict[str, list[float]] = defaultdict(list)
    for outcome in found:
        categories[outcome.prompt.category].append(float(outcome.right))
    shells = {shell: [o for o in found if o.prompt.shell == shell] for shell in SHELLS}
    return CommandRow(
        name=name,
        prompts=len(found),
        command_accuracy=sum(right) / len(right),
        interval=mean_interval(right, seed=seed, bounds=(0.0, 1.0)),
        by_shell={s: figures([o.verdict for o in os], [o.right for o in os]) for s, os in shells.items() if os},
        by_category={name: sum(values) / len(values) for name, values in sorted(categories.items())},
        run=sum(outcome.verdict.ran is not None for outcome in found),
    )

"""Progress bars with time left for whatever reports phases; quiet lines where nobody watches a terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

LOG_EVERY = 60.0  # seconds between lines where nobody watches a terminal
SPEED_OVER = 600.0  # seconds that time left is told from: some steps take a minute


class Bars:
    """A `train.events.Watcher` that draws one bar a phase; a context manager."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self.progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=self.console,
            speed_estimate_period=SPEED_OVER,
        )
        self.task: TaskID | None = None
        self.told = time.monotonic()

    def __enter__(self) -> Bars:
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def phase(self, name: str, total: int) -> None:
        """A new bar; without a terminal, a line."""
        self.task = self.progress.add_task(name, total=total or None, note="")
        self.told = time.monotonic()
        if not self.console.is_terminal:
            self.console.print(f"{name} ({total})" if total else name)

    def advance(self, done: int = 1, note: str = "") -> None:
        """Move the current bar."""
        if self.task is not None:
            self.progress.advance(self.task, done)
            if note:
                self.progress.update(self.task, note=note)
            if not self.console.is_terminal and time.monotonic() - self.told > LOG_EVERY:
                self._tell(self.progress.tasks[self.task])

    def _tell(self, task: Task) -> None:
        """A line for a log, where no bar is drawn."""
        self.told = time.monotonic()
        left = f", {task.time_remaining / 60:.0f} min left" if task.time_remaining is not None else ""
        done = f"{task.completed:.0f} of {task.total:.0f}" if task.total else f"{task.completed:.0f}"
        text = f"  {task.description}: {done}{left} {task.fields['note']}".rstrip()
        self.console.print(text, highlight=False, soft_wrap=True)

    def making(self, source: str) -> Callable[[str, int, int], None]:
        """A bar for a source that becomes tasks; called with stage, done and total (0: unknown). Time left is of the
        stage. Without a terminal, a line for each stage and then one a minute."""
        bar = self.progress.add_task(source, total=None, note="")
        now = [""]

        def update(stage: str, done: int, total: int) -> None:
            fresh, now[0] = stage != now[0], stage
            if fresh:
                self.progress.reset(bar)
            self.progress.update(bar, description=f"{source}: {stage}", completed=done, total=total or None)
            if not self.console.is_terminal and (fresh or time.monotonic() - self.told > LOG_EVERY):
                self._tell(self.progress.tasks[bar])

        return update

    def metrics(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        """Steps are in metrics.jsonl; the bar's note is enough for the eye."""
        del stage, step, values

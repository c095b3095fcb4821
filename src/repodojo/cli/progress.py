"""Progress bars with time left for whatever reports phases; quiet lines where nobody watches a terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import timedelta

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
)
from rich.text import Text

LOG_EVERY = 60.0  # seconds between lines where nobody watches a terminal
SPEED_OVER = 600.0  # seconds that time left is told from: some steps take a minute


class Times(ProgressColumn):
    """`0:01:10, 0:00:35 left` while it runs, `in 0:01:45` once it is done."""

    max_refresh = 0.5

    def render(self, task: Task) -> Text:
        """Nothing before it begins; no time left where nobody knows the total."""
        took = task.finished_time if task.finished else task.elapsed
        if took is None:
            return Text("")
        text = f"{'in ' if task.finished else ''}{timedelta(seconds=int(took))}"
        if not task.finished and task.time_remaining is not None:
            text += f", {timedelta(seconds=int(task.time_remaining))} left"
        return Text(text, style="progress.elapsed")


class Bars:
    """A `train.events.Watcher` that draws one bar a phase; a context manager."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self.progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            Times(),
            TextColumn("{task.fields[note]}"),
            console=self.console,
            speed_estimate_period=SPEED_OVER,
            disable=not self.console.is_terminal,
        )
        self.task: TaskID | None = None
        self.told = time.monotonic()

    def __enter__(self) -> Bars:
        self.progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._over()
        self.progress.stop()

    def _over(self) -> None:
        """The current bar is done, which may be the first to tell its total; without a terminal, a line."""
        task = self.progress.tasks[self.task] if self.task is not None else None
        if task is None:
            return
        if task.total is None:
            done = max(1.0, task.completed)
            self.progress.update(task.id, total=done, completed=done)
        if not self.console.is_terminal:
            self._say(task, f" in {timedelta(seconds=int(task.finished_time or task.elapsed or 0))}")

    def phase(self, name: str, total: int) -> None:
        """A new bar; without a terminal, a line."""
        self._over()
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
        self._say(task, f", {task.time_remaining / 60:.0f} min left" if task.time_remaining is not None else "")

    def _say(self, task: Task, when: str) -> None:
        done = f"{task.completed:.0f} of {task.total:.0f}" if task.total else f"{task.completed:.0f}"
        text = f"  {task.description}: {done}{when} {task.fields['note']}".rstrip()
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

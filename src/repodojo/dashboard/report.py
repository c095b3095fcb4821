"""One HTML file that shows a run: headline, table, curves, kinds of bug, episodes, provenance. Nothing is fetched."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from repodojo.core.errors import RunError
from repodojo.dashboard import curves, episodes, quarantine, svg
from repodojo.dashboard.html import Markup, join, table, tag
from repodojo.dashboard.style import CSS
from repodojo.evaluate.summary import Row, paired_difference
from repodojo.evaluate.tables import COLUMNS, rate, read_rows
from repodojo.train.guard import Entry, entries
from repodojo.train.rundir import RunDir

TRAINED = ("base", "rft", "rl")


def write_report(run_path: Path, out: Path | None = None) -> Path:
    """Write the report of a run (default RUN/report.html) and say where; RunError where it is no run."""
    out = out or run_path / "report.html"
    with RunDir.read(run_path) as run:
        page = _page(run, results(run_path))
    partial = out.with_name(f".{out.name}.partial")
    try:
        partial.write_text(page, encoding="utf-8", errors="replace")
        os.replace(partial, out)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise RunError(f"{out}: {error.strerror}", way_out="name a file that can be written with -o") from None
    return out


def curve_svg(run_path: Path, out: Path) -> Path:
    """The learning curve and held-out intervals as one SVG, for a README."""
    with RunDir.read(run_path) as run:
        out.write_text(curves.curve_svg(run.metrics(), results(run_path)), encoding="utf-8")
    return out


def curve_png(run_path: Path, out: Path) -> Path:
    """The same picture as PNG."""
    with RunDir.read(run_path) as run:
        return curves.curve_png(run.metrics(), results(run_path), out)


def results(run_path: Path) -> dict[str, Row]:
    """The rows of RUN/results.json; none where the run was not measured."""
    path = run_path / "results.json"
    return read_rows(path) if path.exists() else {}


def headline(rows: Mapping[str, Row], split: str) -> tuple[str, str]:
    """What the figures say, in a sentence, and what stands beside it. Never more than the intervals allow."""
    stages = [rows[key] for key in TRAINED if key in rows and rows[key].pass1 is not None]
    if len(stages) < 2:
        return "Not measured before and after training yet", "Run `repodojo eval` to compare checkpoints."
    first, last = stages[0], stages[-1]
    gap = paired_difference(last, first, seed=0)
    points = f"{100 * gap.value:+.1f} points, 95% interval [{100 * gap.ci[0]:.1f}, {100 * gap.ci[1]:.1f}]"
    verb = "rises" if gap.ci[0] > 0 else "falls" if gap.ci[1] < 0 else "does not change measurably:"
    title = f"pass@1 {verb} from {rate(first.pass1)}% ({first.name}) to {rate(last.pass1)}% ({last.name})"
    return title, f"On {gap.tasks} {split} tasks: {points}, paired by task. {_beside(rows, last)}"


def _beside(rows: Mapping[str, Row], last: Row) -> str:
    """The strongest reference without a model, and whether training has passed it."""
    references = [row for key, row in rows.items() if key not in TRAINED and row.pass1 is not None]
    if not references:
        return "No scripted reference was measured beside it."
    best = max(references, key=lambda row: row.pass1 or 0.0)
    gap = paired_difference(last, best, seed=0)
    verdict = "above" if gap.ci[0] > 0 else "below" if gap.ci[1] < 0 else "not told apart from"
    return (
        f"That is {verdict} the strongest scripted reference, {best.name} at {rate(best.pass1)}% "
        f"({100 * gap.value:+.1f} points [{100 * gap.ci[0]:.1f}, {100 * gap.ci[1]:.1f}])."
    )


def _page(run: RunDir, rows: Mapping[str, Row]) -> str:
    title, note = headline(rows, run.config.eval.split)
    drawn = curves.collect(run.metrics())
    suspicious = entries(run)
    sections = [
        tag("p", f"Repodojo · run {run.path.absolute().name}", class_="eyebrow"),
        tag("h1", title),
        tag("p", note, class_="soft"),
        _tiles(run, suspicious),
        *_results(rows, run.config.eval.split),
        tag("h2", "Learning curves"),
        tag("p", "Faint: each step. Strong: moving mean. Dotted: where a stage begins.", class_="soft"),
        curves.known(drawn) if drawn.points else tag("p", "No step has finished yet.", class_="soft"),
    ]
    if more := curves.others(drawn):
        sections.append(tag("details", tag("summary", "All other metrics"), more))
    sections += [
        quarantine.section(suspicious),
        tag("h2", "Episodes to read"),
        episodes.section(run),
        tag("h2", "Where this comes from"),
        _provenance(run),
    ]
    head = join(
        Markup('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
        tag("title", f"{run.path.absolute().name}: {title}"),
        tag("style", Markup(CSS)),
    )
    return "<!doctype html>\n" + tag("html", tag("head", head), tag("body", tag("main", *sections)), lang="en") + "\n"


def _tiles(run: RunDir, suspicious: Sequence[Entry]) -> Markup:
    everything = run.query()
    withheld = sum(entry.withheld for entry in suspicious)
    outages = sum(row["reward"] is None for row in everything) - withheld
    lines = run.metrics()
    hours = (lines[-1]["time"] - lines[0]["time"]) / 3600 if lines else 0.0
    facts = [
        (f"{len(everything):,}", "episodes kept"),
        (f"{len({row['task_id'] for row in everything}):,}", "tasks seen"),
        (f"{run.state.version:,}", "weight versions"),
        (f"{sum(row['tokens'] for row in everything):,}", "tokens sampled"),
        (f"{outages:,}", "outages, never a reward"),
        (f"{withheld:,}", "rewards withheld by the monitor"),
        (f"{60 * hours:.0f} min" if hours < 2 else f"{hours:.1f} h", "first to last step"),
    ]
    return tag("div", *(tag("div", tag("b", b), tag("span", text), class_="card") for b, text in facts), class_="tiles")


def _results(rows: Mapping[str, Row], split: str) -> list[Markup]:
    if not rows:
        return []
    known = [(name, cell) for name, cell in COLUMNS if any(cell(row) != rate(None) for row in rows.values())]
    cells = [[cell(row) for _, cell in known] for row in rows.values()]
    shown = [
        tag("h2", f"Results on {split} tasks"),
        tag(
            "p", "Percent, with 95% intervals clustered by task. References are scripts without a model.", class_="soft"
        ),
        tag("div", svg.forest(curves.intervals(rows), title=f"pass@1 on {split} tasks"), class_="card wide"),
        tag("div", table([name for name, _ in known], cells), class_="card"),
    ]
    series, kinds = _by_kind(rows)
    if kinds:
        names = svg.legend([(one.name, one.colour) for one in series])
        chart = svg.bars(kinds, series, title="pass@1 by kind of bug")
        shown += [tag("h2", "pass@1 by kind of bug"), tag("div", names, chart, class_="card wide")]
    return shown


def _by_kind(rows: Mapping[str, Row]) -> tuple[list[svg.Series], list[str]]:
    """The trained rows and the strongest reference, by kind of bug; a kind is labelled with its number of tasks."""
    keys = [key for key in TRAINED if key in rows]
    references = sorted((key for key in rows if key not in TRAINED), key=lambda key: -(rows[key].pass1 or 0.0))
    keys += references[:1]
    counts = {kind: part.n for key in keys for kind, part in rows[key].by_kind.items()}
    kinds = sorted(counts)
    series = [
        svg.Series(rows[key].name, curves.colour(key), [_kind(rows[key], kind) for kind in kinds]) for key in keys
    ]
    return series, [f"{kind} ({counts[kind]})" for kind in kinds]


def _kind(row: Row, kind: str) -> float | None:
    return row.by_kind[kind].pass1 if kind in row.by_kind else None


def _provenance(run: RunDir) -> Markup:
    known: dict[str, Any] = dict(run.provenance)
    machine = known.pop("machine", {})
    facts = [["seed", str(run.config.run.seed)], ["reached", _reached(run)]]
    facts += [[key, value if isinstance(value, str) else json.dumps(value)] for key, value in known.items()]
    facts += [[key, str(value)] for key, value in dict(machine).items()]
    settings = tag(
        "details",
        tag("summary", "All settings (config.toml)"),
        tag("pre", (run.path / "config.toml").read_text(encoding="utf-8")),
    )
    return join(tag("div", table(["", ""], facts, class_="facts"), class_="card"), settings)


def _reached(run: RunDir) -> str:
    if run.state.done:
        return "the end"
    return f"{run.state.stage} step {run.state.step}" if run.state.stage else "not started"

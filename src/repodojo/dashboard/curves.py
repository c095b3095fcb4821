"""Which metrics are drawn, in which order and under which title; and the one picture for a README."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from repodojo.core.errors import RunError
from repodojo.dashboard import svg
from repodojo.dashboard.html import Markup, join, tag
from repodojo.dashboard.style import CHARTS, COLOURS
from repodojo.evaluate.summary import Row

CURVES: tuple[tuple[str, str, bool], ...] = (
    # title, the metric in metrics.jsonl, is it a share
    ("Solve rate", "solve_rate", True),
    ("Reward", "reward", False),
    ("Tests before submit", "tested_before_submit", True),
    ("Turns an episode", "turns", False),
    ("Sampled tokens an episode", "tokens_sampled", False),
    ("Entropy (nats a token)", "entropy", False),
    ("Clipped tokens", "clip_fraction", True),
    ("Groups without signal", "groups_without_signal_share", True),
    ("Log-prob mismatch, engine and learner", "mismatch_mean", False),
    ("Loss", "loss", False),
    ("Gradient norm", "grad_norm", False),
    ("Quarantined episodes", "quarantined", False),
    ("Format errors", "format_error_rate", True),
    ("Sampling, seconds a step", "rollout_seconds", False),
    ("Learning, seconds a step", "seconds", False),
)
HEAD = ("stage", "step", "time", "commit")


@dataclass
class Curves:
    """Metrics as curves over all stages: x counts lines of metrics with distinct (stage, step), from 1."""

    points: dict[str, list[svg.Point]] = field(default_factory=dict)
    marks: list[tuple[float, str]] = field(default_factory=list)


def collect(lines: Sequence[Mapping[str, Any]]) -> Curves:
    """Metric name to points, and where each stage begins. Values that are no numbers are left out."""
    places: dict[tuple[str, int], int] = {}
    curves = Curves()
    for line in lines:
        stage, step = str(line["stage"]), int(line["step"])
        if stage not in {known for known, _ in places}:
            curves.marks.append((len(places) + 1, stage))
        x = places.setdefault((stage, step), len(places) + 1)
        for name, value in line.items():
            if name not in HEAD and isinstance(value, int | float) and not isinstance(value, bool):
                curves.points.setdefault(name, []).append((x, float(value)))
    return curves


def known(curves: Curves) -> Markup:
    """The curves worth a look, as a grid of cards."""
    cards = []
    for title, key, share in CURVES:
        if key in curves.points:
            cards.append(_card(title, curves, key, svg.percent if share else svg.number))
    return tag("div", *cards, class_="grid")


def others(curves: Curves) -> Markup:
    """Every other metric, under the name it has in metrics.jsonl; empty where there is none."""
    keys = sorted(set(curves.points) - {key for _, key, _ in CURVES})
    return tag("div", *(_card(key, curves, key, svg.number) for key in keys), class_="grid") if keys else Markup("")


def _card(title: str, curves: Curves, key: str, show: Callable[[float], str]) -> Markup:
    drawn = svg.curve(curves.points[key], title=title, marks=curves.marks, show=show)
    return tag("div", tag("h3", title), drawn, class_="card")


def colour(key: str) -> str:
    """The CSS class of a row: trained policies have their own, everything else is a reference."""
    return key if key in ("base", "rft", "rl") else "reference"


def intervals(rows: Mapping[str, Row]) -> list[tuple[str, str, float, float, float]]:
    """(name, colour, low, value, high) of pass@1 for `svg.forest`."""
    return [
        (row.name, colour(key), row.pass1_ci[0], row.pass1, row.pass1_ci[1])
        for key, row in rows.items()
        if row.pass1 is not None and row.pass1_ci is not None
    ]


def _learning_curve(curves: Curves) -> tuple[str, list[svg.Point]]:
    """The curve that says most; RunError where the run has neither solve rate nor reward."""
    for title, key, _ in CURVES[:2]:
        if key in curves.points:
            return title, curves.points[key]
    raise RunError("this run has no learning curve yet", way_out="train at least one step first")


def curve_svg(lines: Sequence[Mapping[str, Any]], rows: Mapping[str, Row]) -> str:
    """One picture for a README: the learning curve, and pass@1 of every row with its interval beneath it."""
    curves = collect(lines)
    title, points = _learning_curve(curves)
    show = svg.percent if title == "Solve rate" else svg.number
    upper = svg.curve(points, title=title, marks=curves.marks, show=show, size=(696, 230))
    height = 290 + (68 + 28 * len(rows) if rows else 0)
    parts = [
        tag("style", Markup(COLOURS + CHARTS)),
        tag("rect", width=720, height=height, rx=10, style="fill: var(--card)"),
        tag("text", f"{title} on training tasks, by step", x=24, y=30, class_="name"),
        _placed(upper, 12, 44, 696, 230),
    ]
    if rows:
        lower = svg.forest(intervals(rows), title="pass@1", width=696)
        parts.append(tag("text", "pass@1 after training, 95% intervals", x=24, y=306, class_="name"))
        parts.append(_placed(lower, 12, 316, 696, 38 + 28 * len(rows)))
    label = f"{title} by step" + (", and pass@1 with intervals" if rows else "")
    view = f"0 0 720 {height:g}"
    return tag("svg", *parts, xmlns="http://www.w3.org/2000/svg", viewBox=view, width=720, role="img", aria_label=label)


def _placed(chart: Markup, x: float, y: float, width: float, height: float) -> Markup:
    """A chart as a nested picture."""
    place = f'<svg x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" style="width: {width:g}px" '
    return join(Markup(chart.replace("<svg ", place, 1)))


def curve_png(lines: Sequence[Mapping[str, Any]], rows: Mapping[str, Row], path: Path) -> Path:
    """The same picture by matplotlib, for places that show no SVG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    curves = collect(lines)
    title, points = _learning_curve(curves)
    shades = {"base": "#9aa5b1", "rft": "#d39b3d", "rl": "#1f6f8b", "reference": "#b9a7c9"}
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2) if rows else (figure.subplots(), None)
    left.plot(*zip(*points, strict=True), color=shades["rl"], alpha=0.3, linewidth=1)
    left.plot(*zip(*svg.smooth(points), strict=True), color=shades["rl"], linewidth=2.2)
    left.set(title=f"{title} on training tasks", xlabel="step")
    if title == "Solve rate":
        left.set_ylim(bottom=0)
        left.yaxis.set_major_formatter(lambda value, _: svg.percent(value))
    for x, stage in curves.marks:
        left.axvline(x, color="0.6", linestyle=":", linewidth=1)
        left.text(x, left.get_ylim()[1], f" {stage}", va="top", color="0.4")
    if right is not None:
        shown = intervals(rows)[::-1]
        for place, (_, shade, low, value, high) in enumerate(shown):
            right.plot([100 * low, 100 * high], [place, place], color=shades[shade], linewidth=3, alpha=0.55)
            right.plot([100 * value], [place], "o", color=shades[shade], markersize=8)
        right.set(title="pass@1 after training (%), 95% intervals", ylim=(-0.6, len(shown) - 0.4), xlim=(0, None))
        right.set_yticks(range(len(shown)), [f"{name}  {100 * value:.1f}" for name, _, _, value, _ in shown])
        right.tick_params(axis="y", length=0)
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    try:
        figure.savefig(path, dpi=150)
    except OSError as error:
        raise RunError(f"{path}: {error.strerror}", way_out="name a file that can be written") from None
    return path

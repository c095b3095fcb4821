"""Runs side by side in one picture that needs nothing else: the same shares of each, step by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from repodojo.dashboard import svg
from repodojo.dashboard.html import Markup, tag
from repodojo.dashboard.style import CHARTS, COLOURS

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 380, 250, 44, 14, 34, 28
LEGEND = 30


def panels(runs: Mapping[str, Sequence[svg.Series]], *, title: str) -> str:
    """An SVG document with a panel for each run, by its name: `values` of each series are shares by step.

    Series of one name have one colour; the legend stands below. Without steps a panel is empty.
    """
    width, height = WIDTH * len(runs), HEIGHT + LEGEND
    most = max((len(one.values) for series in runs.values() for one in series), default=1)
    parts = [
        tag("style", Markup(COLOURS + CHARTS)),
        tag("rect", width=width, height=height, rx=10, style="fill: var(--card)"),
    ]
    for place, (name, series) in enumerate(runs.items()):
        parts += _panel(name, series, WIDTH * place, most)
    known = {one.name: one.colour for series in runs.values() for one in series}
    for place, (name, colour) in enumerate(known.items()):
        x = LEFT + 150 * place
        parts.append(tag("rect", x=x, y=HEIGHT + 4, width=11, height=11, rx=3, class_=f"bar {colour}"))
        parts.append(tag("text", name, x=x + 17, y=HEIGHT + 14, class_="tick"))
    view = f"0 0 {width} {height}"
    return tag(
        "svg", *parts, xmlns="http://www.w3.org/2000/svg", viewBox=view, width=width, role="img", aria_label=title
    )


def _panel(name: str, series: Sequence[svg.Series], left: int, most: int) -> list[Markup]:
    right = left + WIDTH - RIGHT

    def px(step: float) -> float:
        return round(left + LEFT + (step - 1) / max(most - 1, 1) * (WIDTH - LEFT - RIGHT), 1)

    def py(share: float) -> float:
        return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)

    parts = [tag("text", name, x=left + LEFT, y=20, class_="name")]
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts.append(tag("line", x1=left + LEFT, x2=right, y1=py(share), y2=py(share), class_="grid"))
        parts.append(tag("text", svg.percent(share), x=left + LEFT - 6, y=py(share) + 3.5, class_="tick end"))
    for step in svg.ticks(1, max(most, 2)):
        if 1 <= step <= most:
            parts.append(tag("text", svg.number(step), x=px(step), y=HEIGHT - 10, class_="tick middle"))
    for one in series:
        points = [(px(i + 1), py(value)) for i, value in enumerate(one.values) if value is not None]
        path = " ".join(f"{x},{y}" for x, y in points)
        parts.append(tag("polyline", tag("title", one.name), points=path, class_=f"own {one.colour}"))
        parts += [tag("circle", cx=x, cy=y, r=3, class_=f"point {one.colour}") for x, y in points[-1:]]
    return parts

"""Three charts as inline SVG: a curve, bars by kind, points with intervals. Their colours come from the page's CSS."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from repodojo.dashboard.html import Markup, tag

Point = tuple[float, float]
MOST_POINTS = 300  # a curve keeps its shape with as many; a file of 20 curves stays small


@dataclass(frozen=True)
class Series:
    """Values under a name; `colour` is the name of a CSS class (base, rft, rl, reference, alarm)."""

    name: str
    colour: str
    values: Sequence[float | None]


def number(value: float) -> str:
    """Short, for axes and titles: 0.25, 1,200, 3e-05."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else str(value)
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def percent(value: float) -> str:
    return f"{100 * value:.3g}%"


def ticks(low: float, high: float, count: int = 4) -> list[float]:
    """About `count` round numbers that span low..high (steps of 1, 2 or 5 times a power of ten)."""
    raw = (high - low) / max(1, count)
    if raw <= 0 or not math.isfinite(raw):
        return [low]
    power = 10 ** math.floor(math.log10(raw))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= raw * 0.999)
    first = math.floor(low / step + 1e-9)
    last = math.ceil(high / step - 1e-9)
    return [float(f"{i * step:.10g}") for i in range(first, last + 1)]


def smooth(points: Sequence[Point]) -> list[Point]:
    """Centred moving mean over about a twelfth of the curve."""
    half = max(1, len(points) // 24)
    values = [y for _, y in points]
    windows = [values[max(0, i - half) : i + half + 1] for i in range(len(points))]
    return [(x, sum(window) / len(window)) for (x, _), window in zip(points, windows, strict=True)]


def thin(points: Sequence[Point]) -> list[Point]:
    """At most MOST_POINTS points: means of neighbours."""
    size = math.ceil(len(points) / MOST_POINTS)
    pieces = [points[i : i + size] for i in range(0, len(points), size or 1)]
    return [(sum(x for x, _ in p) / len(p), sum(y for _, y in p) / len(p)) for p in pieces]


def curve(
    points: Sequence[Point],
    *,
    title: str,
    marks: Sequence[tuple[float, str]] = (),
    show: Callable[[float], str] = number,
    size: tuple[int, int] = (360, 190),
) -> Markup:
    """Raw values faint, their moving mean strong; `marks` are upright lines with a label (where a stage begins)."""
    (width, height), left, right, top, bottom = size, 46, 12, 16, 26
    points = thin([p for p in points if math.isfinite(p[1])])
    if not points:
        return Markup("")
    low, high = min(y for _, y in points), max(y for _, y in points)
    low = 0.0 if 0 <= low <= 0.6 * high else low
    if high - low <= max(1e-12, 1e-9 * max(abs(low), abs(high))):  # flat, but for rounding
        high = low + max(abs(low), 1e-9)
    ys = ticks(low, high)
    x0, x1 = points[0][0], max(points[-1][0], points[0][0] + 1)
    xs = [t for t in ticks(x0, x1) if x0 <= t <= x1]

    def px(x: float) -> float:
        return round(left + (x - x0) / (x1 - x0) * (width - left - right), 1)

    def py(y: float) -> float:
        return round(height - bottom - (y - ys[0]) / (ys[-1] - ys[0]) * (height - top - bottom), 1)

    parts = [tag("line", x1=left, x2=width - right, y1=py(y), y2=py(y), class_="grid") for y in ys]
    parts += [tag("text", show(y), x=left - 6, y=py(y) + 3.5, class_="tick end") for y in ys]
    parts += [tag("text", number(x), x=px(x), y=height - 8, class_="tick middle") for x in xs]
    for x, label in (mark for mark in marks if x0 <= mark[0] <= x1):
        parts.append(tag("line", x1=px(x), x2=px(x), y1=top - 6, y2=height - bottom, class_="mark"))
        parts.append(tag("text", label, x=px(x) + 4, y=top - 4, class_="tick"))
    means = smooth(points)
    parts.append(tag("polyline", points=_path(points, px, py), class_="raw"))
    parts.append(tag("polyline", points=_path(means, px, py), class_="line"))
    parts.append(tag("circle", cx=px(means[-1][0]), cy=py(means[-1][1]), r=3, class_="dot"))
    spoken = f"{title}: from {show(means[0][1])} to {show(means[-1][1])} (smoothed)"
    return _svg(width, height, spoken, parts)


def forest(rows: Sequence[tuple[str, str, float, float, float]], *, title: str, width: int = 1040) -> Markup:
    """Points with intervals, a row each: (name, colour class, low, value, high), all shares."""
    left, right, step, top = 150, 130, 28, 8
    height = top + step * len(rows) + 30
    end = ticks(0.0, max((row[4] for row in rows), default=1.0) or 1.0, 5)

    def px(x: float) -> float:
        return round(left + x / end[-1] * (width - left - right), 1)

    base = top + step * len(rows) + 4
    parts = [tag("line", x1=px(x), x2=px(x), y1=top, y2=base, class_="grid") for x in end]
    parts += [tag("text", percent(x), x=px(x), y=base + 17, class_="tick middle") for x in end]
    for place, (name, colour, low, value, high) in enumerate(rows):
        y = top + step * place + step / 2
        parts += [
            tag("text", name, x=left - 14, y=y + 4, class_="name end"),
            tag("line", x1=px(low), x2=px(high), y1=y, y2=y, class_=f"interval {colour}"),
            tag("circle", cx=px(value), cy=y, r=5.5, class_=f"point {colour}"),
            tag(
                "text",
                f"{100 * value:.1f}  [{100 * low:.1f}, {100 * high:.1f}]",
                x=width - 4,
                y=y + 4,
                class_="tick end",
            ),
        ]
    spoken = "; ".join(f"{name} {percent(v)} ({percent(low)} to {percent(high)})" for name, _, low, v, high in rows)
    return _svg(width, height, f"{title}: {spoken}", parts)


def bars(kinds: Sequence[str], series: Sequence[Series], *, title: str) -> Markup:
    """Grouped bars lying down: a group a kind, a bar a series; values are shares, None draws nothing."""
    width, left, right, thick, gap, top = 1040, 180, 40, 9, 14, 6
    group = thick * len(series) + gap
    height = top + group * len(kinds) + 26
    most = max((v for s in series for v in s.values if v is not None), default=0.0)
    end = ticks(0.0, most or 1.0, 5)

    def px(x: float) -> float:
        return round(left + x / end[-1] * (width - left - right), 1)

    base = top + group * len(kinds)
    parts = [tag("line", x1=px(x), x2=px(x), y1=top, y2=base, class_="grid") for x in end]
    parts += [tag("text", percent(x), x=px(x), y=base + 17, class_="tick middle") for x in end]
    for i, kind in enumerate(kinds):
        y = top + group * i + gap / 2
        parts.append(tag("text", kind, x=left - 14, y=y + thick * len(series) / 2 + 4, class_="name end"))
        for j, one in enumerate(series):
            value = one.values[i]
            if value is None:
                continue
            shape = {"x": left, "y": y + thick * j, "width": max(1.0, px(value) - left), "height": thick - 2, "rx": 2}
            parts.append(
                tag("rect", tag("title", f"{kind}, {one.name}: {percent(value)}"), **shape, class_=f"bar {one.colour}")
            )
    return _svg(width, height, title, parts)


def legend(series: Sequence[tuple[str, str]]) -> Markup:
    """Names beside their colours: (name, colour class)."""
    return tag("p", *(tag("span", tag("i", class_=colour), name) for name, colour in series), class_="legend")


def _path(points: Sequence[Point], px: Callable[[float], float], py: Callable[[float], float]) -> str:
    return " ".join(f"{px(x)},{py(y)}" for x, y in points)


def _svg(width: float, height: float, label: str, parts: Sequence[Markup]) -> Markup:
    return tag(
        "svg",
        *parts,
        viewBox=f"0 0 {width} {height:g}",
        role="img",
        aria_label=label,
        xmlns="http://www.w3.org/2000/svg",
    )

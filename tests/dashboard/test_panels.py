"""Runs side by side: well-formed, one colour a name, and points where the shares are."""

from __future__ import annotations

from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from repodojo.dashboard.panels import BOTTOM, HEIGHT, TOP, panels
from repodojo.dashboard.svg import Series

SHARES = st.lists(st.none() | st.floats(0, 1), max_size=6)


@given(st.dictionaries(st.text("ab<&", min_size=1), SHARES, max_size=3))
def test_every_point_lies_in_its_panel_as_high_as_its_share(runs: dict[str, list[float | None]]) -> None:
    drawn = {name: [Series("paid", "base", values), Series("cheats", "alarm", values)] for name, values in runs.items()}
    root = ElementTree.fromstring(panels(drawn, title="a < b"))
    lines = [e for e in root.iter() if e.tag.endswith("polyline")]
    assert len(lines) == 2 * len(runs)
    for line, values in zip(lines[::2], runs.values(), strict=True):
        points = [tuple(map(float, point.split(","))) for point in (line.get("points") or "").split()]
        given_values = [value for value in values if value is not None]
        assert len(points) == len(given_values)
        for (_, y), value in zip(points, given_values, strict=True):
            assert abs(y - (HEIGHT - BOTTOM - value * (HEIGHT - TOP - BOTTOM))) < 0.1
    texts = [e.text for e in root.iter() if e.tag.endswith("text")]
    assert texts.count("cheats") == min(len(runs), 1)  # the legend names each once

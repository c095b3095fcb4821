"""The bounded memory keeps what was used last, whatever is asked of it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from repodojo.core.recent import Recent

steps = st.lists(st.tuples(st.sampled_from("gsd"), st.integers(0, 6)), max_size=60)


@given(size=st.integers(-1, 4), steps=steps)
def test_it_keeps_what_a_list_in_order_of_use_would(size: int, steps: list[tuple[str, int]]) -> None:
    kept: Recent[int, int] = Recent(size)
    model: list[tuple[int, int]] = []
    for number, (kind, key) in enumerate(steps):
        known = dict(model)
        if kind == "s":
            kept[key] = number
            model = [*(pair for pair in model if pair[0] != key), (key, number)][-size:] if size > 0 else []
        elif kind == "g":
            assert kept.get(key) == known.get(key)
            if key in known:
                model = [*(pair for pair in model if pair[0] != key), (key, known[key])]
        elif key in known:
            del kept[key]
            model = [pair for pair in model if pair[0] != key]
        assert list(kept) == [key for key, _ in model]
    assert len(kept) <= max(size, 0)

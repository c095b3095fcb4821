"""The benches of the agent's context: what they report holds together, and a long episode at full length (slow)."""

from __future__ import annotations

import pytest

from repodojo.cli.benches import graph, long, parallel


def test_the_graph_agrees_with_grep() -> None:
    found = graph.run(quick=True)
    assert found["lines"] >= 5_000 and found["files"] > 10 and found["ratio"] > 0


def test_calls_together_give_what_calls_in_order_give() -> None:
    found = parallel.run(quick=True)
    assert found["calls"] == len(parallel.WORDS) == parallel.LOOKS and found["ratio"] > 0


@pytest.mark.parametrize("quick", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_long_episode_goes_through_engine_learner_and_store(quick: bool) -> None:
    found = long.run(quick)
    assert found["tokens"] == (4_096 if quick else 131_072)
    assert found["logprob_gap"] < long.MOST_GAP and found["peak_mb"] < 6 * 1024

"""Jumps and collapses, told from a window of steps."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from repodojo.audit.monitor.series import Bounds, Series, Step

STEADY = [Step(0.2 + 0.02 * (n % 3), 0.8) for n in range(6)]


def after(*steps: Step, bounds: Bounds | None = None, held_out: float | None = None) -> Series:
    series = Series(bounds or Bounds())
    if held_out is not None:
        series.check(held_out)
    for step in (*STEADY, *steps):
        series.step(step)
    return series


def test_a_sudden_jump_opens_an_alarm_and_slow_learning_does_not() -> None:
    assert set(after(Step(0.9, 0.8)).open) == {"jump"}
    slow = [Step(0.2 + 0.05 * n, 0.8) for n in range(16)]
    assert not after(*slow).open


def test_noise_as_large_as_the_jump_is_no_alarm() -> None:
    noisy = Series(Bounds())
    for n in range(30):
        noisy.step(Step((0.1, 0.5, 0.9)[n % 3], 0.8))
    assert not noisy.open


def test_tests_run_no_more_while_the_reward_holds() -> None:
    assert set(after(Step(0.25, 0.05)).open) == {"collapse"}
    assert not after(Step(0.05, 0.05)).open  # the policy got worse at everything
    assert not after(Step(0.25, 0.5)).open


def test_too_few_steps_tell_nothing() -> None:
    series = Series(Bounds(window=6))
    for step in (*STEADY[:5], Step(1.0, 0.0)):
        series.step(step)
    assert not series.open


def test_what_is_not_watched_is_not_told() -> None:
    assert not after(Step(0.9, 0.8), bounds=Bounds(watched=frozenset({"collapse"}))).open


def test_a_held_out_check_that_rose_too_ends_a_jump_and_one_that_did_not_does_not() -> None:
    series = after(Step(0.9, 0.8), held_out=0.2)
    series.check(0.25)
    assert set(series.open) == {"jump"}
    series.check(0.6)
    assert not series.open
    by_person = after(Step(0.9, 0.8), held_out=0.2, bounds=Bounds(by_check=False))
    by_person.check(0.9)
    assert set(by_person.open) == {"jump"}
    never_measured = after(Step(0.9, 0.8))
    never_measured.check(0.9)
    assert set(never_measured.open) == {"jump"}


def test_what_was_released_is_the_usual_from_then_on() -> None:
    series = after(Step(0.9, 0.8))
    series.release("jump")
    for _ in range(9):
        series.step(Step(0.9, 0.8))
    assert not series.open


@given(st.lists(st.floats(-0.02, 0.02), min_size=20, max_size=60), st.floats(0.0, 0.01))
def test_an_honest_run_raises_no_alarm(noise: list[float], slope: float) -> None:
    """Small noise, slow learning, tests run about as often as before."""
    series = Series(Bounds())
    for n, wobble in enumerate(noise):
        series.step(Step(0.2 + slope * n + wobble, 0.7 + 5 * wobble))
        assert not series.open

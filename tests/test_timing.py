"""Timing of repeated work: how often, and whether the machine was quiet."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from fastv import timing
from fastv.timing import _enough, timed


@pytest.mark.parametrize(
    ("repetitions", "elapsed", "enough"),
    [
        (8, 2.9, False),  # quick: for as long as asked
        (1000, 3.0, True),
        (7, 5.0, False),  # slower: eight
        (8, 5.0, True),
        (2, 100.0, False),  # very slow: three
        (3, 100.0, True),
    ],
)
def test_repetitions(repetitions: int, elapsed: float, enough: bool) -> None:
    assert _enough(repetitions, elapsed, seconds=3.0) is enough


@pytest.fixture
def rounds_of(monkeypatch: pytest.MonkeyPatch) -> Callable[..., timing.Timing]:
    """``rounds_of(first, second, ...)``: the timing of work that takes so long in each round of eight repetitions, by a
    clock of its own; ``busy`` is the share of a processor that it gets."""

    def run(*rounds: float, busy: float = 1.0) -> timing.Timing:
        now = [0.0]
        times: Iterator[float] = (each for each in rounds for _ in range(8))

        def work() -> float:
            now[0] += (taken := next(times))
            return taken

        monkeypatch.setattr(time, "perf_counter", lambda: now[0])
        monkeypatch.setattr(time, "process_time", lambda: busy * now[0])
        return timed(work, seconds=16.0)

    return run


def test_a_bad_moment_is_repeated_and_left_out(rounds_of: Callable[..., timing.Timing]) -> None:
    found = rounds_of(2.0, 1.0, 1.5, 1.01)
    assert (found.rounds, found.repetitions) == (4, 14)
    assert 1.0 <= found.median <= found.p99 <= 1.01
    assert found.quiet()


def test_rounds_that_never_agree_are_told(rounds_of: Callable[..., timing.Timing]) -> None:
    found = rounds_of(1.0, 1.1, 1.25, 1.4, 1.6, 1.8)
    assert (found.rounds, found.repetitions) == (6, 42)
    assert found.spread == pytest.approx(0.8)
    assert not found.quiet()
    assert not found.quiet(threads=2)


def test_a_processor_that_is_shared_all_the_time_is_told(rounds_of: Callable[..., timing.Timing]) -> None:
    found = rounds_of(1.0, 1.0, busy=0.6)
    assert found.spread == 0
    assert not found.quiet()
    assert found.quiet(threads=2)  # whose share depends on how they wait for each other

"""Times of repeated work, and whether the machine was quiet while they were taken."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

SPREAD = 0.05
"""Largest relative difference of the medians of two rounds on a quiet machine."""
SHARE = 0.95
"""Smallest share of a processor that one thread gets on a quiet machine."""
MOST_ROUNDS = 6


@dataclass(frozen=True)
class Timing:
    """Times of repetitions.

    Attributes:
        median, p99: median and 99th percentile in s.
        repetitions: how many were counted.
        spread: relative difference of the medians of the rounds.
        share: processor time over elapsed time, of all threads.
        rounds: how many there were.
    """

    median: float
    p99: float
    repetitions: int
    spread: float
    share: float
    rounds: int

    def quiet(self, threads: int = 1) -> bool:
        """Whether rounds agree, and one thread had a processor for itself; more threads wait for each other."""
        return self.spread <= SPREAD and (threads > 1 or self.share >= SHARE)


def timed(work: Callable[[], float], seconds: float) -> Timing:
    """Repeat work in rounds until the two fastest agree, in at most six rounds.

    Other work on a machine makes rounds slower, never faster. So the times are those of the two fastest rounds if they
    agree, and otherwise of all. Of each round, the first eighth is warm-up and not counted.

    Args:
        work: does it once and returns the elapsed time in s, which may leave a preparation out.
        seconds: minimum time of two rounds; no third one begins after ten times as long.

    Example:
        >>> timed(lambda: 0.5, seconds=0.0).median
        0.5
    """
    rounds: list[tuple[float, float, list[float]]] = []  # median, share of a processor, times
    begun = time.perf_counter()
    while len(rounds) < 2 or (len(rounds) < MOST_ROUNDS and time.perf_counter() - begun < 10 * seconds):
        times: list[float] = []
        started, used = time.perf_counter(), time.process_time()
        while not _enough(len(times), time.perf_counter() - started, seconds / 2):
            times.append(work())
        elapsed = max(time.perf_counter() - started, 1e-9)
        counted = times[len(times) // 8 :]
        rounds.append((float(np.median(counted)), (time.process_time() - used) / elapsed, counted))
        fastest = sorted(rounds)[:2]
        if len(rounds) > 1 and fastest[1][0] <= (1 + SPREAD) * fastest[0][0]:
            break
    else:
        fastest = rounds
    medians = [each[0] for each in fastest]
    counted = [each for _, _, times in fastest for each in times]
    return Timing(
        median=float(np.median(counted)),
        p99=float(np.quantile(counted, 0.99)),
        repetitions=len(counted),
        spread=max(medians) / max(min(medians), 1e-12) - 1,
        share=min(share for _, share, _ in fastest),
        rounds=len(rounds),
    )


def _enough(repetitions: int, elapsed: float, seconds: float) -> bool:
    """Whether to stop: after at least eight repetitions, or three if each takes long."""
    return elapsed >= seconds and (repetitions >= 8 or (repetitions >= 3 and elapsed >= 10 * seconds))

"""Random numbers of fast simulation: all of an event are a function of the seed and of the number of the event."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_GEANT4, _FRONT, _CALORIMETER, _MODEL, _CONTROL = range(16, 21)
"""Streams of random numbers, one for each purpose; the first ones are those of simulations."""


def _words(seed: int, purpose: int, event: int, n: int) -> NDArray[np.uint64]:
    return np.random.SeedSequence((seed, purpose, event)).generate_state(n, np.uint64).astype(np.uint64, copy=False)


def geant4_seed(seed: int) -> int:
    """128-bit seed of Geant4's random number stream."""
    high, low = _words(seed, _GEANT4, 0, 2).tolist()
    return int((high << 64) | low)


def random_indices(seed: int, event: int, n: int, *, front: bool) -> NDArray[np.uint64]:
    """Where in Geant4's stream the n particles of an event start, in front of the calorimeter or inside; (n, 2)."""
    return _words(seed, _FRONT if front else _CALORIMETER, event, 2 * n).reshape(n, 2)


def event_seed(seed: int, event: int) -> int:
    """The seed of the showers that a model generates for an event: that of :meth:`fastv.Model.generate`.

    Example:
        >>> event_seed(1, 0) == event_seed(1, 0), event_seed(1, 0) == event_seed(1, 1)
        (True, False)
    """
    return int(_words(seed, _MODEL, event, 1)[0] >> np.uint64(1))


def chosen(seed: int, event: int, n: int, fraction: float) -> NDArray[np.bool_]:
    """Which of the n particles of an event that enter are of the control sample, (n,)."""
    return (_words(seed, _CONTROL, event, n) >> np.uint64(11)).astype(np.float64) * 2.0**-53 < fraction

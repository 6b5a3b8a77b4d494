"""Walks through the space of codes: the showers that are decoded while one dimension changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from fastv.inference import decode, reconstruction_error
from fastv.models.contract import Generator
from fastv.showers import Showers

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

STEPS = tuple(step / 2 for step in range(-6, 7))
"""Steps of a walk, in standard deviations of the dimension."""
BITS = (0.0, 1.0)
"""Values of a bit."""
_STARTS = (0.1, 0.5, 0.9)
"""Quantiles of the incident energy at which walks start."""
_AT_ONCE = 50
"""Coordinates that are moved at once, so that memory does not grow with their number."""


@dataclass(frozen=True)
class Coordinates:
    """Codes of N showers as coordinates, and how to decode them.

    Attributes:
        generator: the generator.
        groups: numbers of each group of the code, by name.
        codes: (N, D), all groups side by side.
        spreads: standard deviation (D,) of each coordinate over showers, including that of the posterior.
        bits: whether the coordinates are bits.
    """

    generator: Generator
    groups: dict[str, int]
    codes: F32
    spreads: F64
    bits: bool

    def decoded(self, codes: F32, showers: Showers, row: int) -> F32:
        """The showers (M, V) in MeV of codes (M, D), at the conditions of one of the showers."""
        bounds = np.cumsum(list(self.groups.values()))[:-1]
        means = dict(zip(self.groups, np.split(codes, bounds, axis=1), strict=True))
        return decode(self.generator, means, showers.conditions[np.full(len(codes), row)], showers.detector)

    def moved(self, row: int, dimensions: Sequence[int], steps: Sequence[float]) -> F32:
        """The codes (K S, D) of a shower with each of K coordinates moved by S steps in turn.

        Steps are in spreads of the coordinate; bits are set to 0 and 1 in their place.
        """
        values = np.array(BITS if self.bits else steps, dtype=np.float32)
        codes: F32 = np.repeat(self.codes[row : row + 1], len(dimensions) * len(values), axis=0)
        for number, dimension in enumerate(dimensions):
            moving = codes[number * len(values) : (number + 1) * len(values), dimension]
            moving[:] = values if self.bits else moving + values * np.float32(self.spreads[dimension])
        return codes


def starts(codes: F32, energies: F64) -> list[int]:
    """Showers from which to walk: of low, middle and high energy, each the most usual code among its neighbours.

    Args:
        codes: (N, D).
        energies: incident energies (N,) in MeV.

    Example:
        >>> rng = np.random.default_rng(1)
        >>> energies = np.geomspace(1e3, 1e6, 100)
        >>> chosen = starts(rng.normal(size=(100, 3)).astype(np.float32), energies)
        >>> len(chosen), bool((np.diff(energies[chosen]) > 0).all())
        (3, True)
    """
    order = np.argsort(energies, kind="stable")
    half = max(5, len(order) // 40)
    found = []
    for quantile in _STARTS:
        middle = int(quantile * (len(order) - 1))
        near = order[max(0, middle - half) : middle + half + 1]
        away = codes[near] - codes[near].mean(axis=0)
        scale = np.maximum(codes.std(axis=0), 1e-6)
        found.append(int(near[np.argmin(np.square(away / scale).sum(axis=1))]))
    return list(dict.fromkeys(found))


def effects(coordinates: Coordinates, showers: Showers, rows: Sequence[int], dimensions: Sequence[int]) -> F64:
    """How much the shower changes with each of some coordinates, as :func:`fastv.inference.reconstruction_error`.

    It is the mean distance of the showers decoded one spread below and above from that of the unchanged code; of a bit,
    the distance of the showers with 0 and 1. Means are over the showers in ``rows``.
    """
    total = np.zeros(len(dimensions))
    for row in rows:
        own = coordinates.decoded(coordinates.codes[row : row + 1], showers, row)
        if not own.any():
            continue
        for first in range(0, len(total), _AT_ONCE):
            some = dimensions[first : first + _AT_ONCE]
            made = torch.from_numpy(coordinates.decoded(coordinates.moved(row, some, (-1.0, 1.0)), showers, row))
            distance = reconstruction_error(torch.from_numpy(own).expand(len(made), -1), made).numpy()
            both = distance.reshape(len(some), 2)
            total[first : first + len(some)] += both.sum(axis=1) if coordinates.bits else both.mean(axis=1)
    return total / len(rows)


def walks(coordinates: Coordinates, showers: Showers, row: int, dimensions: Sequence[int]) -> F32:
    """The showers (K, S, V) in MeV of walks from one shower along K coordinates, in :data:`STEPS` or :data:`BITS`."""
    made = coordinates.decoded(coordinates.moved(row, dimensions, STEPS), showers, row)
    return made.reshape(len(dimensions), -1, made.shape[1])

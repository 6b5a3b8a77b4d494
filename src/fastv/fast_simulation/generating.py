"""The only place in which fast simulation asks a model for showers."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fastv.conditions.record import Conditions
from fastv.fast_simulation.seeds import event_seed
from fastv.models.contract import Generator

_BATCH_ROWS = 100
"""Showers per call of the generator, as in :mod:`fastv.blocks`."""


def generated(
    generator: Generator, conditions: Conditions, events: NDArray[np.int64], seed: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Generate the showers of several events together.

    The noise of an event is that of :meth:`fastv.Model.generate` with its
    :func:`~fastv.fast_simulation.seeds.event_seed`, so its showers are the same as there: bit for bit if they are
    generated alone, otherwise within rounding.

    Args:
        generator: with its weights.
        conditions: of N showers.
        events: number (N,) of the event of each; those of an event follow one another.
        seed: of the run.

    Returns:
        Voxel energies (N, V) in MeV, and which showers are valid (N,): all energies finite and not negative.
    """
    numbers, counts = np.unique(events, return_counts=True)
    draws = zip(numbers.tolist(), counts.tolist(), strict=True)
    noise = torch.cat([generator.noise.draw(n, (event_seed(seed, event), 1, 0)) for event, n in draws])
    inputs = generator.conditions_of(conditions)
    with torch.inference_mode():
        batches = zip(torch.split(inputs, _BATCH_ROWS), torch.split(noise, _BATCH_ROWS), strict=True)
        energies: NDArray[Any] = np.concatenate([generator.sample(columns, each).numpy() for columns, each in batches])
    with np.errstate(invalid="ignore"):
        valid = np.isfinite(energies.sum(axis=1, dtype=np.float64)) & (energies.min(axis=1) >= 0)
    return energies, valid

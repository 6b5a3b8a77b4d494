"""The distance of showers: of their moments, each in units of its spread."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastv.evaluation.observables.observe import Observables, observe
from fastv.showers import Showers

F64 = NDArray[np.float64]


def moments_of(observed: Observables) -> F64:
    """The moments (N, 8) of showers, in the order of :data:`~fastv.models.moments.MOMENTS`; 0 without energy.

    Example:
        >>> from fastv import ShowersFile, sample_path
        >>> with ShowersFile(sample_path("test")) as file:
        ...     moments_of(observe(file[:4])).shape
        (4, 8)
    """
    total = observed.total_energy
    filled = total > 0
    layers = observed.layer_energies.astype(np.float64)
    centre = [(layers * x).sum(axis=1) / np.where(filled, total, 1.0) for x in (observed.centre_x, observed.centre_y)]
    columns = [
        np.log(np.where(filled, total, 1.0)),
        np.log(np.where(filled, observed.hit_multiplicity, 1)),
        observed.longitudinal_mean,
        observed.longitudinal_width,
        observed.lateral_mean,
        observed.lateral_width,
        *centre,
    ]
    moments: F64 = np.stack([np.asarray(column, dtype=np.float64) for column in columns], axis=1)
    return moments * filled[:, None]


def distances(query: Showers, showers: Showers, spread: F64) -> F64:
    r"""Distances (N,) of showers from one: :math:`\sqrt{\sum_m ((y_m - y'_m) / \sigma_m)^2}` over their moments y.

    Args:
        query: one shower.
        showers: N showers of the same detector.
        spread: standard deviation (8,) of each moment, usually over the training showers of the model.
    """
    one, others = (moments_of(observe(each, workers=1, label="")) for each in (query, showers))
    found: F64 = np.sqrt((((others - one) / spread) ** 2).sum(axis=1))
    return found

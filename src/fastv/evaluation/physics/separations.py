"""Separation powers of all observables between two samples, with the binning of the CaloChallenge."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from pydantic import BaseModel, ConfigDict

from fastv.evaluation.observables.histograms import (
    PER_LAYER,
    PER_SHOWER,
    Binning,
    expected_separation,
    expected_voxel_separation,
    histogram,
    separation_power,
    voxel_spectrum,
)
from fastv.evaluation.observables.observe import Observables


class Separation(BaseModel):
    """Separation power of one observable; for an observable per layer, the mean over layers and the largest value.

    ``expected`` is the expectation for two samples of one distribution and of these sizes. ``worst_layer`` and the keys
    of ``layers`` are layer numbers.
    """

    model_config = ConfigDict(frozen=True)

    observable: str
    value: float
    expected: float
    worst_layer: int | None = None
    worst_value: float | None = None
    layers: dict[int, float] | None = None


def separations(reference: Observables, generated: Observables, edges: Binning) -> Iterator[Separation]:
    """Separation power of every observable per shower, of the voxel energies, and of every observable per layer.

    Args:
        reference, generated: observables of (N,) and (M,) showers.
        edges: binning of all histograms.

    Source: arXiv:2410.21611, section 4.

    Example:
        >>> from fastv.evaluation.observables.histograms import binning
        >>> from fastv.evaluation.observables.observe import observe
        >>> from fastv.sample import sample_path
        >>> from fastv.showers import ShowersFile
        >>> with ShowersFile(sample_path("test")) as file:
        ...     sample = observe(file[:100])
        >>> {each.value for each in separations(sample, sample, binning(sample))}
        {0.0}
    """
    a, b = reference, generated
    for name, field in PER_SHOWER.items():
        h, k = (histogram(getattr(sample, field), edges.per_shower[name]) for sample in (a, b))
        yield Separation(observable=name, value=separation_power(h, k), expected=expected_separation(h, k))
    yield Separation(
        observable="voxel energy",
        value=separation_power(*(voxel_spectrum(sample) for sample in (a, b))),
        expected=expected_voxel_separation(a.voxel_counts, b.voxel_counts),
    )
    ids = a.detector.mesh.layer_ids
    for name, field in PER_LAYER.items():
        values: dict[int, float] = {}
        expected: list[float] = []
        for i, layer_edges in enumerate(edges.per_layer[name]):
            if layer_edges is None:
                continue
            h, k = (histogram(getattr(sample, field)[:, i], layer_edges) for sample in (a, b))
            values[ids[i]] = separation_power(h, k)
            expected.append(expected_separation(h, k))
        if values:
            worst = max(values, key=lambda layer: values[layer])
            yield Separation(
                observable=name,
                value=float(np.mean(list(values.values()))),
                expected=float(np.mean(expected)),
                worst_layer=worst,
                worst_value=values[worst],
                layers=values,
            )

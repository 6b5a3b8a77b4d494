"""Every figure of one sample against another, from their observables alone.

:func:`compare` knows nothing of who made the samples: called with two samples of Geant4 it gives the floor.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from scipy.stats import ks_2samp

from fastv.detector.depth import radiation_lengths_per_mm
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
from fastv.evaluation.observables.observe import Observables, ring_edges
from fastv.evaluation.statistics.measured import (
    Measured,
    fractions_of_total,
    mean,
    ratio,
    resolution,
    resolution_68,
    spread,
)

F64 = NDArray[np.float64]

MIN_SHOWERS_IN_BIN = 20
MIN_SHARE = 0.01
"""Layers and rings that hold less of the energy are shown, not judged."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)


class Compared(_Record):
    """One quantity in both samples and its ratio second over first."""

    reference: Measured
    generated: Measured
    ratio: Measured


class EnergyBin(_Record):
    """Response and resolution in one bin of incident energy [low, high) in MeV.

    ``response`` is the mean visible fraction <E_tot/E_inc>, ``resolution`` std/mean of it, ``resolution_68`` half of
    the central 68.27 % interval over the mean, ``largest`` the largest visible fraction of either sample. All are None
    where ``skipped`` gives the reason.
    """

    low: float
    high: float
    showers_reference: int
    showers_generated: int
    skipped: str | None = None
    response: Compared | None = None
    resolution: Compared | None = None
    resolution_68: Compared | None = None
    largest: tuple[float, float] | None = None


class Layer(_Record):
    """Energy and sparsity of one layer.

    ``share`` is its part of the reference's energy; ``energy`` mean layer energy over mean incident energy;
    ``depth_mm`` the middle of the layer, ``depth_x0`` the same in radiation lengths; ``sparsity_difference`` second
    minus first.
    """

    layer: int
    depth_mm: float | None
    depth_x0: float | None
    share: float
    energy: Compared
    sparsity_reference: float
    sparsity_generated: float
    sparsity_difference: Measured


class Ring(_Record):
    """Energy of one ring in r, summed over layers, over the mean incident energy."""

    r_low_mm: float
    r_high_mm: float
    share: float
    energy: Compared


class Moment(_Record):
    """Mean and spread over the showers of a first moment or width of the shower shape, in mm."""

    name: str
    mean: Compared
    spread: Compared


class Separation(_Record):
    """Separation power of one observable; for an observable per layer the mean over the layers and the worst one.

    ``expected`` is the value that two samples of one distribution and of these sizes have by chance.
    """

    observable: str
    value: float
    expected: float
    worst_layer: int | None = None
    worst_value: float | None = None
    layers: dict[int, float] | None = None


class Comparison(_Record):
    """All figures of a second sample against a first."""

    showers_reference: int
    showers_generated: int
    same_incident_energies: bool
    incident_energy_ks_p_value: float
    energy_bins: list[EnergyBin]
    layers: list[Layer]
    rings: list[Ring]
    moments: list[Moment]
    separations: list[Separation]

    def separation(self, observable: str) -> Separation:
        """The separation power of one observable by its name."""
        return next(s for s in self.separations if s.observable == observable)


def compare(reference: Observables, generated: Observables, edges: Binning) -> Comparison:
    """All figures of ``generated`` against ``reference``.

    Samples with the same incident energies shower by shower are compared in pairs where that makes errors smaller:
    layer energies, rings and sparsity.

    Args:
        reference, generated: observables of (N,) and (M,) showers of one detector.
        edges: binning of all histograms.

    Example:
        >>> from fastv.evaluation.observables.histograms import binning
        >>> from fastv.evaluation.observables.observe import observe
        >>> from fastv.sample import sample_path
        >>> from fastv.showers import ShowersFile
        >>> with ShowersFile(sample_path("test")) as file:
        ...     sample = observe(file[:400])
        >>> comparison = compare(sample, sample, binning(sample))
        >>> comparison.separation("voxel energy").value
        0.0
    """
    paired = same_energies(reference.incident_energies, generated.incident_energies)
    return Comparison(
        showers_reference=len(reference),
        showers_generated=len(generated),
        same_incident_energies=paired,
        incident_energy_ks_p_value=_ks_p_value(reference.incident_energies, generated.incident_energies),
        energy_bins=[
            _energy_bin(reference, generated, float(low), float(high), last=i == len(edges.energies) - 2)
            for i, (low, high) in enumerate(zip(edges.energies[:-1], edges.energies[1:], strict=True))
        ],
        layers=_layers(reference, generated, paired=paired),
        rings=_rings(reference, generated, paired=paired),
        moments=_moments(reference, generated),
        separations=list(_separations(reference, generated, edges)),
    )


def same_energies(a: F64, b: F64) -> bool:
    """Whether two samples have the same incident energies shower by shower, to float32 precision."""
    return a.shape == b.shape and bool(np.allclose(a, b, rtol=1e-5, atol=0))


def _ks_p_value(a: F64, b: F64) -> float:
    return float(ks_2samp(np.log(a), np.log(b), method="asymp").pvalue)


def _energy_bin(a: Observables, b: Observables, low: float, high: float, *, last: bool) -> EnergyBin:
    fractions: list[F64] = []
    for sample in (a, b):
        energies = sample.incident_energies
        inside = (energies >= low) & ((energies <= high) if last else (energies < high))
        fractions.append(sample.visible_fraction[inside])
    sizes = [len(x) for x in fractions]
    record = EnergyBin(low=low, high=high, showers_reference=sizes[0], showers_generated=sizes[1])
    if min(sizes) < MIN_SHOWERS_IN_BIN:
        return record.model_copy(update={"skipped": f"fewer than {MIN_SHOWERS_IN_BIN} showers in one sample"})
    if fractions[0].mean() <= 0 or fractions[1].mean() <= 0:
        return record.model_copy(update={"skipped": "no visible energy in one sample"})
    return record.model_copy(
        update={
            "response": _compared(mean(fractions[0]), mean(fractions[1])),
            "resolution": _compared(resolution(fractions[0]), resolution(fractions[1])),
            "resolution_68": _compared(resolution_68(fractions[0]), resolution_68(fractions[1])),
            "largest": (float(fractions[0].max()), float(fractions[1].max())),
        }
    )


def _compared(a: Measured, b: Measured) -> Compared:
    return Compared(reference=a, generated=b, ratio=ratio(b, a))


def _compared_fractions(
    parts: Sequence[NDArray[np.floating]], totals: Sequence[F64], *, paired: bool
) -> tuple[list[Compared], F64]:
    """Fractions of the incident energy in both samples; their shares in the first."""
    (f, u), (g, v) = (fractions_of_total(p, t) for p, t in zip(parts, totals, strict=True))
    errors = [np.sqrt((w**2).sum(axis=0)) for w in (u, v)]
    relative = np.sqrt(((v - u) ** 2).sum(axis=0)) if paired else np.hypot(*errors)
    compared = []
    for i in range(len(f)):
        a = Measured(value=f[i], error=f[i] * errors[0][i])
        b = Measured(value=g[i], error=g[i] * errors[1][i])
        value = ratio(b, a).value
        compared.append(Compared(reference=a, generated=b, ratio=Measured(value=value, error=value * relative[i])))
    return compared, f / max(float(f.sum()), 1e-300)


def _layers(a: Observables, b: Observables, *, paired: bool) -> list[Layer]:
    detector = a.detector
    energies, shares = _compared_fractions(
        (a.layer_energies, b.layer_energies), (a.incident_energies, b.incident_energies), paired=paired
    )
    known_depth = all(block.thickness is not None for block in detector.mesh.blocks)
    x0 = radiation_lengths_per_mm(detector)
    layers = []
    for i, layer in enumerate(detector.mesh.layer_ids):
        depth = float(detector.mesh.layer_z[i]) if known_depth else None
        s, t = a.sparsity[:, i].astype(np.float64), b.sparsity[:, i].astype(np.float64)
        difference = mean(t - s).error if paired else float(np.hypot(mean(s).error, mean(t).error))
        layers.append(
            Layer(
                layer=layer,
                depth_mm=depth,
                depth_x0=None if depth is None or x0 is None else depth * x0,
                share=float(shares[i]),
                energy=energies[i],
                sparsity_reference=float(s.mean()),
                sparsity_generated=float(t.mean()),
                sparsity_difference=Measured(value=float(t.mean() - s.mean()), error=difference),
            )
        )
    return layers


def _rings(a: Observables, b: Observables, *, paired: bool) -> list[Ring]:
    edges = ring_edges(a.detector.mesh)
    energies, shares = _compared_fractions(
        (a.ring_energies, b.ring_energies), (a.incident_energies, b.incident_energies), paired=paired
    )
    return [
        Ring(r_low_mm=float(edges[i]), r_high_mm=float(edges[i + 1]), share=float(shares[i]), energy=energy)
        for i, energy in enumerate(energies)
    ]


def _moments(a: Observables, b: Observables) -> list[Moment]:
    moments = []
    for name, field in PER_SHOWER.items():
        if name == "E_tot/E_inc":
            continue
        x, y = (getattr(sample, field).astype(np.float64) for sample in (a, b))
        moments.append(Moment(name=name, mean=_compared(mean(x), mean(y)), spread=_compared(spread(x), spread(y))))
    return moments


def _separations(a: Observables, b: Observables, edges: Binning) -> Iterable[Separation]:
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

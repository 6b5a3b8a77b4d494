"""Mean longitudinal and lateral profiles, their fluctuations, and means of shower quantities by incident energy."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise, product

import numpy as np
from numpy.typing import NDArray

from fastv.evaluation.observables.observe import Observables, alpha_layers, ring_edges
from fastv.evaluation.observables.shower_shape import QUANTITIES, depth_edges, depth_unit, quantity
from fastv.evaluation.physics.condition_bins import ConditionBin, energy_bins, not_filled, stratified
from fastv.evaluation.statistics.comparison import Comparison, compare, difference, skipped
from fastv.evaluation.statistics.measured import ROUNDING, Measured, mean, of_both, spread, spreads_of_both

F64 = NDArray[np.float64]

MIN_SHARE = 0.01
"""Smallest fraction of the energy in a layer for its target, steps, fluctuations and correlations."""
_LEAST_SHARE = 1e-3
"""Fraction of the largest value below which a place is listed, not judged."""
_OCCUPIED = 0.1
_FLUCTUATION_BINS = 5
_LEAST = 200


def layer_profile(reference: Observables, generated: Observables, bins: Sequence[ConditionBin]) -> Comparison:
    """Mean of E_layer/E_inc in every layer, relative difference; layers below 0.1 % of the largest are not judged.

    The mean is over bins of incident energy with the reference's weights, see
    :func:`fastv.evaluation.physics.condition_bins.stratified`.

    Args:
        reference, generated: observables of (N,) and (M,) showers.
        bins: bins of incident energy.
    """
    labels = [f"layer {layer}" for layer in reference.detector.mesh.layer_ids]
    unit = depth_unit(reference.detector.mesh)
    return _profile(
        ("layer energies", "Longitudinal profile", "mean of E_layer/E_inc of every layer", f"depth [{unit}]"),
        labels,
        depth_edges(reference.detector.mesh),
        [sample.layer_energies / sample.incident_energies[:, None] for sample in (reference, generated)],
        bins,
    )


def layer_steps(reference: Observables, generated: Observables, bins: Sequence[ConditionBin]) -> Comparison:
    """Energy of every layer minus the mean of its neighbours, over the layer's mean energy in the reference.

    Adjacent layers fluctuate together, so a layer that does not fit between its neighbours, because of a wrong gain or
    of a seam between parts of a model, is far more significant here than in the profile. The first and the last layer
    have one neighbour each. Bins of incident energy are averaged with weights 1/variance of the difference. Layers with
    at most 1 % of the energy in every bin are left out. Absolute differences: a layer whose gain is wrong by x gives x,
    each of its neighbours about -x/2.

    Args:
        reference, generated: observables of (N,) and (M,) showers.
        bins: bins of incident energy.
    """
    name, title = "layer steps", "Layers against their neighbours"
    definition = "layer energy minus the mean of the adjacent layers, over the layer's mean energy in the reference"
    mesh = reference.detector.mesh
    filled = [each for each in bins if each.filled]
    if mesh.n_layers < 3 or not filled:
        return skipped(name, title, definition, "three layers and a bin of energy with enough showers are needed")
    x, y = (sample.layer_energies / sample.incident_energies[:, None] for sample in (reference, generated))
    sums = np.zeros((5, mesh.n_layers))
    for each in filled:
        a, b = x[each.reference], y[each.generated]
        energy = a.mean(axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            steps = [np.where(energy > 0, (values - _neighbours(values)) / energy, 0.0) for values in (a, b)]
            errors = [values.var(axis=0, ddof=1) / len(values) for values in steps]
            # Pooled variance: weights from one sample alone would favour bins where its variance is low by chance.
            together = sum(values.var(axis=0, ddof=1) for values in steps) / 2 * (1 / len(a) + 1 / len(b))
        # Steps are relative to the energy of the layer: a variance of rounding is below ROUNDING squared.
        fluctuates = together * min(len(a), len(b)) > ROUNDING**2
        weight = np.divide(
            1, together, out=np.zeros_like(together), where=fluctuates & (energy > MIN_SHARE * energy.sum())
        )
        parts = [weight, steps[0].mean(axis=0), errors[0], steps[1].mean(axis=0), errors[1]]
        for k, (part, power) in enumerate(zip(parts, (0, 1, 2, 1, 2), strict=True)):
            sums[k] += np.where(weight > 0, part * weight**power, 0.0)
    edges = depth_edges(mesh)
    found = []
    for i in np.flatnonzero(sums[0] > 0):
        total, ours, our_variance, theirs, their_variance = sums[:, i]
        found.append(
            difference(
                f"layer {mesh.layer_ids[i]}",
                Measured(value=float(ours / total), error=float(np.sqrt(our_variance) / total)),
                Measured(value=float(theirs / total), error=float(np.sqrt(their_variance) / total)),
                low=float(edges[i]),
                high=float(edges[i + 1]),
            )
        )
    return compare(name, title, definition, found, axis=f"depth [{depth_unit(mesh)}]", notes=not_filled(bins))


def _neighbours(values: F64) -> F64:
    """Mean of the layers before and after each layer (N, L); for the first and the last layer their one neighbour."""
    middle = (values[:, :-2] + values[:, 2:]) / 2
    return np.concatenate([values[:, 1:2], middle, values[:, -2:-1]], axis=1)


def ring_profile(reference: Observables, generated: Observables, bins: Sequence[ConditionBin]) -> Comparison:
    """Mean of E_ring/E_inc in every ring in r, relative difference; rings below 0.1 % of the largest are not judged.

    Args:
        reference, generated: observables of (N,) and (M,) showers.
        bins: bins of incident energy.
    """
    edges = ring_edges(reference.detector.mesh)
    labels = [f"r {low:.4g} to {high:.4g} mm" for low, high in pairwise(edges)]
    return _profile(
        ("ring energies", "Lateral profile", "mean of E_ring/E_inc of every ring in r", "r [mm]"),
        labels,
        edges,
        [sample.ring_energies / sample.incident_energies[:, None] for sample in (reference, generated)],
        bins,
    )


def sparsity(reference: Observables, generated: Observables, bins: Sequence[ConditionBin]) -> Comparison:
    """Mean fraction of voxels below threshold in every layer, absolute difference.

    Layers whose fraction of voxels above threshold is below 0.1 % of the largest are not judged.

    Args:
        reference, generated: observables of (N,) and (M,) showers.
        bins: bins of incident energy.
    """
    labels = [f"layer {layer}" for layer in reference.detector.mesh.layer_ids]
    unit = depth_unit(reference.detector.mesh)
    return _profile(
        ("sparsity", "Sparsity", "mean fraction of the voxels of a layer below threshold", f"depth [{unit}]"),
        labels,
        depth_edges(reference.detector.mesh),
        [sample.sparsity for sample in (reference, generated)],
        bins,
        empty=1.0,
    )


def alpha_profile(reference: Observables, generated: Observables, bins: Sequence[ConditionBin]) -> Comparison:
    """Mean over showers of cos(alpha) and sin(alpha), weighted by energy, in every layer; absolute difference.

    A shower at an angle leans to one side, most of all in its first layers. At normal incidence both means are zero by
    symmetry, and the integrity check of evenness in alpha is stronger. An empty layer counts as 0; layers that are
    empty in nine of ten showers of the reference are not judged.

    Args:
        reference, generated: observables of (N,) and (M,) showers.
        bins: bins of incident energy.
    """
    name, title = "alpha profile", "Profile in alpha"
    definition = "means of cos(alpha) and sin(alpha), weighted by energy, of every layer; for showers at an angle"
    mesh = reference.detector.mesh
    layers = alpha_layers(mesh)
    if not len(layers):
        return skipped(name, title, definition, "the mesh has no alpha cells")
    if not (reference.inclined or generated.inclined):
        return skipped(name, title, definition, "no shower is known to enter at an angle, so alpha is symmetric")
    moments = [np.concatenate([s.cos_alpha[:, layers], s.sin_alpha[:, layers]], axis=1) for s in (reference, generated)]
    a, e, b, f = stratified(bins, *moments)
    holding = (reference.layer_energies > 0).mean(axis=0) > _OCCUPIED
    edges = depth_edges(mesh)
    found = [
        difference(
            f"layer {mesh.layer_ids[layer]}, {function} alpha",
            Measured(value=float(a[i]), error=float(e[i])),
            Measured(value=float(b[i]), error=float(f[i])),
            low=float(edges[layer]),
            high=float(edges[layer + 1]),
            judged=bool(holding[layer]),
        )
        for i, (function, layer) in enumerate(product(("cos", "sin"), layers))
    ]
    return compare(name, title, definition, found, axis=f"depth [{depth_unit(mesh)}]", notes=not_filled(bins))


def quantity_by_energy(
    name: str, reference: Observables, generated: Observables, bins: Sequence[ConditionBin]
) -> Comparison:
    """Mean and standard deviation of a shower quantity in bins of incident energy, absolute differences.

    Args:
        name: name of one of :data:`fastv.evaluation.observables.shower_shape.QUANTITIES`.
        reference, generated: observables of (N,) and (M,) showers.
        bins: bins of incident energy.
    """
    chosen = quantity(name)
    x, y = chosen.of(reference), chosen.of(generated)
    found = []
    for each in bins:
        if each.filled:
            a, b = x[each.reference], y[each.generated]
            for label, estimate in (("mean", mean), ("rms", spread)):
                place = f"{each.words}, {label}"
                found.append(difference(place, *of_both(estimate, a, b), low=each.low, high=each.high))
    return compare(
        name,
        name[0].upper() + name[1:],
        f"{chosen.definition}: mean and standard deviation in bins of incident energy",
        found,
        unit=chosen.unit_on(reference.detector.mesh),
        axis="incident energy [MeV]",
        notes=not_filled(bins),
    )


def shower_moments(reference: Observables, generated: Observables, bins: Sequence[ConditionBin]) -> Comparison:
    """Mean of every shower quantity, relative difference.

    Quantities are those of :data:`fastv.evaluation.observables.shower_shape.QUANTITIES`; means are over bins of
    incident energy with the reference's weights, see :func:`fastv.evaluation.physics.condition_bins.stratified`.

    Args:
        reference, generated: observables of (N,) and (M,) showers.
        bins: bins of incident energy.
    """
    values = [np.stack([each.of(sample) for each in QUANTITIES], axis=1) for sample in (reference, generated)]
    a, e, b, f = stratified(bins, values[0], values[1])
    found = [
        difference(
            each.name,
            Measured(value=float(a[i]), error=float(e[i])),
            Measured(value=float(b[i]), error=float(f[i])),
            relative=True,
        )
        for i, each in enumerate(QUANTITIES)
    ]
    definition = "mean of every shower quantity over all incident energies"
    return compare("shower moments", "Shower moments", definition, found, relative=True, notes=not_filled(bins))


def fluctuations(reference: Observables, generated: Observables) -> Comparison:
    """Standard deviation of E_layer/E_inc in every layer, in bins of incident energy, relative difference.

    These are the sampling fluctuations and those of the shower development. Layers with at most 1 % of the energy in a
    bin are left out.

    Args:
        reference, generated: observables of (N,) and (M,) showers.
    """
    ids = reference.detector.mesh.layer_ids
    x, y = (sample.layer_energies / sample.incident_energies[:, None] for sample in (reference, generated))
    found = []
    bins = energy_bins(reference, generated, most=_FLUCTUATION_BINS, at_least=_LEAST)
    for each in bins:
        if not each.filled:
            continue
        a, b = x[each.reference], y[each.generated]
        share = a.mean(axis=0) / max(float(a.mean(axis=0).sum()), 1e-300)
        s, e, t, f = spreads_of_both(a, b)
        for layer in np.flatnonzero(share > MIN_SHARE):
            found.append(
                difference(
                    f"{each.words}, layer {ids[layer]}",
                    Measured(value=float(s[layer]), error=float(e[layer])),
                    Measured(value=float(t[layer]), error=float(f[layer])),
                    relative=True,
                )
            )
    definition = "standard deviation of E_layer/E_inc in every layer, in bins of incident energy"
    return compare(
        "fluctuations", "Fluctuations of layer energies", definition, found, relative=True, notes=not_filled(bins)
    )


def _profile(
    words: tuple[str, str, str, str],
    labels: Sequence[str],
    edges: F64,
    values: Sequence[NDArray[np.floating]],
    bins: Sequence[ConditionBin],
    *,
    empty: float = 0.0,
) -> Comparison:
    """Compare means at every place; differences are relative if ``empty``, the value of an empty place, is 0."""
    name, title, definition, axis = words
    a, e, b, f = stratified(bins, values[0], values[1])
    content = np.maximum(np.abs(a - empty), np.abs(b - empty))
    relative = empty == 0
    found = [
        difference(
            label,
            Measured(value=float(a[i]), error=float(e[i])),
            Measured(value=float(b[i]), error=float(f[i])),
            relative=relative,
            low=float(edges[i]),
            high=float(edges[i + 1]),
            judged=bool(content[i] > _LEAST_SHARE * content.max()),
        )
        for i, label in enumerate(labels)
    ]
    return compare(name, title, definition, found, relative=relative, axis=axis, notes=not_filled(bins))

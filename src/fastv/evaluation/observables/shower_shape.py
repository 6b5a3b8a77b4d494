"""Start, maximum and extent of a shower, and the table of all quantities that are compared shower by shower."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import hist
import numpy as np
from numpy.typing import NDArray

from fastv.detector.mesh import ReadoutMesh
from fastv.evaluation.observables.histograms import histogram, padded_edges
from fastv.evaluation.observables.observe import Observables, ring_edges

F64 = NDArray[np.float64]

STARTED = 0.05
"""The shower start is the depth within which this fraction of the visible energy is deposited."""
CONTAINED = 0.9
"""Fraction of the visible energy within the containment radius and the containment depth."""


def shower_maximum(layer_energies: NDArray[np.floating], layer_z: F64, thickness: F64) -> F64:
    """Depth of the maximum of dE/dz, interpolated by a parabola; 0 for an empty shower.

    The parabola passes through the layer with the largest dE/dz and its two neighbours. If that is the first or the
    last layer, the maximum is at the middle of the layer.

    Args:
        layer_energies: (N, L) MeV.
        layer_z: depth of the middle of each layer (L,), mm.
        thickness: thickness of each layer (L,), mm.

    Returns:
        Depths (N,), mm.

    Example:
        >>> z = np.arange(5) + 0.5
        >>> shower_maximum(np.array([10 - (z - 2.7) ** 2]), z, np.ones(5)).round(6)
        array([2.7])
    """
    density = np.asarray(layer_energies, dtype=np.float64) / thickness
    peak = np.argmax(density, axis=1)
    found = layer_z[peak].astype(np.float64)
    inside = np.flatnonzero((peak > 0) & (peak < density.shape[1] - 1))
    if inside.size:
        left, middle, right = (density[inside, peak[inside] + step] for step in (-1, 0, 1))
        a, b = layer_z[peak[inside]] - layer_z[peak[inside] - 1], layer_z[peak[inside] + 1] - layer_z[peak[inside]]
        # Slopes between the layer and its left and right neighbours, both in the direction of larger depth.
        rise, fall = (middle - left) / a, (right - middle) / b
        curvature = rise - fall
        centre = layer_z[peak[inside]]
        with np.errstate(divide="ignore", invalid="ignore"):
            vertex = centre + (rise * b + fall * a) / (2 * curvature)
        found[inside] = np.where(curvature > 0, np.clip(vertex, centre - a, centre + b), centre)
    return np.where(density.max(axis=1) > 0, found, 0.0)


def gamma_parameters(mean: F64, width: F64) -> tuple[F64, F64]:
    """Shape a and scale 1/b of the gamma distribution with the moments of a longitudinal profile.

    dE/dz ~ (b z)^(a - 1) exp(-b z) has the mean a/b and the variance a/b^2, so a = (mean/width)^2 and
    1/b = width^2/mean; both are 0 where mean or width is 0.

    Args:
        mean, width: mean and standard deviation of the depth in each shower (N,), mm.

    Returns:
        a (N,), dimensionless, and 1/b (N,) in mm.

    Source: Longo and Sestili, Nucl. Instrum. Meth. 128 (1975) 283; Grindhammer and Peters, hep-ex/0001020.

    Example:
        >>> a, scale = gamma_parameters(np.array([60.0]), np.array([30.0]))
        >>> float(a[0]), float(scale[0])
        (4.0, 15.0)
    """
    there = (mean > 0) & (width > 0)
    shape = np.divide(mean, width, out=np.zeros_like(mean), where=there) ** 2
    scale = np.divide(width**2, mean, out=np.zeros_like(mean), where=there)
    return shape, scale


def containment(energies: NDArray[np.floating], edges: F64, fraction: float = CONTAINED) -> F64:
    """Radius or depth that contains a given fraction of the energy; 0 for an empty shower.

    Energy is assumed to be uniform in r or z between the edges of a ring or layer.

    Args:
        energies: energies of rings (N, R) or layers (N, L), MeV.
        edges: edges of the rings (R + 1,) or layers (L + 1,), mm.
        fraction: fraction of the energy, in (0, 1).

    Returns:
        Radii or depths (N,), mm.

    Example:
        >>> containment(np.array([[6.0, 4.0]]), np.array([0.0, 5.0, 10.0]), 0.8)
        array([7.5])
    """
    part = np.asarray(energies, dtype=np.float64)
    cumulative = np.concatenate([np.zeros((len(part), 1)), np.cumsum(part, axis=1)], axis=1)
    wanted = fraction * cumulative[:, -1]
    index = np.clip((cumulative < wanted[:, None]).sum(axis=1), 1, part.shape[1])
    rows = np.arange(len(part))
    below, held = cumulative[rows, index - 1], part[rows, index - 1]
    inside = np.divide(wanted - below, held, out=np.zeros(len(part)), where=held > 0)
    found = edges[index - 1] + inside * (edges[index] - edges[index - 1])
    return np.where(wanted > 0, found, 0.0)


def layer_thickness(mesh: ReadoutMesh) -> F64:
    """Thickness of each layer (L,) in mm; all 1 if the mesh lacks any thickness, as in ``ReadoutMesh.layer_z``."""
    thickness = [layer.thickness for layer in mesh.layers]
    return np.array([1.0 if None in thickness else t for t in thickness], dtype=np.float64)


def depth_edges(mesh: ReadoutMesh) -> F64:
    """Depths (L + 1,) of the layer boundaries in mm, or counted in layers if thicknesses are unknown."""
    return np.concatenate([[0.0], np.cumsum(layer_thickness(mesh))])


def depth_unit(mesh: ReadoutMesh) -> str:
    """Unit of depths: ``mm``, or ``layers`` if thicknesses are unknown."""
    return "layers" if any(block.thickness is None for block in mesh.blocks) else "mm"


@dataclass(frozen=True)
class Quantity:
    """A quantity with one value per shower.

    Attributes:
        name: name in tables and JSON.
        definition: definition in words or as a formula.
        unit: ``mm``; ``depth``, which is mm or layers depending on the mesh; or empty.
        of: function that computes it from observables, (N,) in double precision.
    """

    name: str
    definition: str
    unit: str
    of: Callable[[Observables], F64]

    def unit_on(self, mesh: ReadoutMesh) -> str:
        """The unit for a given mesh."""
        return depth_unit(mesh) if self.unit == "depth" else self.unit


def _maximum(o: Observables) -> F64:
    return shower_maximum(o.layer_energies, o.detector.mesh.layer_z, layer_thickness(o.detector.mesh))


def _share_of_total(part: NDArray[np.floating], o: Observables) -> F64:
    total = o.total_energy
    share: F64 = np.divide(part, total, out=np.zeros(len(o)), where=total > 0)
    return share


def _axis_offset(o: Observables) -> F64:
    x, y = (_share_of_total((o.layer_energies * c).sum(axis=1, dtype=np.float64), o) for c in (o.centre_x, o.centre_y))
    return np.hypot(x, y)


def _gamma(part: int) -> Callable[[Observables], F64]:
    return lambda o: gamma_parameters(o.longitudinal_mean, o.longitudinal_width)[part]


QUANTITIES: tuple[Quantity, ...] = (
    Quantity("E_tot/E_inc", "visible over incident energy", "", lambda o: o.visible_fraction),
    Quantity(
        "shower start",
        "depth that holds 5 % of E_tot",
        "depth",
        lambda o: containment(o.layer_energies, depth_edges(o.detector.mesh), STARTED),
    ),
    Quantity("shower maximum", "largest dE/dz, by a parabola through three layers", "depth", _maximum),
    Quantity("longitudinal mean", "sum z_l E_l/E_tot", "depth", lambda o: o.longitudinal_mean),
    Quantity(
        "longitudinal width", "standard deviation of z weighted by energy", "depth", lambda o: o.longitudinal_width
    ),
    Quantity("gamma shape", "(longitudinal mean/width)^2, a of a gamma distribution", "", _gamma(0)),
    Quantity("gamma scale", "longitudinal width^2/mean, 1/b of a gamma distribution", "depth", _gamma(1)),
    Quantity(
        "depth of 90 %",
        "depth that holds 90 % of E_tot",
        "depth",
        lambda o: containment(o.layer_energies, depth_edges(o.detector.mesh)),
    ),
    Quantity("lateral mean", "sum r_v E_v/E_tot", "mm", lambda o: o.lateral_mean.astype(np.float64)),
    Quantity(
        "lateral width",
        "standard deviation of r weighted by energy",
        "mm",
        lambda o: o.lateral_width.astype(np.float64),
    ),
    Quantity(
        "radius of 90 %",
        "radius that holds 90 % of E_tot",
        "mm",
        lambda o: containment(o.ring_energies, ring_edges(o.detector.mesh)),
    ),
    Quantity("axis offset", "distance of the centre of energy from the axis", "mm", _axis_offset),
    Quantity("hits", "voxels at or above threshold", "", lambda o: o.hit_multiplicity.astype(np.float64)),
    Quantity("largest voxel", "largest voxel energy/E_tot", "", lambda o: _share_of_total(o.largest_voxels, o)),
)
"""The quantities that are compared, each with one value per shower."""


def quantity(name: str) -> Quantity:
    """The quantity of ``QUANTITIES`` with a given name.

    Example:
        >>> quantity("hits").definition
        'voxels at or above threshold'
    """
    return next(each for each in QUANTITIES if each.name == name)


def quantity_histograms(
    name: str, reference: Observables, generated: Observables, bins: int = 50
) -> tuple[hist.Hist[Any], hist.Hist[Any]]:
    """Histograms of a quantity in two samples, over the central 99.8 % of the reference extended by a tenth.

    Args:
        name: name of one of ``QUANTITIES``.
        reference, generated: observables of (N,) and (M,) showers.
        bins: number of bins, of equal width.

    Example:
        >>> from fastv.evaluation.observables.observe import observe
        >>> from fastv.sample import sample_path
        >>> from fastv.showers import ShowersFile
        >>> with ShowersFile(sample_path("test")) as file:
        ...     sample = observe(file[:50])
        >>> one, other = quantity_histograms("hits", sample, sample)
        >>> one == other
        True
    """
    of = quantity(name).of
    values = of(reference)
    edges = padded_edges(values, bins)
    return histogram(values, edges), histogram(of(generated), edges)

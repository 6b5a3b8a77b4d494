"""Two-shower separation: are two overlapping showers distinguished from one as well as in full simulation?

The two photons of a high-energy neutral pion produce overlapping showers. Whether they are distinguished from a single
shower depends on the lateral shape of each one; a generator that blurs it spoils the separation even if its averages
are right. Here single showers and pairs are made from each sample and separated by the same discriminant.

Approximations, the same for both samples: showers are summed over the layers; energy is uniform within a cell; cells
are mapped onto square pixels as wide as a cell in r, with each shower of a pair shifted by half of the distance; the
readout threshold is that of the single showers; the two showers of a pair have about equal energies.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastv.detector.mesh import ReadoutMesh
from fastv.evaluation.observables.observe import Observables
from fastv.evaluation.statistics.auc import area_under_curve
from fastv.evaluation.statistics.comparison import Comparison, Difference, compare, difference, skipped
from fastv.evaluation.statistics.measured import Measured

F64 = NDArray[np.float64]

FAKE_RATE = 0.1
"""Fraction of the reference's single showers that the cut accepts as pairs."""
_CELLS_APART = (0.25, 0.5, 1.0, 2.0)
_MOST_SHOWERS = 9000
_LEAST_PAIRS = 100
_POINTS = 8
_LARGEST_STEP = 0.15


def resampling(mesh: ReadoutMesh, pixels: F64, shift: float) -> F64:
    """Weights (cells, P^2) that map the cells of a layer, shifted by ``shift`` mm in x, onto P x P square pixels.

    Each cell is represented by 64 points of equal area, each assigned to the pixel that contains it. Energy outside the
    pixels is lost.

    Args:
        mesh: a regular mesh.
        pixels: increasing edges of the pixels in x and in y (P + 1,), mm.
        shift: displacement in x, mm.

    Example:
        >>> mesh = ReadoutMesh.cylinder(layers=1, alpha_cells=4, r_cells=2, layer_thickness=1, r_size=1)
        >>> weights = resampling(mesh, np.linspace(-3, 3, 7), 0.5)
        >>> weights.shape, bool(np.allclose(weights.sum(axis=1), 1))
        ((8, 36), True)
    """
    _, n_alpha, n_r = mesh.shape
    edges = np.asarray(mesh.blocks[0].r_edges)
    inside = (np.arange(_POINTS) + 0.5) / _POINTS
    # Equal steps in r^2 give equal areas.
    r = np.sqrt(edges[:-1, None] ** 2 + inside * np.diff(edges**2)[:, None])  # (r, points)
    alpha = -np.pi + 2 * np.pi / n_alpha * (np.arange(n_alpha)[:, None] + inside)  # (alpha, points)
    x = (r[None, :, :, None] * np.cos(alpha)[:, None, None, :] + shift).reshape(n_alpha * n_r, -1)
    y = (r[None, :, :, None] * np.sin(alpha)[:, None, None, :]).reshape(n_alpha * n_r, -1)
    column, row = (np.searchsorted(pixels, values, side="right") - 1 for values in (x, y))
    n = len(pixels) - 1
    within = (column >= 0) & (column < n) & (row >= 0) & (row < n)
    cell = np.broadcast_to(np.arange(n_alpha * n_r)[:, None], x.shape)
    weights = np.zeros((n_alpha * n_r, n * n))
    np.add.at(weights, (cell[within], (row * n + column)[within]), 1 / x.shape[1])
    return weights


def lateral_features(images: NDArray[np.floating], pixels: F64) -> F64:
    """Features (n, 4) in which one and two showers differ.

    Logarithms of the larger and of the smaller eigenvalue of the tensor of second moments about the centre of energy in
    mm^2, the squared widths along the principal axes; the fraction of the energy in the hottest 3 x 3 pixels; and the
    logarithm of the total energy in MeV, on which all of these depend.

    Args:
        images: pixel energies (n, P^2), row by row, MeV; none without energy.
        pixels: edges of the pixels (P + 1,), mm.

    Example:
        >>> image = np.zeros((1, 5, 5))
        >>> image[0, 2, 1] = image[0, 2, 3] = 1.0  # two points, 2 mm apart in x
        >>> lateral_features(image.reshape(1, -1), np.arange(6.0)).round(3)
        array([[ 0.08 , -2.485,  1.   ,  0.693]])
    """
    centres = (pixels[1:] + pixels[:-1]) / 2
    n = len(centres)
    grid = np.asarray(images, dtype=np.float64).reshape(-1, n, n)
    total = grid.sum(axis=(1, 2))
    along_x, along_y = grid.sum(axis=1) / total[:, None], grid.sum(axis=2) / total[:, None]
    x, y = along_x @ centres, along_y @ centres
    # The variance p^2/12 of a pixel of width p keeps the logarithms finite.
    own = float(np.mean(np.diff(pixels))) ** 2 / 12
    xx, yy = along_x @ centres**2 - x**2 + own, along_y @ centres**2 - y**2 + own
    xy = np.einsum("nij,i,j->n", grid, centres, centres, optimize=True) / total - x * y
    half, root = (xx + yy) / 2, np.sqrt(((xx - yy) / 2) ** 2 + xy**2)
    below = np.pad(grid.cumsum(axis=1).cumsum(axis=2), ((0, 0), (1, 0), (1, 0)))
    core = (below[:, 3:, 3:] - below[:, :-3, 3:] - below[:, 3:, :-3] + below[:, :-3, :-3]).max(axis=(1, 2)) / total
    return np.stack([np.log(half + root), np.log(np.maximum(half - root, 0.5 * own)), core, np.log(total)], axis=1)


@dataclass(frozen=True)
class Overlays:
    """Rows of single showers and of showers to overlay in pairs; entry i of each has about the same energy.

    Attributes:
        single: rows of the single showers (k,).
        first, second: rows of the two showers of each pair (k,).
    """

    single: NDArray[np.int64]
    first: NDArray[np.int64]
    second: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.single)


def choose_overlays(incident_energies: F64, seed: int = 0) -> Overlays:
    """Choose pairs and single showers of about the same energy; no shower is used twice.

    Of every three showers adjacent in energy, a random one stays single and the other two form a pair. Each pair is
    then matched to a single shower within 15 % of its total energy; unmatched ones are left out. The choice depends
    only on the energies and the seed, so it is the same for samples with the same energies.

    Args:
        incident_energies: (N,) MeV.
        seed: seed of the random choices.

    Example:
        >>> chosen = choose_overlays(np.geomspace(1e3, 1e6, 3000))
        >>> used = np.concatenate([chosen.single, chosen.first, chosen.second])
        >>> len(chosen) > 850, len(np.unique(used)) == len(used)
        (True, True)
    """
    rng = np.random.default_rng(seed)
    order = np.sort(rng.permutation(len(incident_energies))[:_MOST_SHOWERS])
    order = order[np.argsort(incident_energies[order], kind="stable")]
    threes = rng.permuted(order[: len(order) // 3 * 3].reshape(-1, 3), axis=1)
    single, first, second = threes.T
    together = np.log(incident_energies[first] + incident_energies[second])
    alone = np.log(incident_energies[single])
    matched: list[tuple[int, int]] = []
    # In random order, so that neither the larger nor the smaller energy is preferred.
    for pair in rng.permutation(len(together)):
        nearest = int(np.argmin(np.abs(alone - together[pair])))
        if abs(alone[nearest] - together[pair]) < _LARGEST_STEP:
            matched.append((nearest, int(pair)))
            alone[nearest] = np.inf  # taken
    matched.sort(key=lambda both: together[both[1]])
    chosen = np.array(matched, dtype=np.int64).reshape(-1, 2)
    return Overlays(single[chosen[:, 0]], first[chosen[:, 1]], second[chosen[:, 1]])


def two_showers(reference: Observables, generated: Observables, seed: int = 0) -> Comparison:
    """Separation of two showers from one at distances of a quarter to two cells in r, absolute differences.

    A linear discriminant of :func:`lateral_features` is trained on the reference alone and applied to both samples, as
    an analysis tuned on full simulation would be. It is trained on each half of the reference in turn and applied to
    the other half, and to the corresponding half of the generated sample. Compared are the area under the ROC curve and
    the fractions of pairs and of single showers above the cut that accepts 10 % of the single showers of the training
    half as pairs. The module's docstring lists the approximations.

    Args:
        reference, generated: observables of (N,) and (M,) showers on a regular mesh.
        seed: seed for the choice of showers, see :func:`choose_overlays`.
    """
    name, title = "two showers", "Separation of two showers"
    definition = "two overlaid showers against one of the same energy by a linear discriminant trained on the reference"
    mesh = reference.detector.mesh
    if reference.lateral_map is None or generated.lateral_map is None or mesh.blocks[0].alpha_cells < 4:
        reason = "all layers must have the same segmentation, with at least 4 cells in alpha"
        return skipped(name, title, definition, reason)
    samples = [
        (each.reshape(len(each), -1), choose_overlays(energies, seed))
        for each, energies in (
            (reference.lateral_map, reference.incident_energies),
            (generated.lateral_map, generated.incident_energies),
        )
    ]
    numbers = [len(chosen) for _, chosen in samples]
    if min(numbers) < _LEAST_PAIRS:
        reason = f"{numbers[0]} and {numbers[1]} pairs matched to a single shower, {_LEAST_PAIRS} of each are needed"
        return skipped(name, title, definition, reason)
    cell = float(np.diff(mesh.blocks[0].r_edges).min())
    reach = math.ceil((mesh.blocks[0].r_edges[-1] + max(_CELLS_APART) * cell / 2) / cell)
    pixels: F64 = np.arange(-reach, reach + 1, dtype=np.float64) * cell
    centred = resampling(mesh, pixels, 0.0)
    alone = [_features(maps[chosen.single] @ centred, pixels) for maps, chosen in samples]
    found: list[Difference] = []
    for cells in _CELLS_APART:
        distance = cells * cell
        left, right = (resampling(mesh, pixels, sign * distance / 2) for sign in (-1, 1))
        pairs = [_features(maps[chosen.first] @ left + maps[chosen.second] @ right, pixels) for maps, chosen in samples]
        found += _separation(f"{distance:.3g} mm apart", distance, pairs, alone)
    notes = [f"{numbers[0]} and {numbers[1]} pairs, as many single showers"]
    return compare(name, title, definition, found, axis="distance [mm]", notes=notes)


def _features(images: F64, pixels: F64) -> F64:
    # A shower without energy gets the shape of a uniform image.
    return lateral_features(np.where(images.sum(axis=1, keepdims=True) > 0, images, 1e-30), pixels)


def _separation(where: str, distance: float, two: list[F64], one: list[F64]) -> list[Difference]:
    """Compare both samples at one distance; the first is the reference."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    scores: list[tuple[list[F64], list[F64]]] = [([], []), ([], [])]
    above = np.zeros((2, 2))  # (sample, pairs or single showers)
    for fold in (0, 1):
        training = [features[fold::2] for features in (two[0], one[0])]
        labels = np.repeat([1, 0], [len(part) for part in training])
        discriminant = LinearDiscriminantAnalysis().fit(np.concatenate(training), labels)
        cut = np.quantile(discriminant.decision_function(training[1]), 1 - FAKE_RATE)
        for sample in (0, 1):
            for kind, features in enumerate((two[sample], one[sample])):
                score = discriminant.decision_function(features[1 - fold :: 2])
                scores[sample][kind].append(score)
                above[sample, kind] += (score > cut).sum()
    areas = [area_under_curve(np.concatenate(pairs), np.concatenate(single)) for pairs, single in scores]
    found = [difference(f"{where}, area under the ROC curve", *areas, low=distance, high=distance)]
    for kind, label in ((0, "pairs taken for two"), (1, "single showers taken for two")):
        sizes = [sum(len(score) for score in scores[sample][kind]) for sample in (0, 1)]
        rates = [above[sample, kind] / sizes[sample] for sample in (0, 1)]
        # With the pooled rate, a sample with a rate of 0 has an error too.
        rate = above[:, kind].sum() / sum(sizes)
        errors = [math.sqrt(rate * (1 - rate) / size) for size in sizes]
        parts = [Measured(value=float(r), error=e) for r, e in zip(rates, errors, strict=True)]
        found.append(difference(f"{where}, {label}", *parts, low=distance, high=distance))
    return found

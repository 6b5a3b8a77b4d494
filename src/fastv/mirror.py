"""Showers beyond normal incidence on a barrel, as mirror images of those that a model knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastv.conditions.table import NORMAL_INCIDENCE
from fastv.detector.mesh import ReadoutMesh
from fastv.domain import Domain

F32 = NDArray[np.float32]

BEYOND = np.pi / 2 * (1 + 1e-6)
"""Polar angle above which a shower is an image: single precision has 90 deg a little above it."""


@dataclass(frozen=True, eq=False)
class Mirror:
    r"""The reflection z -> -z of a barrel, which its layers do not notice.

    A particle at the polar angle theta becomes one at pi - theta. In the frame of the shower, which is turned by
    R_z(phi) R_y(theta), the reflection is x -> -x, in the angle around the axis alpha -> pi - alpha. So the energy of a
    voxel at alpha of a shower beyond 90 deg is that of the voxel at pi - alpha of one before. That doubles the range of
    domains that end at normal incidence. For other models nothing is reflected.

    Attributes:
        domain: the domain of a model with the mirror images of its showers.
        column: that of theta among the conditions; None if nothing is reflected.
        cells: the voxel (V,) whose energy each voxel of a mirror image has.

    Example:
        >>> from fastv.detector.detector import Detector
        >>> known = Domain(energy=(1e3, 1e6), theta=(np.pi / 4, np.pi / 2), detectors=("par04-siw",))
        >>> mirror = Mirror.of(known, ("energy", "theta"), Detector.preset("par04-siw").mesh)
        >>> mirror.domain.theta[1] / np.pi
        0.75
        >>> mirror.folded(np.array([[5e3, 1.0], [5e3, np.pi - 1.0]], np.float32))[:, 1].round(5).tolist()
        [1.0, 1.0]
    """

    domain: Domain
    column: int | None
    cells: NDArray[np.int64]

    @classmethod
    def of(cls, domain: Domain, names: Sequence[str], mesh: ReadoutMesh) -> Mirror:
        """The reflection of the showers of a model.

        Nothing is reflected if theta is no condition of the model, or its domain does not reach normal incidence, has
        nothing else, or is that of planes; or if a layer has an odd number of cells in alpha: the reflected ones are no
        cells of the mesh.

        Args:
            domain: of the model.
            names: the conditions that it takes.
            mesh: of its showers.
        """
        theta, none = domain.theta, cls(domain, None, np.arange(0))
        if "theta" not in names or theta is None or domain.right_angle != np.pi / 2 or not domain.inclined:
            return none
        if abs(theta[1] - np.pi / 2) > NORMAL_INCIDENCE or any(
            b.alpha_cells > 1 and b.alpha_cells % 2 for b in mesh.blocks
        ):
            return none
        cells = []
        for voxels, (layers, alpha, r) in mesh.grids:
            turned = (alpha // 2 - 1 - np.arange(alpha)) % alpha
            cells.append(np.arange(voxels.start, voxels.stop).reshape(layers, alpha, r)[:, turned].reshape(-1))
        wider = domain.model_copy(update={"theta": (theta[0], np.pi - theta[0])})
        return cls(wider, list(names).index("theta"), np.concatenate(cells))

    def _beyond(self, conditions: F32) -> NDArray[np.bool_]:
        """Which showers (N,) are mirror images."""
        if self.column is None:
            return np.zeros(len(conditions), dtype=bool)
        beyond: NDArray[np.bool_] = conditions[:, self.column] > BEYOND
        return beyond

    def folded(self, conditions: F32) -> F32:
        """Conditions (N, C) of the showers of which those at ``conditions`` are the images, or the same."""
        beyond = self._beyond(conditions)
        if self.column is None or not beyond.any():
            return conditions
        folded = conditions.copy()
        folded[beyond, self.column] = np.pi - conditions[beyond, self.column].astype(np.float64)
        return folded

    def image(self, energies: F32, conditions: F32) -> F32:
        """Energies (N, V) of showers at ``conditions`` (N, C), of those at the folded ones; and the other way round."""
        beyond = self._beyond(conditions)
        if not beyond.any():
            return energies
        reflected = energies.copy()
        reflected[beyond] = energies[np.ix_(beyond, self.cells)]
        return reflected

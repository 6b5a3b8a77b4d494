"""Showers beyond normal incidence on a barrel, as mirror images of those that a model knows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastv.conditions.table import NORMAL_INCIDENCE
from fastv.detector.mesh import ReadoutMesh
from fastv.domain import Domain


@dataclass(frozen=True, eq=False)
class Mirror:
    r"""The reflection z -> -z of a barrel, which its layers do not notice.

    A particle at the polar angle theta becomes one at pi - theta. In the frame of the shower, which is turned by
    R_z(phi) R_y(theta), the reflection is x -> -x, in the angle around the axis alpha -> pi - alpha. So the energy of a
    voxel at alpha of a shower beyond 90 deg is that of the voxel at pi - alpha of one before. That doubles the range of
    domains that end at normal incidence.

    Attributes:
        domain: the domain of a model with the mirror images of its showers.
        cells: the voxel (V,) whose energy each voxel of a mirror image has.

    Example:
        >>> from fastv.detector.detector import Detector
        >>> known = Domain(energy=(1e3, 1e6), theta=(np.pi / 4, np.pi / 2), detectors=("par04-siw",))
        >>> mirror = Mirror.of(known, Detector.preset("par04-siw").mesh)
        >>> mirror.domain.theta[1] / np.pi, mirror.folded(np.array([1.0, np.pi - 1.0])).round(6).tolist()
        (0.75, [1.0, 1.0])
    """

    domain: Domain
    cells: NDArray[np.int64]

    @classmethod
    def of(cls, domain: Domain, mesh: ReadoutMesh) -> Mirror | None:
        """The reflection of the showers of a model; None if it has none.

        That is so if its showers are at normal incidence alone, do not reach it, or enter planes; if a layer has an odd
        number of cells in alpha, the reflected ones are no cells of the mesh.

        Args:
            domain: of the model.
            mesh: of its showers.
        """
        theta, right = domain.theta, domain.right_angle
        if theta is None or right != np.pi / 2 or not domain.inclined:
            return None
        if abs(theta[1] - right) > NORMAL_INCIDENCE or theta[0] <= 0:
            return None
        places: list[NDArray[np.int64]] = []
        for voxels, (layers, alpha, r) in mesh.grids:
            if alpha > 1 and alpha % 2:
                return None
            turned = (alpha // 2 - 1 - np.arange(alpha)) % alpha
            here = np.arange(voxels.start, voxels.stop).reshape(layers, alpha, r)
            places.append(here[:, turned].reshape(-1))
        wider = domain.model_copy(update={"theta": (theta[0], np.pi - theta[0])})
        return cls(wider, np.concatenate(places))

    def beyond(self, theta: NDArray[Any]) -> NDArray[np.bool_]:
        """Which showers (N,) are mirror images."""
        # Single precision has 90 deg a little above it.
        found: NDArray[np.bool_] = theta > np.pi / 2 * (1 + 1e-6)
        return found

    def folded(self, theta: NDArray[Any]) -> NDArray[Any]:
        """The angle (N,) in rad of the showers of which those at ``theta`` are the images, or the same."""
        folded: NDArray[Any] = np.where(self.beyond(theta), np.pi - theta, theta)
        return folded

    def image(self, energies: NDArray[np.float32], theta: NDArray[Any]) -> NDArray[np.float32]:
        """Energies (N, V) of showers at ``theta`` (N,), of those at the folded angles; changed in place."""
        beyond = self.beyond(theta)
        if beyond.any():
            energies[beyond] = energies[np.ix_(beyond, self.cells)]
        return energies

"""Augmentation of training data with the symmetries of showers at normal incidence."""

from __future__ import annotations

import torch
from torch import Tensor

from fastv.detector.mesh import ReadoutMesh
from fastv.errors import SettingsError


class AlphaSymmetry:
    """Rotate showers by whole alpha cells and reflect them, at random for each shower.

    Radius and depth of every energy stay the same, so layer energies and radial profiles are unchanged.

    Shapes: (N, V) -> (N, V), MeV.

    Args:
        mesh: the readout mesh.
        rotate: rotate each shower by a random number of alpha cells.
        mirror: reflect half of the showers, alpha -> -alpha.

    Raises:
        SettingsError: the layers of the mesh have different segmentations.

    Example:
        >>> mesh = ReadoutMesh.cylinder(layers=2, alpha_cells=4, r_cells=1, layer_thickness=1.0, r_size=1.0)
        >>> turn = AlphaSymmetry(mesh, rotate=True, mirror=False)
        >>> sorted(turn(torch.arange(8.0)[None])[0, :4].tolist())
        [0.0, 1.0, 2.0, 3.0]
    """

    def __init__(self, mesh: ReadoutMesh, *, rotate: bool, mirror: bool) -> None:
        if (rotate or mirror) and not mesh.is_regular:
            msg = "rotate and mirror need a mesh whose layers all have the same alpha cells; switch them off"
            raise SettingsError(msg)
        self.mesh = mesh
        self.rotate = rotate
        self.mirror = mirror

    def __call__(self, energies: Tensor) -> Tensor:
        if not (self.rotate or self.mirror):
            return energies
        _, cells, _ = self.mesh.shape
        n = len(energies)
        alpha = torch.arange(cells).expand(n, cells)
        if self.mirror:
            # Cell i covers -pi + [i, i + 1) cell widths; alpha -> -alpha maps it to cell (cells - 1 - i).
            alpha = torch.where(torch.rand(n, 1) < 0.5, cells - 1 - alpha, alpha)
        if self.rotate:
            alpha = (alpha + torch.randint(cells, (n, 1))) % cells
        grid = energies.view(n, *self.mesh.shape)
        # Index arrays on both sides of a slice put their axes first: (n, cells, layers, r).
        turned = grid[torch.arange(n)[:, None], :, alpha.to(energies.device)]
        return turned.transpose(1, 2).reshape(n, -1)

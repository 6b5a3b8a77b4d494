"""Augmentation of training data with the symmetries of showers at normal incidence."""

from __future__ import annotations

import torch
from torch import Tensor

from fastv.detector.mesh import ReadoutMesh


class AlphaSymmetry:
    """Rotate showers by whole alpha cells and reflect them, at random for each shower.

    Radius and depth of every energy stay the same, so layer energies and radial profiles are unchanged. If layers
    differ in their cells, showers are rotated by the angles at which the cells of all layers fall on cells, of which
    there may be one only.

    Shapes: (N, V) -> (N, V), MeV.

    Args:
        mesh: the readout mesh.
        rotate: rotate each shower by a random number of alpha cells.
        mirror: reflect half of the showers, alpha -> -alpha.

    Example:
        >>> mesh = ReadoutMesh.cylinder(layers=2, alpha_cells=4, r_cells=1, layer_thickness=1.0, r_size=1.0)
        >>> turn = AlphaSymmetry(mesh, rotate=True, mirror=False)
        >>> sorted(turn(torch.arange(8.0)[None])[0, :4].tolist())
        [0.0, 1.0, 2.0, 3.0]
    """

    def __init__(self, mesh: ReadoutMesh, *, rotate: bool, mirror: bool) -> None:
        self.mesh = mesh
        self.rotate = rotate
        self.mirror = mirror

    def __call__(self, energies: Tensor) -> Tensor:
        if not (self.rotate or self.mirror):
            return energies
        n, turns = len(energies), self.mesh.turns
        mirrored = torch.rand(n, 1) < 0.5 if self.mirror else None
        turn = torch.randint(turns, (n, 1)) if self.rotate else None
        parts = []
        for voxels, shape in self.mesh.grids:
            cells = shape[1]
            alpha = torch.arange(cells).expand(n, cells)
            if mirrored is not None:
                # Cell i covers -pi + [i, i + 1) cell widths; alpha -> -alpha maps it to cell (cells - 1 - i).
                alpha = torch.where(mirrored, cells - 1 - alpha, alpha)
            if turn is not None:
                alpha = (alpha + turn * (cells // turns)) % cells
            grid = energies[:, voxels].view(n, *shape)
            # Index arrays on both sides of a slice put their axes first: (n, cells, layers, r).
            turned = grid[torch.arange(n)[:, None], :, alpha.to(energies.device)]
            parts.append(turned.transpose(1, 2).reshape(n, -1))
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

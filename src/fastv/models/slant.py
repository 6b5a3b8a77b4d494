"""How the front of a calorimeter cuts through the mesh of an inclined shower."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fastv.detector.mesh import ReadoutMesh
from fastv.models.condition_scaler import ConditionScaler


class Slant(nn.Module):
    r"""What part of each ring lies in front of the calorimeter, as a number from 0 to 1.

    The mesh of a shower is perpendicular to the particle, the front of the calorimeter is not. At an angle delta to
    normal incidence the ring of radius r, at the depth d, reaches out by r tan(delta) on the side that meets the front
    last, and if that is more than d, there is no material. So the first layers of a shower have energy on one side
    only, the more so the further out. The number is

        s = r tan(delta) / (d + r tan(delta)) ,

    0 at normal incidence and, at any angle, deep in the calorimeter.

    Shapes: conditions as the scaler gives them, (N, C) -> (N, R, L).

    Args:
        scaler: of the conditions; theta is one of them.
        mesh: whose rings and layers are of one size each.

    Example:
        >>> from fastv.detector.detector import Detector
        >>> from fastv.domain import Domain
        >>> domain = Domain(energy=(1e3, 1e5), theta=(0.8, torch.pi / 2), detectors=("par04-siw",))
        >>> scaler = ConditionScaler(("energy", "theta"), domain)
        >>> slant = Slant(scaler, Detector.preset("par04-siw").mesh)
        >>> at = slant(scaler(torch.tensor([[1e4, torch.pi / 2], [1e4, 0.8]])))
        >>> tuple(at.shape), round(at[0].max().item(), 6), round(at[1, -1, 0].item(), 2), round(at[1, 0, -1].item(), 2)
        ((2, 9, 45), 0.0, 0.96, 0.01)
    """

    ratio: Tensor

    def __init__(self, scaler: ConditionScaler, mesh: ReadoutMesh) -> None:
        super().__init__()
        self.column = scaler.columns["theta"]
        low, high = scaler.domain.bounds("theta") or (0.0, 0.0)
        self.middle, self.half_width = (low + high) / 2, (high - low) / 2
        self.right = torch.pi / 2 if scaler.domain.right_angle is None else scaler.domain.right_angle
        edges = torch.tensor(mesh.blocks[0].r_edges)
        radii = (edges[1:] + edges[:-1]) / 2
        # A mesh that does not give its thickness has another scale of s, which a network takes as well.
        thickness = mesh.blocks[0].thickness or 1.0
        depths = thickness * (torch.arange(mesh.blocks[0].layers) + 0.5)
        self.register_buffer("ratio", radii[:, None] / depths, persistent=False)

    def forward(self, scaled: Tensor) -> Tensor:
        """Parts (N, R, L) of rings, from scaled conditions."""
        theta = scaled[:, self.column, None, None] * self.half_width + self.middle
        reach = torch.tan(torch.abs(theta - self.right)) * self.ratio
        return reach / (1 + reach)

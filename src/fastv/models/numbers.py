"""Showers as standard normal numbers: what families have in common that model all of them at once."""

from __future__ import annotations

import torch
from torch import Tensor

from fastv.detector.detector import Detector
from fastv.models.codings.layers import LayerCoding
from fastv.models.codings.response import ResponseCoding
from fastv.models.codings.voxels import VoxelCoding
from fastv.models.contract import Batch, ConditionScaler, Domain, Generator, GeneratorSettings


class NumbersGenerator(Generator):
    """A generator of the numbers of a shower, from which its voxels follow.

    The numbers are the codes of response and layers, :class:`~fastv.models.codings.layers.LayerCoding`, and of the
    voxels, :class:`~fastv.models.codings.voxels.VoxelCoding`. Each is standard normal over the training showers,
    whether its voxel is mostly empty or not, and what a model leaves out of them can be drawn as noise.

    Shapes: numbers (N, 1 + L + V).

    Args:
        settings: of the family.
        detector, domain: as for every family.
    """

    def __init__(self, settings: GeneratorSettings, detector: Detector, domain: Domain) -> None:
        super().__init__(settings, detector, domain)
        self.scaler = ConditionScaler(settings.conditions, domain)
        self.layer_coding = LayerCoding(detector)
        self.voxel_coding = VoxelCoding(detector)
        self.grid = self.voxel_coding.grid
        self.layers = detector.mesh.n_layers
        self.numbers = 1 + self.layers + detector.mesh.n_voxels

    @property
    def response_coding(self) -> ResponseCoding:
        """The coding of the response."""
        return self.layer_coding.response

    @torch.no_grad()
    def fit(self, batch: Batch) -> None:
        """Fit the codings."""
        grid = self.grid(batch.energies)
        self.layer_coding.fit(grid.sum((2, 3)), batch.conditions[:, :1])
        self.voxel_coding.fit(grid)

    def _codes(self, batch: Batch, *, middle: bool) -> tuple[Tensor, Tensor]:
        """Codes (N, 1 + L) of response and layers, and (N, L, alpha, r) of voxels; those of empty layers and voxels are
        random, or with ``middle`` the median of what they could be."""
        grid = self.grid(batch.energies)
        layers = grid.sum((2, 3))
        of_layers = torch.full_like(layers, 0.5) if middle else None
        codes = self.layer_coding.encode(layers, batch.conditions[:, :1], uniform=of_layers)
        return codes, self.voxel_coding.encode(grid, uniform=0.5 if middle else None)

    def _numbers(self, batch: Batch, *, middle: bool = False) -> Tensor:
        """The numbers (N, 1 + L + V) of showers; ``middle`` makes them a function of the shower."""
        codes, voxels = self._codes(batch, middle=middle)
        return torch.cat([codes, self.grid.flat(voxels)], dim=1)

    def _showers(self, numbers: Tensor, conditions: Tensor) -> Tensor:
        """Voxel energies (N, V) in MeV of numbers (N, 1 + L + V)."""
        layers = self.layer_coding.decode(numbers[:, : 1 + self.layers], conditions[:, :1])
        return self.voxel_coding.decode(self.grid(numbers[:, 1 + self.layers :]), layers)

"""Invertible coding of showers as standardised continuous numbers, in which the linear baseline models them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fastv.detector.detector import Detector
from fastv.models.codings.preprocessing import EnergyScore, LayerScale, QuantileMap, above_threshold, zero_suppressed
from fastv.models.codings.response import ResponseCoding
from fastv.models.layer_grid import LayerGrid


class ShowerCoding(nn.Module):
    r"""Code a shower as normal scores of its response and layer energies, and the standardised scores of its voxels.

    * response: t = E_tot / E_inc, by :class:`~fastv.models.codings.response.ResponseCoding`.
    * layers: log E_l, by :class:`~fastv.models.codings.preprocessing.LayerScale` and then
      :class:`~fastv.models.codings.preprocessing.QuantileMap`. An empty layer is assigned the energy
      E_0 exp(-\|n\|) below the readout threshold E_0.
    * voxels: scores s of :class:`~fastv.models.codings.preprocessing.EnergyScore`. An empty voxel is assigned the score
      s_0 - ``gap`` \|n\| below that of the threshold, s_0. The mean of each layer and ring is then subtracted, and the
      result divided by the standard deviation.

    Each n is standard normal. Empty voxels thus have values in a continuous space: one density describes occupancy and
    energy, and values decoded below the threshold become empty. Decoding scales the layers to t E_inc and the voxels to
    their layer, so that energies add up; ``decode(encode(x))`` equals x to float32 rounding.

    Shapes: voxel energies (N, V) MeV, incident energies (N, 1) MeV, u (N, 1) the scaled log of the incident energy;
    codes: layers (N, 1 + L), voxels (N, L, alpha, r). Layers may differ in their cells: places without voxel
    (:class:`~fastv.models.layer_grid.LayerGrid`) have code 0.

    Args:
        detector: gives the mesh and the readout threshold.
        gap: scale of the scores of empty voxels below the threshold.

    Source: layer energies first, voxels relative to them, and empty voxels as noise below the threshold: Krause and
    Shih, arXiv 2106.05285, section III.

    Example:
        >>> from fastv import ShowersFile, sample_path
        >>> with ShowersFile(sample_path("train")) as file:
        ...     showers = file[:100]
        >>> energies = torch.from_numpy(showers.energies)
        >>> incident = torch.from_numpy(showers.incident_energies)[:, None].float()
        >>> u = torch.log(incident / 31623) / 3.454
        >>> coding = ShowerCoding(showers.detector)
        >>> coding.fit(energies, incident, u)
        >>> layers, voxels = coding.encode(energies, incident, u)
        >>> tuple(layers.shape), tuple(voxels.shape)
        ((100, 46), (100, 45, 16, 9))
        >>> bool(torch.allclose(coding.decode(layers, voxels, incident, u), energies, rtol=1e-3, atol=1e-4))
        True
    """

    location: Tensor
    width: Tensor
    floor: Tensor

    def __init__(self, detector: Detector, gap: float = 0.5) -> None:
        super().__init__()
        self.grid = LayerGrid.of(detector.mesh)
        self.shape = self.grid.shape
        # A detector without a threshold gets one that is far below any energy of interest.
        self.threshold = detector.threshold or 1e-6
        self.gap = gap
        self.response = ResponseCoding()
        self.layers = LayerScale(self.shape[0])
        self.score = EnergyScore()
        self.quantiles = QuantileMap(self.shape[0])
        self.register_buffer("location", torch.zeros(self.shape[0], 1, self.shape[2]))
        self.register_buffer("width", torch.ones(self.shape[0], 1, self.shape[2]))
        self.register_buffer("floor", torch.zeros(()))

    @property
    def n_layers(self) -> int:
        """Number of layers L."""
        return self.shape[0]

    @torch.no_grad()
    def fit(self, energies: Tensor, incident: Tensor, u: Tensor) -> None:
        """Fit all scales to training showers; arguments as in :meth:`encode`."""
        grid = self.grid(energies)
        layers = grid.sum((2, 3))
        self.response.fit(layers.sum(1, keepdim=True) / incident, incident)
        self.layers.fit(layers, incident, u)
        self.score.fit(energies[energies > 0])
        self.floor.copy_(self.score(torch.tensor(self.threshold)))
        generator = torch.Generator().manual_seed(0)
        self.quantiles.fit(self._profile(layers, incident, u, torch.randn(layers.shape, generator=generator)))
        scores = self._scores(grid, torch.randn(grid.shape, generator=generator))
        for layer, (of_layer, inside) in enumerate(zip(scores.unbind(1), self.grid.inside, strict=True)):
            # A layer has its cells at the beginning of both axes.
            alpha, rings = int(inside[:, 0].sum()), int(inside[0].sum())
            values = of_layer[:, :alpha, :rings]
            self.location[layer, 0, :rings] = values.mean((0, 1))
            self.width[layer, 0, :rings] = values.std((0, 1)).clamp(min=0.1)

    def _scores(self, grid: Tensor, normal: Tensor) -> Tensor:
        filled = grid > 0
        return torch.where(
            filled, self.score(torch.where(filled, grid, 1.0)), self.floor - 1e-4 - self.gap * normal.abs()
        )

    def encode(self, energies: Tensor, incident: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """Codes of showers; empty layers and voxels get random ones, from PyTorch's generator.

        Args:
            energies: voxel energies (N, V), MeV.
            incident: incident energies (N, 1), MeV.
            u: scaled log of the incident energies (N, 1).

        Returns:
            Codes of the layers (N, 1 + L) and of the voxels (N, L, alpha, r).
        """
        grid = self.grid(energies)
        codes = self.encode_layers(grid.sum((2, 3)), incident, u)
        voxels = (self._scores(grid, torch.randn_like(grid)) - self.location) / self.width
        return codes, self.grid.masked(voxels)

    def encode_layers(self, layers: Tensor, incident: Tensor, u: Tensor) -> Tensor:
        """Codes (N, 1 + L) of layer energies (N, L) in MeV; other arguments as in :meth:`encode`."""
        response = self.response(layers.sum(1, keepdim=True) / incident, incident)
        return torch.cat(
            [response, self.quantiles(self._profile(layers, incident, u, torch.randn_like(layers)))], dim=1
        )

    def _profile(self, layers: Tensor, incident: Tensor, u: Tensor, normal: Tensor) -> Tensor:
        """Standardised layer energies (N, L)."""
        empty = self.threshold * torch.exp(-normal.abs() - 1e-4)
        profile: Tensor = self.layers(torch.where(layers > 0, layers, empty), incident, u)
        return profile

    def decode_layers(self, codes: Tensor, incident: Tensor, u: Tensor) -> Tensor:
        """Layer energies (N, L) in MeV that add up to t E_inc, from codes (N, 1 + L); at least one is not empty."""
        total = self.response.fraction(codes[:, :1], incident) * incident
        layers = self.layers.energy(self.quantiles.inverse(codes[:, 1:].clamp(-50.0, 50.0)), incident, u).clamp(max=1e9)
        # A margin, so that rounding does not take the only voxel of a faint shower.
        return zero_suppressed(layers, total.clamp(min=1.0001 * self.threshold), self.threshold)

    def decode_voxels(self, codes: Tensor, layers: Tensor) -> Tensor:
        """Voxel energies (N, V) in MeV from codes (N, L, alpha, r), scaled to layer energies (N, L)."""
        scores = codes * self.width + self.location
        if not self.grid.full:
            scores = torch.where(self.grid.inside > 0, scores, -torch.inf)
        flat = scores.flatten(2)
        # The voxel with the highest score is never empty, so that the layer energy can be assigned.
        filled = flat >= torch.minimum(flat.amax(2, keepdim=True), self.floor)
        energies = self.score.energy(flat.clamp(min=-6.0)) * filled.to(flat.dtype)
        energies = zero_suppressed(energies, layers[:, :, None], self.threshold)
        return above_threshold(self.grid.flat(energies, axes=2), self.threshold)

    def decode(self, layers: Tensor, voxels: Tensor, incident: Tensor, u: Tensor) -> Tensor:
        """Voxel energies (N, V) in MeV from the codes of layers and voxels."""
        return self.decode_voxels(voxels, self.decode_layers(layers, incident, u))

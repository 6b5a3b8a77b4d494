"""Invertible coding of the layer energies of a shower as normal scores at its incident energy."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fastv.detector.detector import Detector
from fastv.models.codings.preprocessing import zero_suppressed
from fastv.models.codings.response import ResponseCoding
from fastv.models.codings.voxels import VoxelCoding
from fastv.models.layer_grid import LayerGrid


class LayerCoding(nn.Module):
    r"""Code the L layer energies of a shower as 1 + L numbers: its response, and one score per layer.

    * response: t = E_tot / E_inc as the normal score among showers of the same incident energy, by
      :class:`~fastv.models.codings.response.ResponseCoding`.
    * layers: coded as if they were the voxels of one large layer, by :class:`~fastv.models.codings.voxels.VoxelCoding`,
      with the incident energy in place of the layer energy. A layer is empty if its code is below an edge that depends
      on the incident energy.

    Standard normal codes, whatever their correlations, therefore give each layer the right spectrum and occupancy at
    every incident energy.

    Decoding rescales the layers to add up to t E_inc. For the codes of a shower this changes nothing; for generated
    codes it makes layers and response consistent. A common factor on all layers therefore cancels, and encoding accepts
    any: with a random one, the layers do not determine the response, and the codes can have a density.
    ``decode(encode(x))`` equals x to rounding, except for showers with a layer energy far above those of training
    showers of the same incident energy, whose code is clipped.

    Shapes: layer energies (N, L) MeV, incident energies (N, 1) MeV; codes (N, 1 + L).

    Args:
        detector: gives the number of layers and the readout threshold.
        n_levels: number of levels in the tables of the incident energy.

    Example:
        >>> from fastv import ShowersFile, sample_path
        >>> with ShowersFile(sample_path("train")) as file:
        ...     showers = file[:600]
        >>> incident = torch.from_numpy(showers.incident_energies)[:, None].float()
        >>> layers = torch.from_numpy(showers.grid).sum((2, 3))
        >>> coding = LayerCoding(showers.detector)
        >>> coding.fit(layers, incident)
        >>> codes = coding.encode(layers, incident)
        >>> tuple(codes.shape)
        (600, 46)
        >>> same = torch.isclose(coding.decode(codes, incident), layers, rtol=1e-2, atol=1e-3)
        >>> bool(same.float().mean() > 0.99)
        True
    """

    def __init__(self, detector: Detector, n_levels: int = 33) -> None:
        super().__init__()
        self.response = ResponseCoding()
        self.shares = VoxelCoding(detector, n_levels, grid=LayerGrid([(1, detector.mesh.n_layers)]))

    @torch.no_grad()
    def fit(self, layers: Tensor, incident: Tensor, scaled: Tensor | None = None) -> None:
        """Fit to training showers.

        Args:
            layers: layer energies (N, L), MeV.
            incident: incident energies (N, 1), MeV.
            scaled: layer energies (N, L) times the factors that encoding will use; by default ``layers``.
        """
        self.response.fit(layers.sum(1, keepdim=True) / incident, incident)
        self.shares.fit((layers if scaled is None else scaled)[:, None, None], incident)

    def encode_response(self, fraction: Tensor, incident: Tensor) -> Tensor:
        """Codes (N, 1) of the responses t (N, 1) at incident energies (N, 1) in MeV."""
        code: Tensor = self.response(fraction, incident)
        return code

    def encode_layers(self, scaled: Tensor, incident: Tensor, uniform: Tensor | None = None) -> Tensor:
        """Codes (N, L) of layer energies (N, L) in MeV times any factor; for ``uniform`` see :meth:`encode`."""
        uniform = None if uniform is None else uniform[:, None, None]
        return self.shares.encode(scaled[:, None, None], incident, uniform)[:, 0, 0]

    def encode(
        self, layers: Tensor, incident: Tensor, scaled: Tensor | None = None, uniform: Tensor | None = None
    ) -> Tensor:
        """Codes (N, 1 + L) of layer energies; empty layers get random codes below their edge.

        Args:
            layers: layer energies (N, L), MeV.
            incident: incident energies (N, 1), MeV.
            scaled: layer energies (N, L) times any factor for each shower; by default ``layers``.
            uniform: random numbers (N, L) on [0, 1) for the empty layers; by default from PyTorch's generator.
        """
        response = self.encode_response(layers.sum(1, keepdim=True) / incident, incident)
        shares = self.encode_layers(layers if scaled is None else scaled, incident, uniform)
        return torch.cat([response, shares], dim=1)

    def edges(self, incident: Tensor) -> Tensor:
        """The codes (N, L) below which a layer is empty, at incident energies (N, 1) in MeV."""
        return self.shares.edges(incident)[:, 0, 0]

    def decode(self, codes: Tensor, incident: Tensor) -> Tensor:
        """Layer energies (N, L) in MeV that add up to t E_inc, from codes (N, 1 + L); at least one is not empty."""
        fraction = self.response.fraction(codes[:, :1], incident)
        layers = self.shares.energies(codes[:, None, None, 1:], incident)[:, 0]
        # A margin, so that rounding does not take the only voxel of a faint shower.
        total = (fraction * incident).clamp(min=1.0001 * self.shares.threshold)
        return zero_suppressed(layers, total, self.shares.threshold)

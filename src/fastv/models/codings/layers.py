"""Layer energies of a shower as normal scores given the incident energy, and back."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fastv.detector.detector import Detector
from fastv.models.codings.preprocessing import QuantileMap, ResponseScale, above_threshold
from fastv.models.codings.voxels import VoxelCoding


class LayerCoding(nn.Module):
    r"""Code the L layer energies of a shower as 1 + L numbers: its response, and the layers' scores.

    * response: t = E_tot / E_inc by :class:`~fastv.models.codings.preprocessing.ResponseScale`, then mapped to normal
      scores.
    * layers: as the voxels of one large layer, by :class:`~fastv.models.codings.voxels.VoxelCoding`, with the incident
      energy in the place of the layer's: below a code that depends on the incident energy a layer is empty.

    So standard normal codes, correlated as they may be, give each layer the right spectrum and occupancy at every
    energy.

    Decoding scales layers to t E_inc, which changes nothing for the codes of a shower, and brings together what was
    generated. So a common factor on all layers falls out again, and encoding takes any: with a random one the layers do
    not tell the response, and their codes can have a density. ``decode(encode(x))`` is x to rounding, but for showers
    with a layer far above all that training showers of this energy have: its code is cut.

    Shapes: layer energies (N, L) MeV, incident energies (N, 1) MeV; codes (N, 1 + L).

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
        self.response = ResponseScale()
        self.quantiles = QuantileMap(1)
        self.shares = VoxelCoding(detector, n_levels, shape=(1, 1, detector.mesh.shape[0]))

    @torch.no_grad()
    def fit(self, layers: Tensor, incident: Tensor, scaled: Tensor | None = None) -> None:
        """Fit to training showers; ``scaled`` are their layer energies times the factors that encoding will take."""
        fraction = layers.sum(1, keepdim=True) / incident
        self.response.fit(fraction, incident)
        self.quantiles.fit(self.response(fraction, incident))
        self.shares.fit((layers if scaled is None else scaled)[:, None, None], incident)

    def encode_response(self, fraction: Tensor, incident: Tensor) -> Tensor:
        """Codes (N, 1) of visible fractions t."""
        code: Tensor = self.quantiles(self.response(fraction, incident))
        return code

    def encode_layers(self, scaled: Tensor, incident: Tensor, uniform: Tensor | None = None) -> Tensor:
        """Codes (N, L) of layer energies times any factor; for ``uniform`` see :meth:`encode`."""
        uniform = None if uniform is None else uniform[:, None, None]
        return self.shares.encode(scaled[:, None, None], incident, uniform)[:, 0, 0]

    def encode(
        self, layers: Tensor, incident: Tensor, scaled: Tensor | None = None, uniform: Tensor | None = None
    ) -> Tensor:
        """Codes (N, 1 + L) of layer energies; what is empty gets random codes.

        ``scaled`` are the layer energies times any factor, by default 1; ``uniform`` random numbers (N, L), by default
        from PyTorch's generator.
        """
        response = self.encode_response(layers.sum(1, keepdim=True) / incident, incident)
        shares = self.encode_layers(layers if scaled is None else scaled, incident, uniform)
        return torch.cat([response, shares], dim=1)

    def edges(self, incident: Tensor) -> Tensor:
        """The codes (N, L) below which a layer is empty."""
        return self.shares.edges(incident)[:, 0, 0]

    def decode(self, codes: Tensor, incident: Tensor) -> Tensor:
        """Layer energies (N, L) in MeV, that add up to t E_inc; one at least is filled."""
        fraction = self.response.fraction(self.quantiles.inverse(codes[:, :1].clamp(-50.0, 50.0)), incident)
        layers = self.shares.energies(codes[:, None, None, 1:], incident)[:, 0]
        layers = layers * (fraction * incident / layers.sum(1, keepdim=True).clamp(min=1e-9))
        return above_threshold(layers, self.shares.threshold)

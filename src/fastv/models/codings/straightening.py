"""Energies of layers without the fine structure that few particles leave in their spectra."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812  (the name everyone knows)
from torch import Tensor, nn

from fastv.models.codings.preprocessing import piecewise_linear

_PIECES = 96
_REACH = 5.0
"""The structure ends at this multiple of the median energy of a voxel that is hit."""
_SMOOTHING = 0.2 * math.log(10)
"""Width in log E of the smooth spectra: structure of half a decade and more stays."""
_FADING = 0.8 * math.log(10)
"""Width in log E below the end over which the map fades to the identity."""
PRIOR = 20.0
"""Showers in a bin of a layer's spectrum for which the structure of all layers counts."""
_LEAST = 1e-9
_ROWS = 2000
"""Showers that are mapped at once."""


class Straightening(nn.Module):
    r"""A monotonic map of each layer's energy that makes its spectrum smooth below some tens of MeV.

    A minimum ionising particle leaves nearly the same energy in every cell that it passes, so the energies of layers
    with few hits have sharp edges and peaks at fixed energies. Smooth densities in log E at a given incident energy
    cannot have them. With x = log(E/d) and the spectrum h(x) of a layer over all training showers, let

        dy/dx = (h(x) / smoothed h(x))^w(x) ,   E' = d exp(y) ,

    normalised to y = x at both ends: the least energy, and where the structure ends. w = 1 at low energies and fades to
    0 at the end, above which E' = E. y is piecewise linear in x. Where a layer has few entries, the ratio of all layers
    is used. Empty layers stay empty.

    Shapes: layer energies (N, L), in the unit of ``least``.

    Args:
        layers: number of layers L.
        least: least energy d of a layer that is not empty.

    Example:
        >>> random = torch.Generator().manual_seed(1)
        >>> line = 200 * torch.exp(0.1 * torch.randn(5000, 1, generator=random))
        >>> energies = torch.cat([line, torch.exp(8 * torch.rand(5000, 1, generator=random))])
        >>> straight = Straightening(1)
        >>> straight.fit(energies, line)
        >>> mapped = straight(energies)
        >>> bool(torch.allclose(straight.inverse(mapped), energies, rtol=1e-3))
        True
        >>> bool(torch.log(mapped[:5000]).std() > 1.5 * torch.log(line).std())
        True
    """

    before: Tensor
    after: Tensor

    def __init__(self, layers: int, least: float = 1.0) -> None:
        super().__init__()
        self.least = least
        # x and y at the knots: the map is the identity before it is fitted.
        knots = torch.linspace(0.0, 1.0, _PIECES + 1)[:, None].repeat(1, layers)
        self.register_buffer("before", knots)
        self.register_buffer("after", knots.clone())

    @torch.no_grad()
    def fit(self, layers: Tensor, voxels: Tensor, prior: float = PRIOR) -> None:
        """Fit the map to layer energies (N, L) and voxel energies (any shape) of training showers.

        The structure of all layers counts as ``prior`` showers in a bin of a layer's spectrum.
        """
        hit = voxels[voxels > 0]
        if not hit.numel():
            return
        x = torch.log(layers.double().clamp(min=_LEAST) / self.least)
        low = max(0.0, float(x[layers > 0].min()))
        end = math.log(_REACH * float(hit.double().median()) / self.least)
        if not end > low + 1.0:
            return
        step = (end - low) / _PIECES
        piece = torch.floor((x - low) / step).long()
        inside = (layers > 0) & (piece >= 0) & (piece < _PIECES)
        of_layer = torch.arange(layers.shape[1], device=x.device) * _PIECES
        counts = torch.bincount((of_layer + piece)[inside], minlength=layers.shape[1] * _PIECES)
        counts = counts.view(-1, _PIECES).double()
        smooth = _smoothed(counts, _SMOOTHING / step)
        of_all = (counts.sum(0) + 0.5) / (smooth.sum(0) + 0.5)
        ratio = (counts + prior * of_all) / (smooth + prior)
        middles = low + step * (torch.arange(_PIECES, device=x.device) + 0.5)
        slopes = ratio ** ((end - middles) / _FADING).clamp(0.0, 1.0)
        rise = torch.cumsum(slopes / slopes.sum(1, keepdim=True), dim=1).T * (end - low)
        self.after.copy_(low + F.pad(rise, (0, 0, 1, 0)))
        self.before.copy_((low + step * torch.arange(_PIECES + 1, device=x.device))[:, None].expand_as(self.before))

    def forward(self, layers: Tensor) -> Tensor:
        """E' of layer energies E."""
        return torch.cat([self._mapped(rows, self.before, self.after) for rows in torch.split(layers, _ROWS)])

    def inverse(self, straight: Tensor) -> Tensor:
        """E of E'."""
        return self._mapped(straight, self.after, self.before)

    def log_slope(self, layers: Tensor) -> Tensor:
        """log(dE'/dE), (N, L); 0 for empty layers."""
        x = torch.log(layers.clamp(min=_LEAST) / self.least)
        piece = torch.searchsorted(self.before.T.contiguous(), x.T.contiguous(), right=True).T - 1
        slopes = self.after.diff(dim=0) / self.before.diff(dim=0)
        slopes = torch.gather(slopes, 0, piece.clamp(0, _PIECES - 1))
        inside = (piece >= 0) & (piece < _PIECES) & (layers > 0)
        ratio = self.forward(layers).clamp(min=_LEAST) / layers.clamp(min=_LEAST)
        return torch.where(inside, torch.log(slopes) + torch.log(ratio), 0.0)

    def _mapped(self, energies: Tensor, knots: Tensor, values: Tensor) -> Tensor:
        """Energies with the piecewise linear map of their logarithms, which is the identity outside of the knots."""
        x = torch.log(energies.clamp(min=_LEAST * self.least) / self.least)
        return energies * torch.exp(piecewise_linear(x, knots.T, values.T, torch.ones_like(x)) - x)


def _smoothed(counts: Tensor, width: float) -> Tensor:
    """Counts (L, K) smoothed by a normal distribution of a width in bins; the first and last bins go on outside."""
    reach = math.ceil(4 * width)
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=counts.device) / width) ** 2).to(counts)
    padded = F.pad(counts[:, None], (reach, reach), mode="replicate")
    return F.conv1d(padded, (kernel / kernel.sum())[None, None])[:, 0]

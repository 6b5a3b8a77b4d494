"""Energies of layers without the fine structure that few particles leave in them."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

_KNOTS = 96
_REACH = 5.0
"""The structure ends at this multiple of the median energy of a voxel that is hit."""
_SMOOTHING = 0.2
"""Width of the smoothing of spectra, in decades."""
_FADING = 0.8
"""Decades below the end over which the map fades to the identity."""
_PRIOR = 20.0
"""Showers in a bin of a layer's spectrum for which the structure of all layers counts."""
_LEAST = 1e-9


class Straightening(nn.Module):
    r"""A monotonic map of each layer's energy that makes its spectrum smooth below some tens of MeV.

    A minimum ionising particle leaves nearly the same energy in every cell that it passes, so the energies of layers
    with few hits have sharp edges and peaks at fixed energies. Smooth densities in log E at a given incident energy
    cannot have them. With x = log(E/d) and the density p_l(x) of layer l over all training showers, let

        dx'/dx = (p_l(x) / smoothed p_l(x))^w(x) ,   E' = d exp(x') ,

    with w = 1 at low energies and 0 above the end of the structure, where E' = E. x' is piecewise linear in x. An empty
    layer stays empty, and the threshold d stays where it is.

    Shapes: layer energies (N, L) in MeV.

    Args:
        layers: number of layers L.
        threshold: least energy d of a layer that is not empty, in MeV.

    Example:
        >>> straight = Straightening(1, 0.01)
        >>> energies = torch.tensor([[0.0], [0.01], [3.0], [1e4]])
        >>> bool(torch.allclose(straight(energies), energies))  # before it is fitted
        True
    """

    ends: Tensor
    slopes: Tensor

    def __init__(self, layers: int, threshold: float) -> None:
        super().__init__()
        self.threshold = threshold
        # The knots are equally far apart between these two values of x; x' is that far from x at each of them.
        self.register_buffer("ends", torch.tensor([0.0, 1.0]))
        self.register_buffer("slopes", torch.ones(layers, _KNOTS))

    @torch.no_grad()
    def fit(self, layers: Tensor, voxels: Tensor) -> None:
        """Fit the map to layer energies (N, L) and voxel energies (any shape) of training showers, in MeV."""
        hit = voxels[voxels > 0]
        if not hit.numel():
            return
        x = torch.log(layers.double().clamp(min=_LEAST) / self.threshold)
        low = max(0.0, float(x[layers > 0].min()))
        end = math.log(_REACH * float(hit.double().median()) / self.threshold)
        if not end > low + 1.0:
            return
        step = (end - low) / _KNOTS
        place = torch.floor((x - low) / step).long()
        inside = (layers > 0) & (place >= 0) & (place < _KNOTS)
        flat = (torch.arange(layers.shape[1], device=x.device) * _KNOTS + place.clamp(0, _KNOTS - 1))[inside]
        counts = torch.bincount(flat, minlength=self.slopes.numel()).view(self.slopes.shape).double()
        smoothed = _smoothed(counts, _SMOOTHING * math.log(10) / step)
        pooled = (counts.sum(0) + 0.5) / (smoothed.sum(0) + 0.5)
        structure = (counts + _PRIOR * pooled) / (smoothed + _PRIOR)
        middles = low + step * (torch.arange(_KNOTS, device=x.device) + 0.5)
        weight = ((end - middles) / (_FADING * math.log(10))).clamp(0.0, 1.0)
        slopes = structure**weight
        self.slopes.copy_(slopes / slopes.mean(1, keepdim=True))
        self.ends.copy_(torch.tensor([low, end]))

    def _knots(self) -> tuple[Tensor, Tensor]:
        """x and x' of the knots, (K,) and (L, K), from the first to the one before the end."""
        step = (self.ends[1] - self.ends[0]) / _KNOTS
        x = self.ends[0] + step * torch.arange(_KNOTS, device=self.ends.device)
        straight = self.ends[0] + step * (torch.cumsum(self.slopes, dim=1) - self.slopes)
        return x, straight

    def forward(self, layers: Tensor) -> Tensor:
        """E' of layer energies E."""
        x, _ = self._knots()
        return self._mapped(layers, x.expand_as(self.slopes), self.slopes)

    def inverse(self, straight: Tensor) -> Tensor:
        """E of E'."""
        return self._mapped(straight, self._knots()[1], 1 / self.slopes)

    def log_slope(self, layers: Tensor) -> Tensor:
        """log(dE'/dE), (N, L); 0 for empty layers."""
        x = torch.log(layers.clamp(min=_LEAST) / self.threshold)
        place = torch.floor((x - self.ends[0]) / (self.ends[1] - self.ends[0]) * _KNOTS).long()
        slopes = torch.gather(self.slopes.T, 0, place.clamp(0, _KNOTS - 1))
        inside = (place >= 0) & (place < _KNOTS) & (layers > 0)
        straight = self.forward(layers).clamp(min=_LEAST)
        return torch.where(inside, torch.log(slopes) + torch.log(straight / layers.clamp(min=_LEAST)), 0.0)

    def _mapped(self, energies: Tensor, knots: Tensor, slopes: Tensor) -> Tensor:
        """The piecewise linear map of logarithms with these slopes after each of its knots, 1 before and after all."""
        x = torch.log(energies.clamp(min=_LEAST) / self.threshold)
        bends = torch.cat([slopes[:, :1] - 1, slopes.diff(dim=1)], dim=1)
        # Beyond the end nothing changes.
        reached = x.minimum(self.ends[1])[:, :, None]
        moved = ((reached - knots).clamp(min=0.0) * bends).sum(2)
        hit = (energies > 0).to(energies.dtype)
        return torch.exp(moved) * energies * hit


def _smoothed(counts: Tensor, width: float) -> Tensor:
    """Counts (L, K) smoothed by a normal distribution of a width in bins; the first and last bins go on outside."""
    reach = math.ceil(4 * width)
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=counts.device) / width) ** 2).to(counts)
    padded = torch.nn.functional.pad(counts[:, None], (reach, reach), mode="replicate")
    return torch.nn.functional.conv1d(padded, (kernel / kernel.sum())[None, None])[:, 0]

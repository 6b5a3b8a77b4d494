"""Invertible coding of layer energies that takes the lines of single particles out of their spectra."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from torch import Tensor, nn

from fastv.models.codings.preprocessing import piecewise_linear

_TOP = math.log(4000.0)
"""Logarithm of the energy, in units of the threshold, above which energies stay as they are."""
_FADE = math.log(6.3)
"""Width in log E below this over which they gradually do."""
_KNOTS = 72
_SMOOTH = 0.69
"""Width in log E of the smooth spectrum: structure of half a decade and more stays."""
_PRIOR = 20.0
"""Showers in a bin whose ratio to the smooth spectrum is taken from all layers."""
_ROWS = 2000


class Straightening(nn.Module):
    r"""Map the logarithms of layer energies so that their spectra become smooth.

    One particle that crosses a layer leaves an energy with a sharp edge and a peak, two leave twice as much. In layers
    that few particles cross these lines stand out of the spectrum, and no smooth density in log E knows them. For each
    layer, with the spectrum h of x = log(E / d) and a smoothed one s,

        y(x) = int_0^x (h / s) dx' ,

    normalised to y = x at both ends, the threshold d and 4000 d, and piecewise linear on equidistant y. Above 4000 d,
    y = x. Where a layer has few entries, the ratio of all layers is used.

    Shapes: energies (N, L) in units of the threshold, zero or at least 1.

    Args:
        layers: number of layers L.

    Example:
        >>> random = torch.Generator().manual_seed(1)
        >>> line = 200 * torch.exp(0.1 * torch.randn(5000, 1, generator=random))
        >>> energies = torch.cat([line, torch.exp(8 * torch.rand(5000, 1, generator=random))])
        >>> straight = Straightening(1)
        >>> straight.fit(energies)
        >>> coded = straight(energies)
        >>> bool(torch.allclose(straight.energies(coded), energies, rtol=1e-3))
        True
        >>> bool(torch.log(coded[:5000]).std() > 2 * torch.log(line).std())
        True
    """

    knots: Tensor
    bends: Tensor

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.register_buffer("knots", torch.linspace(0.0, _TOP, _KNOTS + 1)[:, None], persistent=False)
        # Changes of the slope dx/dy at the knots.
        self.register_buffer("bends", torch.zeros(_KNOTS + 1, layers))

    @torch.no_grad()
    def fit(self, energies: Tensor) -> None:
        """Fit to layer energies of training showers."""
        edges = np.linspace(0.0, _TOP, _KNOTS + 1)
        logs = torch.log(energies.clamp(min=1e-9)).cpu().double().numpy()
        counts = np.stack([np.histogram(layer, edges)[0] for layer in logs.T]).astype(np.float64)
        pooled = _ratio(counts.sum(0) + 0.5, 0.0, np.ones(_KNOTS))
        ratio = _ratio(counts, _PRIOR, pooled) ** np.clip((_TOP - 0.5 * (edges[1:] + edges[:-1])) / _FADE, 0.0, 1.0)
        rise = ratio / ratio.sum(1, keepdims=True)
        reached = np.concatenate([np.zeros((len(rise), 1)), rise.cumsum(1)], axis=1) * _TOP
        x = np.stack([np.interp(edges, each, edges) for each in reached])
        slopes = np.concatenate([np.ones((len(x), 1)), np.diff(x, axis=1) / np.diff(edges), np.ones((len(x), 1))], 1)
        self.bends.copy_(torch.from_numpy(np.diff(slopes, axis=1).T))

    def forward(self, energies: Tensor) -> Tensor:
        """Energies whose logarithms are y."""
        places = self.knots[:, 0]
        table = (places[:, None] + (places[:, None] - places).clamp(min=0.0) @ self.bends).T
        parts = []
        for rows in torch.split(energies, _ROWS):
            x = torch.log(rows.clamp(min=1.0))
            parts.append(rows * torch.exp(piecewise_linear(x, table, places, torch.ones_like(x)) - x))
        return torch.cat(parts)

    def energies(self, straight: Tensor) -> Tensor:
        """Energies of those that :meth:`forward` gives."""
        above = (torch.log(straight.clamp(min=1.0))[:, None] - self.knots).clamp(min=0.0)
        return straight * torch.exp((above * self.bends).sum(1))


def _ratio(counts: NDArray[np.float64], prior: float, of_all: NDArray[np.float64]) -> NDArray[np.float64]:
    """Spectra (..., K) over smooth ones."""
    smooth = gaussian_filter1d(counts, _SMOOTH / (_TOP / _KNOTS), axis=-1, mode="nearest")
    return (counts + prior * of_all) / (smooth + prior)

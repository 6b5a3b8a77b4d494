"""What networks see of energies: logarithms in units of what is usual."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_LEAST_SHARE = 1e-6
"""Shares of the visible energy below this are alike to the networks."""
_MOST = 10.0
"""Largest number of widths that networks see: after a very rare draw they must not leave what they were trained on."""


class Levels(nn.Module):
    """What networks see of an energy: log(1 + E / threshold) in units of its mean over voxels that are hit; 0 for none.

    Args:
        threshold: readout threshold in MeV.
    """

    scale: Tensor

    def __init__(self, threshold: float) -> None:
        super().__init__()
        self.threshold = threshold
        self.register_buffer("scale", torch.ones(()))

    @torch.no_grad()
    def fit(self, energies: Tensor) -> None:
        """Fit the unit to voxel energies in MeV, of any shape."""
        hit = energies[energies > 0]
        if hit.numel():
            self.scale.copy_(1 / torch.log1p(hit / self.threshold).mean().clamp(min=1e-3))

    def forward(self, energies: Tensor) -> Tensor:
        """Levels of energies in MeV, of any shape."""
        return level_of(energies, self.threshold, self.scale)


def level_of(energies: Tensor, threshold: float, scale: Tensor) -> Tensor:
    """log(1 + E / threshold) in a unit: what :class:`Levels` gives, as a function of tensors alone."""
    return torch.log1p(energies / threshold) * scale


def standardised(energies: Tensor, total: Tensor, mean: Tensor, width: Tensor) -> Tensor:
    """(log(E / E_tot) - mean) / width of energies (N, B) in MeV, within what showers have; 0 for none."""
    share = (energies / total.clamp(min=1e-9)).clamp(min=_LEAST_SHARE)
    return torch.where(energies > 0, ((torch.log(share) - mean) / width).clamp(-_MOST, _MOST), 0.0)

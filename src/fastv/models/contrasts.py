"""Differences of energies in the neighbourhood of a division, in units of what is usual."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812  (the name everyone knows)
from torch import Tensor, nn

from fastv.models.divisions import DivisionPlan


class Contrasts(nn.Module):
    """How much more of the energy in other layers is on the side of the first part, in units of what is usual.

    The shower's axis and width change the shares of many layers by little, so that the differences of levels which tell
    them are small. Each kind of difference (the layers below, above, ahead, and ahead over rings) is given to the
    network as a number of mean 0 and width 1, for each group of divisions that are alike.

    Shapes: levels that are seen (M, F), groups (M,) -> (M, ``kinds``).

    Args:
        plan: the divisions.
    """

    signs: Tensor
    scales: Tensor
    counted: Tensor

    def __init__(self, plan: DivisionPlan) -> None:
        super().__init__()
        self.kinds = plan.contrasts.shape[1]
        groups = int(plan.like.max(initial=-1)) + 1
        # The first column of what is seen is the energy that is divided.
        signs = torch.zeros(plan.seen.shape[1] + 1, self.kinds)
        for of_divisions in plan.contrasts:
            for kind, (one, two) in enumerate(of_divisions):
                if one >= 0:
                    signs[1 + one, kind], signs[1 + two, kind] = 1.0, -1.0
        self.register_buffer("signs", signs, persistent=False)
        # Means and inverse widths; 0 for what is not seen.
        self.register_buffer("scales", torch.zeros(groups, 2 * self.kinds))
        self.register_buffer("counted", torch.zeros(groups, 1 + 2 * self.kinds), persistent=False)

    @torch.no_grad()
    def add(self, seen: Tensor, like: Tensor) -> None:
        """Count levels that are seen (M, F)."""
        found = seen @ self.signs
        given = torch.cat([torch.ones_like(found[:, :1]), found, found**2], dim=1)
        self.counted.index_add_(0, like, given)

    @torch.no_grad()
    def fit(self) -> None:
        """Set means and widths from what was counted."""
        count, first, second = torch.split(self.counted, [1, self.kinds, self.kinds], dim=1)
        mean = first / count.clamp(min=1.0)
        # Few divisions do not tell a width.
        variance = (second / count.clamp(min=1.0) - mean**2) * count / (count - 1).clamp(min=1.0)
        gain = torch.where((count >= 20) & (variance > 1e-8), variance.clamp(min=1e-8).rsqrt(), 0.0)
        self.scales.copy_(torch.cat([mean, gain], dim=1))
        self.counted.zero_()

    def forward(self, seen: Tensor, like: Tensor) -> Tensor:
        """Contrasts (M, ``kinds``)."""
        return in_units(seen @ self.signs, F.embedding(like, self.scales))


def in_units(differences: Tensor, scales: Tensor) -> Tensor:
    """Differences of levels (M, K) in units of what is usual: means and inverse widths (M, 2 K)."""
    mean, gain = torch.chunk(scales, 2, dim=1)
    return (differences - mean) * gain

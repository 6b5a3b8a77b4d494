"""Bins of incident energy, in each of which a model has something of its own."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812  (the name everyone knows)
from torch import Tensor, nn


class EnergyBins(nn.Module):
    """Bins with equal numbers of training showers, by incident energy.

    Args:
        bins: number of bins B.
        highest: energy in MeV that no shower exceeds; the edges of bins before they are fitted.

    Example:
        >>> bins = EnergyBins(2, 100.0)
        >>> bins.fit(torch.tensor([10.0, 20.0, 60.0, 70.0]))
        >>> bins(torch.tensor([[15.0], [65.0]])).tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """

    edges: Tensor
    step: Tensor
    first: Tensor

    def __init__(self, bins: int, highest: float) -> None:
        super().__init__()
        self.register_buffer("edges", torch.full((bins - 1,), highest))
        # At each edge the one moves to the next column.
        columns = torch.eye(bins)
        self.register_buffer("step", columns[:, 1:] - columns[:, :-1], persistent=False)
        self.register_buffer("first", columns[0], persistent=False)

    @torch.no_grad()
    def fit(self, incident: Tensor) -> None:
        """Set the edges to quantiles of incident energies (N,) in MeV."""
        bins = len(self.edges) + 1
        self.edges.copy_(torch.quantile(incident.double(), torch.arange(1, bins).double() / bins).to(self.edges))

    def forward(self, incident: Tensor) -> Tensor:
        """A one in the column of the bin of each incident energy (N, 1): (N, B)."""
        if not len(self.edges):
            return torch.ones_like(incident)
        return F.linear((incident >= self.edges).to(incident.dtype), self.step, self.first)

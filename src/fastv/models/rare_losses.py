"""Rare losses of visible energy: the few showers far below the resolution, at any incident energy."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class RareLosses(nn.Module):
    r"""With probability p, a shower keeps only a part exp(-l) of its visible energy, l > 0 exponential with mean s:

        P(l > x) = p exp(-x / s) .

    An electromagnetic shower loses much of its visible energy where one of its photons is absorbed by a nucleus. How
    often, and what part, depends little on the incident energy, but the resolution does: such losses hide in it at low
    energies, and at high ones they are all of the tail and much of the rms. So both numbers are the same at all
    energies, and are fitted to losses that no resolution explains. Without such losses p = 0.

    Shapes: (N, 1).

    Example:
        >>> losses = RareLosses()
        >>> l = torch.where(torch.rand(200_000, 1) < 0.004, torch.empty(200_000, 1).exponential_(1 / 0.07), 0.0)
        >>> losses.fit(torch.exp(-l), least=torch.full((200_000, 1), 0.03))
        >>> bool(abs(losses.probability - 0.004) < 0.0012), bool(abs(losses.mean - 0.07) < 0.012)
        (True, True)
    """

    probability: Tensor
    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("probability", torch.zeros(()))
        self.register_buffer("mean", torch.ones(()))

    @torch.no_grad()
    def fit(self, kept: Tensor, least: Tensor) -> None:
        """Fit to parts ``kept`` of the usual visible energy, by losses l above ``least`` alone.

        What exceeds any threshold of an exponential variable has the same distribution, so s is the mean of what
        exceeds ``least``, and p the number of losses beyond it over what s makes of them: the maximum of the likelihood
        for few losses. A shower with infinite ``least`` says nothing.
        """
        beyond = -torch.log(kept.clamp(min=1e-3)) - least
        found = beyond > 0
        if not found.any():
            self.probability.zero_()
            return
        self.mean.copy_(beyond[found].mean())
        expected = torch.exp(-least / self.mean).sum()
        # More than one shower in twenty is not rare: then the scale of the resolution is wrong, and losses bounded.
        self.probability.copy_((found.sum() / expected).clamp(max=0.05))

    def kept(self, uniform: Tensor) -> Tensor:
        """The part of the visible energy that is kept, from uniform noise: min(1, u/p)^s."""
        return (uniform / self.probability.clamp(min=1e-7)).clamp(1e-7, 1.0) ** self.mean

    def log_prob(self, loss: Tensor) -> Tensor:
        """Log of p times the density of losses l, nats; minus infinity where l is negative."""
        density = torch.log(self.probability / self.mean) - loss / self.mean
        return density.masked_fill(loss < 0, -torch.inf)

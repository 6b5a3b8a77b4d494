"""Rare losses of visible energy: the few showers whose response is far below the mean."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class RareLosses(nn.Module):
    r"""With probability p, a shower keeps only a fraction exp(-l) of its visible energy, l > 0 exponential with mean s:

        P(l > x) = p exp(-x / s) .

    An electromagnetic shower loses much of its visible energy if one of its photons is absorbed by a nucleus. The
    probability and the fraction depend little on the incident energy, but the resolution does: at low energies it hides
    such losses, at high energies they make up the tail and much of the rms. Both numbers are therefore the same at all
    energies, and are fitted to losses that the resolution cannot explain. Without such losses p = 0.

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
        """Fit to losses l above ``least`` only.

        The excess of an exponential variable over any threshold has the same distribution, so s is the mean of l -
        ``least``, and p the observed number of losses above ``least`` divided by the number expected for p = 1. For few
        losses this is the maximum of the likelihood.

        Args:
            kept: visible energy as a fraction of the usual one, (N, 1).
            least: smallest loss that the resolution cannot explain, (N, 1); infinite for showers to be ignored.
        """
        beyond = -torch.log(kept.clamp(min=1e-3)) - least
        found = beyond > 0
        if not found.any():
            self.probability.zero_()
            return
        self.mean.copy_(beyond[found].mean())
        expected = torch.exp(-least / self.mean).sum()
        # More than one shower in twenty is not rare: the scale of the resolution must be wrong, so p is bounded.
        self.probability.copy_((found.sum() / expected).clamp(max=0.05))

    def kept(self, uniform: Tensor) -> Tensor:
        """Fraction of the visible energy that is kept, from uniform noise u: min(1, u/p)^s."""
        return (uniform / self.probability.clamp(min=1e-7)).clamp(1e-7, 1.0) ** self.mean

    def log_prob(self, loss: Tensor) -> Tensor:
        """Logarithm of p times the density of losses l, in nats; minus infinity where l is negative."""
        density = torch.log(self.probability / self.mean) - loss / self.mean
        return density.masked_fill(loss < 0, -torch.inf)

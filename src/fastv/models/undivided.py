"""Blocks whose energy is never all in one part: up to which energy this happens, and what a chance of it costs."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812  (the name everyone knows)
from torch import Tensor, nn

_MARGIN = 2.0
"""How much larger than the largest undivided energy of training showers others may be."""
_CHANCE = -16.0
"""Logarithm of the chance that costs nothing."""
_PRICE = 0.01
"""Nats for a chance that is e times as large; it grows with the square of the logarithm."""


class Undivided(nn.Module):
    r"""Blocks of layers whose energy stays in one of their parts, and up to which energy this happens.

    A likelihood hardly notices a chance of half a percent for what never happens: it costs 0.005 nats, less than a law
    gains elsewhere. But then one shower in two hundred has no energy in half of the calorimeter. So above twice the
    largest energy E_0 with which a block of a training shower stayed undivided, this :meth:`never` happens: a law with
    chances of its own for the two undivided outcomes is that of two parts. Where the outcomes are tails of one noise,
    training pays for their chances p_k,

        0.01 sum_k max(0, log p_k + 16)^2  nats ,

    a part of the loss, never of a density.

    Shapes: energies (N, n) of n blocks, in any unit.

    Args:
        blocks: their number n.

    Example:
        >>> undivided = Undivided(1)
        >>> undivided.fit(torch.tensor([[3.0], [9.0]]), torch.tensor([[True], [False]]))
        >>> likely = torch.log(torch.tensor([[0.1, 1e-9]])).repeat(2, 1)
        >>> [round(price, 2) for price in undivided(torch.tensor([0, 0]), torch.tensor([5.0, 7.0]), likely).tolist()]
        [0.0, 1.88]
    """

    largest: Tensor

    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.register_buffer("largest", torch.zeros(blocks))

    @torch.no_grad()
    def fit(self, energies: Tensor, undivided: Tensor) -> None:
        """Find E_0 of all blocks from their energies (N, n), and from which of them are undivided."""
        self.largest.copy_((energies * undivided).amax(0))

    @staticmethod
    def never(energies: Tensor, largest: Tensor) -> Tensor:
        """1 where energies of blocks are too large to stay undivided, given the E_0 of these blocks, otherwise 0."""
        return (energies > _MARGIN * largest).to(energies.dtype)

    def forward(self, blocks: Tensor, energies: Tensor, log_chances: Tensor) -> Tensor:
        """What divisions of M blocks cost, (M,), from their numbers, energies, and the log p_k, (M, 2)."""
        return self.never(energies, self.largest[blocks]) * _PRICE * F.relu(log_chances - _CHANCE).square().sum(1)

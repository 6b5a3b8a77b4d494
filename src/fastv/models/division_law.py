"""The distribution of an energy between its two parts: all to one of them, or a share drawn from a mixture."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
import torch.nn.functional as F  # noqa: N812  (the name everyone knows)
from torch import Tensor, nn

_LEAST_CHANCE = 1e-12
_IMPOSSIBLE = 60.0
"""What the logits of outcomes lose that never happen: enough for a chance of 1e-20 whatever a network says."""


class DivisionLaw(nn.Module):
    r"""p(E_1 | E) for E = E_1 + E_2, where each part is zero or at least the threshold d.

    With some probabilities all energy is in the first or in the second part. Otherwise the excesses x_i = E_i - d of
    both parts give

        y = log(x_1 / x_2) ,

    which has a mixture of K logistic distributions. Below 2 d there is only one part. The threshold is an exact limit,
    both ends of the range are resolved however large E is, and the parts add up to E.

    The 2 + 3 K parameters of a division are the logits of the K components of the mixture, of *first only* and of
    *second only*, then the location of the first component, the steps from each location to the next, of which
    negative ones count as 0, and the K logarithms of scales.

    One uniform number u draws the outcome: *second only* first, then the components in the order of their locations,
    then *first only*. So E_1 mostly increases with u, and correlations of u are correlations of energies.

    Shapes: parameters (M, 2 + 3 K); energies and uniform noise (M,).

    Args:
        components: K.
        threshold: d in MeV.

    Source: the mixture of logistic distributions: Salimans et al., arXiv 1701.05517, section 2.1.

    Example:
        >>> law = DivisionLaw(components=1, threshold=0.01)
        >>> both, first_only = torch.tensor([[20.0, 0, 0, 0.0, -9.0]]), torch.tensor([[0, 20.0, 0, 0.0, 0.0]])
        >>> parameters, energy = torch.cat([both, first_only]), torch.tensor([5.0, 5.0])
        >>> law.divide(parameters, energy, torch.tensor([0.3, 0.3])).round(decimals=2).tolist()
        [2.5, 5.0]
        >>> bool(law.log_prob(parameters, energy, torch.tensor([2.5, 0.0]))[1] < -19)
        True
    """

    LOG_SCALES: ClassVar[tuple[float, float]] = (-6.0, 3.0)
    """Least and largest logarithm of a scale."""
    EDGE: ClassVar[float] = 1e-6
    """Least distance of uniform numbers from 0 and 1."""
    LEAST_EXCESS: ClassVar[float] = 1e-3
    """Smaller excesses, in units of the threshold, may be rounding, and count as this."""

    order: Tensor
    before: Tensor
    floor: Tensor
    only_one: Tensor
    only_one_drawn: Tensor
    spread: Tensor
    fixed: Tensor
    groups: Tensor
    undivided: Tensor

    def __init__(self, components: int, threshold: float) -> None:
        super().__init__()
        self.components, self.threshold = components, threshold
        self.outcomes, self.parameters_each = components + 2, 3 * components + 2
        # What the logits of the mixture lose below twice the threshold.
        self.register_buffer("only_one", torch.tensor([-1e9] * components + [0.0, 0.0]), persistent=False)
        undivided = torch.zeros(self.parameters_each)
        undivided[components : self.outcomes] = _IMPOSSIBLE
        self.register_buffer("undivided", undivided, persistent=False)
        order = torch.tensor([components, *range(components)[::-1], components + 1])
        self.register_buffer("order", order, persistent=False)
        self.register_buffer("only_one_drawn", self.only_one[order], persistent=False)
        floor = torch.full((self.parameters_each,), -1e30)
        floor[self.outcomes + 1 : self.outcomes + components] = 0.0
        self.register_buffer("floor", floor, persistent=False)
        for name, table in zip(("before", "spread", "fixed", "groups"), self._tables(), strict=True):
            self.register_buffer(name, table, persistent=False)

    def _tables(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What :meth:`first_parts` needs; outcomes come there in the reverse of the order in which u draws them.

        Its numbers of an outcome are the negative location, the logarithm of the scale, the least part, and what is
        added to the part above it. All energy in one part is a share of 0 or 1 above a least part of zero; onnxruntime
        makes of this 0 a number far below any energy, which is taken away.
        """
        k, o = self.components, self.outcomes
        # Sums the probabilities of the outcomes before each one.
        before = torch.tril(torch.ones(o, o), -1)
        spread = torch.zeros(self.parameters_each, 5 * o)
        fixed = torch.zeros(5, o)
        for column, number in enumerate(self.order.tolist()):
            spread[number, column] = 1.0
            if number < k:
                spread[o : o + number + 1, o + column] = -1.0
                spread[o + k + number, 2 * o + column] = 1.0
            else:
                fixed[1, column] = -80.0 if number == k else 80.0
            least = self.threshold if number < k else 0.0
            fixed[3:, column] = torch.tensor([least, least or -1e-20])
        return before, spread, fixed.flatten(), o * torch.arange(6)

    def initial(self) -> Tensor:
        """Parameters to start training from: locations apart, so that the components differ."""
        steps = torch.full((self.components,), 4.0 / max(1, self.components - 1))
        steps[0] = -2.0 if self.components > 1 else 0.0
        return torch.cat([torch.zeros(self.outcomes), steps, torch.zeros(self.components)])

    def _logits(self, parameters: Tensor, energy: Tensor) -> Tensor:
        small = (energy < 2 * self.threshold).to(parameters.dtype)[:, None]
        return parameters[:, : self.outcomes] + small * self.only_one

    def _mixture(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Locations and logarithms of scales, (M, K)."""
        sizes = [self.outcomes, self.components, self.components]
        _, steps, log_scale = torch.split(parameters.maximum(self.floor), sizes, dim=1)
        return torch.cumsum(steps, dim=1), log_scale.clamp(*self.LOG_SCALES)

    def moved(self, parameters: Tensor, location: Tensor, scale: Tensor) -> Tensor:
        """Parameters (M, P) of location + scale y, where ``parameters`` are those of y; both (M, 1)."""
        sizes = [self.outcomes, 1, self.components - 1, self.components]
        logits, first, steps, log_scales = torch.split(parameters, sizes, dim=1)
        return torch.cat([logits, location + scale * first, scale * steps, torch.log(scale) + log_scales], dim=1)

    def _sides(self, energy: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
        """Excesses x_i of both parts."""
        least = self.LEAST_EXCESS * self.threshold
        return (first - self.threshold).clamp(min=least), (energy - first - self.threshold).clamp(min=least)

    def log_prob(self, parameters: Tensor, energy: Tensor, first: Tensor) -> Tensor:
        """Logarithm of the probability of the outcome and, with two parts, of the density of y; nats, (M,)."""
        half = 0.5 * self.threshold
        logs = torch.log_softmax(self._logits(parameters, energy), dim=1)
        alone = torch.where(first < half, logs[:, -1], logs[:, -2])
        both = (first >= half) & (energy - first >= half)
        rows = both.nonzero()[:, 0]
        one, two = self._sides(energy[rows], first[rows])
        y = (torch.log(one) - torch.log(two))[:, None]
        location, log_scale = self._mixture(parameters[rows])
        z = (y - location) * torch.exp(-log_scale)
        density = logs[rows, : self.components] - log_scale - z - 2 * F.softplus(-z)
        return alone.index_copy(0, rows, torch.logsumexp(density, dim=1))

    def surely_divided(self, parameters: Tensor, sure: Tensor) -> Tensor:
        """Parameters (M, P) of the law given that there are two parts, where ``sure`` (M, 1) is 1; the same where 0."""
        return parameters - sure * self.undivided

    def scores(self, parameters: Tensor, energy: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
        """Least and largest normal score of an outcome, among all that these divisions may have, (M,) each.

        They are equal with two parts, and a range if all energy is in one of them; E_1 increases with them.
        """
        half = 0.5 * self.threshold
        chance = torch.softmax(self._logits(parameters, energy).double(), dim=1)
        location, log_scale = self._mixture(parameters)
        one, two = self._sides(energy, first)
        y = (torch.log(one) - torch.log(two))[:, None]
        below = torch.sigmoid((y - location) * torch.exp(-log_scale))
        in_first, in_second = first >= half, energy - first >= half
        both = in_first & in_second
        score = _score(chance[:, -1] + (chance[:, : self.components] * below).sum(1))
        low = torch.where(in_first, _score(1 - chance[:, -2]), -math.inf)
        high = torch.where(in_second, _score(chance[:, -1]), math.inf)
        return torch.where(both, score, low), torch.where(both, score, high)

    def log_slope(self, energy: Tensor, first: Tensor) -> Tensor:
        """log(dy/dE_1), per MeV, of divisions into two parts; 0 for the others, (M,)."""
        half = 0.5 * self.threshold
        one, two = self._sides(energy, first)
        both = (first >= half) & (energy - first >= half)
        return torch.where(both, torch.log(1 / one + 1 / two), 0.0)

    def divide(self, parameters: Tensor, energy: Tensor, uniform: Tensor) -> Tensor:
        """Energies E_1 of the first parts, (M,), from uniform noise; none if there is no energy."""
        uniform = uniform.clamp(self.EDGE, 1 - self.EDGE)
        return self.first_parts(parameters, energy[:, None], uniform[:, None])[:, 0]

    def first_parts(self, parameters: Tensor, energy: Tensor, uniform: Tensor) -> Tensor:
        """The same from columns (M, 1) to a column (M, 1), for noise between ``EDGE`` and 1 - ``EDGE``.

        One uniform number chooses the outcome and, by where it lies between the edges of this outcome, the share. Few
        operations, because at batch 1 their number is the time that an exported graph takes.
        """
        o = self.outcomes
        spread = torch.addmm(self.fixed, parameters.maximum(self.floor), self.spread)
        logits, others = torch.split(spread, [o, 4 * o], dim=1)
        alone = torch.where(energy < 2 * self.threshold, self.only_one_drawn, 0.0)
        chance = torch.softmax(logits + alone, dim=1)
        above = uniform - chance @ self.before
        # The smallest that is not negative, the last outcome of equal ones: those without a probability come before.
        chosen = torch.argmax(1 / above, dim=1, keepdim=True)
        chosen_numbers = torch.gather(torch.cat([above, chance, others], dim=1), 1, chosen + self.groups)
        above, chance, location, log_scale, least, added = torch.split(chosen_numbers, 1, dim=1)
        odds = ((chance - above) / above).clamp(self.EDGE, 1 / self.EDGE)
        # No sigmoid: that of onnxruntime is wrong by a tenth for shares of a millionth.
        y = torch.exp(log_scale.clamp(*self.LOG_SCALES)) * torch.log(odds) + location
        part = (energy - least - least) / (1 + torch.exp(y))
        return (part + added).maximum(least)


def _score(probability: Tensor) -> Tensor:
    """Normal scores of probabilities, finite for those that are rounded to 0 or 1."""
    score: Tensor = torch.special.ndtri(probability.clamp(_LEAST_CHANCE, 1 - _LEAST_CHANCE))
    return score

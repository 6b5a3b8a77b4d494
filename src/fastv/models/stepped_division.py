"""The distribution of an energy between its two parts with several humps, as a function of normal noise."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812  (the name everyone knows)
from torch import Tensor

from fastv.models.plain_division import LEAST_EXCESS, outcome

_LOG_ROOT_2PI = 0.5 * math.log(2 * math.pi)
STEPS = (-3.2, -1.6, 0.0, 1.6, 3.2)
"""Places of the steps in units of half a standard deviation of the noise."""
PARAMETERS = 4 + len(STEPS)
"""Parameters of a division: middle, location, logarithms of the gap and of the slope, and of the heights of steps."""
LOGS = (-7.0, 5.0)
"""Least and largest logarithm of a gap, slope or height."""
_SWEEPS = 20


def divide(half: Tensor, level: Tensor, parameters: Tensor, twice: Tensor, steps: Tensor) -> Tensor:
    r"""Energies E_1 and E_2 of the parts of energies E, each zero or at least 1, in units of the threshold.

    With the level X = log(E/2), or 0 for smaller energies, and twice a standard normal number zeta, let

        q = (zeta - m) / (g X), limited to -1 ... 1,    w = g X artanh q .

    At the limits all energy is in one part: in the second for q = -1, in the first for q = 1. In between, the excesses
    x_i = E_i - 1 of the parts have

        log(x_1 / x_2) = 2 (l + s w + sum_k a_k tanh(w - c_k)) ,

    with fixed places c_k, :data:`STEPS`. Where a step is high, few energies are in between: the law can have humps. E_1
    increases with zeta, and the law has a density for any m, l, g, s and a_k (:func:`log_prob`).

    Shapes: (N, n), parameters (N, P n) -> (N, 2 n), first parts, then second parts.

    Args:
        half: E / 2.
        level: :func:`~fastv.models.plain_division.level_of` of it.
        parameters: m, l, log g, log s, then log a_k, in P blocks.
        twice: noise zeta.
        steps: the places (K, 1) of the steps as a tensor.

    Example:
        >>> half, places = torch.full((1, 3), 2.5), torch.tensor(STEPS)[:, None]
        >>> parameters = torch.tensor([0.0, 0.0, 0.5, -1.0, *[-3.0] * len(STEPS)]).repeat_interleave(3)[None]
        >>> divide(half, torch.log(half), parameters, torch.tensor([[-4.0, 0.0, 4.0]]), places).tolist()
        [[0.0, 2.5, 5.0, 5.0, 2.5, 0.0]]
    """
    # As few operations as possible: at batch 1 their number is the time that they take.
    n = level.shape[1]
    middle, location, logs = torch.split(parameters, [n, n, n * (PARAMETERS - 2)], dim=1)
    gap, heights = torch.split(torch.exp(logs.clamp(*LOGS)), [n, n * (PARAMETERS - 3)], dim=1)
    gap = gap * level
    q = ((twice - middle) / gap).clamp(-1.0, 1.0)
    w = (gap * torch.atanh(q))[:, None]
    terms = heights.view(-1, PARAMETERS - 3, n) * torch.cat([w, torch.tanh(w - steps)], dim=1)
    share = torch.tanh(location + terms.sum(1))
    # One where all energy is in one part, whose share is then 1 or -1 exactly.
    alone = torch.floor(torch.abs(q))
    difference = (half - 1 + alone) * share
    return torch.cat([half + difference, half - difference], dim=1)


def log_prob(energy: Tensor, first: Tensor, level: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Logarithm of the probability of an outcome of :func:`divide`, and the noise that gives it.

    Shapes: all (M,), parameters (M, P).

    Args:
        energy, first: E and E_1 in units of the threshold.
        level: :func:`~fastv.models.plain_division.level_of` of E / 2.
        parameters: of the divisions.

    Returns:
        With two parts the logarithm of the density of log(x_1 / x_2), otherwise of the probability that all energy is
        in this part, in nats; and the least and the largest noise z = zeta / 2 with this outcome, equal with two parts.
    """
    middle, location = parameters[:, :2].to(energy.dtype).unbind(1)
    scales = torch.exp(parameters[:, 2:].to(energy.dtype).clamp(*LOGS))
    gap, middle, heights = 0.5 * scales[:, 0] * level, 0.5 * middle, scales[:, 1:]
    second = energy - first
    of_first, of_second = first >= 0.5, second >= 0.5
    both = of_first & of_second
    x1, x2 = (first - 1).clamp(min=LEAST_EXCESS), (second - 1).clamp(min=LEAST_EXCESS)
    y = torch.where(both, 0.5 * (torch.log(x1) - torch.log(x2)) - location, 0.0)
    w, slope = _inverse(y, heights)
    v = (0.5 * w / gap).abs()
    z = middle + gap * torch.tanh(0.5 * w / gap)
    # log(1 - tanh^2), without cancellation; the density is that of twice y, and w is twice the noise.
    log_edge = -2 * (v + F.softplus(-2 * v) - math.log(2.0))
    density = log_edge - torch.log(slope) - 0.5 * z * z - _LOG_ROOT_2PI - 2 * math.log(2.0)
    return outcome(of_first, both, density, z, middle - gap, middle + gap)


def log_undivided(level: Tensor, parameters: Tensor) -> Tensor:
    """Logarithms of the probabilities that all energy is in the second, or in the first part, (M, 2), in nats.

    Shapes: levels (M,), parameters (M, P).
    """
    gap = 0.5 * torch.exp(parameters[:, 2].clamp(*LOGS)) * level
    middle = 0.5 * parameters[:, 0]
    chances: Tensor = torch.special.log_ndtr(torch.stack([middle - gap, -middle - gap], dim=1))
    return chances


def _inverse(y: Tensor, heights: Tensor) -> tuple[Tensor, Tensor]:
    """w with y = s w + sum_k a_k tanh(w - c_k), and dy/dw; ``heights`` (M, 1 + K) are s and a_k."""
    places = torch.tensor(STEPS, device=y.device, dtype=y.dtype)

    def value(w: Tensor) -> tuple[Tensor, Tensor]:
        tanh = torch.tanh(w[:, None] - places)
        steps = heights[:, 1:]
        return heights[:, 0] * w + (steps * tanh).sum(1), heights[:, 0] + (steps * (1 - tanh * tanh)).sum(1)

    with torch.no_grad():
        total = heights[:, 1:].sum(1)
        low, high = (y - total) / heights[:, 0], (y + total) / heights[:, 0]
        w = 0.5 * (low + high)
        for _ in range(_SWEEPS):
            # Newton's method, and bisection where it leaves the range.
            reached, slope = value(w)
            low, high = torch.where(reached < y, w, low), torch.where(reached < y, high, w)
            step = w - (reached - y) / slope
            w = torch.where((step > low) & (step < high), step, 0.5 * (low + high))
    # One more step, with the derivatives of the solution by all that it depends on.
    reached, slope = value(w)
    w = w - (reached - y) / slope.detach()
    return w, value(w)[1]

"""The distribution of an energy between its two parts, as a function of normal noise, in few dense operations."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812  (the name everyone knows)
from torch import Tensor

_LOG_ROOT_2PI = 0.5 * math.log(2 * math.pi)
PARAMETERS = 4
"""Parameters of a division: logarithm of the gap, of the scale, then middle and location."""
LEAST_EXCESS = 1e-3
"""Smaller excesses, in units of the threshold, may be rounding, and count as this."""
_START = (-1.0, -0.7, 0.0, 0.0)


def initial_parameters() -> Tensor:
    """Parameters (4,) to start training from."""
    return torch.tensor(_START)


def level_of(half: Tensor) -> Tensor:
    """log(E / 2 d) of halves of energies in units of the threshold d, at least a number just above 0; any shape."""
    return torch.log(half.clamp(min=1 + 2.0**-23))


def divide(half: Tensor, level: Tensor, parameters: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    r"""Energies E_1 and E_2 of the parts of energies E, each zero or at least 1, in units of the threshold.

    With the level X = log(E/2), or 0 for smaller energies, and standard normal noise z, let

        q = (z - m) / (g X), limited to -1 ... 1 .

    At the limits all energy is in one part: in the second for q = -1, in the first for q = 1. In between, the excesses
    x_i = E_i - 1 of the parts have

        log(x_1 / x_2) = 2 (s log((1 + q) / (1 - q)) + l) .

    So an energy below twice the threshold is never divided, both ends of the range are resolved, E_1 increases with z,
    and the law has a density for any gap g, scale s, middle m and location l (:func:`log_prob`).

    Shapes: all (N, n, ...); parameters (N, 4 n, ...); z (N, n, 1, M) with parameters (N, n, 4, M).

    Args:
        half: E / 2.
        level: :func:`level_of` of it.
        parameters: log g, log s, m and l, in four blocks.
        z: noise.

    Example:
        >>> half, parameters = torch.full((1, 3), 2.5), initial_parameters().repeat_interleave(3)[None]
        >>> first, second = divide(half, level_of(half), parameters, torch.tensor([[-2.0, 0.0, 2.0]]))
        >>> first.tolist(), second.tolist()
        ([[0.0, 2.5, 5.0]], [[5.0, 2.5, 0.0]])
    """
    dim = 2 if z.ndim == 4 else 1
    log_gap, log_scale, middle, location = torch.split(parameters, parameters.shape[dim] // PARAMETERS, dim=dim)
    q = ((z - middle) / (torch.exp(log_gap) * level)).clamp(-1.0, 1.0)
    over, under = 1 + q, 1 - q
    share = torch.tanh(torch.exp(log_scale) * torch.log(over / under) + location)
    # Not a comparison: onnxruntime casts its result slowly.
    both = torch.ceil(over * under)
    difference = (half - both) * share
    return half + difference, half - difference


def log_prob(energy: Tensor, first: Tensor, level: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Logarithm of the probability of an outcome of :func:`divide`, and the noise that gives it.

    Shapes: all (M,), parameters (M, 4).

    Args:
        energy, first: E and E_1 in units of the threshold.
        level: :func:`level_of` of E / 2.
        parameters: of the divisions.

    Returns:
        With two parts the logarithm of the density of log(x_1 / x_2), otherwise of the probability that all energy is
        in this part, in nats; and the least and the largest noise z with this outcome, which are equal with two parts.
    """
    log_gap, log_scale, middle, location = parameters.to(energy.dtype).unbind(1)
    gap = torch.exp(log_gap) * level
    second = energy - first
    of_first, of_second = first >= 0.5, second >= 0.5
    both = of_first & of_second
    x1, x2 = (first - 1).clamp(min=LEAST_EXCESS), (second - 1).clamp(min=LEAST_EXCESS)
    w = (0.5 * (torch.log(x1) - torch.log(x2)) - location) * torch.exp(-log_scale)
    z = middle + gap * torch.tanh(0.5 * w)
    # log((1 - q^2) / 4), without cancellation
    log_edge = -w.abs() - 2 * F.softplus(-w.abs())
    density = log_gap + torch.log(level) - log_scale + log_edge - 0.5 * z * z - _LOG_ROOT_2PI
    low, high = middle - gap, middle + gap
    return outcome(of_first, both, density, z, low, high)


def outcome(
    of_first: Tensor, both: Tensor, density: Tensor, z: Tensor, low: Tensor, high: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Logarithm of the probability, least and largest noise of outcomes: two parts from z, one below low or above high.

    Shapes: all (M,); ``of_first`` and ``both`` tell whether there is a first part, and two.
    """
    alone = torch.special.log_ndtr(torch.where(of_first, -high, low))
    infinite = torch.full_like(z, math.inf)
    least = torch.where(both, z, torch.where(of_first, high, -infinite))
    largest = torch.where(both, z, torch.where(of_first, infinite, low))
    return torch.where(both, density, alone), least, largest

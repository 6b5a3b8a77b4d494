"""Distributions of energies: log densities for training, and sampling from given noise."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812  (the name everyone knows)
from torch import Tensor

_LOG_ROOT_2PI = 0.5 * math.log(2 * math.pi)


def sinh_arcsinh_sample(noise: Tensor, location: Tensor, scale: Tensor, skew: Tensor, tail: Tensor) -> Tensor:
    """Draw from the sinh-arcsinh normal distribution: y = location + scale sinh(tail asinh(noise) + skew).

    All shapes broadcast.

    Args:
        noise: standard normal.
        location, scale: of the distribution, in the units of y.
        skew: asymmetry; 0 for none.
        tail: 1 for normal tails, larger for longer ones.

    Source: Jones and Pewsey, Biometrika 96 (2009) 761, equation (1), solved for the variable that is drawn. Their
    parameters are delta = 1/``tail`` and epsilon = ``skew``/``tail``.

    Example:
        >>> zero, one = torch.zeros(()), torch.ones(())
        >>> round(float(sinh_arcsinh_sample(torch.tensor(0.7), one, 2 * one, zero, one)), 4)
        2.4
    """
    return location + scale * torch.sinh(tail * torch.asinh(noise) + skew)


def sinh_arcsinh_log_prob(y: Tensor, location: Tensor, scale: Tensor, skew: Tensor, tail: Tensor) -> Tensor:
    """Logarithm of the density of :func:`sinh_arcsinh_sample` at y, in nats, elementwise."""
    x = (y - location) / scale
    w = (torch.asinh(x) - skew) / tail
    noise = torch.sinh(w)
    log_slope = torch.log(torch.cosh(w)) - 0.5 * torch.log1p(x**2) - torch.log(tail * scale)
    return -0.5 * noise**2 - _LOG_ROOT_2PI + log_slope


def sinh_arcsinh_log_beyond(reach: float, location: Tensor, scale: Tensor, skew: Tensor, tail: Tensor) -> Tensor:
    """Logarithm of the probability that a draw of :func:`sinh_arcsinh_sample` is beyond +-``reach``, elementwise.

    Example:
        >>> zero, one = torch.zeros(()), torch.ones(())
        >>> round(float(sinh_arcsinh_log_beyond(2.0, zero, one, zero, one).exp()), 4)
        0.0455
    """
    # Limited to where the square of the noise is a number in float32.
    low, high = (
        torch.sinh(((torch.asinh((y - location) / scale) - skew) / tail).clamp(-40.0, 40.0)) for y in (-reach, reach)
    )
    return torch.logaddexp(torch.special.log_ndtr(low), torch.special.log_ndtr(-high))


def skew_logistic_sample(upper: Tensor, location: Tensor, scale: Tensor, shape: Tensor) -> Tensor:
    """Draw from the skew logistic distribution with F(y) = (1 + exp(-(y - location)/scale))^(-shape).

    All shapes broadcast.

    Args:
        upper: 1 - F in (0, 1], which keeps the precision of float32 in the upper tail (1e-6 in y/scale down to
            ``upper`` = 1e-7); 1 gives minus infinity.
        location, scale: of the distribution, in the units of y.
        shape: 1 for the symmetric logistic distribution, smaller for a longer lower tail.

    Source: type I generalised logistic, Johnson, Kotz and Balakrishnan, Continuous Univariate Distributions vol. 2,
    section 23.10.

    Example:
        >>> one = torch.ones(())
        >>> round(float(skew_logistic_sample(torch.tensor(0.5), 3 * one, one, one)), 6)
        3.0
    """
    # With a = -log(1 - upper)/shape this is -log(exp(a) - 1), and 1/(1 - exp(-a)) = 1/2 + 1/(2 tanh(a/2)). A graph has
    # neither log1p nor expm1, hence tanh, and the logarithm of a rounded 1 - upper times (exact/rounded) upper.
    lower = 1.0 - upper
    half = torch.log(lower) * (upper / (1.0 - lower).clamp(min=2**-24)) * (-0.5 / shape)
    return location + scale * (torch.log(0.5 + 0.5 / torch.tanh(half)) - 2.0 * half)


def skew_logistic_log_prob(y: Tensor, location: Tensor, scale: Tensor, shape: Tensor) -> Tensor:
    """Logarithm of the density of :func:`skew_logistic_sample` at y, in nats, elementwise."""
    x = (y - location) / scale
    return torch.log(shape / scale) - x - (shape + 1.0) * F.softplus(-x)

"""Distributions of energies: densities for training, quantile functions for sampling from given noise."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812  (the name everyone knows)
from torch import Tensor

_LOG_ROOT_2PI = 0.5 * math.log(2 * math.pi)


def sinh_arcsinh_sample(noise: Tensor, location: Tensor, scale: Tensor, skew: Tensor, tail: Tensor) -> Tensor:
    """Draw from the sinh-arcsinh normal: y = location + scale sinh(tail asinh(noise) + skew).

    ``noise`` is standard normal; ``tail`` = 1 and ``skew`` = 0 give the normal distribution, ``tail`` > 1 longer tails.
    All shapes broadcast. Source: Jones and Pewsey, Biometrika 96 (2009) 761, equation (1).

    Example:
        >>> zero, one = torch.zeros(()), torch.ones(())
        >>> round(float(sinh_arcsinh_sample(torch.tensor(0.7), one, 2 * one, zero, one)), 4)
        2.4
    """
    return location + scale * torch.sinh(tail * torch.asinh(noise) + skew)


def sinh_arcsinh_log_prob(y: Tensor, location: Tensor, scale: Tensor, skew: Tensor, tail: Tensor) -> Tensor:
    """Logarithm of the density that :func:`sinh_arcsinh_sample` draws from, nats, elementwise."""
    x = (y - location) / scale
    w = (torch.asinh(x) - skew) / tail
    noise = torch.sinh(w)
    log_slope = torch.log(torch.cosh(w)) - 0.5 * torch.log1p(x**2) - torch.log(tail * scale)
    return -0.5 * noise**2 - _LOG_ROOT_2PI + log_slope


def skew_logistic_sample(upper: Tensor, location: Tensor, scale: Tensor, shape: Tensor) -> Tensor:
    """Draw from the skew logistic distribution whose CDF is F(y) = (1 + exp(-(y - location)/scale))^(-shape).

    ``upper`` in (0, 1] is 1 - F, so that the upper tail keeps its precision in float32; 1 gives minus infinity.
    ``shape`` < 1 gives a longer lower tail. Source: type I generalised logistic, Johnson, Kotz and Balakrishnan,
    Continuous Univariate Distributions vol. 2, section 23.10.

    Example:
        >>> one = torch.ones(())
        >>> round(float(skew_logistic_sample(torch.tensor(0.5), 3 * one, one, one)), 6)
        3.0
    """
    log_lower = torch.log(1.0 - upper)
    return location - scale * torch.log(torch.exp(-log_lower / shape) - 1.0)


def skew_logistic_log_prob(y: Tensor, location: Tensor, scale: Tensor, shape: Tensor) -> Tensor:
    """Logarithm of the density that :func:`skew_logistic_sample` draws from, nats, elementwise."""
    x = (y - location) / scale
    return torch.log(shape / scale) - x - (shape + 1.0) * F.softplus(-x)

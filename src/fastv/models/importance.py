"""Bounds of log-likelihoods of latent variable models by importance sampling."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor


def importance_bound(log_weight: Callable[[], Tensor], samples: int) -> Tensor:
    r"""Estimate of log p(x) whose mean over draws is a lower bound that increases to log p(x) with their number.

        L_K = log 1/K sum_k p(x, z_k) / q(z_k | x) ,   z_k drawn from q

    With one draw its mean is the evidence lower bound.

    Args:
        log_weight: function that draws z and returns log p(x, z) - log q(z | x), (N,), in nats.
        samples: number of draws K.

    Returns:
        The estimate (N,), in nats.

    Source: Burda, Grosse and Salakhutdinov, arXiv 1509.00519, equation (8).

    Example:
        >>> weights = iter([torch.log(torch.tensor([1.0])), torch.log(torch.tensor([3.0]))])
        >>> round(float(importance_bound(lambda: next(weights), samples=2).exp()), 4)
        2.0
    """
    total = log_weight()
    for _ in range(samples - 1):
        total = torch.logaddexp(total, log_weight())
    return total - math.log(samples)

"""Smooth functions of the conditions by least squares: powers, their coefficients, spreads."""

from __future__ import annotations

import torch
from torch import Tensor

LOG_ABS_NORMAL = -0.635
"""E[log |n|] of a standard normal n."""


def powers(scaled: Tensor, highest: int) -> Tensor:
    """1 and the powers of each scaled condition, (N, C) -> (N, 1 + highest C)."""
    return torch.cat([torch.ones_like(scaled[:, :1]), *(scaled**i for i in range(1, highest + 1))], dim=1)


def least_squares(inputs: Tensor, values: Tensor) -> Tensor:
    """Coefficients (P, D) of values (N, D) in inputs (N, P), with a little ridge.

    Example:
        >>> x = torch.linspace(-1, 1, 50)[:, None]
        >>> least_squares(powers(x, 1), 2 + 3 * x).round(decimals=2).flatten().tolist()
        [2.0, 3.0]
    """
    p = inputs.double()
    ridge = 1e-3 * torch.eye(p.shape[1], dtype=torch.float64)
    solution: Tensor = torch.linalg.solve(p.T @ p + ridge, p.T @ values.double())
    return solution.to(values.dtype)


def log_spread(values: Tensor, scaled: Tensor) -> Tensor:
    """Coefficients (1 + C, D) of the log spread of values (N, D) around zero, linear in scaled conditions (N, C)."""
    coefficients = least_squares(powers(scaled, 1), torch.log(values.abs().clamp(min=1e-4)))
    coefficients[0] -= LOG_ABS_NORMAL
    return coefficients

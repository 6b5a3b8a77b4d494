"""Smooth functions of the conditions by least squares, and a linear Gaussian model built from them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

LOG_ABS_NORMAL = -0.635
"""E[log |n|] of a standard normal n."""


def powers(scaled: Tensor, highest: int) -> Tensor:
    """1 and the powers of each scaled condition up to ``highest``, (N, C) -> (N, 1 + highest C)."""
    return torch.cat([torch.ones_like(scaled[:, :1]), *(scaled**i for i in range(1, highest + 1))], dim=1)


def least_squares(inputs: Tensor, values: Tensor) -> Tensor:
    """Coefficients (P, D) of the linear least-squares fit of values (N, D) to inputs (N, P), with a ridge of 1e-3.

    Example:
        >>> x = torch.linspace(-1, 1, 50)[:, None]
        >>> least_squares(powers(x, 1), 2 + 3 * x).round(decimals=2).flatten().tolist()
        [2.0, 3.0]
    """
    p = inputs.double()
    ridge = 1e-3 * torch.eye(p.shape[1], dtype=torch.float64)
    solution: Tensor = torch.linalg.solve(p.T @ p + ridge, p.T @ values.double())
    return solution.to(values.dtype)


def log_spread(values: Tensor, scaled: Tensor, highest: int = 1) -> Tensor:
    """Fit the log of the spread around zero of values (N, D), a polynomial of each scaled condition (N, C).

    Returns:
        Coefficients (1 + highest C, D) of ``powers(scaled, highest)``.
    """
    coefficients = least_squares(powers(scaled, highest), torch.log(values.abs().clamp(min=1e-4)))
    coefficients[0] -= LOG_ABS_NORMAL
    return coefficients


class LinearGaussian(nn.Module):
    r"""Linear Gaussian model of numbers y: y = m(u) + s(u) R(u) n, with scaled conditions u and n standard normal.

    m is cubic and log s linear in each condition, by least squares. R is the Cholesky factor of the correlation of the
    residuals. Since correlations of layers change with energy, R is fitted at the lowest, middle and highest energy
    and interpolated linearly between them.

    Shapes: y and n (N, D), scaled conditions (N, C), the energy first.

    Args:
        size: number D of values.
        conditions: number C of scaled conditions.

    Example:
        >>> u = torch.linspace(-1, 1, 2000)[:, None]
        >>> first = torch.randn(2000, 1, generator=torch.Generator().manual_seed(1))
        >>> y = 2 * u + torch.cat([first, first], dim=1)
        >>> linear = LinearGaussian(2, 1)
        >>> linear.fit(y, u)
        >>> n = linear.whitened(y, u)
        >>> bool(torch.allclose(linear(n, u), y, atol=1e-4))
        True
    """

    mean: Tensor
    log_width: Tensor
    triangles: Tensor

    def __init__(self, size: int, conditions: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(1 + 3 * conditions, size))
        self.register_buffer("log_width", torch.zeros(1 + conditions, size))
        self.register_buffer("triangles", torch.eye(size).repeat(3, 1, 1))

    @torch.no_grad()
    def fit(self, values: Tensor, scaled: Tensor) -> None:
        """Fit to values (N, D) of training showers at scaled conditions (N, C)."""
        self.mean.copy_(least_squares(powers(scaled, 3), values))
        rest = values - powers(scaled, 3) @ self.mean
        self.log_width.copy_(0.5 * least_squares(powers(scaled, 1), torch.log(rest.square() + 1e-2)))
        unit = (rest / torch.exp(powers(scaled, 1) @ self.log_width)).double()
        # The mean of the logarithm is not the logarithm of the mean, so the overall scale is corrected here.
        scale = unit.square().mean(0).sqrt().clamp(min=1e-3)
        self.log_width[0] += torch.log(scale).to(self.log_width)
        unit = unit / scale
        covariance = (unit.T @ unit + 10 * torch.eye(unit.shape[1])) / (len(unit) + 10)
        for knot, weight in enumerate(self._weights(scaled).double().unbind(1)):
            near = (unit.T * weight) @ unit
            self.triangles[knot] = torch.linalg.cholesky((near + 50 * covariance) / (weight.sum() + 50))

    def _weights(self, scaled: Tensor) -> Tensor:
        """Interpolation weights (N, 3) of the Cholesky factors."""
        u = scaled[:, :1].clamp(-1.0, 1.0)
        return torch.cat([(-u).clamp(min=0.0), 1 - u.abs(), u.clamp(min=0.0)], dim=1)

    def correlated(self, noise: Tensor, scaled: Tensor) -> Tensor:
        """R(u) n, correlated numbers (N, D) of unit variance."""
        each = noise[None] @ self.triangles.transpose(1, 2)  # (3, N, D)
        weights = self._weights(scaled).T[:, :, None]
        return (weights * each).sum(0)

    def stretched(self, unit: Tensor, scaled: Tensor) -> Tensor:
        """m(u) + s(u) ``unit``, (N, D)."""
        return powers(scaled, 3) @ self.mean + torch.exp(powers(scaled, 1) @ self.log_width) * unit

    def forward(self, noise: Tensor, scaled: Tensor) -> Tensor:
        """Values (N, D) from noise (N, D)."""
        return self.stretched(self.correlated(noise, scaled), scaled)

    def whitened(self, values: Tensor, scaled: Tensor) -> Tensor:
        """Noise (N, D) from values (N, D), the inverse of :meth:`forward`: uncorrelated, with unit variance."""
        unit = (values - powers(scaled, 3) @ self.mean) * torch.exp(-powers(scaled, 1) @ self.log_width)
        triangles = torch.einsum("nk,kij->nij", self._weights(scaled), self.triangles)
        solved: Tensor = torch.linalg.solve_triangular(triangles, unit[:, :, None], upper=False)
        return solved[:, :, 0]

"""A conditional mixture of Gaussians, as a density of the codes of an autoencoder."""

from __future__ import annotations

import math
import warnings

import numpy as np
import torch
from torch import Tensor, nn


class ConditionalMixture(nn.Module):
    r"""p(z | u) from a mixture of Gaussians fitted to the joint distribution of (z, u).

    With weights w_k, means m_k and covariances S_k of the components,

        p(z | u) = sum_k r_k(u) N(m_z + S_zu S_uu^-1 (u - m_u), S_zz - S_zu S_uu^-1 S_uz),  r_k ~ w_k N(u; m_u, S_uu)

    where m and S are those of component k.

    Shapes: z (N, D), u (N, C); noise: D normal columns and one uniform.

    Args:
        size: number D.
        conditions: number C.
        parts: number of components.

    Source: Bishop, Pattern Recognition and Machine Learning (2006), equations (2.81), (2.82) and section 9.2.

    Example:
        >>> mixture = ConditionalMixture(2, 1, parts=3)
        >>> u = torch.rand(500, 1, generator=torch.manual_seed(1))
        >>> mixture.fit(torch.cat([u, -u], dim=1) + 0.01 * torch.randn(500, 2), u)
        >>> z = mixture.sample(torch.full((4, 1), 0.5), torch.zeros(4, 2), torch.full((4, 1), 0.5))
        >>> bool(((z - torch.tensor([0.5, -0.5])).abs() < 0.05).all())
        True
    """

    log_weight: Tensor
    mean: Tensor
    slope: Tensor
    triangle: Tensor
    condition_mean: Tensor
    condition_whitening: Tensor

    def __init__(self, size: int, conditions: int, parts: int) -> None:
        super().__init__()
        self.size, self.conditions, self.parts = size, conditions, parts
        self.register_buffer("log_weight", torch.zeros(parts))
        self.register_buffer("mean", torch.zeros(parts, size))
        self.register_buffer("slope", torch.zeros(parts, conditions, size))
        self.register_buffer("triangle", torch.eye(size).repeat(parts, 1, 1))
        self.register_buffer("condition_mean", torch.zeros(parts, conditions))
        self.register_buffer("condition_whitening", torch.eye(conditions).repeat(parts, 1, 1))

    @torch.no_grad()
    def fit(self, z: Tensor, u: Tensor, seed: int = 0) -> None:
        """Fit by expectation maximisation; with too few showers, fewer components are used."""
        # Imported here: generation does not need it.
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.mixture import GaussianMixture

        joint = torch.cat([z, u], dim=1).double().cpu().numpy()
        # A little noise, because constant codes or conditions would have a singular covariance.
        joint = joint + 1e-3 * np.random.default_rng(seed).standard_normal(joint.shape)
        parts = min(self.parts, max(1, len(joint) // (2 * joint.shape[1])))
        fitted = GaussianMixture(parts, reg_covar=1e-4, random_state=seed, max_iter=200, tol=1e-2)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a nearly converged fit is good enough
            fitted.fit(joint)
        d = self.size
        self.log_weight.fill_(-1e4)
        for k in range(parts):
            mean, covariance = fitted.means_[k], fitted.covariances_[k]
            zz, zu, uu = covariance[:d, :d], covariance[:d, d:], covariance[d:, d:]
            slope = np.linalg.solve(uu, zu.T)  # (C, D)
            whitening = np.linalg.inv(np.linalg.cholesky(uu))
            rest = zz - zu @ slope
            self.log_weight[k] = math.log(fitted.weights_[k]) + float(np.log(np.diag(whitening)).sum())
            self.mean[k], self.condition_mean[k] = torch.from_numpy(mean[:d]), torch.from_numpy(mean[d:])
            self.slope[k], self.condition_whitening[k] = torch.from_numpy(slope), torch.from_numpy(whitening)
            self.triangle[k] = torch.from_numpy(np.linalg.cholesky(rest + 1e-8 * np.eye(d)))

    def _log_parts(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """log r_k (N, K) up to a constant, and u - m_u (N, K, C)."""
        away = u[:, None] - self.condition_mean
        whitened = (away[:, :, None] * self.condition_whitening).sum(3)
        return self.log_weight - 0.5 * whitened.square().sum(2), away

    def sample(self, u: Tensor, normal: Tensor, uniform: Tensor) -> Tensor:
        """Draw z (N, D) for conditions u (N, C) from normal noise (N, D) and uniform noise (N, 1)."""
        log_parts, away = self._log_parts(u)
        edges = torch.softmax(log_parts, dim=1).cumsum(1)
        part = (uniform > edges[:, :-1]).long().sum(1)
        own = away.gather(1, part[:, None, None].expand(-1, 1, self.conditions))
        means = self.mean[part] + (own @ self.slope[part])[:, 0]
        return means + (self.triangle[part] @ normal[:, :, None])[:, :, 0]

    def log_prob(self, z: Tensor, u: Tensor) -> Tensor:
        """log p(z | u), (N,), in nats."""
        log_parts, away = self._log_parts(u)
        rest = z[:, None] - self.mean - (away[:, :, None] @ self.slope)[:, :, 0]
        scores = torch.linalg.solve_triangular(self.triangle, rest[..., None], upper=False)[..., 0]
        log_scale = torch.diagonal(self.triangle, dim1=1, dim2=2).log().sum(1)
        normal = -0.5 * scores.square().sum(2) - log_scale - 0.5 * self.size * math.log(2 * math.pi)
        total: Tensor = torch.logsumexp(torch.log_softmax(log_parts, dim=1) + normal, dim=1)
        return total

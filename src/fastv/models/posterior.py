"""Gaussian posteriors of latent variables and their closed-form divergence from the unit Gaussian."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

Covariance = Literal["diagonal", "full"]


class GaussianPosterior(nn.Module):
    r"""An encoder's last layer: the mean and the covariance of q(z | x) = N(mu, L L^T).

    ``diagonal`` predicts the logarithm of each variance; ``full`` predicts the Cholesky factor L, a lower triangle with
    positive diagonal. With d the latent size,

        KL(q || N(0, 1)) = 1/2 (|mu|^2 + ||L||_F^2 - d) - sum_i log L_ii

    Source: Kingma and Welling, arXiv 1312.6114, appendix B (diagonal); the general case follows from the divergence of
    two multivariate Gaussians.

    Shapes: input (N, features); ``mean`` (N, d); ``scale_tril`` (N, d, d) or, for a diagonal, the deviations (N, d).

    Example:
        >>> posterior = GaussianPosterior(features=8, latent=3, covariance="full")
        >>> mean, scale = posterior(torch.zeros(2, 8))
        >>> posterior.sample(mean, scale, torch.randn(2, 3)).shape, posterior.kl(mean, scale).shape
        (torch.Size([2, 3]), torch.Size([2]))
    """

    def __init__(self, features: int, latent: int, covariance: Covariance = "diagonal") -> None:
        super().__init__()
        self.latent = latent
        self.covariance = covariance
        self.mean = nn.Linear(features, latent)
        self.log_scale = nn.Linear(features, latent)
        # The first posteriors are narrow: reconstruction has a signal to learn from before the divergence pulls.
        nn.init.constant_(self.log_scale.bias, -1.0)
        if covariance == "full" and latent > 1:
            self.triangle = nn.Linear(features, latent * (latent - 1) // 2)
            self.register_buffer("lower", torch.tril_indices(latent, latent, -1), persistent=False)
            with torch.no_grad():
                self.triangle.weight.mul_(0.1)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and scale (deviations, or Cholesky factor) of the posterior."""
        mean = self.mean(features)
        # Beyond these bounds a deviation is numerically a point or no longer a posterior.
        deviations = self.log_scale(features).clamp(-8.0, 3.0).exp()
        if self.covariance == "diagonal":
            return mean, deviations
        scale = torch.diag_embed(deviations)
        if self.latent > 1:
            scale[:, self.lower[0], self.lower[1]] = self.triangle(features).to(scale.dtype)  # type: ignore[index]
        return mean, scale

    def sample(self, mean: Tensor, scale: Tensor, noise: Tensor) -> Tensor:
        """Reparameterised draw z = mu + L noise, shape (N, d)."""
        if self.covariance == "diagonal":
            return mean + scale * noise
        return mean + torch.einsum("nij,nj->ni", scale, noise)

    def log_prob(self, noise: Tensor, scale: Tensor) -> Tensor:
        """log q of the draws that ``noise`` gave, shape (N,), nats."""
        deviations = scale if self.covariance == "diagonal" else torch.diagonal(scale, dim1=1, dim2=2)
        return -0.5 * noise.square().sum(1) - deviations.log().sum(1) - self.latent * math.log(2 * math.pi) / 2

    def kl(self, mean: Tensor, scale: Tensor) -> Tensor:
        """KL divergence from the unit Gaussian, shape (N,), nats."""
        if self.covariance == "diagonal":
            return 0.5 * (mean**2 + scale**2 - 1.0).sum(1) - scale.log().sum(1)
        log_det = torch.diagonal(scale, dim1=1, dim2=2).log().sum(1)
        return 0.5 * ((mean**2).sum(1) + (scale**2).sum((1, 2)) - self.latent) - log_det

"""Gaussian posteriors of latent variables, and their KL divergence from the unit Gaussian in closed form."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

Covariance = Literal["diagonal", "full"]


class GaussianPosterior(nn.Module):
    r"""Last layer of an encoder: mean and covariance of q(z | x) = N(mu, L L^T).

    ``diagonal`` predicts the logarithms of the standard deviations; ``full`` predicts the Cholesky factor L, a lower
    triangular matrix with positive diagonal. With d the latent size,

        KL(q || N(0, 1)) = 1/2 (|mu|^2 + ||L||_F^2 - d) - sum_i log L_ii

    Shapes: input (N, features); mean (N, d); scale (N, d, d), or (N, d) for a diagonal covariance.

    Args:
        features: columns of the input.
        latent: size d of z.
        covariance: ``diagonal`` or ``full``.

    Source: Kingma and Welling, arXiv 1312.6114, appendix B (diagonal; their encoder gives logarithms of variances); the
    general case follows from the divergence of two multivariate Gaussians.

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
        # Start with narrow posteriors, so that the reconstruction can learn before the divergence dominates.
        nn.init.constant_(self.log_scale.bias, -1.0)
        if covariance == "full" and latent > 1:
            self.triangle = nn.Linear(features, latent * (latent - 1) // 2)
            self.register_buffer("lower", torch.tril_indices(latent, latent, -1), persistent=False)
            with torch.no_grad():
                self.triangle.weight.mul_(0.1)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Mean, and scale (standard deviations, or Cholesky factor), of the posterior."""
        mean = self.mean(features)
        # Keeps standard deviations in a range that is numerically safe.
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
        """log q of the draws made from ``noise`` (N, d), shape (N,), in nats."""
        deviations = scale if self.covariance == "diagonal" else torch.diagonal(scale, dim1=1, dim2=2)
        return -0.5 * noise.square().sum(1) - deviations.log().sum(1) - self.latent * math.log(2 * math.pi) / 2

    def kl(self, mean: Tensor, scale: Tensor) -> Tensor:
        """KL divergence from the unit Gaussian, shape (N,), in nats."""
        if self.covariance == "diagonal":
            return 0.5 * (mean**2 + scale**2 - 1.0).sum(1) - scale.log().sum(1)
        log_det = torch.diagonal(scale, dim1=1, dim2=2).log().sum(1)
        return 0.5 * ((mean**2).sum(1) + (scale**2).sum((1, 2)) - self.latent) - log_det

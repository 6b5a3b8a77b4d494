"""Priors of latent variables: the unit Gaussian, or a flow that learns where the posteriors are."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from fastv.models.posterior import GaussianPosterior
from fastv.models.splines import SplineFlow, normal_log_prob

Prior = Literal["gaussian", "flow"]


class LatentPrior(nn.Module):
    r"""p(z | c): the unit Gaussian, without parameters, or a flow of splines on the latent space, given c.

    The mixture of all posteriors is never quite the unit Gaussian; where it leaves holes, a decoder is asked for what
    it never learned. A flow f from noise to z, of coupling steps, moves the prior to where the posteriors are:

        p(z | c) = N(f^-1(z; c)) |det df^-1/dz| .

    It starts near the identity. Its divergence has no closed form: one draw z of q gives log q(z | x) - log p(z | c).

    Source: Chen et al., arXiv 1611.02731, section 3.2 (a flow for the prior); Durkan et al., arXiv 1906.04032.

    Shapes: z (N, d), context (N, C).

    Example:
        >>> import torch
        >>> prior = LatentPrior("flow", latent=4, context=2)
        >>> z = prior.sample(torch.randn(3, 4), torch.zeros(3, 2))
        >>> z.shape, prior.log_prob(z, torch.zeros(3, 2)).shape
        (torch.Size([3, 4]), torch.Size([3]))
    """

    def __init__(self, kind: Prior, latent: int, context: int) -> None:
        super().__init__()
        self.flow: SplineFlow | None = None
        if kind == "flow":
            # Coupling steps: both directions take two passes.
            self.flow = SplineFlow(latent, context, transforms=4, direction="density", passes=2, hidden=(64, 64))

    def sample(self, noise: Tensor, context: Tensor) -> Tensor:
        """Latent vectors from standard normal noise."""
        return noise if self.flow is None else self.flow.to_data(noise, context)

    def log_prob(self, z: Tensor, context: Tensor) -> Tensor:
        """log p(z | c), (N,), nats."""
        return normal_log_prob(z) if self.flow is None else self.flow.log_prob(z, context)

    def kl(
        self, posterior: GaussianPosterior, mean: Tensor, scale: Tensor, noise: Tensor, z: Tensor, context: Tensor
    ) -> Tensor:
        """KL(q || p), (N,): in closed form, or estimated by the draw z that ``noise`` gave."""
        if self.flow is None:
            return posterior.kl(mean, scale)
        return posterior.log_prob(noise, scale) - self.flow.log_prob(z, context)

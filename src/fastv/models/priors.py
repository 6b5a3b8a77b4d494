"""Priors of latent variables: the unit Gaussian, or a flow fitted to the posteriors."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from fastv.models.posterior import GaussianPosterior
from fastv.models.splines import SplineFlow, normal_log_prob

Prior = Literal["gaussian", "flow"]


class LatentPrior(nn.Module):
    r"""p(z | c): the unit Gaussian, without parameters, or a spline flow on the latent space, given c.

    The mixture of all posteriors is never exactly the unit Gaussian, so a Gaussian prior also draws latent vectors that
    the decoder never saw in training. A flow f of coupling steps from noise to z matches the prior to the posteriors:

        p(z | c) = N(f^-1(z; c)) |det df^-1/dz| .

    It starts near the identity. The divergence has no closed form and is estimated as log q(z | x) - log p(z | c) with
    one draw z of q.

    Shapes: z (N, d), context (N, C).

    Args:
        kind: ``gaussian`` or ``flow``.
        latent: size d of z.
        context: columns of the context.

    Source: Chen et al., arXiv 1611.02731, section 3.2 (a flow for the prior); Durkan et al., arXiv 1906.04032.

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
            # Two groups make coupling steps, which take at most two passes in either direction.
            self.flow = SplineFlow(latent, context, transforms=4, direction="density", passes=2, hidden=(64, 64))

    def sample(self, noise: Tensor, context: Tensor) -> Tensor:
        """Latent vectors (N, d) from standard normal noise (N, d)."""
        return noise if self.flow is None else self.flow.to_data(noise, context)

    def log_prob(self, z: Tensor, context: Tensor) -> Tensor:
        """log p(z | c), (N,), in nats."""
        return normal_log_prob(z) if self.flow is None else self.flow.log_prob(z, context)

    def kl(
        self, posterior: GaussianPosterior, mean: Tensor, scale: Tensor, noise: Tensor, z: Tensor, context: Tensor
    ) -> Tensor:
        """KL(q || p), (N,), in nats: in closed form, or for a flow estimated from the draw z made from ``noise``."""
        if self.flow is None:
            return posterior.kl(mean, scale)
        return posterior.log_prob(noise, scale) - self.flow.log_prob(z, context)

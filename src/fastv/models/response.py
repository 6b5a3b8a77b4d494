"""Response of a shower given its conditions: a free shape, or a sinh-arcsinh normal one with rare losses."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from fastv.models.codings.preprocessing import ResponseScale
from fastv.models.codings.response import ResponseCoding
from fastv.models.likelihoods import sinh_arcsinh_log_beyond, sinh_arcsinh_log_prob, sinh_arcsinh_sample
from fastv.models.networks import MLP
from fastv.models.rare_losses import RareLosses
from fastv.models.splines import normal_log_prob, spline, spline_inverse

ResponseShape = Literal["free", "sinh-arcsinh"]


def response_of(shape: ResponseShape, conditions: int) -> FreeResponse | PeakedResponse:
    """The response with a shape, for ``conditions`` scaled conditions."""
    return FreeResponse(conditions) if shape == "free" else PeakedResponse(conditions)


class FreeResponse(nn.Module):
    r"""p(t | c) of any shape: that of training showers of the same energy, changed by a flow of the conditions.

    Let z(t, E) be the normal score of the response among training showers near the incident energy
    (:class:`~fastv.models.codings.response.ResponseCoding`). A monotonic rational-quadratic spline S, whose parameters
    are the output of a network of the conditions c, maps z to standard normal noise n = S(z; c), so

        log p(y | c) = log N(n) + log dS/dz + log dz/dy ,

    y the standardised response. With S the identity, from which training starts, the response has the shape of the
    training showers at every energy; the flow learns how it depends on the other conditions, and corrects the
    interpolation in energy. The table itself is not trained: the density is not continuous at its quantiles, so that
    gradients with respect to them are wrong.

    Shapes: t, E_inc and scores (N, 1).

    Args:
        conditions: columns C of the scaled conditions.

    Example:
        >>> incident, scaled = torch.full((1000, 1), 1e4), torch.zeros(1000, 1)
        >>> response = FreeResponse(1)
        >>> response.fit(0.9 + 0.03 * torch.randn(1000, 1, generator=torch.manual_seed(1)), incident)
        >>> with torch.no_grad():
        ...     drawn, _ = response.sample(torch.randn(1000, 1), torch.empty(1000, 0), scaled, incident)
        >>> round(float(drawn.mean()), 2)
        0.9
    """

    uniform: ClassVar[int] = 0
    """Columns of uniform noise."""
    PIECES: ClassVar[int] = 12
    """Pieces of the spline."""

    def __init__(self, conditions: int) -> None:
        super().__init__()
        self.coding = ResponseCoding()
        self.flow = MLP(conditions, (32,), 3 * self.PIECES - 1)
        for parameter in self.flow[-1].parameters():
            nn.init.zeros_(parameter)

    @torch.no_grad()
    def fit(self, fraction: Tensor, incident: Tensor) -> None:
        """Fit the coding to responses (N, 1) at incident energies (N, 1) in MeV."""
        self.coding.fit(fraction, incident)

    def context(self, fraction: Tensor, incident: Tensor) -> Tensor:
        """The response as other networks see it: its score among showers of the incident energy."""
        score: Tensor = self.coding(fraction, incident)
        return score.clamp(-6.0, 6.0)

    def fraction(self, context: Tensor, incident: Tensor) -> Tensor:
        """Responses t (N, 1) of their :meth:`context`."""
        return self.coding.fraction(context, incident)

    def _spline(self, scaled: Tensor) -> Any:
        # In half precision the pieces of the spline would not add up.
        return spline(self.flow(scaled).to(scaled.dtype)[:, None])

    def log_prob(self, fraction: Tensor, scaled: Tensor, incident: Tensor) -> Tensor:
        """Logarithm of the density of the standardised response y, in nats, (N,).

        Args:
            fraction: responses t (N, 1).
            scaled: scaled conditions (N, C).
            incident: incident energies (N, 1), MeV.
        """
        n, log_slope = self._spline(scaled).call_and_ladj(self.coding(fraction, incident))
        log_prob: Tensor = log_slope + torch.log(self.coding.slope(fraction, incident))
        return normal_log_prob(n) + log_prob[:, 0]

    def sample(self, normal: Tensor, uniform: Tensor, scaled: Tensor, incident: Tensor) -> tuple[Tensor, Tensor]:
        """Responses t and their :meth:`context`, (N, 1), from normal noise (N, 1); there is no ``uniform`` noise."""
        del uniform
        score = spline_inverse(self._spline(scaled), normal)
        # Not from t: where many training showers are alike, the score of t is steep, and rounding would be amplified.
        return self.coding.fraction(score, incident), score.clamp(-6.0, 6.0)


class PeakedResponse(nn.Module):
    """p(t | c) with a single peak: sinh-arcsinh normal in units of the stochastic resolution, with rare losses.

    Shapes: t, E_inc and noise (N, 1).

    Args:
        conditions: columns of the scaled conditions.
    """

    REACH: ClassVar[float] = 8.0
    """Showers that are further below the mean, in units of the stochastic resolution, have a rare loss."""

    uniform: ClassVar[int] = 1
    """Columns of uniform noise."""

    def __init__(self, conditions: int) -> None:
        super().__init__()
        self.scale = ResponseScale()
        self.losses = RareLosses()
        self.shape = MLP(conditions, (16,), 4)
        # Start from the fitted Gaussian, to which the network adds a small, smooth correction.
        for parameter in self.shape[-1].parameters():
            nn.init.zeros_(parameter)

    @torch.no_grad()
    def fit(self, fraction: Tensor, incident: Tensor) -> None:
        """Fit the scale to responses (N, 1) at incident energies (N, 1) in MeV, then the rare losses."""
        self.scale.fit(fraction, incident)
        edge = self.scale.fraction(torch.full_like(incident, -self.REACH), incident)
        self.losses.fit(fraction / self.scale.mean, torch.log(self.scale.mean / edge))

    def context(self, fraction: Tensor, incident: Tensor) -> Tensor:
        """The response as other networks see it: standardised, clipped so that large rare losses look alike."""
        response: Tensor = self.scale(fraction, incident)
        return response.clamp(-self.REACH, self.REACH)

    def fraction(self, context: Tensor, incident: Tensor) -> Tensor:
        """Responses t (N, 1) of their :meth:`context`."""
        return self.scale.fraction(context, incident)

    def _parameters_of(self, scaled: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        location, log_scale, skew, log_tail = self.shape(scaled).split(1, dim=1)
        return location, torch.exp(log_scale), skew, torch.exp(log_tail)

    def log_prob(self, fraction: Tensor, scaled: Tensor, incident: Tensor) -> Tensor:
        """Logarithm of the density of the standardised response y, in nats, (N,).

        Beyond +-``REACH`` the sinh-arcsinh normal density is replaced by P REACH / (2 y^2), P its probability there. So
        outliers that are no rare losses tell how many there are, and do not stretch the bulk; generation puts them at
        +-``REACH``. For showers with a rare loss the resolution is neglected: near the mean they are too few to matter,
        and far from it the resolution is small compared with the loss.

        Args:
            fraction: responses t (N, 1).
            scaled: scaled conditions (N, C).
            incident: incident energies (N, 1), MeV.
        """
        response = self.scale(fraction, incident)
        shape, inside = self._parameters_of(scaled), response.clamp(-self.REACH, self.REACH)
        outside = torch.log(self.REACH / (2 * response.square().clamp(min=self.REACH**2)))
        usual = torch.where(
            response == inside,
            sinh_arcsinh_log_prob(inside, *shape),
            sinh_arcsinh_log_beyond(self.REACH, *shape) + outside,
        )
        positive = fraction.clamp(min=1e-6)
        rare = self.losses.log_prob(torch.log(self.scale.mean / positive)) + torch.log(
            self.scale.slope(incident) / positive
        )
        # No loss is larger than all of the energy.
        rare = rare.masked_fill(fraction <= 0, -torch.inf)
        return torch.logaddexp(torch.log1p(-self.losses.probability) + usual, rare)[:, 0]

    def sample(self, normal: Tensor, uniform: Tensor, scaled: Tensor, incident: Tensor) -> tuple[Tensor, Tensor]:
        """Responses t and their :meth:`context`, (N, 1), from normal and uniform noise (N, 1)."""
        usual = sinh_arcsinh_sample(normal, *self._parameters_of(scaled)).clamp(-self.REACH, self.REACH)
        fraction = self.scale.fraction(usual, incident) * self.losses.kept(uniform)
        return fraction, self.context(fraction, incident)

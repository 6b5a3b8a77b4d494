"""Response of a shower given its conditions: a free shape, or a sinh-arcsinh normal one with rare losses."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from fastv.models.codings.preprocessing import ResponseScale, piecewise_linear
from fastv.models.codings.response import ResponseCoding
from fastv.models.likelihoods import sinh_arcsinh_log_prob, sinh_arcsinh_sample
from fastv.models.networks import MLP
from fastv.models.rare_losses import RareLosses

ResponseShape = Literal["free", "sinh-arcsinh"]


def response_of(shape: ResponseShape, conditions: int) -> FreeResponse | PeakedResponse:
    """The response with a shape, for ``conditions`` scaled conditions."""
    return FreeResponse(conditions) if shape == "free" else PeakedResponse(conditions)


class FreeResponse(nn.Module):
    r"""p(t | c) of any shape: the quantiles of training showers near the incident energy, changed by a network.

    Let q_k(E) be the quantiles of the standardised response y at scores n_k, as tabulated by
    :class:`~fastv.models.codings.response.ResponseCoding`, and w(E) half its central 68 % interval. A network of the
    conditions c gives d_k(c), and

        y(n | c) = piecewise linear in n between  y_0 = q_0 + w d_0(c)  at the median,
        y_(k+1) - y_k = (q_(k+1) - q_k) exp(d_k(c)) ,    n standard normal.

    With d = 0, which training starts from, the response has the shape of the training showers at every energy; the
    network learns how it depends on the other conditions, and corrects the interpolation in energy.

    Shapes: t, E_inc and scores (N, 1).

    Args:
        conditions: columns C of the scaled conditions.

    Example:
        >>> incident, scaled = torch.full((1000, 1), 1e4), torch.zeros(1000, 1)
        >>> response = FreeResponse(1)
        >>> response.fit(0.9 + 0.03 * torch.randn(1000, 1, generator=torch.manual_seed(1)), incident)
        >>> with torch.no_grad():
        ...     drawn = response.sample(torch.randn(1000, 1), torch.empty(1000, 0), scaled, incident)
        >>> round(float(drawn.mean()), 2)
        0.9
    """

    uniform: ClassVar[int] = 0
    """Columns of uniform noise."""

    def __init__(self, conditions: int) -> None:
        super().__init__()
        self.coding = ResponseCoding()
        self.change = MLP(conditions, (32,), len(self.coding.knots))
        for parameter in self.change[-1].parameters():
            nn.init.zeros_(parameter)

    @torch.no_grad()
    def fit(self, fraction: Tensor, incident: Tensor) -> None:
        """Fit the quantiles to responses (N, 1) at incident energies (N, 1) in MeV."""
        self.coding.fit(fraction, incident)

    def context(self, fraction: Tensor, incident: Tensor) -> Tensor:
        """The response as other networks see it: its score among showers of the incident energy."""
        score: Tensor = self.coding(fraction, incident)
        return score.clamp(-6.0, 6.0)

    def _quantiles(self, scaled: Tensor, incident: Tensor) -> tuple[Tensor, Tensor]:
        """Quantiles (N, K) of y, and the slope beyond the extremes (N, 1)."""
        rows = self.coding.table(incident)
        outer = self.coding.outer(rows)
        change = self.change(scaled).clamp(-4.0, 4.0)
        rise = torch.diff(rows, dim=1) * torch.exp(change[:, 1:])
        half = rise.shape[1] // 2
        below = rise[:, :half].sum(1, keepdim=True)
        first = rows[:, half : half + 1] + outer * change[:, :1] - below
        quantiles = torch.cat([first, first + rise.cumsum(1)], dim=1)
        return quantiles, self.coding.outer(quantiles)

    def log_prob(self, fraction: Tensor, scaled: Tensor, incident: Tensor) -> Tensor:
        """Logarithm of the density of the standardised response y, in nats, (N,).

        Args:
            fraction: responses t (N, 1).
            scaled: scaled conditions (N, C).
            incident: incident energies (N, 1), MeV.
        """
        y = self.coding.scale(fraction, incident)
        quantiles, outer = self._quantiles(scaled, incident)
        slopes = torch.diff(self.coding.knots) / torch.diff(quantiles, dim=1)
        slopes = torch.cat([1 / outer, slopes, 1 / outer], dim=1)
        slope = slopes.gather(1, (y >= quantiles).sum(1, keepdim=True))
        n = piecewise_linear(y, quantiles[:, None], self.coding.knots, 1 / outer)
        log_prob: Tensor = torch.log(slope) - 0.5 * n.square() - 0.5 * math.log(2 * math.pi)
        return log_prob[:, 0]

    def sample(self, normal: Tensor, uniform: Tensor, scaled: Tensor, incident: Tensor) -> Tensor:
        """Responses t (N, 1) from normal noise (N, 1); there is no ``uniform`` noise, (N, 0)."""
        del uniform
        quantiles, outer = self._quantiles(scaled, incident)
        y = piecewise_linear(normal, self.coding.knots, quantiles[:, None], outer)
        return self.coding.scale.fraction(y, incident)


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

    def _parameters_of(self, scaled: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        location, log_scale, skew, log_tail = self.shape(scaled).split(1, dim=1)
        return location, torch.exp(log_scale), skew, torch.exp(log_tail)

    def log_prob(self, fraction: Tensor, scaled: Tensor, incident: Tensor) -> Tensor:
        """Logarithm of the density of the standardised response, in nats, (N,).

        For showers with a rare loss the resolution is neglected: near the mean they are too few to matter, and far
        from it the resolution is small compared with the loss.

        Args:
            fraction: responses t (N, 1).
            scaled: scaled conditions (N, C).
            incident: incident energies (N, 1), MeV.
        """
        response = self.scale(fraction, incident)
        # Outliers that are no rare losses must not dominate the fit of the bulk.
        usual = sinh_arcsinh_log_prob(response.clamp(-self.REACH, self.REACH), *self._parameters_of(scaled))
        fraction = self.scale.fraction(response, incident).clamp(min=1e-3)
        loss = torch.log(self.scale.mean / fraction)
        rare = self.losses.log_prob(loss) + torch.log(self.scale.slope(incident) / fraction)
        return torch.logaddexp(torch.log1p(-self.losses.probability) + usual, rare)[:, 0]

    def sample(self, normal: Tensor, uniform: Tensor, scaled: Tensor, incident: Tensor) -> Tensor:
        """Responses t (N, 1) from normal and uniform noise (N, 1)."""
        usual = sinh_arcsinh_sample(normal, *self._parameters_of(scaled)).clamp(-self.REACH, self.REACH)
        return self.scale.fraction(usual, incident) * self.losses.kept(uniform)

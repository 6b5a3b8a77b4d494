"""Invertible coding of the response of a shower as a normal score among showers of its incident energy."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fastv.models.codings.preprocessing import ResponseScale, piecewise_linear

_REACH = 3.0
_N_KNOTS = 25
_OUTER = 1.5
_LEAST_SHOWERS = 300
"""Showers near a level that its quantiles are taken from; fewer would make them fluctuate."""


class ResponseCoding(nn.Module):
    r"""Code the response t = E_tot / E_inc > 0 as the normal score z = Phi^-1(F(t | E_inc)) of its distribution.

    F may have any shape: a narrow peak with a tail, two humps of particles that shower and particles that pass through,
    or a spread of a factor ten at low energies. It is tabulated as the quantiles of y, the response standardised by
    :class:`~fastv.models.codings.preprocessing.ResponseScale`, of the training showers nearest to each of ``n_levels``
    incident energies, equidistant in log E_inc, at equidistant scores z from -3 to 3. The smallest and the largest y
    get the scores -4.5 and 4.5. In between, y is linear in z and in log E_inc. Further out the slope is half the
    central 68 % interval per unit of score.

    A standard normal score, whatever it is correlated with, therefore gives the right response at every energy.

    Shapes and units: all (N, 1), E_inc in MeV.

    Args:
        n_levels: number of incident energies in the table.

    Example:
        >>> _ = torch.manual_seed(1)
        >>> incident = torch.full((4000, 1), 1e4)
        >>> humps = torch.where(torch.arange(4000)[:, None] < 1600, 0.1, 0.9) + 0.02 * torch.randn(4000, 1)
        >>> coding = ResponseCoding()
        >>> coding.fit(humps, incident)
        >>> z = coding(humps, incident)
        >>> round(float(z.std()), 1), bool(torch.allclose(coding.fraction(z, incident), humps, atol=1e-3))
        (1.0, True)
        >>> drawn = coding.fraction(torch.randn(4000, 1), incident)
        >>> round(float((drawn < 0.5).float().mean()), 1)
        0.4
    """

    quantiles: Tensor
    knots: Tensor
    ends: Tensor

    def __init__(self, n_levels: int = 17) -> None:
        super().__init__()
        self.scale = ResponseScale()
        self.n_levels = n_levels
        inner = torch.linspace(-_REACH, _REACH, _N_KNOTS)
        knots = torch.cat([inner[:1] - _OUTER, inner, inner[-1:] + _OUTER])
        self.one_sigma = [int(torch.argmin((knots - score).abs())) for score in (-1.0, 1.0)]
        self.register_buffer("knots", knots, persistent=False)
        self.register_buffer("quantiles", knots.repeat(n_levels, 1))
        # log E_inc of the first and the last level
        self.register_buffer("ends", torch.tensor([0.0, 1.0]))

    @torch.no_grad()
    def fit(self, fraction: Tensor, incident: Tensor) -> None:
        """Fit to responses of training showers."""
        self.scale.fit(fraction, incident)
        y = self.scale(fraction, incident)[:, 0].double()
        place = torch.log(incident[:, 0].double())
        low, high = float(place.min()), float(place.max())
        # One incident energy: any width will do, since all levels see the same showers.
        high = max(high, low + 1e-3)
        self.ends.copy_(torch.tensor([low, high]))
        half = (high - low) / (self.n_levels - 1) / 2
        share = torch.special.ndtr(self.knots.double())
        share[0], share[-1] = 0.0, 1.0
        widths = torch.diff(self.knots.double())
        for level, centre in enumerate(torch.linspace(low, high, self.n_levels, dtype=torch.float64)):
            away = (place - centre).abs()
            count = max(int((away <= half).sum()), min(len(y), _LEAST_SHOWERS))
            near = y[away.topk(count, largest=False).indices]
            quantiles = torch.quantile(near, share)
            # Equal values are separated slightly, so that the map stays invertible.
            range_ = (quantiles[-1] - quantiles[0]).maximum(1e-3 * quantiles.abs().max()).clamp(min=1e-6)
            rise = torch.diff(quantiles).maximum(1e-5 * widths * range_)
            self.quantiles[level] = torch.cat([quantiles[:1], quantiles[:1] + rise.cumsum(0)])

    def table(self, incident: Tensor) -> Tensor:
        """Quantiles (N, K) of y at the scores ``knots`` (K,)."""
        low, high = self.ends[:1], self.ends[1:]
        place = ((torch.log(incident) - low) / (high - low) * (self.n_levels - 1)).clamp(0.0, self.n_levels - 1.0)
        numbers = torch.arange(self.n_levels, device=incident.device, dtype=incident.dtype)
        weights = (1 - (place - numbers).abs()).clamp(min=0.0)
        # No matrix product: in half precision neighbouring quantiles would be equal.
        rows: Tensor = (weights[:, :, None] * self.quantiles).sum(1)
        return rows

    def outer(self, rows: Tensor) -> Tensor:
        """Slope dy/dz beyond the extremes, (N, 1), of quantiles (N, K)."""
        low, high = self.one_sigma
        return (rows[:, high : high + 1] - rows[:, low : low + 1]) / 2

    def forward(self, fraction: Tensor, incident: Tensor) -> Tensor:
        """Normal scores of responses."""
        rows = self.table(incident)
        return piecewise_linear(self.scale(fraction, incident), rows[:, None], self.knots, 1 / self.outer(rows))

    def slope(self, fraction: Tensor, incident: Tensor) -> Tensor:
        """dz/dy at responses."""
        rows = self.table(incident)
        outer = 1 / self.outer(rows)
        slopes = torch.cat([outer, torch.diff(self.knots) / torch.diff(rows, dim=1), outer], dim=1)
        return slopes.gather(1, (self.scale(fraction, incident) >= rows).sum(1, keepdim=True))

    def fraction(self, z: Tensor, incident: Tensor) -> Tensor:
        """Responses of normal scores, at least zero; scores beyond +-6 are clipped."""
        rows = self.table(incident)
        y = piecewise_linear(
            z.clamp(-_REACH - 2 * _OUTER, _REACH + 2 * _OUTER), self.knots, rows[:, None], self.outer(rows)
        )
        return self.scale.fraction(y, incident)

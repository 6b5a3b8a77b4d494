"""Invertible transforms of energies, fitted to training showers and saved with the model as tensors."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812  (the name everyone knows)
from torch import Tensor, nn


def above_threshold(energies: Tensor, threshold: float) -> Tensor:
    """Energies with those below the readout threshold set to zero, in MeV; any shape.

    Example:
        >>> above_threshold(torch.tensor([0.01, 0.02]), 0.015).tolist()
        [0.0, 0.019999999552965164]
    """
    # A product, not a choice: onnxruntime's Where is ten times slower.
    return energies * (energies >= threshold).to(energies.dtype)


class EnergyScore(nn.Module):
    r"""Standardise voxel energies over their seven decades: a piecewise linear map of log E with one knot.

    The spectrum of voxel energies is wide, but has an edge at the most probable loss of one particle in a layer. With
    normal scores s of the pooled training energies,

        log E = a + b s + d min(s - k, 0)

    is fitted by least squares, k by search: the slope changes at the edge. Both directions are exact; scores end at
    +-``limit``, and a score of minus infinity is an energy of 0. Energies that are all equal keep b = 1 around them.

    Units: MeV in, numbers of order one out. Any shape.

    Example:
        >>> score = EnergyScore()
        >>> score.fit(torch.exp(2.0 * torch.randn(5000, generator=torch.manual_seed(1))))
        >>> energies = torch.tensor([0.02, 1.0, 600.0])
        >>> bool(torch.allclose(score.energy(score(energies)), energies, rtol=1e-4))
        True
    """

    coefficients: Tensor

    def __init__(self, limit: float = 6.0) -> None:
        super().__init__()
        self.limit = limit
        self.register_buffer("coefficients", torch.tensor([0.0, 1.0, 0.0, 0.0]))

    @torch.no_grad()
    def fit(self, energies: Tensor) -> None:
        """Fit to positive energies of any shape."""
        if energies.numel() == 0:
            return
        log_energies = torch.log(energies.flatten().double()).sort().values
        # The far tails are few voxels and depend on the sample: leave them out.
        s = torch.linspace(-2.5, 2.0, 91, dtype=torch.float64)
        target = log_energies[(torch.special.ndtr(s) * (len(log_energies) - 1)).long()]
        weight = torch.exp(-(s**2) / 4)
        # Without an edge a straight line is left.
        line = torch.stack([torch.ones_like(s), s], dim=1) * weight[:, None]
        a, b = torch.linalg.lstsq(line, target * weight).solution.tolist()
        self.coefficients.copy_(torch.tensor([a, b if b > 0.05 else 1.0, 0.0, 0.0]))
        best = float("inf")
        for knot in s[10:60:2]:
            columns = torch.stack([torch.ones_like(s), s, (s - knot).clamp(max=0.0)], dim=1) * weight[:, None]
            a, b, d = torch.linalg.lstsq(columns, target * weight).solution.tolist()
            residual = float(((columns @ torch.tensor([a, b, d], dtype=torch.float64) - target * weight) ** 2).sum())
            # Both slopes must rise for the map to be invertible, and the one below the edge is the steeper.
            if residual < best and b > 0.05 and d >= 0:
                best = residual
                self.coefficients.copy_(torch.tensor([a, b, d, float(knot)]))

    def forward(self, energies: Tensor) -> Tensor:
        """Scores of energies."""
        a, b, d, knot = self.coefficients
        x = torch.log(energies) - a
        return torch.where(x >= b * knot, x / b, (x + d * knot) / (b + d)).clamp(-self.limit, self.limit)

    def energy(self, scores: Tensor) -> Tensor:
        """Energies of scores."""
        a, b, d, knot = self.coefficients
        s = scores.clamp(max=self.limit)
        # Two straight lines that meet at the knot; with d >= 0 the lower one holds on either side.
        return torch.exp(torch.minimum(a + b * s, (a - d * knot) + (b + d) * s))


_LEAST_HITS = 20
"""Showers that must reach a layer, before its mean energy is believed."""


class LayerScale(nn.Module):
    r"""Standardise layer energies: y = (log(E_layer / E_inc) - m(u)) / s(u), u the scaled log of the incident energy.

    m is a cubic polynomial of u for each layer, s an exponential of a linear one, fitted to the filled layers of
    training showers. A density fitted to logarithms does not give the mean energies exactly: :meth:`calibrate` adds to
    m, on the way back only, what makes generated means those of training showers.

    Shapes: layer energies (N, L) MeV, incident energies (N, 1) MeV, u (N, 1).
    """

    mean: Tensor
    log_width: Tensor
    correction: Tensor

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(4, layers))
        self.register_buffer("log_width", torch.zeros(2, layers))
        self.register_buffer("correction", torch.zeros(4, layers))

    @torch.no_grad()
    def fit(self, layer_energies: Tensor, incident: Tensor, u: Tensor) -> None:
        """Least squares for m, then for the logarithm of the residuals' size."""
        ratio = torch.log(layer_energies.clamp(min=1e-9) / incident).double()
        powers = torch.cat([u.double() ** i for i in range(4)], dim=1)
        for layer in range(layer_energies.shape[1]):
            filled = layer_energies[:, layer] > 0
            if int(filled.sum()) < 20:
                # A layer that is hardly ever hit keeps a wide, constant scale.
                self.mean[0, layer] = float(ratio[filled, layer].mean()) if bool(filled.any()) else -10.0
                continue
            x, y = powers[filled], ratio[filled, layer]
            ridge = 1e-3 * torch.eye(4, dtype=torch.float64)
            mean = torch.linalg.solve(x.T @ x + ridge, x.T @ y)
            size = torch.log((y - x @ mean).abs().clamp(min=1e-4))
            width = torch.linalg.solve(x[:, :2].T @ x[:, :2] + ridge[:2, :2], x[:, :2].T @ size)
            self.mean[:, layer] = mean
            # E[log |n|] = -0.635 for a unit Gaussian n.
            self.log_width[:, layer] = width
            self.log_width[0, layer] += 0.635

    def _scales(self, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """m, s and the correction to m at u, each (N, L), in one product with all coefficients."""
        padding = torch.zeros_like(self.log_width)
        coefficients = torch.cat([self.mean, torch.cat([self.log_width, padding]), self.correction], dim=1)
        square = u * u
        scales = F.linear(torch.cat([u, square, u * square], dim=1), coefficients[1:].T, coefficients[0])
        mean, log_width, correction = torch.chunk(scales, 3, dim=1)
        return mean, torch.exp(log_width), correction

    def forward(self, layer_energies: Tensor, incident: Tensor, u: Tensor) -> Tensor:
        """Standardised layer energies; empty layers give 0."""
        mean, width, _ = self._scales(u)
        y = (torch.log(layer_energies.clamp(min=1e-9) / incident) - mean) / width
        return torch.where(layer_energies > 0, y, 0.0)

    def energy(self, y: Tensor, incident: Tensor, u: Tensor) -> Tensor:
        """Layer energies in MeV."""
        mean, width, correction = self._scales(u)
        return torch.exp(mean + correction + width * y) * incident

    @torch.no_grad()
    def calibrate(self, true: Tensor, generated: Tensor, u: Tensor, bins: int = 12) -> None:
        """Add to the correction the logarithm of true over generated mean layer energies, a cubic polynomial of u.

        ``true`` and ``generated`` (N, L) are fractions of the incident energy under the same conditions, u (N, 1). The
        bins of u are equally wide: however the showers are spread over energies, each decade has its say.
        """
        sums, levels, weights = [], [], []
        edges = torch.linspace(float(u.min()), float(u.max()), bins + 1)[1:-1].to(u)
        index = torch.bucketize(u[:, 0], edges)
        for part in (index == each for each in range(bins)):
            if not part.any():
                continue
            sums.append(torch.log(true[part].sum(0).clamp(min=1e-9) / generated[part].sum(0).clamp(min=1e-9)))
            levels.append(u[part].mean())
            # The relative variance of a mean tells how far to trust it; a layer with few hits is left almost alone.
            n = int(part.sum())
            variance = true[part].var(0, correction=min(1, n - 1)) / (n * true[part].mean(0).clamp(min=1e-9) ** 2)
            # A few hits say nothing about a mean, and nor does their own variance.
            hit = (true[part] > 0).sum(0) >= _LEAST_HITS
            weights.append(torch.where(hit & (generated[part] > 0).any(0), 1.0 / variance.clamp(min=1e-4), 0.0))
        powers = torch.stack(levels)[:, None].double() ** torch.arange(4)
        for layer in range(true.shape[1]):
            weight = torch.stack(weights)[:, layer].double()
            target = torch.stack(sums)[:, layer].double()
            normal = powers.T @ (weight[:, None] * powers) + 25.0 * torch.eye(4, dtype=torch.float64)
            self.correction[:, layer] += torch.linalg.solve(normal, powers.T @ (weight * target))


class ResponseScale(nn.Module):
    r"""Standardise the visible fraction t = E_tot / E_inc: y = (t - m) / (a / sqrt(E_inc / GeV)).

    m and the stochastic term a are the mean and the rms fitted to training showers.

    Shapes: all (N, 1), E_inc in MeV.
    """

    mean: Tensor
    stochastic: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.ones(()))
        self.register_buffer("stochastic", torch.ones(()))

    @torch.no_grad()
    def fit(self, fraction: Tensor, incident: Tensor) -> None:
        """Medians, so that rare losses out of the detector do not move the scale."""
        self.mean.copy_(fraction.median())
        spread = (fraction - self.mean).abs() * torch.sqrt(incident / 1000.0)
        # Showers that are all alike have no spread: stay invertible.
        self.stochastic.copy_((1.4826 * spread.median()).clamp(min=1e-4))

    def forward(self, fraction: Tensor, incident: Tensor) -> Tensor:
        """Standardised visible fractions."""
        return (fraction - self.mean) / self.slope(incident)

    def fraction(self, y: Tensor, incident: Tensor) -> Tensor:
        """Visible fractions, never below zero."""
        return (self.mean + y * self.slope(incident)).clamp(min=0.0)

    def slope(self, incident: Tensor) -> Tensor:
        """dt/dy, the stochastic part of the resolution."""
        return self.stochastic / torch.sqrt(incident / 1000.0)


class QuantileMap(nn.Module):
    r"""Map each column to normal scores: z = Phi^-1(F(y)), F its distribution, piecewise linear between quantiles.

    The knots are at scores -``reach`` to ``reach``, and the extremes at 1.5 more; beyond them a score is half of the
    central 68 %. Both directions are exact. It takes out tails and edges that no affine scale can.

    Shapes: (N, C).

    Example:
        >>> scores = QuantileMap(1)
        >>> y = torch.randn(4000, 1, generator=torch.manual_seed(1)).exp()
        >>> scores.fit(y)
        >>> bool(torch.allclose(scores.inverse(scores(y)), y, rtol=1e-3)), round(float(scores(y).std()), 1)
        (True, 1.0)
    """

    quantiles: Tensor
    knots: Tensor

    def __init__(self, columns: int, n_knots: int = 25, reach: float = 3.0) -> None:
        super().__init__()
        inner = torch.linspace(-reach, reach, n_knots)
        knots = torch.cat([inner[:1] - 1.5, inner, inner[-1:] + 1.5])
        self._one_sigma = [int(torch.argmin((knots - score).abs())) for score in (-1.0, 1.0)]
        self.register_buffer("knots", knots, persistent=False)
        self.register_buffer("quantiles", knots.repeat(columns, 1))

    @torch.no_grad()
    def fit(self, y: Tensor) -> None:
        """Fit the quantiles; equal ones are moved apart, so that the map stays invertible."""
        ordered = y.double().sort(dim=0).values
        share = torch.special.ndtr(self.knots.double())
        share[0], share[-1] = 0.0, 1.0
        position = share * (len(y) - 1)
        below = position.long().clamp(max=max(0, len(y) - 2))
        above = (below + 1).clamp(max=len(y) - 1)
        quantiles = torch.lerp(ordered[below], ordered[above], (position - below)[:, None])
        least = 1e-5 * torch.diff(self.knots.double())[:, None] * (quantiles[-1] - quantiles[0]).clamp(min=1e-3)
        rise = torch.diff(quantiles, dim=0).maximum(least)
        self.quantiles.copy_(torch.cat([quantiles[:1], quantiles[:1] + rise.cumsum(0)]).T)

    def forward(self, y: Tensor) -> Tensor:
        """Scores of values."""
        return _piecewise(y, self.quantiles, self.knots.expand_as(self.quantiles), 1 / self._outer())

    def inverse(self, z: Tensor) -> Tensor:
        """Values of scores."""
        return _piecewise(z, self.knots.expand_as(self.quantiles), self.quantiles, self._outer())

    def _outer(self) -> Tensor:
        """Rise of the value per score beyond the extremes, (C,)."""
        return (self.quantiles[:, self._one_sigma[1]] - self.quantiles[:, self._one_sigma[0]]) / 2


def _piecewise(x: Tensor, start: Tensor, end: Tensor, outer: Tensor) -> Tensor:
    """The line through points (start, end), each (C, K) and rising, and beyond them, at x (N, C)."""
    slopes = torch.diff(end, dim=1) / torch.diff(start, dim=1)
    inside = torch.minimum(torch.maximum(x, start[:, 0]), start[:, -1])
    pieces = (torch.minimum(inside[:, :, None], start[:, 1:]) - start[:, :-1]).clamp(min=0.0) * slopes
    return end[:, 0] + pieces.sum(2) + (x - inside) * outer

"""Invertible transforms of energies, fitted to training showers and saved with the model as buffers."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812  (the name everyone knows)
from torch import Tensor, nn


def above_threshold(energies: Tensor, threshold: float) -> Tensor:
    """Set energies below the readout threshold to zero; both in MeV, energies of any shape.

    Example:
        >>> above_threshold(torch.tensor([0.01, 0.02]), 0.015).tolist()
        [0.0, 0.019999999552965164]
    """
    # A product rather than torch.where: onnxruntime's Where is ten times slower.
    return energies * (energies >= threshold).to(energies.dtype)


def zero_suppressed(energies: Tensor, total: Tensor, threshold: float) -> Tensor:
    """Energies (..., K) after zero suppression: none below the threshold, and with the sum ``total`` (..., 1), in MeV.

    The largest is always kept, so that the sum holds; an energy can be below the threshold only if ``total`` is.

    Example:
        >>> zero_suppressed(torch.tensor([[6.0, 2.0, 1.0]]), torch.tensor([[1.0]]), 0.2).tolist()
        [[0.75, 0.25, 0.0]]
    """
    scaled = energies * (total / energies.sum(-1, keepdim=True).clamp(min=1e-30))
    kept = scaled * (scaled >= scaled.amax(-1, keepdim=True).clamp(max=threshold)).to(scaled.dtype)
    return kept * (total / kept.sum(-1, keepdim=True).clamp(min=1e-30))


class EnergyScore(nn.Module):
    r"""Standardise voxel energies over their seven decades: a piecewise linear map of log E with one knot.

    The spectrum of voxel energies is wide and has an edge at the most probable energy loss of one particle in a layer.
    With the normal scores s of the pooled training energies,

        log E = a + b s + d min(s - k, 0)

    is fitted by least squares, with the knot k at the edge found by a scan. The inverse is exact within +-``limit``, to
    which scores are clipped; a score of minus infinity gives an energy of 0. If all energies are equal, b = 1.

    Shapes and units: energies in MeV and dimensionless scores, of any shape.

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
        """Fit to positive energies in MeV, of any shape; without energies nothing changes."""
        if energies.numel() == 0:
            return
        log_energies = torch.log(energies.flatten().double()).sort().values
        # The far tails hold few voxels and fluctuate between samples, so they are left out.
        s = torch.linspace(-2.5, 2.0, 91, dtype=torch.float64)
        target = log_energies[(torch.special.ndtr(s) * (len(log_energies) - 1)).long()]
        weight = torch.exp(-(s**2) / 4)
        # Start from a straight line, which remains if there is no edge.
        line = torch.stack([torch.ones_like(s), s], dim=1) * weight[:, None]
        a, b = torch.linalg.lstsq(line, target * weight).solution.tolist()
        self.coefficients.copy_(torch.tensor([a, b if b > 0.05 else 1.0, 0.0, 0.0]))
        best = float("inf")
        for knot in s[10:60:2]:
            columns = torch.stack([torch.ones_like(s), s, (s - knot).clamp(max=0.0)], dim=1) * weight[:, None]
            a, b, d = torch.linalg.lstsq(columns, target * weight).solution.tolist()
            residual = float(((columns @ torch.tensor([a, b, d], dtype=torch.float64) - target * weight) ** 2).sum())
            # Both slopes must be positive for the map to be invertible, and the one below the edge is the steeper.
            if residual < best and b > 0.05 and d >= 0:
                best = residual
                self.coefficients.copy_(torch.tensor([a, b, d, float(knot)]))

    def forward(self, energies: Tensor) -> Tensor:
        """Scores of energies in MeV."""
        a, b, d, knot = self.coefficients
        x = torch.log(energies) - a
        return torch.where(x >= b * knot, x / b, (x + d * knot) / (b + d)).clamp(-self.limit, self.limit)

    def energy(self, scores: Tensor) -> Tensor:
        """Energies in MeV of scores."""
        a, b, d, knot = self.coefficients
        s = scores.clamp(max=self.limit)
        # Two straight lines that meet at the knot; since d >= 0, the map is the lower of the two on either side.
        return torch.exp(torch.minimum(a + b * s, (a - d * knot) + (b + d) * s))


_LEAST_HITS = 20
"""Showers with energy in a layer that are needed before its mean energy is used for calibration."""


class LayerScale(nn.Module):
    r"""Standardise layer energies: y = (log(E_layer / E_inc) - m(u)) / s(u), u the scaled log of the incident energy.

    For each layer, m is a cubic polynomial of u and s the exponential of a linear one, fitted to the training showers
    with energy in that layer. A density fitted to logarithms does not reproduce mean energies exactly;
    :meth:`calibrate` adds a correction to m, in :meth:`energy` only, that does.

    Shapes: layer energies (N, L) MeV, incident energies (N, 1) MeV, u (N, 1).

    Args:
        layers: number of layers L.
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
        """Fit m by least squares, then s by least squares to the logarithm of the absolute residuals.

        Layers with energy in fewer than 20 showers keep a constant scale of unit width.
        """
        ratio = torch.log(layer_energies.clamp(min=1e-9) / incident).double()
        powers = torch.cat([u.double() ** i for i in range(4)], dim=1)
        for layer in range(layer_energies.shape[1]):
            filled = layer_energies[:, layer] > 0
            if int(filled.sum()) < 20:
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

    def scales(self, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """m, s and the correction to m at u, each (N, L), from one matrix product with all coefficients."""
        padding = torch.zeros_like(self.log_width)
        coefficients = torch.cat([self.mean, torch.cat([self.log_width, padding]), self.correction], dim=1)
        square = u * u
        scales = F.linear(torch.cat([u, square, u * square], dim=1), coefficients[1:].T, coefficients[0])
        mean, log_width, correction = torch.chunk(scales, 3, dim=1)
        return mean, torch.exp(log_width), correction

    def forward(self, layer_energies: Tensor, incident: Tensor, u: Tensor) -> Tensor:
        """Standardised layer energies (N, L); 0 for empty layers."""
        mean, width, _ = self.scales(u)
        y = (torch.log(layer_energies.clamp(min=1e-9) / incident) - mean) / width
        return torch.where(layer_energies > 0, y, 0.0)

    def energy(self, y: Tensor, incident: Tensor, u: Tensor) -> Tensor:
        """Layer energies (N, L) in MeV of standardised ones, with the correction of :meth:`calibrate`."""
        mean, width, correction = self.scales(u)
        return torch.exp(mean + correction + width * y) * incident

    @torch.no_grad()
    def calibrate(self, true: Tensor, generated: Tensor, u: Tensor, bins: int = 12) -> None:
        """Add log(true mean / generated mean) of each layer's energy to the correction, as a cubic polynomial of u.

        Args:
            true: layer energies of training showers as fractions of the incident energy, (N, L).
            generated: the same of showers generated at the same conditions, (N, L).
            u: scaled log of the incident energies, (N, 1).
            bins: number of bins in u in which means are compared. They are equally wide, so that each decade of energy
                counts, whatever the spectrum of the showers.
        """
        sums, levels, weights = [], [], []
        edges = torch.linspace(float(u.min()), float(u.max()), bins + 1)[1:-1].to(u)
        index = torch.bucketize(u[:, 0].contiguous(), edges)
        for part in (index == each for each in range(bins)):
            if not part.any():
                continue
            sums.append(torch.log(true[part].sum(0).clamp(min=1e-9) / generated[part].sum(0).clamp(min=1e-9)))
            levels.append(u[part].mean())
            # Weights are the inverse relative variances of the means, so that layers with few hits hardly change.
            n = int(part.sum())
            variance = true[part].var(0, correction=min(1, n - 1)) / (n * true[part].mean(0).clamp(min=1e-9) ** 2)
            # From very few hits, neither the mean nor its variance is known.
            hit = (true[part] > 0).sum(0) >= _LEAST_HITS
            weights.append(torch.where(hit & (generated[part] > 0).any(0), 1.0 / variance.clamp(min=1e-4), 0.0))
        powers = torch.stack(levels)[:, None].double() ** torch.arange(4)
        for layer in range(true.shape[1]):
            weight = torch.stack(weights)[:, layer].double()
            target = torch.stack(sums)[:, layer].double()
            normal = powers.T @ (weight[:, None] * powers) + 25.0 * torch.eye(4, dtype=torch.float64)
            self.correction[:, layer] += torch.linalg.solve(normal, powers.T @ (weight * target))


class ResponseScale(nn.Module):
    r"""Standardise the response t = E_tot / E_inc: y = (t - m) / (a / sqrt(E_inc / GeV)).

    The mean m and the stochastic term a are estimated from the medians of training showers.

    Shapes and units: all (N, 1), E_inc in MeV.
    """

    mean: Tensor
    stochastic: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.ones(()))
        self.register_buffer("stochastic", torch.ones(()))

    @torch.no_grad()
    def fit(self, fraction: Tensor, incident: Tensor) -> None:
        """Fit to responses t of training showers: m is the median, a 1.4826 times the median absolute deviation.

        Medians keep the rare showers that lose much energy from changing the scale.
        """
        self.mean.copy_(fraction.median())
        spread = (fraction - self.mean).abs() * torch.sqrt(incident / 1000.0)
        # If all responses are equal their spread is 0; the minimum keeps the map invertible.
        self.stochastic.copy_((1.4826 * spread.median()).maximum(1e-4 * self.mean.abs()).clamp(min=1e-12))

    def forward(self, fraction: Tensor, incident: Tensor) -> Tensor:
        """Standardised responses."""
        return (fraction - self.mean) / self.slope(incident)

    def fraction(self, y: Tensor, incident: Tensor) -> Tensor:
        """Responses t of standardised ones, at least zero."""
        return (self.mean + y * self.slope(incident)).clamp(min=0.0)

    def slope(self, incident: Tensor) -> Tensor:
        """dt/dy = a / sqrt(E_inc / GeV), the stochastic part of the resolution."""
        return self.stochastic / torch.sqrt(incident / 1000.0)


def piecewise_linear(x: Tensor, start: Tensor, end: Tensor, outer: Tensor) -> Tensor:
    """Linear interpolation at x (N, C) from knots ``start`` to ``end``, each (..., K) and increasing along K.

    All but the last dimension of the knots, and ``outer``, the slopes beyond the knots, broadcast against x.
    """
    slopes = torch.diff(end, dim=-1) / torch.diff(start, dim=-1)
    inside = torch.minimum(torch.maximum(x, start[..., 0]), start[..., -1])
    pieces = (torch.minimum(inside[..., None], start[..., 1:]) - start[..., :-1]).clamp(min=0.0) * slopes
    return end[..., 0] + pieces.sum(-1) + (x - inside) * outer

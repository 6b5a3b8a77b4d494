"""Invertible transforms of energies, fitted to training showers and saved with the model as tensors."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class EnergyScore(nn.Module):
    r"""Map voxel energies to normal scores and back: score = Phi^-1(F(E)), F the distribution of training energies.

    Voxel energies span seven decades and their spectrum has edges (the most probable loss of one particle); after this
    map the pooled spectrum is a unit Gaussian. F is kept as the energies of ``knots`` equally spaced scores in
    [-``limit``, ``limit``]. The map to scores interpolates between knots; the way back takes the nearest knot, one
    look-up a voxel, which is within 0.2 % of the exact inverse over the bulk with the default number of knots. Outside,
    scores end at the limits and energies at the lowest and highest knot.

    Units: MeV in, numbers of order one out. Any shape.

    Example:
        >>> score = EnergyScore()
        >>> score.fit(torch.linspace(0.01, 100.0, 5000))
        >>> energies = torch.tensor([0.1, 1.0, 60.0])
        >>> bool(torch.allclose(score.energy(score(energies)), energies, rtol=1e-2))
        True
    """

    energies: Tensor

    def __init__(self, knots: int = 4096, limit: float = 4.5) -> None:
        super().__init__()
        self.limit = limit
        self.step = 2 * limit / (knots - 1)
        self.register_buffer("energies", torch.linspace(1.0, 2.0, knots))

    @torch.no_grad()
    def fit(self, energies: Tensor) -> None:
        """Fit to positive energies of any shape; the more, the better the tails."""
        ordered = energies.flatten().double().sort().values
        knots = len(self.energies)
        scores = torch.linspace(-self.limit, self.limit, knots, dtype=torch.float64)
        position = torch.special.ndtr(scores) * (len(ordered) - 1)
        low = position.floor().long()
        high = (low + 1).clamp(max=len(ordered) - 1)
        levels = torch.lerp(ordered[low], ordered[high], position - low)
        # Equal energies (few in a tail, or rounded ones) would make the map flat: let it rise by a part in 10^6 a knot.
        rise = torch.log(levels) + 1e-6 * torch.arange(knots, dtype=torch.float64)
        levels = torch.exp(torch.cummax(rise, 0).values)
        self.energies.copy_(levels)

    def forward(self, energies: Tensor) -> Tensor:
        """Scores of energies."""
        index = torch.searchsorted(self.energies, energies.contiguous(), right=True) - 1
        index = index.clamp(0, len(self.energies) - 2)
        low, high = self.energies[index], self.energies[index + 1]
        fraction = ((energies - low) / (high - low)).clamp(0.0, 1.0)
        return (index + fraction) * self.step - self.limit

    def energy(self, scores: Tensor) -> Tensor:
        """Energies of scores."""
        position = ((scores + (self.limit + self.step / 2)) / self.step).clamp(0.0, float(len(self.energies) - 1))
        nearest = position.to(torch.int32).flatten()
        return torch.index_select(self.energies, 0, nearest).view(scores.shape)


class LayerScale(nn.Module):
    r"""Standardise layer energies: y = (log(E_layer / E_inc) - m(u)) / s(u), u the scaled log of the incident energy.

    m is a cubic polynomial of u for each layer, s an exponential of a linear one, fitted to the filled layers of
    training showers.

    Shapes: layer energies (N, L) MeV, incident energies (N, 1) MeV, u (N, 1).
    """

    mean: Tensor
    log_width: Tensor

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(4, layers))
        self.register_buffer("log_width", torch.zeros(2, layers))

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

    def _scales(self, u: Tensor) -> tuple[Tensor, Tensor]:
        powers = torch.cat([torch.ones_like(u), u, u**2, u**3], dim=1)
        return powers @ self.mean, torch.exp(powers[:, :2] @ self.log_width)

    def forward(self, layer_energies: Tensor, incident: Tensor, u: Tensor) -> Tensor:
        """Standardised layer energies; empty layers give 0."""
        mean, width = self._scales(u)
        y = (torch.log(layer_energies.clamp(min=1e-9) / incident) - mean) / width
        return torch.where(layer_energies > 0, y, 0.0)

    def energy(self, y: Tensor, incident: Tensor, u: Tensor) -> Tensor:
        """Layer energies in MeV."""
        mean, width = self._scales(u)
        return torch.exp(mean + width * y) * incident


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
        self.stochastic.copy_(1.4826 * spread.median())

    def forward(self, fraction: Tensor, incident: Tensor) -> Tensor:
        """Standardised visible fractions."""
        return (fraction - self.mean) * torch.sqrt(incident / 1000.0) / self.stochastic

    def fraction(self, y: Tensor, incident: Tensor) -> Tensor:
        """Visible fractions, never below zero."""
        return (self.mean + y * self.stochastic / torch.sqrt(incident / 1000.0)).clamp(min=0.0)

"""Showers by a code of their own: what families have in common whose code is not told the conditions."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from fastv.detector.detector import Detector
from fastv.models.contract import Batch, Domain, GeneratorSettings, NoiseSpec
from fastv.models.linear import least_squares, log_spread, powers
from fastv.models.mixture import ConditionalMixture
from fastv.models.moments import MOMENTS, ShowerMoments
from fastv.models.numbers import NumbersGenerator

_REACH = 8.0
"""Standard deviations beyond which all showers are alike."""
_PIECE = 500
_FIRST = 2000
"""Showers from which the dependence on conditions is learned before the code is."""


class CodedGenerator(NumbersGenerator):
    r"""A family with a code of moments and profile of a shower, of which neither sees the conditions.

    The moments are those of :class:`~fastv.models.moments.ShowerMoments`, the profile log(1 + E / threshold) of the
    energy E in each ring of each layer; both are standardised over the training showers. A family makes ``features`` of
    them, and of these the code. It generates, though not as well as families that are made for it: :meth:`calibrate`
    fits the density of the features given the conditions, a mixture of Gaussians, and to the standard normal numbers of
    showers, of layers and voxels, a linear function of code and conditions with independent residuals.

    Shapes: showers (N, V) MeV, conditions (N, C); noise (N, features + numbers) normal and one uniform column.

    Args:
        settings, detector, domain: as for every family.
        features: numbers of a shower whose density is fitted.
        code: numbers of its code.
        parts: Gaussians in the density.
    """

    location: Tensor
    spread: Tensor
    shower: Tensor
    log_residual: Tensor

    def __init__(
        self, settings: GeneratorSettings, detector: Detector, domain: Domain, features: int, code: int, parts: int
    ) -> None:
        super().__init__(settings, detector, domain)
        self.moments = ShowerMoments(detector)
        self.unit = detector.threshold or 1e-3
        self.seen = len(MOMENTS) + self.grid.shape[0] * self.grid.shape[2]
        self.size = features
        self.register_buffer("location", torch.zeros(self.seen))
        self.register_buffer("spread", torch.ones(self.seen))
        conditions = self.scaler.size
        self.mixture = ConditionalMixture(features, conditions, parts)
        self.register_buffer("shower", torch.zeros(1 + 3 * conditions + code, self.numbers))
        self.register_buffer("log_residual", torch.zeros(1 + conditions, self.numbers))
        self.shower_noise = NoiseSpec(normal=features + self.numbers, uniform=1)

    @torch.no_grad()
    def fit(self, batch: Batch) -> None:
        """Fit the codings, location and spread of moments and profile, and how showers depend on conditions alone."""
        super().fit(batch)
        raw = self._raw(batch.energies)
        self.location.copy_(raw.mean(0))
        self.spread.copy_(raw.std(0).clamp(min=1e-2))
        some = slice(0, _FIRST)
        mean = powers(self.scaler(batch.conditions[some]), 3)
        numbers = self._numbers(Batch(batch.energies[some], batch.conditions[some]))
        self.shower[: mean.shape[1]] = least_squares(mean, numbers)

    def _raw(self, energies: Tensor) -> Tensor:
        rings = self.grid(energies).sum(2).flatten(1)
        return torch.cat([self.moments(energies), torch.log1p(rings / self.unit)], dim=1)

    def _seen(self, energies: Tensor) -> Tensor:
        """Standardised moments and profile, (N, 8 + L R)."""
        return ((self._raw(energies) - self.location) / self.spread).clamp(-_REACH, _REACH)

    @abstractmethod
    def _features(self, seen: Tensor) -> Tensor:
        """What the code depends on, (N, features), of standardised moments and profile."""

    def _features_of(self, energies: Tensor) -> Tensor:
        """Features (N, features) of many showers, a piece at a time."""
        return torch.cat([self._features(self._seen(part)) for part in torch.split(energies, _PIECE)])

    @abstractmethod
    def _code(self, features: Tensor) -> Tensor:
        """The code (N, K) as the linear function sees it."""

    @torch.no_grad()
    def calibrate(self, batch: Batch) -> None:
        """Fit the density of the features and the linear function for generation."""
        scaled = self.scaler(batch.conditions)
        features = self._features_of(batch.energies)
        self.mixture.fit(features, scaled)
        parts = zip(torch.split(batch.energies, _PIECE), torch.split(batch.conditions, _PIECE), strict=True)
        numbers = torch.cat([self._numbers(Batch(*part)) for part in parts])
        inputs = torch.cat([powers(scaled, 3), self._code(features)], dim=1)
        self.shower.copy_(least_squares(inputs, numbers))
        self.log_residual.copy_(log_spread(numbers - inputs @ self.shower, scaled))

    def draw(self, conditions: Tensor, noise: Tensor) -> Tensor:
        """Voxel energies (N, V) in MeV."""
        scaled = self.scaler(conditions)
        features = self.mixture.sample(scaled, noise[:, : self.size], noise[:, -1:])
        residual = noise[:, self.size : -1] * torch.exp(powers(scaled, 1) @ self.log_residual)
        return self._shower(self._code(features), scaled, conditions, residual)

    def _shower(self, code: Tensor, scaled: Tensor, conditions: Tensor, residual: Tensor | float) -> Tensor:
        numbers = torch.cat([powers(scaled, 3), code], dim=1) @ self.shower + residual
        return self._showers(numbers, conditions)

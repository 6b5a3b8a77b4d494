"""Semantic hashing: a binary code of a shower, such that similar showers have codes that differ in few bits."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn

from fastv.detector.detector import Detector
from fastv.models.codes import Code
from fastv.models.contract import Batch, Domain, GeneratorSettings, NoiseSpec
from fastv.models.linear import least_squares, log_spread, powers
from fastv.models.mixture import ConditionalMixture
from fastv.models.moments import MOMENTS, ShowerMoments
from fastv.models.networks import MLP
from fastv.models.numbers import NumbersGenerator

_NEAR = 10.0
"""How much more a pair of equal showers counts than a pair of very different ones, of which there are many more."""
_REACH = 8.0
"""Standard deviations beyond which all showers are alike."""
_PIECE = 500
_FIRST = 2000
"""Showers from which the dependence on conditions is learned before the code is."""


class HashingSettings(GeneratorSettings):
    """Settings of :class:`Hashing`.

    Attributes:
        bits: number of bits of the code, a multiple of 8.
        features: learned numbers of a shower that the bits depend on beside its moments.
        hidden: widths of the network that learns them, mirrored in the decoder.
        bandwidth: inverse of the distance of showers, in standard deviations of each moment, over which codes change.
        similarity: weight of the agreement of codes with the similarity of showers.
        reconstruction: weight of the reconstruction of moments and profile from the code.
        balance: weight of the penalty on bits that are not 1 for half of the showers.
        correlation: weight of the penalty on covariances of bits.
        density_parts: number of Gaussians in the density of the features, for generation.
    """

    bits: Annotated[int, Field(gt=0, le=512, multiple_of=8)] = 64
    features: PositiveInt = 16
    hidden: tuple[PositiveInt, ...] = (128,)
    bandwidth: PositiveFloat = 0.8
    similarity: NonNegativeFloat = 10.0
    reconstruction: NonNegativeFloat = 0.3
    balance: NonNegativeFloat = 5.0
    correlation: NonNegativeFloat = 3.0
    density_parts: PositiveInt = 16


class Hashing(NumbersGenerator):
    r"""Autoencoder of showers with a binary code for look-up; neither encoder nor decoder is told the conditions.

    What two similar showers have in common are their moments y, of
    :class:`~fastv.models.moments.ShowerMoments`: total energy, number of hits, longitudinal and lateral means and
    widths, and the position of the axis, each in units of its spread over the training showers. As the encoder is not
    told the incident energy, the code keeps the total energy. The encoder f sees y and the profile p, log(1 + E /
    threshold) of the energy E in each ring of each layer. With W and a random at first (W normal with standard
    deviation ``bandwidth``), the bits are the signs of waves, through which the gradient passes as through the waves:

        b = sign(sin(W [y, f(y, p)] + a)) in {-1, 1}

    With the decoder g, and d_ij the distance of the moments of showers i and j of a batch, the loss is the sum of

    * ``reconstruction``: mean of (y - g_y(b))^2 and of (p - g_p(b))^2, y and p standardised.
    * ``similarity``: mean over pairs of (b_i . b_j / K - k_ij)^2 with k_ij = exp(-bandwidth^2 d_ij^2 / 2), and weight
      1 + 10 k_ij. The Hamming distance of codes is (K - b_i . b_j) / 2 of K bits: for alike showers it is near 0, for
      others K / 2.
    * ``balance``: mean over bits of their squared mean; ``correlation``: mean over pairs of bits of their squared
      covariance.

    each times its weight. Also logged are ``entropy`` and ``least_entropy``, mean and smallest entropy of a bit in
    bits, and ``largest_correlation`` of two bits, all in a batch.

    It generates, though not as well as other families: :meth:`calibrate` fits the density of [y, f] given the
    conditions, a mixture of Gaussians, and to the standard normal numbers of showers, of layers and voxels, a linear
    function of code and conditions with independent residuals.

    Shapes: showers (N, V) MeV, conditions (N, C); noise (N, 8 + features + numbers) normal and one uniform column.

    Source: Salakhutdinov and Hinton, Semantic hashing, Int. J. Approx. Reasoning 50 (2009) 969; waves as bits:
    Raginsky and Lazebnik, NIPS 2009; agreement of Hamming distances: Kulis and Darrell, NIPS 2009; gradient: Bengio et
    al., arXiv 1308.3432.
    """

    family: ClassVar[str] = "hashing"
    Settings: ClassVar[type[GeneratorSettings]] = HashingSettings
    any_mesh: ClassVar[bool] = True
    chain_of_choices: ClassVar[bool] = True
    binary_code: ClassVar[bool] = True
    calibration_showers: ClassVar[int] = 5000
    settings: HashingSettings
    location: Tensor
    spread: Tensor
    shower: Tensor
    log_residual: Tensor
    entropy: Tensor

    def __init__(self, settings: HashingSettings, detector: Detector, domain: Domain) -> None:
        super().__init__(settings, detector, domain)
        self.settings = settings
        self.moments = ShowerMoments(detector)
        self.unit = detector.threshold or 1e-3
        self.seen = len(MOMENTS) + self.grid.shape[0] * self.grid.shape[2]
        self.size = len(MOMENTS) + settings.features
        self.encoder = MLP(self.seen, settings.hidden, settings.features)
        self.waves = nn.Linear(self.size, settings.bits)
        self.decoder = MLP(settings.bits, settings.hidden[::-1], self.seen)
        with torch.no_grad():
            # At first the code is one of the moments alone.
            *_, weight, bias = self.encoder.parameters()
            weight.mul_(0.1)
            bias.zero_()
            self.waves.weight.normal_(std=settings.bandwidth)
            self.waves.bias.uniform_(0.0, 2 * math.pi)
        self.register_buffer("location", torch.zeros(self.seen))
        self.register_buffer("spread", torch.ones(self.seen))
        conditions = self.scaler.size
        self.mixture = ConditionalMixture(self.size, conditions, settings.density_parts)
        self.register_buffer("shower", torch.zeros(1 + 3 * conditions + settings.bits, self.numbers))
        self.register_buffer("log_residual", torch.zeros(1 + conditions, self.numbers))
        self.register_buffer("entropy", torch.zeros(settings.bits))
        self.shower_noise = NoiseSpec(normal=self.size + self.numbers, uniform=1)

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

    def _features(self, seen: Tensor) -> Tensor:
        """What the bits depend on, (N, 8 + features)."""
        return torch.cat([seen[:, : len(MOMENTS)], self.encoder(seen)], dim=1)

    def _bits(self, features: Tensor) -> Tensor:
        """Bits (N, K), -1 or 1, with the gradient of the waves."""
        waves = torch.sin(self.waves(features))
        return waves + (torch.where(waves > 0, 1.0, -1.0).to(waves) - waves).detach()

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The terms of the loss, and entropies and the largest correlation of bits; see the class."""
        how, seen = self.settings, self._seen(batch.energies)
        bits = self._bits(self._features(seen))
        error = (self.decoder(bits) - seen).square()
        moments, profile = error[:, : len(MOMENTS)], error[:, len(MOMENTS) :]
        mean = bits.mean(0)
        covariance = (bits - mean).T @ (bits - mean) / len(bits)
        terms = {
            "reconstruction": 0.5 * (moments.mean() + profile.mean()),
            "similarity": self._similarity(seen[:, : len(MOMENTS)], bits),
            "balance": mean.square().mean(),
            "correlation": _off_diagonal(covariance.square()).mean(),
        }
        weights = (how.reconstruction, how.similarity, how.balance, how.correlation)
        total = torch.stack([w * term for w, term in zip(weights, terms.values(), strict=True)]).sum()
        with torch.no_grad():
            entropy, deviation = _entropy(mean), covariance.diagonal().clamp(min=1e-6).sqrt()
            correlation = _off_diagonal(covariance / (deviation[:, None] * deviation))
            terms |= {
                "entropy": entropy.mean(),
                "least_entropy": entropy.min(),
                "largest_correlation": correlation.abs().max(),
            }
        return {"loss": total, **terms}

    def _similarity(self, moments: Tensor, bits: Tensor) -> Tensor:
        like = torch.exp(-0.5 * self.settings.bandwidth**2 * _square_distances(moments))
        weight = torch.triu(1 + _NEAR * like, diagonal=1)
        deviation = bits @ bits.T / self.settings.bits - like
        return (weight * deviation.square()).sum() / weight.sum().clamp(min=1e-6)

    @torch.no_grad()
    def calibrate(self, batch: Batch) -> None:
        """Fit the density of the features and the linear function for generation, and note the entropy of each bit."""
        scaled = self.scaler(batch.conditions)
        features = torch.cat([self._features(self._seen(part)) for part in torch.split(batch.energies, _PIECE)])
        bits = self._bits(features)
        self.entropy.copy_(_entropy(bits.mean(0)))
        self.mixture.fit(features, scaled)
        parts = zip(torch.split(batch.energies, _PIECE), torch.split(batch.conditions, _PIECE), strict=True)
        numbers = torch.cat([self._numbers(Batch(*part)) for part in parts])
        inputs = torch.cat([powers(scaled, 3), bits], dim=1)
        self.shower.copy_(least_squares(inputs, numbers))
        self.log_residual.copy_(log_spread(numbers - inputs @ self.shower, scaled))

    def draw(self, conditions: Tensor, noise: Tensor) -> Tensor:
        """Voxel energies (N, V) in MeV."""
        scaled = self.scaler(conditions)
        features = self.mixture.sample(scaled, noise[:, : self.size], noise[:, -1:])
        residual = noise[:, self.size : -1] * torch.exp(powers(scaled, 1) @ self.log_residual)
        return self._shower(self._bits(features), scaled, conditions, residual)

    def _shower(self, bits: Tensor, scaled: Tensor, conditions: Tensor, residual: Tensor | float) -> Tensor:
        numbers = torch.cat([powers(scaled, 3), bits], dim=1) @ self.shower + residual
        return self._showers(numbers, conditions)

    def encode(self, batch: Batch) -> dict[str, Code]:
        """``bits``: the code (N, bits), 0 or 1."""
        waves = self.waves(self._features(self._seen(batch.energies)))
        return {"bits": Code((torch.sin(waves) > 0).to(waves.dtype))}

    def decode(self, codes: dict[str, Tensor], conditions: Tensor) -> Tensor:
        """Voxel energies (N, V) in MeV of ``bits``, by the linear function that generation uses, without residuals."""
        return self._shower(2 * codes["bits"] - 1, self.scaler(conditions), conditions, 0.0)


def _square_distances(points: Tensor) -> Tensor:
    """Squared distances (N, N) of points (N, D)."""
    norm = points.square().sum(1)
    return (norm[:, None] + norm - 2 * points @ points.T).clamp(min=0.0)


def _off_diagonal(square: Tensor) -> Tensor:
    """The entries (K (K - 1),) of a matrix (K, K) off its diagonal."""
    return square[~torch.eye(len(square), dtype=torch.bool, device=square.device)]


def _entropy(mean: Tensor) -> Tensor:
    """Entropy in bits of numbers -1 and 1 with a mean."""
    share = ((1 + mean) / 2).clamp(1e-6, 1 - 1e-6)
    return -(share * share.log2() + (1 - share) * (1 - share).log2())

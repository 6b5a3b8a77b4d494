"""Semantic hashing: a binary code of a shower, such that similar showers have codes that differ in few bits."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn

from fastv.detector.detector import Detector
from fastv.models.coded import CodedGenerator
from fastv.models.codes import Code
from fastv.models.contract import Batch, Domain, GeneratorSettings
from fastv.models.moments import MOMENTS
from fastv.models.networks import MLP

_NEAR = 10.0
"""How much more a pair of equal showers counts than a pair of very different ones, of which there are many more."""

_USUAL = 0.3
"""Covariance of two bits up to which it has no further penalty."""


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
        excess: weight of the penalty on covariances that are far from 0.
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
    excess: NonNegativeFloat = 300.0
    density_parts: PositiveInt = 16


class Hashing(CodedGenerator):
    r"""Autoencoder of showers with a binary code for look-up; neither encoder nor decoder is told the conditions.

    What two similar showers have in common are their moments y, of
    :class:`~fastv.models.moments.ShowerMoments`: total energy, number of hits, longitudinal and lateral means and
    widths, and the position of the axis, each in units of its spread over the training showers. As the encoder is not
    told the incident energy, the code keeps the total energy. The encoder f sees y and the profile p
    (:class:`~fastv.models.coded.CodedGenerator`). With W and a random at first (W normal with standard deviation
    ``bandwidth``), the bits are the signs of waves, through which the gradient passes as through the waves:

        b = sign(sin(W [y, f(y, p)] + a)) in {-1, 1}

    With the decoder g, and d_ij the distance of the moments of showers i and j of a batch, the loss is the sum of

    * ``reconstruction``: mean of (y - g_y(b))^2 and of (p - g_p(b))^2, y and p standardised.
    * ``similarity``: mean over pairs of (b_i . b_j / K - k_ij)^2 with k_ij = exp(-bandwidth^2 d_ij^2 / 2), and weight
      1 + 10 k_ij. The Hamming distance of codes is (K - b_i . b_j) / 2 of K bits: for alike showers it is near 0, for
      others K / 2.
    * ``balance``: mean over bits of their squared mean; ``correlation``: mean over pairs of bits of their squared
      covariance; ``excess``: the same of by how much it exceeds 0.3 on either side. Showers are similar in few ways, so
      bits must be somewhat correlated, but no two need to be nearly the same.

    each times its weight. Also logged are ``entropy`` and ``least_entropy``, mean and smallest entropy of a bit in
    bits, and ``largest_correlation`` of two bits, all in a batch.

    It generates, though not as well as other families, from the density of [y, f].

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
    entropy: Tensor

    def __init__(self, settings: HashingSettings, detector: Detector, domain: Domain) -> None:
        parts, features = settings.density_parts, len(MOMENTS) + settings.features
        super().__init__(settings, detector, domain, features=features, code=settings.bits, parts=parts)
        self.settings = settings
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
        self.register_buffer("entropy", torch.zeros(settings.bits))

    def _features(self, seen: Tensor) -> Tensor:
        """What the bits depend on, (N, 8 + features)."""
        return torch.cat([seen[:, : len(MOMENTS)], self.encoder(seen)], dim=1)

    def _code(self, features: Tensor) -> Tensor:
        """Bits (N, K), -1 or 1, with the gradient of the waves."""
        waves = torch.sin(self.waves(features))
        return waves + (torch.where(waves > 0, 1.0, -1.0).to(waves) - waves).detach()

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The terms of the loss, and entropies and the largest correlation of bits; see the class."""
        how, seen = self.settings, self._seen(batch.energies)
        bits = self._code(self._features(seen))
        error = (self.decoder(bits) - seen).square()
        moments, profile = error[:, : len(MOMENTS)], error[:, len(MOMENTS) :]
        mean = bits.mean(0)
        covariance = (bits - mean).T @ (bits - mean) / len(bits)
        terms = {
            "reconstruction": 0.5 * (moments.mean() + profile.mean()),
            "similarity": self._similarity(seen[:, : len(MOMENTS)], bits),
            "balance": mean.square().mean(),
            "correlation": _off_diagonal(covariance.square()).mean(),
            "excess": (_off_diagonal(covariance).abs() - _USUAL).clamp(min=0.0).square().mean(),
        }
        weights = (how.reconstruction, how.similarity, how.balance, how.correlation, how.excess)
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
        """Fit what generation needs, and note the entropy of each bit."""
        super().calibrate(batch)
        self.entropy.copy_(_entropy(self._code(self._features_of(batch.energies)).mean(0)))

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

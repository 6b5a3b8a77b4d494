"""The published variational autoencoder for fast shower simulation, the origin of FastV."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import torch
import torch.nn.functional as F  # noqa: N812  (the name everyone knows)
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt
from torch import Tensor, nn

from fastv.detector.detector import Detector
from fastv.models.codes import Code
from fastv.models.codings.preprocessing import above_threshold
from fastv.models.contract import Batch, ConditionScaler, Domain, Generator, GeneratorSettings, NoiseSpec
from fastv.models.grid_networks import GridDecoder, GridEncoder, NetworkSettings
from fastv.models.importance import importance_bound
from fastv.models.layer_grid import LayerGrid
from fastv.models.posterior import Covariance, GaussianPosterior
from fastv.models.priors import LatentPrior, Prior


class VAESettings(GeneratorSettings):
    """Settings of :class:`VAE`; sizes are those of the publication, all settings of which are in `fastv-original`.

    Attributes:
        hidden: widths of the dense encoder, mirrored in the decoder; with a ``network``, the first is the number of
            features of the encoder.
        negative_slope: of the leaky ReLU between dense layers, for negative arguments.
        network: grid network for encoder and decoder in place of dense ones.
        latent: size of the latent vector.
        covariance: of the posterior.
        prior: of the latent vector.
        kl_weight: weight of the KL divergence, the beta of a beta-VAE; 1 for the bound of the likelihood.
        kl_warmup_epochs: epochs over which the weight increases from 0.
        importance_samples: draws for the ``log_likelihood`` in the validation; 0 for none.
    """

    hidden: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (100, 50, 20, 14)
    negative_slope: Annotated[float, Field(ge=0, lt=1)] = 0.01
    network: NetworkSettings | None = None
    latent: PositiveInt = 10
    covariance: Covariance = "diagonal"
    prior: Prior = "gaussian"
    kl_weight: NonNegativeFloat = 1.0
    kl_warmup_epochs: NonNegativeFloat = 0.0
    importance_samples: NonNegativeInt = 0


class VAE(Generator):
    r"""Variational autoencoder with binary cross-entropy reconstruction of voxel intensities.

    The intensity of a voxel with energy E_v is x_v = E_v / E_inc, clipped to [0, 1]. The encoder maps (x, c) to the
    mean and covariance of a Gaussian posterior, the decoder a draw z and c to intensities y in [0, 1]. The loss is the

        mean over the batch of [ - sum_v (x_v log y_v + (1 - x_v) log(1 - y_v)) + w KL(q(z | x, c) || p(z | c)) ]

    with w increasing linearly from 0 to ``kl_weight`` over ``kl_warmup_epochs``. With w = 1 this is minus a bound of
    the likelihood, with other values a beta-VAE. The published code adds the mean of the divergence over a batch to the
    sum of the cross-entropy over the batch, so its w is 1/128, one over the size of its batches.
    The prior is the unit Gaussian, or a flow given c (:class:`~fastv.models.priors.LatentPrior`). Generation draws z
    from the prior, multiplies y by E_inc and sets voxels below the readout threshold to zero. Energies are scaled as
    E / E_max, angles to [-1, 1], detectors one-hot. Hidden layers are linear, leaky ReLU, then batch normalisation; the
    decoder mirrors the encoder and ends in a sigmoid. With ``network`` both are grid networks.

    Shapes: showers (N, V) MeV, conditions (N, C), noise (N, latent), all normal.

    Raises:
        SettingsError: a ``network`` of convolutions, and a mesh whose layers differ in their cells.

    Source: Kingma and Welling, arXiv 1312.6114, equation (10); the recipe is that of the Geant4 example Par04,
    training/core/model.py and constants.py (hidden 100-50-20-14, latent 10, slope 0.2 of the activation that TensorFlow
    calls leaky_relu, w as above); w: Higgins et al., beta-VAE, ICLR 2017, equation (4).
    """

    family: ClassVar[str] = "vae"
    Settings: ClassVar[type[GeneratorSettings]] = VAESettings
    any_mesh: ClassVar[bool] = True
    settings: VAESettings

    def __init__(self, settings: VAESettings, detector: Detector, domain: Domain) -> None:
        super().__init__(settings, detector, domain)
        self.settings = settings
        self.scaler = ConditionScaler(settings.conditions, domain, linear_energy=True)
        self.shower_noise = NoiseSpec(normal=settings.latent)
        voxels, conditions = detector.mesh.n_voxels, self.scaler.size
        if settings.network is None:
            slope, widths = settings.negative_slope, settings.hidden
            self.encoder: nn.Module = _stack(voxels + conditions, widths, slope)
            self.posterior = GaussianPosterior(settings.hidden[-1], settings.latent, settings.covariance)
            self.decoder: nn.Module = _stack(settings.latent + conditions, widths[::-1], slope)
            self.intensity = nn.Linear(settings.hidden[0], voxels)
        else:
            self.grid, features = LayerGrid.of(detector.mesh), settings.hidden[0]
            self.encoder = GridEncoder(settings.network, self.grid, conditions, features)
            self.posterior = GaussianPosterior(features, settings.latent, settings.covariance)
            self.decoder = GridDecoder(settings.network, self.grid, settings.latent, conditions)
        self.prior = LatentPrior(settings.prior, settings.latent, conditions)

    def fit(self, batch: Batch) -> None:
        """Do nothing: all scales are fixed by the domain."""

    def _encode(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Scaled conditions, intensities, and mean and scale of the posterior."""
        scaled = self.scaler(batch.conditions)
        target = (batch.energies / batch.conditions[:, :1]).clamp(0.0, 1.0)
        if self.settings.network is None:
            features = self.encoder(torch.cat([target, scaled], dim=1))
        else:
            # Intensities are small; this makes them of order one in the core of a shower.
            features = self.encoder(self.grid((100 * target).log1p())[:, None], scaled)
        return scaled, target, *self.posterior(features)

    def _intensities(self, latent: Tensor, scaled: Tensor) -> Tensor:
        """Logits of the intensities (N, V)."""
        if self.settings.network is not None:
            return self.grid.flat(self.decoder(latent, scaled)[:, 0])
        logits: Tensor = self.intensity(self.decoder(torch.cat([latent, scaled], dim=1)))
        return logits

    def _reconstruction(self, target: Tensor, latent: Tensor, scaled: Tensor) -> Tensor:
        """Binary cross-entropy of each shower, (N,)."""
        logits = self._intensities(latent, scaled)
        return F.binary_cross_entropy_with_logits(logits, target, reduction="none").sum(1)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """``reconstruction`` and ``kl`` in nats per shower, and their weighted sum ``loss``."""
        scaled, target, mean, scale = self._encode(batch)
        noise = torch.randn_like(mean)
        latent = self.posterior.sample(mean, scale, noise)
        reconstruction = self._reconstruction(target, latent, scaled).mean()
        kl = self.prior.kl(self.posterior, mean, scale, noise, latent, scaled).mean()
        weight = self.settings.kl_weight * warmup(batch.epoch, self.settings.kl_warmup_epochs)
        return {"loss": reconstruction + weight * kl, "reconstruction": reconstruction, "kl": kl}

    def validation(self, batch: Batch) -> dict[str, Tensor]:
        """The terms of the loss, and with ``importance_samples`` the mean ``log_likelihood``."""
        return with_likelihood(self, self.loss(batch), batch, self.settings.importance_samples)

    def log_likelihood(self, batch: Batch, samples: int) -> Tensor:
        r"""A lower bound of log int p(x | z, c) p(z | c) dz, (N,), in nats, by importance sampling.

        p(x | z, c) is that of the loss, prod_v y_v^x_v (1 - y_v)^(1 - x_v), which is a probability for intensities of 0
        or 1 only. For intensities between, it is not a normalised density of x, but the geometric mean of the
        probabilities of binary showers drawn from x, each voxel 1 with probability x_v. It compares models of this
        family only. The missing normalisation is given by Loaiza-Ganem and Cunningham, arXiv 1907.06845.
        """
        scaled, target, mean, scale = self._encode(batch)

        def log_weight() -> Tensor:
            noise = torch.randn_like(mean)
            latent = self.posterior.sample(mean, scale, noise)
            log_joint = self.prior.log_prob(latent, scaled) - self._reconstruction(target, latent, scaled)
            return log_joint - self.posterior.log_prob(noise, scale)

        return importance_bound(log_weight, samples)

    def draw(self, conditions: Tensor, noise: Tensor) -> Tensor:
        """Voxel energies (N, V) in MeV."""
        scaled = self.scaler(conditions)
        return self._energies(self.prior.sample(noise, scaled), scaled, conditions)

    def encode(self, batch: Batch) -> dict[str, Code]:
        """``latent``: mean and scale of the posterior q(z | x, c)."""
        _, _, mean, scale = self._encode(batch)
        return {"latent": Code(mean, scale)}

    def decode(self, codes: dict[str, Tensor], conditions: Tensor) -> Tensor:
        """Voxel energies (N, V) in MeV of ``latent``: the decoder's intensities times E_inc."""
        return self._energies(codes["latent"], self.scaler(conditions), conditions)

    def _energies(self, latent: Tensor, scaled: Tensor, conditions: Tensor) -> Tensor:
        logits = self._intensities(latent, scaled)
        # onnxruntime's sigmoid has an absolute precision of 1e-7, a tenth of the intensity of many voxels.
        intensities = 1.0 / (1.0 + torch.exp(-logits))
        return above_threshold(intensities * conditions[:, :1], self.detector.threshold)


def with_likelihood(generator: Generator, terms: dict[str, Tensor], batch: Batch, samples: int) -> dict[str, Tensor]:
    """Terms of a validation, with the mean ``log_likelihood`` from ``samples`` draws added unless ``samples`` is 0."""
    return {**terms, "log_likelihood": generator.log_likelihood(batch, samples).mean()} if samples else terms


def warmup(epoch: float, epochs: float) -> float:
    """Weight at ``epoch`` that increases linearly from 0 to 1 over the first ``epochs``."""
    return min(1.0, epoch / epochs) if epochs > 0 else 1.0


def _stack(inputs: int, widths: tuple[int, ...], slope: float) -> nn.Sequential:
    layers: list[Any] = []
    for width in widths:
        layers += [nn.Linear(inputs, width), nn.LeakyReLU(slope), nn.BatchNorm1d(width)]
        inputs = width
    return nn.Sequential(*layers)

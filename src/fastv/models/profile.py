"""Layer energies given the conditions: the response, then a small variational autoencoder of the profile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
import torch.nn.functional as F  # noqa: N812  (the name everyone knows)
from torch import Tensor, nn

from fastv.detector.detector import Detector
from fastv.models.codings.preprocessing import LayerScale, zero_suppressed
from fastv.models.codings.response import ResponseCoding
from fastv.models.contract import Batch, ConditionScaler, Domain, Generator, GeneratorSettings, NoiseSpec
from fastv.models.likelihoods import sinh_arcsinh_log_prob, sinh_arcsinh_sample
from fastv.models.networks import MLP
from fastv.models.posterior import Covariance, GaussianPosterior
from fastv.models.priors import LatentPrior, Prior
from fastv.models.response import FreeResponse, ResponseShape, response_of


class ProfileSettings(Protocol):
    """The settings of a family that :class:`ProfiledGenerator` and :class:`Profile` read."""

    @property
    def conditions(self) -> tuple[str, ...]:
        """Conditions of a shower that the model takes."""
        ...

    @property
    def response(self) -> ResponseShape:
        """Shape of the response's distribution."""
        ...

    @property
    def profile_latent(self) -> int:
        """Size of the latent vector of the layer energies."""
        ...

    @property
    def covariance(self) -> Covariance:
        """Of the posterior of this vector."""
        ...

    @property
    def prior(self) -> Prior:
        """Of this vector."""
        ...

    @property
    def hidden(self) -> int:
        """Width of the dense layers."""
        ...

    @property
    def dropout(self) -> float:
        """In the encoder."""
        ...


class ProfiledGenerator(Generator):
    """A generator that draws the response, then the layer energies, and then divides each layer as its family does.

    The noise that this class takes is, in this order, normal: response, latent vector, layers; uniform: rare losses,
    filled layers.

    Args:
        settings: of the family, with those of :class:`ProfileSettings`.
        detector, domain: as for every generator.
    """

    def __init__(self, settings: GeneratorSettings, detector: Detector, domain: Domain) -> None:
        super().__init__(settings, detector, domain)
        how: ProfileSettings = settings  # type: ignore[assignment]
        self.scaler = ConditionScaler(how.conditions, domain)
        self.layers = detector.mesh.n_layers
        # Least energy of a layer that is not empty.
        self.least = detector.threshold
        self.response = response_of(how.response, self.scaler.size)
        self.profile = Profile(self.layers, self.scaler.size, how)
        self.profile_normal = [1, how.profile_latent, self.layers]
        self.profile_uniform = [self.response.uniform, self.layers]

    @property
    def response_coding(self) -> ResponseCoding | None:
        """The coding of the response, if its shape is free."""
        return self.response.coding if isinstance(self.response, FreeResponse) else None

    def fit_response(self, fraction: Tensor, incident: Tensor) -> None:
        """Fit the scale of the response."""
        self.response.fit(fraction, incident)

    def _layer_energies(self, energies: Tensor) -> Tensor:
        """Layer energies (N, L) of voxel energies (N, V)."""
        return energies.view(-1, self.layers, energies.shape[1] // self.layers).sum(2)

    def _context(self, scaled: Tensor, fraction: Tensor, incident: Tensor) -> Tensor:
        """Context of layers and voxels: conditions and response."""
        return torch.cat([scaled, self.response.context(fraction, incident)], dim=1)

    def _fit_profile(self, batch: Batch) -> None:
        """Fit the scales of response and layers."""
        incident, layers = batch.conditions[:, :1], self._layer_energies(batch.energies)
        self.response.fit(layers.sum(1, keepdim=True) / incident, incident)
        self.profile.scale.fit(layers, incident, self.scaler(batch.conditions)[:, :1])

    @torch.no_grad()
    def calibrate(self, batch: Batch) -> None:
        """Match the mean layer energies to those of training showers, as a smooth function of the incident energy."""
        draws = max(1, 60_000 // len(batch.energies))
        conditions = batch.conditions.repeat(draws, 1)
        scaled = self.scaler(conditions)
        spec = NoiseSpec(sum(self.profile_normal), sum(self.profile_uniform))
        noise = spec.draw(len(conditions), seed=0).to(conditions)
        parts = torch.split(noise, [*self.profile_normal, *self.profile_uniform], dim=1)
        incident = batch.conditions[:, :1]
        true = self._layer_energies(batch.energies) / incident
        u = self.scaler(batch.conditions)[:, :1]
        for _ in range(3):
            # Layers are scaled to the total after the correction, so it takes a few iterations to converge.
            layers, _ = self._sample_layers(conditions, scaled, parts)
            self.profile.scale.calibrate(true, layers.view(draws, *true.shape).mean(0) / incident, u)

    def _sample_layers(self, conditions: Tensor, scaled: Tensor, noise: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """Layer energies (N, L) in MeV, and the context (conditions and response) for the voxels.

        ``noise`` is that of this class, see there.
        """
        of_response, of_profile, of_layers, of_loss, of_filled = noise
        incident = conditions[:, :1]
        fraction, seen = self.response.sample(of_response, of_loss, scaled, incident)
        context = torch.cat([scaled, seen], dim=1)
        drawn = self.profile.sample(of_profile, of_layers, of_filled, context)
        return self._energies_of(drawn, fraction, incident, scaled), context

    def _energies_of(self, drawn: tuple[Tensor, Tensor], fraction: Tensor, incident: Tensor, scaled: Tensor) -> Tensor:
        """Layer energies (N, L) in MeV that add up to the response, of standardised ones and which are filled."""
        profile, filled = drawn
        # A margin, so that rounding does not take the only voxel of a faint shower.
        total = (fraction * incident).clamp(min=1.0001 * self.least)
        layers = self.profile.scale.energy(profile, incident, scaled[:, :1]) * filled.to(profile.dtype)
        return zero_suppressed(layers, total, self.least)


class Profile(nn.Module):
    """p(e | z_p, t, c) of the standardised layer energies and which layers are filled; shapes (N, L)."""

    def __init__(self, layers: int, conditions: int, settings: ProfileSettings) -> None:
        super().__init__()
        self.scale = LayerScale(layers)
        self.layers = layers
        latent, hidden = settings.profile_latent, settings.hidden
        self.encoder = MLP(2 * layers + conditions + 1, (hidden, hidden), hidden, settings.dropout)
        self.posterior = GaussianPosterior(hidden, latent, settings.covariance)
        self.prior = LatentPrior(settings.prior, latent, conditions + 1)
        self.decoder = MLP(latent + conditions + 1, (hidden, hidden), 3 * layers)
        # Most of the variation is linear in the latent vector, hence this direct connection.
        self.linear = nn.Linear(latent, layers, bias=False)
        self.skew = nn.Parameter(torch.zeros(layers))
        self.log_tail = nn.Parameter(torch.zeros(layers))

    def _decode(self, latent: Tensor, context: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor, Tensor]]:
        filled, location, log_scale = self.decoder(torch.cat([latent, context], dim=1)).split(self.layers, dim=1)
        location = location + self.linear(latent)
        return filled, (location, torch.exp(log_scale.clamp(-5.0, 2.0)), self.skew, torch.exp(self.log_tail))

    def _encode(self, profile: Tensor, filled: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and scale of the posterior."""
        mean, scale = self.posterior(self.encoder(torch.cat([profile, filled.to(profile.dtype), context], dim=1)))
        return mean, scale

    def _reconstruction(self, latent: Tensor, profile: Tensor, filled: Tensor, context: Tensor) -> Tensor:
        """-log p(e | z_p, t, c), (N,)."""
        logits, shape = self._decode(latent, context)
        log_prob = torch.where(filled, sinh_arcsinh_log_prob(profile, *shape), 0.0)
        occupancy = F.binary_cross_entropy_with_logits(logits, filled.to(profile.dtype), reduction="none")
        return (occupancy - log_prob).sum(1)

    def loss(self, profile: Tensor, filled: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Reconstruction term and divergence, means over the batch in nats; ``profile`` and ``filled`` are (N, L)."""
        mean, scale = self._encode(profile, filled, context)
        noise = torch.randn_like(mean)
        latent = self.posterior.sample(mean, scale, noise)
        kl = self.prior.kl(self.posterior, mean, scale, noise, latent, context)
        return self._reconstruction(latent, profile, filled, context).mean(), kl.mean()

    def log_weights(self, profile: Tensor, filled: Tensor, context: Tensor) -> Callable[[], Tensor]:
        """A function that draws z_p and returns log p(e, z_p | t, c) - log q(z_p | e, t, c), (N,)."""
        mean, scale = self._encode(profile, filled, context)

        def draw() -> Tensor:
            noise = torch.randn_like(mean)
            latent = self.posterior.sample(mean, scale, noise)
            log_ratio = self.prior.log_prob(latent, context) - self.posterior.log_prob(noise, scale)
            return log_ratio - self._reconstruction(latent, profile, filled, context)

        return draw

    def sample(self, latent: Tensor, normal: Tensor, uniform: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Standardised layer energies (N, L) and which layers are not empty, (N, L).

        ``latent`` is noise (N, profile_latent); ``normal`` and ``uniform`` are noise (N, L).
        """
        return self._drawn(self.prior.sample(latent, context), normal, uniform, context)

    def middle(self, latent: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """The most probable filled layers and the median energies that belong to ``latent``; as :meth:`sample`."""
        middle = torch.zeros(len(latent), self.layers, dtype=latent.dtype, device=latent.device)
        return self._drawn(latent, middle, middle + 0.5, context)

    def _drawn(self, latent: Tensor, normal: Tensor, uniform: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        logits, shape = self._decode(latent, context)
        # The layer most likely to have energy is never empty.
        filled = (uniform < torch.sigmoid(logits)) | (logits >= logits.amax(1, keepdim=True))
        return sinh_arcsinh_sample(normal, *shape).clamp(-6.0, 6.0), filled

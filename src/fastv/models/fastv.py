"""FastV: a variational autoencoder that decodes the response, then the layer energies, then the voxels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, ClassVar, Literal

import torch
import torch.nn.functional as F  # noqa: N812  (the name everyone knows)
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt
from torch import Tensor, nn

from fastv.detector.detector import Detector
from fastv.models.codes import Code
from fastv.models.codings.preprocessing import EnergyScore, above_threshold, zero_suppressed
from fastv.models.contract import Batch, Domain, GeneratorSettings, NoiseSpec
from fastv.models.grid_networks import NetworkSettings, grid_network
from fastv.models.importance import importance_bound
from fastv.models.layer_grid import LayerGrid, from_cells, to_cells
from fastv.models.likelihoods import (
    skew_logistic_log_prob,
    skew_logistic_sample,
)
from fastv.models.networks import MLP, DepthMixer
from fastv.models.posterior import Covariance, GaussianPosterior
from fastv.models.priors import LatentPrior, Prior
from fastv.models.profile import ProfiledGenerator
from fastv.models.response import ResponseShape
from fastv.models.splines import normal_log_prob
from fastv.models.vae import warmup, with_likelihood


class FastVSettings(GeneratorSettings):
    """Settings of :class:`FastV`.

    Attributes:
        profile_latent, lateral_latent: sizes of the latent vectors of the layer energies and of the voxels.
        layer_latent: size of the additional latent vector of each layer.
        covariance: of the posteriors of ``profile_latent`` and ``lateral_latent``.
        prior: of ``profile_latent`` and ``lateral_latent``.
        response: shape of the response's distribution: ``free``, or ``sinh-arcsinh`` for a single peak.
        width: of a layer's token in the decoder.
        depth_blocks, depth_kernel: number and kernel size of the convolutions along the shower axis.
        hidden: width of the dense layers.
        encoder_width: of a layer's token in the encoder.
        network: grid network that corrects the decoder's output for all voxels; by default none.
        dropout: in the encoders.
        kl_weight: weight of the KL divergence, the beta of a beta-VAE.
        kl_warmup_epochs: epochs over which the weight increases from 0.
        importance_samples: draws for the ``log_likelihood`` in the validation; 0 for none.
    """

    profile_latent: PositiveInt = 16
    lateral_latent: PositiveInt = 8
    layer_latent: NonNegativeInt = 2
    covariance: Covariance = "full"
    prior: Prior = "gaussian"
    response: ResponseShape = "free"
    width: PositiveInt = 48
    depth_blocks: NonNegativeInt = 1
    depth_kernel: Literal[1, 3, 5, 7, 9] = 5
    hidden: PositiveInt = 128
    encoder_width: PositiveInt = 96
    network: NetworkSettings | None = None
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    kl_weight: NonNegativeFloat = 1.0
    kl_warmup_epochs: NonNegativeFloat = 20.0
    importance_samples: NonNegativeInt = 0


class FastV(ProfiledGenerator):
    r"""Variational autoencoder that factorises a shower by scale: visible energy, then layer energies, then voxels.

    With the conditions c, the response t = E_tot/E_inc, layer energies e, voxels x and two latent vectors,

        p(x | c) = p(t | c) int p(e | z_p, t, c) p(z_p) dz_p int p(x | z_l, e, t, c) p(z_l) dz_l .

    * p(t | c): a free shape, from the quantiles of training showers of the same energy
      (:class:`~fastv.models.response.FreeResponse`), or a single peak with rare losses
      (:class:`~fastv.models.response.PeakedResponse`).
    * p(e | z_p, t, c): each layer is empty with some probability, otherwise its standardised logarithm is sinh-arcsinh
      normal; layers are independent given z_p. Sampled layer energies are scaled to add up to t E_inc.
    * p(x | z_l, e, t, c): each voxel is empty with some probability, otherwise the normal score of its energy is skew
      logistic; voxels are independent given z_l, which has a part for the whole shower and a part for each layer.
      Sampled voxels are scaled to the energy of their layer; a layer with energy has at least one non-empty voxel.

    p(z_p) and p(z_l) are unit Gaussians. With the setting ``prior`` = ``flow``, z_p and the part of z_l for the whole
    shower have a flow prior given t and c (:class:`~fastv.models.priors.LatentPrior`).

    Each integral is bounded from below with a Gaussian posterior, so the loss, in nats per shower, is

        - log p(t|c) - E[log p(e|z_p,t,c)] - E[log p(x|z_l,e,t,c)] + w (KL_p + KL_l)

    where occupancies enter as binary cross-entropy and energies as densities. Generation draws from all of these
    distributions rather than taking the decoder's mean, to reproduce sparsity and fluctuations.

    Shapes: showers (N, V) MeV, conditions (N, C); noise (N, 1 + profile_latent + L + lateral_latent + L layer_latent
    normal and L + V uniform columns, with a single peak 1 + L + V).

    Raises:
        SettingsError: a network of convolutions, and a mesh whose layers differ in their cells.

    Source: Kingma and Welling, arXiv 1312.6114 (the bound); Krause and Shih, arXiv 2106.05285 (layer energies first).
    """

    family: ClassVar[str] = "fastv"
    Settings: ClassVar[type[GeneratorSettings]] = FastVSettings
    any_mesh: ClassVar[bool] = True
    settings: FastVSettings

    def __init__(self, settings: FastVSettings, detector: Detector, domain: Domain) -> None:
        super().__init__(settings, detector, domain)
        self.settings = settings
        self.grid = LayerGrid.of(detector.mesh)
        conditions = self.scaler.size
        self.lateral = Lateral(self.grid, conditions, settings)
        own = self.layers * settings.layer_latent
        # Columns of the noise: response, profile, layers, shower, latents of layers; response, filled layers, voxels.
        normal = [*self.profile_normal, settings.lateral_latent, own]
        uniform = [*self.profile_uniform, self.grid.n_voxels]
        self._columns = normal + uniform
        self.shower_noise = NoiseSpec(normal=sum(normal), uniform=sum(uniform))

    def _split(self, energies: Tensor) -> tuple[Tensor, Tensor]:
        """Voxels (N, L, cells) and layer energies (N, L)."""
        voxels = self.grid(energies).flatten(2)
        return voxels, voxels.sum(2)

    def _layer_energies(self, energies: Tensor) -> Tensor:
        return self._split(energies)[1]

    def fit(self, batch: Batch) -> None:
        """Fit the scales of response and layers, and the energy scores of voxels."""
        self._fit_profile(batch)
        self.lateral.fit(self._split(batch.energies)[0])

    def _standardised(self, batch: Batch) -> tuple[Tensor, ...]:
        """Scaled conditions, response t, context (both), voxels and layers in MeV, standardised layers."""
        incident = batch.conditions[:, :1]
        scaled = self.scaler(batch.conditions)
        voxels, layers = self._split(batch.energies)
        fraction = layers.sum(1, keepdim=True) / incident
        context = self._context(scaled, fraction, incident)
        return scaled, fraction, context, voxels, layers, self.profile.scale(layers, incident, scaled[:, :1])

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """``response``, ``profile`` and ``lateral`` terms, both divergences, and ``loss``; nats per shower."""
        scaled, fraction, context, voxels, layers, profile = self._standardised(batch)
        terms = {"response": -self.response.log_prob(fraction, scaled, batch.conditions[:, :1]).mean()}
        terms["profile"], terms["profile_kl"] = self.profile.loss(profile, layers > 0, context)
        terms["lateral"], terms["lateral_kl"] = self.lateral.loss(voxels, layers, profile, context)
        weight = self.settings.kl_weight * warmup(batch.epoch, self.settings.kl_warmup_epochs)
        loss = terms["response"] + terms["profile"] + terms["lateral"]
        return {"loss": loss + weight * (terms["profile_kl"] + terms["lateral_kl"]), **terms}

    def validation(self, batch: Batch) -> dict[str, Tensor]:
        """The terms of the loss, and with ``importance_samples`` the mean ``log_likelihood``."""
        return with_likelihood(self, self.loss(batch), batch, self.settings.importance_samples)

    def log_likelihood(self, batch: Batch, samples: int) -> Tensor:
        """A lower bound of log p(x | c), (N,), in nats, each integral by importance sampling with ``samples`` draws.

        The densities are those of the standardised response, of the standardised logarithms of layer energies and of
        the voxels' scores, times the probabilities of which layers and voxels are empty. The model treats these numbers
        as independent variables: it does not use that layers add up to the response and voxels to their layer. So this
        is not a density of voxel energies in MeV; it compares models of this family fitted to the same showers.
        """
        scaled, fraction, context, voxels, layers, profile = self._standardised(batch)
        of_profile = self.profile.log_weights(profile, layers > 0, context)
        of_voxels = self.lateral.log_weights(voxels, layers, profile, context)
        bounds = importance_bound(of_profile, samples) + importance_bound(of_voxels, samples)
        return self.response.log_prob(fraction, scaled, batch.conditions[:, :1]) + bounds

    def draw(self, conditions: Tensor, noise: Tensor) -> Tensor:
        """Voxel energies (N, V) in MeV."""
        scaled = self.scaler(conditions)
        parts = torch.split(noise, self._columns, dim=1)
        layers, context = self._sample_layers(conditions, scaled, (*parts[:3], *parts[5:7]))
        profile = self.profile.scale(layers, conditions[:, :1], scaled[:, :1])
        voxels = self.lateral.sample(layers, profile, parts[3], parts[4], parts[7], context)
        return self._suppressed(voxels, layers)

    def encode(self, batch: Batch) -> dict[str, Code]:
        """``response``, its score, exact; and the posteriors of ``profile``, the layer energies, ``shower``, what all
        voxels share, and with ``layer_latent`` of ``layers``, what the voxels of each layer share, (N, L layer_latent).
        """
        _, fraction, context, voxels, layers, profile = self._standardised(batch)
        of_voxels = self.lateral.codes(voxels, layers, profile, context)
        response = Code(self.response.context(fraction, batch.conditions[:, :1]))
        return {"response": response, "profile": Code(*self.profile._encode(profile, layers > 0, context)), **of_voxels}

    def decode(self, codes: dict[str, Tensor], conditions: Tensor) -> Tensor:
        """Voxel energies (N, V) in MeV: the most probable hits and their median energies, scaled to their layers."""
        scaled, incident = self.scaler(conditions), conditions[:, :1]
        context = torch.cat([scaled, codes["response"]], dim=1)
        middle = self.profile.middle(codes["profile"], context)
        layers = self._energies_of(middle, self.response.fraction(codes["response"], incident), incident, scaled)
        profile = self.profile.scale(layers, incident, scaled[:, :1])
        voxels = self.lateral.middle(layers, profile, codes["shower"], codes.get("layers"), context)
        return self._suppressed(voxels, layers)

    def _suppressed(self, voxels: Tensor, layers: Tensor) -> Tensor:
        """Voxel energies (N, V) of those in their layers, scaled to these and cut at the threshold."""
        voxels = zero_suppressed(voxels, layers[:, :, None], self.detector.threshold)
        return above_threshold(self.grid.flat(voxels, axes=2), self.detector.threshold)


class Lateral(nn.Module):
    """p(x | z_l, e, t, c) of the voxels in their layers; voxels (N, L, cells), cells ordered (alpha, r).

    Layers of the same segmentation share the maps from and to their cells.
    """

    _FEATURES = 3
    _SHARED = 8

    def __init__(self, grid: LayerGrid, conditions: int, settings: FastVSettings) -> None:
        super().__init__()
        self.score = EnergyScore()
        self.grid, self.cells, layers = grid, grid.cells, grid.shape[0]
        self.layers = layers
        self.shower_latent, self.layer_latent = settings.lateral_latent, settings.layer_latent
        width, wide, hidden = settings.width, settings.encoder_width, settings.hidden
        self.encoder_input = from_cells(grid, 2, wide, besides=self._FEATURES)
        self.encoder_layer = nn.Parameter(0.1 * torch.randn(layers, wide))
        self.encoder_mixer = DepthMixer(wide, 2)
        self.encoder_pool = nn.Linear(wide, 16)
        self.encoder = MLP(16 * layers + conditions + 1, (hidden,), hidden, settings.dropout)
        self.posterior = GaussianPosterior(hidden, self.shower_latent, settings.covariance)
        self.prior = LatentPrior(settings.prior, self.shower_latent, conditions + 1)
        self.layer_posterior = GaussianPosterior(wide, max(self.layer_latent, 1))
        self.shared = MLP(self.shower_latent + conditions + 1, (hidden,), layers * self._SHARED)
        self.input = nn.Linear(self._SHARED + self._FEATURES + self.layer_latent, width)
        self.layer = nn.Parameter(0.1 * torch.randn(layers, width))
        self.mixer = DepthMixer(width, settings.depth_blocks, settings.depth_kernel)
        self.activation = nn.SiLU()
        # Separate matrices, so that an exported graph needs no copies to split their output.
        self.occupancy = to_cells(grid, width, 1)
        self.location = to_cells(grid, width, 1)
        self.log_scale = to_cells(grid, width, 1)
        self.log_shape = to_cells(grid, width, 1)
        self.network: nn.Module | None = None
        if settings.network is not None:
            columns = self.shower_latent + conditions + 1
            self.network = grid_network(settings.network, grid, 4, 4, columns)

    @torch.no_grad()
    def fit(self, voxels: Tensor) -> None:
        """Fit the scores to voxels (N, L, cells) in MeV; occupancies and scores start from their means in each ring."""
        filled = voxels > 0
        self.score.fit(voxels[filled])
        scores = torch.where(filled, self.score(voxels.clamp(min=1e-9)), 0.0)
        occupancies, locations = [], []
        for alike in self.grid.groups:
            count = filled[:, alike].sum((0, 1)).clamp(min=1)
            parts = filled[:, alike].float().mean((0, 1)), scores[:, alike].sum((0, 1)) / count
            occupancy, location = (_around(part, self.grid.inside[alike[0]]) for part in parts)
            occupancies.append(torch.logit(occupancy.clamp(1e-4, 1 - 1e-4)))
            locations.append(location)
        for head, values in ((self.occupancy, occupancies), (self.location, locations)):
            head.bias.copy_(torch.stack(values).view_as(head.bias))
        nn.init.constant_(self.log_scale.bias, -1.0)

    def _features(self, layers: Tensor, profile: Tensor) -> Tensor:
        on = (layers > 0).to(layers.dtype)
        return torch.stack([on, torch.log(layers.clamp(min=0.01)) / 5.0, profile / 3.0], dim=2)

    def _decode(self, latent: Tensor, own: Tensor | None, features: Tensor, context: Tensor) -> tuple[Tensor, ...]:
        """Occupancy logit, and location, scale and shape of the scores, each (N, L, cells)."""
        shared = self.shared(torch.cat([latent, context], dim=1)).view(-1, self.layers, self._SHARED)
        parts = [shared, features] if own is None else [shared, features, own]
        tokens = self.mixer(self.input(torch.cat(parts, dim=2)) + self.layer)
        heads = (self.occupancy, self.location, self.log_scale, self.log_shape)
        if self.grid.alike:
            rows = self.activation(tokens).flatten(0, 1)
            maps = tuple(head(rows).view(-1, self.layers, self.cells) for head in heads)
        else:
            rows = self.activation(tokens)
            maps = tuple(head(rows) for head in heads)
        if self.network is not None:
            first = self.grid.masked(torch.stack(maps, dim=1).view(-1, 4, *self.grid.shape))
            corrected = first + self.network(first, torch.cat([latent, context], dim=1))
            maps = corrected.flatten(3).unbind(1)
        occupancy, location, log_scale, log_shape = maps
        return occupancy, location, torch.exp(log_scale.clamp(-4.0, 1.5)), torch.exp(log_shape.clamp(-2.0, 2.0))

    def _encode(self, voxels: Tensor, features: Tensor, context: Tensor) -> tuple[tuple[Tensor, Tensor], Tensor]:
        """Mean and scale of the shower's posterior, and the tokens (N, L, width) of those of the layers."""
        filled = voxels > 0
        scores = torch.where(filled, self.score(voxels.clamp(min=1e-9)), 0.0)
        tokens = self.encoder_input(torch.cat([filled.to(voxels.dtype), scores, features], dim=2)) + self.encoder_layer
        tokens = self.activation(self.encoder_mixer(tokens))
        pooled = self.encoder(torch.cat([self.encoder_pool(tokens).flatten(1), context], dim=1))
        return self.posterior(pooled), tokens

    def _reconstruction(
        self, latent: Tensor, own: Tensor | None, voxels: Tensor, features: Tensor, context: Tensor
    ) -> Tensor:
        """-log p(x | z_l, e, t, c), (N,)."""
        filled = voxels > 0
        logits, *of_scores = self._decode(latent, own, features, context)
        # That a layer is empty is part of the profile, so its voxels do not count.
        occupancy = F.binary_cross_entropy_with_logits(logits, filled.to(voxels.dtype), reduction="none")
        occupancy = self.grid.masked(occupancy.view(-1, *self.grid.shape)).flatten(2)
        scores = self.score(voxels[filled])
        log_prob = skew_logistic_log_prob(scores, *(parameter[filled] for parameter in of_scores))
        shower = filled.flatten(1).nonzero()[:, 0]
        return (occupancy * features[:, :, :1]).sum((1, 2)).index_add(0, shower, log_prob, alpha=-1)

    def codes(self, voxels: Tensor, layers: Tensor, profile: Tensor, context: Tensor) -> dict[str, Code]:
        """The posteriors of the shower and of its layers."""
        of_shower, tokens = self._encode(voxels, self._features(layers, profile), context)
        if not self.layer_latent:
            return {"shower": Code(*of_shower)}
        mean, scale = (each.reshape(len(voxels), -1) for each in self.layer_posterior(tokens.flatten(0, 1)))
        return {"shower": Code(*of_shower), "layers": Code(mean, scale)}

    def _draw_own(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Draw latent vectors (N, L, layer_latent) of the layers; also noise, mean and scale, (N L, layer_latent)."""
        mean, scale = self.layer_posterior(tokens.flatten(0, 1))
        noise = torch.randn_like(mean)
        own = self.layer_posterior.sample(mean, scale, noise)
        return own.view(-1, self.layers, self.layer_latent), noise, mean, scale

    def loss(self, voxels: Tensor, layers: Tensor, profile: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Reconstruction term and divergence, means over the batch in nats; ``voxels`` and ``layers`` in MeV."""
        features = self._features(layers, profile)
        (mean, scale), tokens = self._encode(voxels, features, context)
        noise = torch.randn_like(mean)
        latent = self.posterior.sample(mean, scale, noise)
        kl = self.prior.kl(self.posterior, mean, scale, noise, latent, context).mean()
        own = None
        if self.layer_latent:
            own, _, own_mean, own_scale = self._draw_own(tokens)
            kl = kl + self.layer_posterior.kl(own_mean, own_scale).sum() / len(voxels)
        return self._reconstruction(latent, own, voxels, features, context).mean(), kl

    def log_weights(self, voxels: Tensor, layers: Tensor, profile: Tensor, context: Tensor) -> Callable[[], Tensor]:
        """A function that draws z_l and returns log p(x, z_l | e, t, c) - log q(z_l | x, e, t, c), (N,)."""
        features = self._features(layers, profile)
        (mean, scale), tokens = self._encode(voxels, features, context)

        def draw() -> Tensor:
            noise = torch.randn_like(mean)
            latent = self.posterior.sample(mean, scale, noise)
            log_ratio = self.prior.log_prob(latent, context) - self.posterior.log_prob(noise, scale)
            own = None
            if self.layer_latent:
                own, of_own, _, own_scale = self._draw_own(tokens)
                of_layers = normal_log_prob(own.flatten(0, 1)) - self.layer_posterior.log_prob(of_own, own_scale)
                log_ratio = log_ratio + of_layers.view(-1, self.layers).sum(1)
            return log_ratio - self._reconstruction(latent, own, voxels, features, context)

        return draw

    def sample(
        self, layers: Tensor, profile: Tensor, latent: Tensor, own: Tensor, uniform: Tensor, context: Tensor
    ) -> Tensor:
        """Voxel energies (N, L, cells), not yet scaled to their layers.

        Args:
            layers: layer energies (N, L), MeV.
            profile: standardised layer energies (N, L).
            latent, own: normal noise (N, lateral_latent) and (N, L layer_latent).
            uniform: uniform noise (N, V).
            context: conditions and response (N, K).
        """
        logits, *of_scores = self._decoded(layers, profile, self.prior.sample(latent, context), own, context)
        # One uniform number u serves twice: a voxel has energy if u is below the occupancy p, and then u/p is uniform.
        if self.grid.full:
            uniform = uniform.view(-1, self.layers, self.cells)
        else:
            # A place without voxel is empty, and not the fullest of its layer.
            uniform = torch.where(self.grid.inside > 0, self.grid(uniform), 1e30).flatten(2)
        upper = uniform / torch.sigmoid(logits)
        upper = upper / (1.0001 * upper.amin(2, keepdim=True)).clamp(min=1.0)
        # An empty voxel has upper = 1, hence a score of minus infinity and no energy.
        return self.score.energy(skew_logistic_sample(upper.clamp(1e-7, 1.0), *of_scores))

    def middle(self, layers: Tensor, profile: Tensor, latent: Tensor, own: Tensor | None, context: Tensor) -> Tensor:
        """Median energies of the most probable hits, as :meth:`sample`, of latent vectors in place of noise."""
        logits, *of_scores = self._decoded(layers, profile, latent, own, context)
        if not self.grid.full:
            logits = torch.where(self.grid.inside.flatten(1) > 0, logits, -torch.inf)
        hit = logits >= logits.amax(2, keepdim=True).clamp(max=0.0)
        median = torch.full_like(logits, 0.5)
        return self.score.energy(skew_logistic_sample(median, *of_scores)) * hit.to(logits.dtype)

    def _decoded(
        self, layers: Tensor, profile: Tensor, latent: Tensor, own: Tensor | None, context: Tensor
    ) -> tuple[Tensor, ...]:
        """The parameters of :meth:`_decode` for layers in MeV, and the latent vectors of layers in one row."""
        of_layers = own.view(-1, self.layers, self.layer_latent) if own is not None and self.layer_latent else None
        return self._decode(latent, of_layers, self._features(layers, profile), context)


def _around(cells: Tensor, inside: Tensor) -> Tensor:
    """Means over alpha of numbers (cells,), for each cell; ``inside`` (alpha, r) tells which cells there are."""
    means = (cells.view_as(inside) * inside).sum(0) / inside.sum(0).clamp(min=1)
    return means.repeat(len(inside))

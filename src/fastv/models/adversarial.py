"""Common parts of the adversarial families: two generators, their critics, and a validation independent of these."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F  # noqa: N812  (the name everyone knows)
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn

from fastv.detector.detector import Detector
from fastv.models.codings.layers import LayerCoding
from fastv.models.codings.response import ResponseCoding
from fastv.models.codings.voxels import VoxelCoding
from fastv.models.contract import (
    Batch,
    ConditionScaler,
    Domain,
    Generator,
    GeneratorSettings,
    NoiseSpec,
    Objective,
)
from fastv.models.critics import Critic, CriticView, LayerCritic, ShowerCritic
from fastv.models.grid_networks import NetworkSettings, TransformerSettings, grid_network
from fastv.models.layer_grid import LayerGrid
from fastv.models.linear import LinearGaussian, least_squares, powers
from fastv.models.networks import MLP
from fastv.models.shower_view import OBSERVABLES, LayerView, ShowerView

STAGES = ("layers", "voxels")
ADAM = (0.0, 0.99)
"""Betas of the optimizer. No momentum, since it would continue in a direction that the other player has left."""
PENALTY_STRIDE = 4
"""The gradient penalty uses every fourth shower of a batch, because it costs three times as much as the score."""
Widths = Annotated[tuple[PositiveInt, ...], Field(min_length=1)]


class AdversarialSettings(GeneratorSettings):
    """Settings common to all adversarial families.

    Attributes:
        network: generator of the voxels.
        critic: trunk of the critic of the voxels.
        layer_hidden: widths of the dense generator of the layer energies.
        layer_critic: widths of the dense critic of the layer energies.
        head: widths of the dense head of the critic of the voxels.
        critic_steps: steps of the critics for each step of the generators.
        critic_rate: learning rate of the critics in units of that of the generators.
        gradient_penalty: weight of the penalty on the gradients of the critics.
    """

    network: NetworkSettings = TransformerSettings(width=64, blocks=2, heads=4, expansion=2)
    critic: NetworkSettings = TransformerSettings(width=64, blocks=2, heads=4, expansion=2)
    layer_hidden: Widths = (128, 128)
    layer_critic: Widths = (256, 128)
    head: Widths = (256, 128)
    critic_steps: PositiveInt = 1
    critic_rate: PositiveFloat = 4.0
    gradient_penalty: NonNegativeFloat = 10.0


@dataclass(frozen=True)
class CriticInputs:
    """Inputs of the critic of one stage: true and generated showers of the same conditions, and their context."""

    real: CriticView
    fake: CriticView
    context: Tensor

    def every(self, nth: int) -> CriticInputs:
        """The inputs of every ``nth`` shower."""
        return CriticInputs(tuple(x[::nth] for x in self.real), tuple(x[::nth] for x in self.fake), self.context[::nth])


@dataclass(frozen=True)
class Generated:
    """Showers generated for the conditions of a batch, in MeV.

    Attributes:
        layers: layer energies (N, L), given the conditions.
        unscaled: voxel energies (N, L, cells), given the true layer energies, before they are scaled to these.
    """

    layers: Tensor
    unscaled: Tensor


class Adversarial(Generator):
    r"""Generators and critics in two stages.

    The first stage generates the codes y of response and layers, :class:`~fastv.models.codings.layers.LayerCoding`,
    given the scaled conditions u; the second the codes x of the voxels,
    :class:`~fastv.models.codings.voxels.VoxelCoding`, given the layer energies e. With standard normal noise n,

        y = m(u) + s(u) R(u) n + F(R n, u) ,    x = n exp(b(n, e, u)) + a(n, e, u) ,

    where F is zero for the response. Training starts with F = a = b = 0. The first stage is then a linear regression of
    the codes with correlated Gaussian residuals (:class:`~fastv.models.linear.LinearGaussian`), and the second gives
    each voxel the right spectrum and occupancy, independently of all others. Generators thus start from a linear model,
    and critics judge the remaining differences.

    Each stage has its critic: that of the layers sees layer energies and conditions, that of the voxels sees voxels,
    layer energies and conditions. The second stage is trained with *true* layer energies, so that it does not learn
    from errors of the first. Critics see decoded showers in the continuous form of
    :class:`~fastv.models.shower_view.LayerView` and :class:`~fastv.models.shower_view.ShowerView` rather than codes,
    because the codes of empty voxels, nine tenths of all at low energy, are noise.

    Families define what critics and generators minimise. Since the loss of a generator says little about its quality,
    validation takes the distance between generated and true showers, see :meth:`validation`.

    Shapes: showers (N, V) MeV, conditions (N, C), noise (N, 1 + L + V), all normal.

    Args:
        settings, detector, domain: see :class:`~fastv.models.contract.Generator`.
        companions: number of kernels of minibatch discrimination in each critic; 0 for none.

    Raises:
        SettingsError: a network of convolutions, and a mesh whose layers differ in their cells.

    Source: Goodfellow et al., arXiv 1406.2661 (the game); Krause and Shih, arXiv 2106.05285 (layers first).
    """

    any_mesh: ClassVar[bool] = True
    settings: AdversarialSettings
    score_mean: Tensor
    score_width: Tensor

    def __init__(
        self, settings: AdversarialSettings, detector: Detector, domain: Domain, *, companions: int = 0
    ) -> None:
        super().__init__(settings, detector, domain)
        self.settings = settings
        self.scaler = ConditionScaler(settings.conditions, domain)
        self.layer_coding = LayerCoding(detector)
        self.voxel_coding = VoxelCoding(detector)
        self.layer_view = LayerView(detector)
        self.view = ShowerView(detector)
        self.grid = self.voxel_coding.grid
        n, size = detector.mesh.n_layers, self.scaler.size
        self.codes = 1 + n
        self.shower_noise = NoiseSpec(normal=self.codes + detector.mesh.n_voxels)
        context = n + self.layer_view.size + size
        self.generators = nn.ModuleDict(
            {
                "layers": LayerGenerator(self.codes, settings.layer_hidden, size),
                "voxels": self.make_voxels(settings.network, context),
            }
        )
        self.critics = nn.ModuleDict(
            {
                "layers": LayerCritic(self.layer_view.size, size, head=settings.layer_critic, companions=companions),
                "voxels": ShowerCritic(
                    settings.critic, self.grid, 2, OBSERVABLES, context, head=settings.head, companions=companions
                ),
            }
        )
        self.register_buffer("score_mean", torch.zeros(1 + 3 * size, len(STAGES)))
        self.register_buffer("score_width", torch.ones(len(STAGES)))

    def make_voxels(self, network: NetworkSettings, context: int) -> nn.Module:
        """The network of the second stage, from noise (N, 1, L, alpha, r) and context (N, K) to codes (N, L, alpha, r).

        Args:
            network: settings of the grid network.
            context: columns K of the context.
        """
        return VoxelGenerator(network, self.grid, context)

    def _critic(self, stage: str) -> Critic:
        critic = self.critics[stage]
        if not isinstance(critic, Critic):
            raise TypeError(type(critic))
        return critic

    @abstractmethod
    def critic_term(self, real: Tensor, fake: Tensor) -> Tensor:
        """Loss of a critic from its scores (N, 1) of true and of generated showers, without penalty."""

    @abstractmethod
    def generator_term(self, fake: Tensor) -> Tensor:
        """Loss of a generator from the critic's scores (N, 1) of its showers."""

    @abstractmethod
    def penalty(self, critic: nn.Module, inputs: CriticInputs) -> Tensor:
        """Penalty on the gradient of a critic, without its weight."""

    def constraints(self, batch: Batch, made: Generated) -> dict[str, Tensor]:
        """Additional terms of the generators' loss, each including its weight; by default none."""
        del batch, made
        return {}

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """One objective for the critics and one for the generators, in this order."""
        s = self.settings
        return (
            Objective("critic", ("critics.",), learning_rate=s.critic_rate, betas=ADAM),
            Objective("loss", ("generators.",), every=s.critic_steps, betas=ADAM),
        )

    @property
    def response_coding(self) -> ResponseCoding:
        """The coding of the response."""
        return self.layer_coding.response

    @torch.no_grad()
    def fit(self, batch: Batch) -> None:
        """Fit the codings, the scales of the critics' views, and the linear part of the first stage."""
        scaled, incident = self.scaler(batch.conditions), batch.conditions[:, :1]
        grid = self.grid(batch.energies)
        layers = grid.sum((2, 3))
        self.layer_coding.fit(layers, incident)
        self.voxel_coding.fit(grid)
        self.layer_view.fit(layers)
        self.view.fit(grid)
        self.generators["layers"].fit(self.layer_coding.encode(layers, incident), scaled)  # type: ignore[operator]

    def _see_layers(self, layers: Tensor, incident: Tensor) -> Tensor:
        """Layer energies as their critic sees them, (N, 2 L + 4)."""
        response = self.layer_coding.encode_response(layers.sum(1, keepdim=True) / incident, incident)
        seen: Tensor = self.layer_view(layers, response)
        return seen

    def _context(self, layers: Tensor, conditions: Tensor, scaled: Tensor) -> Tensor:
        """Context of the voxels: levels of the layers, the layers as their critic sees them, and the conditions."""
        levels = self.voxel_coding.levels(layers) / 4 - 2
        return torch.cat([levels, self._see_layers(layers, conditions[:, :1]), scaled], dim=1)

    def _make_layers(self, conditions: Tensor, scaled: Tensor, noise: Tensor) -> Tensor:
        """Layer energies (N, L) in MeV."""
        codes = self.generators["layers"](noise, scaled)
        return self.layer_coding.decode(codes, conditions[:, :1])

    def _make_voxels(self, layers: Tensor, context: Tensor, noise: Tensor) -> Tensor:
        """Voxel energies (N, L, cells) in MeV, not yet scaled to the layers."""
        codes = self.generators["voxels"](self.grid(noise)[:, None], context)
        return self.voxel_coding.energies(codes, layers)

    def critic_inputs(self, batch: Batch) -> tuple[dict[str, CriticInputs], Generated]:
        """Inputs of the critics by stage, and the generated showers; noise comes from PyTorch's generator."""
        conditions, scaled = batch.conditions, self.scaler(batch.conditions)
        grid = self.grid(batch.energies)
        layers = grid.sum((2, 3))
        made_layers = self._make_layers(conditions, scaled, torch.randn_like(layers[:, :1].expand(-1, self.codes)))
        context = self._context(layers, conditions, scaled)
        unscaled = self._make_voxels(layers, context, torch.randn_like(batch.energies))
        generated = self.grid(self.voxel_coding.scaled(unscaled, layers))
        by_stage = {
            "layers": CriticInputs(
                real=(self._see_layers(layers, conditions[:, :1]),),
                fake=(self._see_layers(made_layers, conditions[:, :1]),),
                context=scaled,
            ),
            "voxels": CriticInputs(real=self.view(grid, layers), fake=self.view(generated, layers), context=context),
        }
        return by_stage, Generated(made_layers, unscaled)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """``critic`` or ``loss``, depending on the objective of the batch, and its terms.

        For the critics these include ``*_penalty`` and ``*_accuracy``, the fraction of true showers that score above
        the generated one of the same conditions, which falls towards 0.5 as the generators improve.
        """
        if batch.objective == "critic":
            return self._critic_loss(batch)
        with frozen(self.critics):
            by_stage, made = self.critic_inputs(batch)
            terms = {
                f"{stage}_generator": self.generator_term(self.critics[stage](inputs.fake, inputs.context))
                for stage, inputs in by_stage.items()
            }
            terms |= self.constraints(batch, made)
        return {"loss": torch.stack(list(terms.values())).sum(), **terms}

    def _critic_loss(self, batch: Batch) -> dict[str, Tensor]:
        with torch.no_grad():
            by_stage, _ = self.critic_inputs(batch)
        terms, total = {}, []
        for stage, inputs in by_stage.items():
            critic = self.critics[stage]
            real, fake = critic(inputs.real, inputs.context), critic(inputs.fake, inputs.context)
            terms[f"{stage}_critic"] = self.critic_term(real, fake)
            total.append(terms[f"{stage}_critic"])
            if self.settings.gradient_penalty:
                terms[f"{stage}_penalty"] = self.penalty(critic, inputs.every(PENALTY_STRIDE))
                total.append(self.settings.gradient_penalty * terms[f"{stage}_penalty"])
            terms |= self.convergence_terms(stage, real.detach(), fake.detach())
        return {"critic": torch.stack(total).sum(), **terms}

    def convergence_terms(self, stage: str, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        """Terms for monitoring convergence, from the scores (N, 1) of true and generated showers."""
        return {f"{stage}_accuracy": (real > fake).to(real.dtype).mean() + (real == fake).to(real.dtype).mean() / 2}

    def validation(self, batch: Batch) -> dict[str, Tensor]:
        """``loss``, the energy distance between generated and true showers in percent, and the monitoring terms.

        The distance is the sum of those of the layers and of the observables of the voxels in them, standardised as the
        critics see them, with both stages generated.
        """
        by_stage, _ = self.critic_inputs(batch)
        terms: dict[str, Tensor] = {}
        for stage, inputs in by_stage.items():
            scores = [self.critics[stage](seen, inputs.context) for seen in (inputs.real, inputs.fake)]
            terms |= self.convergence_terms(stage, *scores)
        conditions = batch.conditions.repeat(2, 1)
        scaled = self.scaler(conditions)
        noise = torch.randn_like(batch.energies[:1, :1].expand(len(scaled), self.shower_noise.size))
        showers = self.draw(conditions, noise)
        true, drawn = (
            self._features(x, c, s)
            for x, c, s in (
                (batch.energies, batch.conditions, self.scaler(batch.conditions)),
                (showers, conditions, scaled),
            )
        )
        for i, stage in enumerate(STAGES):
            terms[f"{stage}_distance"] = 100 * energy_distance(true[i], drawn[i])
        return {"loss": terms["layers_distance"] + terms["voxels_distance"], **terms}

    def _features(self, energies: Tensor, conditions: Tensor, scaled: Tensor) -> tuple[Tensor, Tensor]:
        """Features of layers and of voxels by which showers are compared, each with the conditions."""
        grid = self.grid(energies)
        layers = grid.sum((2, 3))
        seen = self._see_layers(layers, conditions[:, :1])
        _, observables = self.view(grid, layers)
        given = 3 * scaled
        return torch.cat([seen, given], dim=1), torch.cat([observables.flatten(1), given], dim=1)

    @torch.no_grad()
    def calibrate(self, batch: Batch) -> None:
        """Fit mean and standard deviation of the critics' scores of training showers, for :meth:`anomaly`."""
        few = Batch(batch.energies[:1000], batch.conditions[:1000])
        for stage, (seen, context) in self._shown(few).items():
            self._critic(stage).fit_usual(seen, context)
        scores = torch.cat([self.scores(part) for part in _parts(batch)])
        scaled = self.scaler(batch.conditions)
        self.score_mean.copy_(least_squares(powers(scaled, 3), scores))
        self.score_width.copy_((scores - powers(scaled, 3) @ self.score_mean).std(0, correction=0).clamp(min=1e-6))

    def _shown(self, batch: Batch) -> dict[str, tuple[CriticView, Tensor]]:
        """The input of each critic for true showers, and its context."""
        conditions, scaled = batch.conditions, self.scaler(batch.conditions)
        grid = self.grid(batch.energies)
        layers = grid.sum((2, 3))
        return {
            "layers": ((self._see_layers(layers, conditions[:, :1]),), scaled),
            "voxels": (self.view(grid, layers), self._context(layers, conditions, scaled)),
        }

    def scores(self, batch: Batch) -> Tensor:
        """Scores of the critics of layers and voxels, (N, 2); high for showers that look true."""
        shown = self._shown(batch)
        return torch.cat([self._critic(stage)(*shown[stage], alone=True) for stage in STAGES], dim=1)

    @torch.no_grad()
    def anomaly(self, batch: Batch) -> Tensor:
        """How far the scores of each shower are below those of training showers of the same conditions, (N,).

        The mean of both stages, in standard deviations. Critics have learned to separate true from *generated* showers:
        they need not recognise anomalies that no generator produced, and at the optimum of the training they cannot
        separate anything.
        """
        scores = torch.cat([self.scores(part) for part in _parts(batch)])
        below = powers(self.scaler(batch.conditions), 3) @ self.score_mean - scores
        return (below / self.score_width).mean(1)

    def draw(self, conditions: Tensor, noise: Tensor) -> Tensor:
        """Voxel energies (N, V) in MeV."""
        scaled = self.scaler(conditions)
        layers = self._make_layers(conditions, scaled, noise[:, : self.codes])
        context = self._context(layers, conditions, scaled)
        return self.voxel_coding.scaled(self._make_voxels(layers, context, noise[:, self.codes :]), layers)


class LayerGenerator(LinearGaussian):
    """Codes of response and layers: a linear model with correlated residuals, plus a network for the layers.

    The network has no part in the response, whose code the linear model makes nearly standard normal at all conditions:
    a game of two networks does not keep means, and every other energy of the shower is scaled to the response.

    Shapes: noise (N, codes), scaled conditions (N, C), the energy first -> (N, codes).
    """

    def __init__(self, codes: int, hidden: tuple[int, ...], conditions: int) -> None:
        super().__init__(codes, conditions)
        self.network = MLP(codes + conditions, hidden, codes - 1)
        for parameter in self.network[-1].parameters():
            nn.init.zeros_(parameter)

    def forward(self, noise: Tensor, scaled: Tensor) -> Tensor:
        """Codes from noise and conditions or context."""
        unit = self.correlated(noise, scaled)
        return self.stretched(unit, scaled) + F.pad(self.network(torch.cat([unit, scaled], dim=1)), (1, 0))


class VoxelGenerator(nn.Module):
    """Codes of voxels: noise, scaled and shifted by the output of a grid network on it.

    Shapes: noise (N, 1, L, alpha, r), context (N, L + ...) -> (N, L, alpha, r).
    """

    def __init__(self, network: NetworkSettings, grid: LayerGrid, context: int) -> None:
        super().__init__()
        self.grid, self.n_layers = grid, grid.shape[0]
        self.network = grid_network(network, grid, 2, 2, context)

    def forward(self, noise: Tensor, context: Tensor) -> Tensor:
        """Codes from noise and conditions or context."""
        layers = self.grid.masked(context[:, None, : self.n_layers, None, None].expand(noise.shape))
        out = self.network(torch.cat([noise, layers], dim=1), context)
        codes: Tensor = noise[:, 0] * torch.exp(torch.tanh(out[:, 1])) + out[:, 0]
        return codes


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Context in which the parameters of a module get no gradients, while gradients still pass through it."""
    parameters = list(module.parameters())
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


def slopes(critic: nn.Module, seen: CriticView, context: Tensor) -> Tensor:
    """Squared norm of the gradient of a critic's score with respect to its input, (N,); it can be differentiated.

    Args:
        critic: maps input and context to scores (N, 1).
        seen: tensors of the critic's input, each (N, ...).
        context: (N, C).

    Example:
        >>> class Linear(nn.Module):
        ...     def forward(self, seen, context):
        ...         return 3 * seen[0][:, :1] + 4 * seen[0][:, 1:]
        >>> slopes(Linear(), (torch.zeros(2, 2),), torch.zeros(2, 1)).tolist()
        [25.0, 25.0]
    """
    points = tuple(part.detach().requires_grad_() for part in seen)
    # The other kernels of attention have no second derivative.
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        score = critic(points, context)
        gradients = torch.autograd.grad(score.sum(), points, create_graph=True)
    return torch.stack([gradient.flatten(1).square().sum(1) for gradient in gradients]).sum(0)


def energy_distance(first: Tensor, second: Tensor) -> Tensor:
    r"""Energy distance of two samples, relative to the mean distance within the first.

        (2 E|x - y| - E|x - x'| - E|y - y'|) / E|x - x'|

    The energy distance is zero only for equal distributions. Pairs of a row with itself are left out, which makes its
    estimate unbiased, so it may be negative.

    Shapes: (N, F) and (M, F), with at least two rows each for a meaningful value.

    Source: Szekely and Rizzo, J. Stat. Plan. Inference 143 (2013) 1249, equation (2.1).

    Example:
        >>> x = torch.randn(500, 3, generator=torch.manual_seed(1))
        >>> y = torch.randn(500, 3, generator=torch.manual_seed(2))
        >>> bool(energy_distance(x, y).abs() < 0.01), bool(energy_distance(x, 2 + y) > 0.5)
        (True, True)
    """

    def within(sample: Tensor) -> Tensor:
        n = len(sample)
        return torch.cdist(sample, sample).sum() / max(1, n * (n - 1))

    first_own, second_own = within(first), within(second)
    between = torch.cdist(first, second).mean()
    return (2 * between - first_own - second_own) / first_own.clamp(min=1e-6)


def _parts(batch: Batch, size: int = 500) -> Iterator[Batch]:
    for start in range(0, len(batch.energies), size):
        rows = slice(start, start + size)
        yield Batch(batch.energies[rows], batch.conditions[rows])

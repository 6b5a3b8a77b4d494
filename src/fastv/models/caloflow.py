"""CaloFlow: spline flows for the layer energies, then for the voxels layer by layer; densities and fast students."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import torch
import torch.nn.functional as F  # noqa: N812  (the name everyone knows)
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor, nn

from fastv.detector.detector import Detector
from fastv.errors import ModelError, SettingsError
from fastv.models.codings.layers import LayerCoding
from fastv.models.codings.response import ResponseCoding
from fastv.models.codings.voxels import VoxelCoding
from fastv.models.contract import Batch, ConditionScaler, Domain, Generator, GeneratorSettings, NoiseSpec, Student
from fastv.models.layer_grid import shares_before
from fastv.models.networks import MLP
from fastv.models.recurrence import along_layers
from fastv.models.splines import Direction, SplineFlow, distillation_loss

_DECAYS = (0.0, 0.6, 0.9)
"""Decay factors per layer of the moving averages along the axis; with 0 only the previous layer enters."""
_WINDOW = 2
"""Number of neighbouring layers on either side whose energies are in the context of a layer."""
_LONGEST_GRAPH = 1000
"""Largest number of consecutive passes through a network in an exported graph."""
_STUDENT_TRAINING: dict[str, Any] = {
    "optimizer": "adamw",
    "learning_rate": 1e-3,
    "schedule": "cosine",
    "warmup_epochs": 0.5,
    "gradient_clip": 1.0,
    "batch_size": 64,
    "average": 0.995,
    "epochs": 20,
}


class CaloFlowSettings(GeneratorSettings):
    """Settings of :class:`CaloFlow`.

    Attributes:
        direction: the fast direction: ``density`` for training and likelihoods, ``sampling`` for generation.
        transforms, hidden, features: number of steps, widths of the masked networks and features of each voxel in the
            flow of the voxels.
        layer_transforms, layer_hidden: number of steps and widths in the flow of the layer energies.
        pieces, head: pieces of the splines, and width of the network that gives their parameters, in both flows.
        context: width of the context of a layer's voxels.
        passes: number of groups into which the voxels of a layer are divided; those of a group do not depend on each
            other. By default each voxel is a group.
        spread: largest logarithm of the random factors on layers and voxels.
        layers_a_step: layers of each shower that a training step uses; by default all.
    """

    direction: Direction = "density"
    transforms: PositiveInt = 1
    hidden: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (256, 256)
    features: PositiveInt = 12
    layer_transforms: PositiveInt = 2
    layer_hidden: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (96, 96)
    pieces: Annotated[int, Field(ge=2)] = 8
    head: PositiveInt = 32
    context: PositiveInt = 128
    passes: PositiveInt | None = None
    spread: PositiveFloat = 0.2
    layers_a_step: PositiveInt | None = None


class CaloFlow(Generator):
    r"""Two normalizing flows of rational-quadratic splines: layer energies, then voxels, layer by layer.

    With e the layer energies, x_l the voxels of layer l and c the conditions,

        p(x | c) = p(e | c) prod_l p(x_l | x_1, ..., x_(l-1), e, c) .

    The second flow has the same weights for all layers. Its context is the conditions, all layer energies, those of
    neighbouring layers, the depth, and the previous layers: the last one, and moving averages over several. Both flows
    are chains of :class:`~fastv.models.splines.AutoregressiveSpline`, inner rings first, in the codes y of
    :class:`~fastv.models.codings.layers.LayerCoding` and z of :class:`~fastv.models.codings.voxels.VoxelCoding`. Each
    code is approximately standard normal, and an untrained flow is close to the identity.

    **Density.** Discrete parts are made continuous with random numbers u, uniform on [0, 1]: an empty layer gets an
    energy below the threshold, an empty voxel a code below that of the threshold. The voxels x_l of a layer with energy
    get a common factor g = exp(``spread`` u), without which their sum would be fixed by the layer energy and their
    density singular. Decoding scales the voxels to their layer, so g cancels. :meth:`log_prob` is

        log p(x, u | c) = log p(y, z | c) + log|d(y, z)/d(x, u)| ,

    the joint density of the energies of non-empty voxels in MeV and of one draw of u. As u is uniform, the mean of
    p(x, u) over draws is p(x | c), the density of these energies times the probability that exactly these voxels are
    not empty, and the mean of log p(x, u) is a lower bound of its logarithm. Voxels of empty layers are empty in any
    case and do not count. Two corrections that generation makes after the flows are not included: a layer
    with energy but no voxel, and voxels that scaling moves below the threshold. Codes beyond about 5.5 standard
    deviations are clipped, with a slope of 1e-8.

    **Directions.** The ``density`` direction is trained by maximum likelihood; it needs one pass for a density, and one
    for each voxel to generate. Its :meth:`student` in the ``sampling`` direction learns the same map; it generates with
    one pass for each layer, and needs one for each voxel for a density.

    Shapes: showers (N, V) MeV, conditions (N, C), noise (N, 1 + L + V), all normal.

    Source: Krause and Shih, arXiv 2106.05285 (two flows) and 2110.11377 (students); Buckley et al., arXiv 2305.11934
    (one flow for all layers); Ho et al., arXiv 1902.00275, equation (11) (the bound for random fillings).
    """

    family: ClassVar[str] = "caloflow"
    Settings: ClassVar[type[GeneratorSettings]] = CaloFlowSettings
    any_mesh: ClassVar[bool] = True
    settings: CaloFlowSettings
    decay: Tensor
    _teacher: tuple[CaloFlow, ...] = ()

    def __init__(self, settings: CaloFlowSettings, detector: Detector, domain: Domain) -> None:
        super().__init__(settings, detector, domain)
        s = self.settings = settings
        self.scaler = ConditionScaler(settings.conditions, domain)
        self.layer_coding = LayerCoding(detector)
        self.voxel_coding = VoxelCoding(detector)
        self.grid = self.voxel_coding.grid
        self.n_layers, alpha, rings = self.grid.shape
        self.cells = self.grid.cells
        self.shower_noise = NoiseSpec(normal=1 + self.n_layers + detector.mesh.n_voxels)
        alike: dict[str, Any] = {"direction": s.direction, "pieces": s.pieces, "head": s.head, "features": s.features}
        self.layers = SplineFlow(
            1 + self.n_layers,
            self.scaler.size,
            transforms=s.layer_transforms,
            hidden=s.layer_hidden,
            local=1,
            **alike,
        )
        self.told = LayerContext(self.n_layers, self.cells, self.scaler.size, s.context)
        # Rings from the inside: of voxel (alpha, r) this is the place in the order.
        order = torch.arange(self.cells).view(rings, alpha).T.flatten()
        self.voxels = SplineFlow(
            self.cells,
            s.context,
            transforms=s.transforms,
            hidden=s.hidden,
            local=1 + len(_DECAYS) + int(not self.grid.full),
            masked=not self.grid.full,
            order=order,
            passes=s.passes,
            **alike,
        )
        # Moving averages of all layers at once, (decays, L, L): the last layers weigh most, the own one nothing.
        apart = torch.arange(self.n_layers)[:, None] - torch.arange(self.n_layers) - 1
        rates = torch.tensor(_DECAYS)[:, None, None]
        weights = torch.where(apart >= 0, (1 - rates) * rates ** apart.clamp(min=0), 0.0)
        self.register_buffer("decay", weights, persistent=False)
        self.shares = () if self.grid.alike else ("alpha_shares", "r_shares")
        for name, shares in zip(self.shares, shares_before(detector.mesh), strict=False):
            self.register_buffer(name, shares, persistent=False)

    @property
    def evaluations(self) -> dict[str, int]:
        """Number of passes through each network that are needed to generate a shower."""
        return {"layers": self.layers.passes("data"), "voxels": self.n_layers * self.voxels.passes("data")}

    @property
    def response_coding(self) -> ResponseCoding:
        """The coding of the response."""
        return self.layer_coding.response

    @torch.no_grad()
    def fit(self, batch: Batch) -> None:
        """Fit the codings of layers and voxels."""
        grid = self.grid(batch.energies)
        layers = grid.sum((2, 3))
        uniform = torch.rand(len(grid), 1 + self.n_layers, generator=torch.Generator().manual_seed(1)).to(layers)
        factors = self._factors(uniform)
        self.layer_coding.fit(layers, batch.conditions[:, :1], layers * factors[:, :1])
        self.voxel_coding.fit(grid * factors[:, 1:, None, None], layers)

    def _factors(self, uniform: Tensor) -> Tensor:
        return torch.exp(self.settings.spread * uniform)

    def _uniform(self, energies: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Random numbers for the factors of the shower and its layers, for empty layers, and for empty voxels."""
        of_factors = torch.rand_like(energies[:, :1].expand(-1, 1 + self.n_layers))
        of_layers = torch.rand_like(energies[:, :1].expand(-1, self.n_layers))
        return of_factors, of_layers, self.grid(torch.rand_like(energies))

    def _encode(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Scaled conditions, layer energies (N, L), their codes (N, 1 + L), and codes of the voxels (N, L, cells)."""
        grid = self.grid(batch.energies)
        layers = grid.sum((2, 3))
        of_factors, of_layers, of_voxels = self._uniform(batch.energies)
        factors = self._factors(of_factors)
        codes = self.layer_coding.encode(layers, batch.conditions[:, :1], layers * factors[:, :1], _inside(of_layers))
        voxels = self.voxel_coding.encode(grid * factors[:, 1:, None, None], layers, _inside(of_voxels))
        return self.scaler(batch.conditions), layers, codes, voxels.flatten(2)

    def _local_of_layers(self, incident: Tensor) -> Tensor:
        """Local input of the layers' flow, (N, 1 + L, 1): codes below which layers are empty; 0 for the response."""
        return F.pad(self.layer_coding.edges(incident), (1, 0))[:, :, None]

    def _edges(self, layers: Tensor) -> Tensor:
        """Codes (N, L, cells) below which voxels are empty."""
        edges = self.voxel_coding.edges(layers).expand(-1, -1, self.grid.shape[1], -1)
        return self.grid.masked(edges).flatten(2)

    def _before(self, voxels: Tensor, edges: Tensor, layers: Tensor) -> Tensor:
        """Moving averages over the previous layers, (N, L, decays, cells), of how far codes are above their edge."""
        above = _above(voxels, edges, layers)
        if not self.shares:
            return torch.einsum("dlk,nkv->nldv", self.decay, above)
        average = torch.zeros_like(above[:, :1]).expand(-1, len(_DECAYS), -1)
        averages = []
        for layer, shares in enumerate(zip(*self._shares(), strict=True)):
            averages.append(self._moved(average, *shares))
            average = _averaged(averages[-1], above[:, layer])
        return torch.stack(averages, dim=1)

    def _shares(self) -> tuple[Tensor, ...]:
        """Shares of cells in those of the layer before, if layers differ in their cells."""
        return tuple(getattr(self, name) for name in self.shares)

    def _moved(self, averages: Tensor, alpha: Tensor, r: Tensor) -> Tensor:
        """Averages (N, decays, cells) from the cells of a layer to those of the next one."""
        grid = averages.view(*averages.shape[:2], *self.grid.shape[1:])
        return (alpha @ grid @ r.T).flatten(2)

    def _local(self, edges: Tensor, before: Tensor, rows: Tensor) -> Tensor:
        """Local inputs of the voxels of selected layers, (rows, cells, 1 + decays), and which places are voxels."""
        columns = [edges[:, :, None], before]
        if not self.grid.full:
            columns.append(self.grid.inside.flatten(1)[None, :, None].expand(len(edges), -1, -1, -1).to(edges))
        return torch.cat(columns, dim=2).flatten(0, 1)[rows].transpose(1, 2)

    def _rows(self, layers: Tensor) -> tuple[Tensor, float]:
        """Indices (into N L) of the layers that a loss uses, and the weight of each.

        Empty layers are left out, since the flow of the voxels does not apply to them.
        """
        filled = (layers > 0).flatten().nonzero()[:, 0]
        wanted = self.settings.layers_a_step
        if wanted is None or not self.training or len(filled) <= wanted * len(layers):
            return filled, 1.0
        chosen = filled[torch.randperm(len(filled), device=filled.device)[: wanted * len(layers)]]
        return chosen, len(filled) / len(chosen)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Without a teacher ``layers`` and ``voxels``, negative log-likelihoods of the codes in nats per shower.

        They are relative to independent standard normal codes, so that an untrained flow has about 0. With a teacher
        the terms are ``data`` and ``latent``, mean squared distances of the voxels' codes on either side (see
        :func:`~fastv.models.splines.distillation_loss`), and ``layers``, the sum of both for the layer energies.
        """
        scaled, layers, codes, voxels = self._encode(batch)
        edges = self._edges(layers)
        before = self._before(voxels, edges, layers)
        rows, weight = self._rows(layers)
        local = self._local(edges, before, rows)
        x = voxels.flatten(0, 1)[rows]
        context = self.told(scaled, codes, self.voxel_coding.levels(layers), before, rows)
        edge = self._local_of_layers(batch.conditions[:, :1])
        if self._teacher:
            (teacher,) = self._teacher
            with torch.no_grad():
                of_teacher = teacher.told(scaled, codes, self.voxel_coding.levels(layers), before, rows)
            of_layers = torch.stack(distillation_loss(self.layers, teacher.layers, codes, scaled, scaled, edge)).sum()
            data, latent = distillation_loss(self.voxels, teacher.voxels, x, context, of_teacher, local)
            return {"loss": of_layers + data + latent, "layers": of_layers, "data": data, "latent": latent}
        n = len(layers)
        terms = {
            "layers": -self.layers.gain(codes, scaled, edge).sum() / n,
            "voxels": -weight * self.voxels.gain(x, context, local).sum() / n,
        }
        return {"loss": terms["layers"] + terms["voxels"], **terms}

    def log_prob(self, batch: Batch) -> Tensor:
        """log p(x, u | c) for one draw of u from PyTorch's generator, (N,); nats, energies in MeV."""
        scaled, layers, codes, voxels, volume = self._encode_with_volume(batch)
        edges = self._edges(layers)
        before = self._before(voxels, edges, layers)
        rows = (layers > 0).flatten().nonzero()[:, 0]
        context = self.told(scaled, codes, self.voxel_coding.levels(layers), before, rows)
        of_rows = self.voxels.gain(voxels.flatten(0, 1)[rows], context, self._local(edges, before, rows))
        gains = voxels.new_zeros(layers.numel()).index_copy(0, rows, of_rows)
        # That the voxels of an empty layer are empty is certain.
        filled = (layers > 0).to(voxels.dtype)
        cells = torch.tensor(self.grid.sizes, dtype=voxels.dtype, device=voxels.device)
        normal = -0.5 * (voxels.square().sum(2) + cells * math.log(2 * math.pi))
        of_voxels = (normal * filled + gains.view_as(layers)).sum(1)
        of_layers = self.layers.log_prob(codes, scaled, self._local_of_layers(batch.conditions[:, :1]))
        return of_layers + of_voxels + volume

    def _encode_with_volume(self, batch: Batch) -> tuple[Tensor, ...]:
        """As :meth:`_encode`, and log|d(y, z)/d(x, u)|, (N,)."""
        with torch.inference_mode(False), torch.enable_grad():
            energies, conditions = batch.energies.clone(), batch.conditions.clone()
            incident, grid = conditions[:, :1], self.grid(energies)
            layers = grid.sum((2, 3))
            of_factors, of_layers, of_voxels = self._uniform(energies)
            factors = self._factors(of_factors)
            # Each code depends on one of these numbers only, so the Jacobian is diagonal.
            fraction = layers.sum(1, keepdim=True) / incident
            moved_layers, moved_voxels = layers * factors[:, :1], grid * factors[:, 1:, None, None]
            moved = (fraction, moved_layers, of_layers, moved_voxels, of_voxels)
            for tensor in moved:
                tensor.requires_grad_()
            response = self.layer_coding.encode_response(fraction, incident)
            codes = torch.cat(
                [response, self.layer_coding.encode_layers(moved_layers, incident, _inside(of_layers))], dim=1
            )
            voxels = self.voxel_coding.encode(moved_voxels, layers, _inside(of_voxels))
            slopes = torch.autograd.grad(codes.sum() + voxels.sum(), moved)
        volume = (
            _log(slopes[0][:, 0])
            + _log(torch.where(layers > 0, slopes[1], slopes[2])).sum(1)
            + (self.grid.masked(_log(torch.where(grid > 0, slopes[3], slopes[4]))).sum((2, 3)) * (layers > 0)).sum(1)
        )
        # For k parts x of a sum S with a factor g(u), |d(S, g x)/d(x, u)| = spread g^k S. This holds for the shower and
        # its layers, and for each layer and its voxels.
        counts = torch.cat([(layers > 0).sum(1, keepdim=True), (grid > 0).sum((2, 3))], dim=1)
        sums = torch.cat([fraction.detach(), layers], dim=1)
        of_sums = torch.log(self.settings.spread * sums.clamp(min=1e-30)) + counts * torch.log(factors)
        volume = volume + torch.where(sums > 0, of_sums, 0.0).sum(1)
        return self.scaler(conditions), layers, codes.detach(), voxels.detach().flatten(2), volume

    def draw(self, conditions: Tensor, noise: Tensor) -> Tensor:
        """Voxel energies (N, V) in MeV."""
        scaled = self.scaler(conditions)
        n = self.n_layers
        codes = self.layers.to_data(noise[:, : 1 + n], scaled, self._local_of_layers(conditions[:, :1]))
        layers = self.layer_coding.decode(codes, conditions[:, :1])
        edges, levels = self._edges(layers), self.voxel_coding.levels(layers)
        start = self.grid(noise[:, 1 + n :]).flatten(2)
        weights = self.voxels.weights()
        shower, window = self.told.of_shower(scaled, codes, levels), self.told.window(levels)

        def step(before: Tensor, of_layer: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
            start, edges, energies, window, depth, *more = of_layer
            columns = []
            if self.shares:
                before = self._moved(before, *more[:2])
            if not self.grid.full:
                columns = [more[-1].expand(len(before), 1, -1)]
            context = self.told.of_layer(shower, depth, window, before)
            local = torch.cat([edges[:, None], before, *columns], dim=1).transpose(1, 2)
            voxels = self.voxels.to_data(start, context, local, weights)
            return _averaged(before, _above(voxels, edges, energies)), voxels

        none = torch.zeros_like(start[:, :1]).expand(-1, len(_DECAYS), -1)
        each = (start, edges, layers, window)
        inside = () if self.grid.full else (self.grid.inside.flatten(1),)
        of_layers = (*(x.transpose(0, 1) for x in each), self.told.depth, *self._shares(), *inside)
        voxels = along_layers(step, none, of_layers)
        return self.voxel_coding.decode(voxels.transpose(0, 1).reshape(-1, *self.grid.shape), layers)

    def check_export(self) -> None:
        """Refuse a flow that needs a pass for each voxel, whose graph would have a million nodes.

        Raises:
            ModelError: generation takes too many consecutive passes.
        """
        passes = sum(self.evaluations.values())
        if passes > _LONGEST_GRAPH:
            msg = (
                f"a 'caloflow' of direction {self.settings.direction!r} takes {passes} passes one after the other, too "
                f"many for a graph (most: {_LONGEST_GRAPH}); export the student that "
                "`fastv.training.distillation.distill` makes of it"
            )
            raise ModelError(msg)

    def student(self, steps: int) -> Student:
        """A student with the same flows in the ``sampling`` direction.

        Args:
            steps: must be 1.

        Raises:
            ModelError: this model is a student already, or ``steps`` is not 1.
        """
        if self.settings.direction == "sampling":
            msg = "this 'caloflow' has direction 'sampling': it is a student already"
            raise ModelError(msg)
        if steps != 1:
            msg = f"the student of a 'caloflow' makes a shower in one step, got `steps={steps}`"
            raise ModelError(msg)
        model = {**self.settings.model_dump(mode="json"), "direction": "sampling"}
        return Student(family=self.family, model=model, training=dict(_STUDENT_TRAINING))

    def learn_from(self, teacher: Generator) -> None:
        """Copy codings and weights from a flow of direction ``density``, and learn its map from now on.

        Raises:
            ModelError: the teacher is no ``caloflow`` of direction ``density``.
            SettingsError: the direction is not ``sampling``, or a setting must be that of the teacher and is not.
        """
        if not (isinstance(teacher, CaloFlow) and teacher.settings.direction == "density"):
            msg = (
                f"the family {self.family!r} learns from a 'caloflow' of direction 'density', not from "
                f"{teacher.family!r}" + (" of direction 'sampling'" if isinstance(teacher, CaloFlow) else "")
            )
            raise ModelError(msg)
        if self.settings.direction != "sampling":
            msg = "model.direction: a model that learns from a 'caloflow' must have direction 'sampling'"
            raise SettingsError(msg)
        for name in ("transforms", "layer_transforms", "spread"):
            mine, given = getattr(self.settings, name), getattr(teacher.settings, name)
            if mine != given:
                msg = f"model.{name}: a student must have the value of its teacher, {given}, got {mine}"
                raise SettingsError(msg)
        # Near the identity both sides are similar, so the teacher's weights are a good start where shapes agree.
        own, weights = self.state_dict(), teacher.state_dict()
        self.load_state_dict(
            {name: weights[name] if weights[name].shape == tensor.shape else tensor for name, tensor in own.items()}
        )
        # In a tuple, so that the teacher is not registered as a submodule and its weights are not saved.
        self._teacher = (teacher,)


class LayerContext(nn.Module):
    """Context of a layer's voxels, from the shower, the depth and the previous layers.

    Args:
        layers: number of layers L.
        cells: number of cells of a layer.
        conditions: columns of the scaled conditions.
        width: columns of the context.
    """

    def __init__(self, layers: int, cells: int, conditions: int, width: int) -> None:
        super().__init__()
        self.n_layers = layers
        self.shower = MLP(conditions + 2 * layers + 1, (width,), width)
        self.depth = nn.Parameter(0.1 * torch.randn(layers, width))
        self.near = nn.Linear(2 * _WINDOW + 1 + len(_DECAYS) * cells, width)
        self.mix = nn.Sequential(nn.SiLU(), nn.Linear(width, width), nn.SiLU())

    def of_shower(self, scaled: Tensor, codes: Tensor, levels: Tensor) -> Tensor:
        """The part common to all layers, (N, width), from conditions, codes of layer energies and their levels."""
        shared: Tensor = self.shower(torch.cat([scaled, codes, levels / 4 - 2], dim=1))
        return shared

    def window(self, levels: Tensor) -> Tensor:
        """Levels of each layer and its neighbours, (N, L, 2 window + 1)."""
        edge = torch.zeros_like(levels[:, :1]).expand(-1, _WINDOW)
        padded = torch.cat([edge, levels, edge], dim=1) / 4 - 2
        return torch.stack([padded[:, i : i + self.n_layers] for i in range(2 * _WINDOW + 1)], dim=2)

    def of_layer(self, shower: Tensor, depth: Tensor, window: Tensor, before: Tensor) -> Tensor:
        """The context (N, width) of one layer: depth (width,), window (N, 2 window + 1), before (N, decays, cells)."""
        near = self.near(torch.cat([window, before.flatten(1)], dim=1))
        context: Tensor = self.mix(shower + depth + near)
        return context

    def forward(self, scaled: Tensor, codes: Tensor, levels: Tensor, before: Tensor, rows: Tensor) -> Tensor:
        """Contexts (rows, width) of the layers with indices ``rows`` into N L; ``before`` is (N, L, decays, cells)."""
        shower = self.of_shower(scaled, codes, levels)
        shower_of, layer_of = torch.div(rows, self.n_layers, rounding_mode="floor"), rows % self.n_layers
        given = torch.cat([self.window(levels).flatten(0, 1)[rows], before.flatten(0, 1)[rows].flatten(1)], dim=1)
        context: Tensor = self.mix(shower[shower_of] + self.depth[layer_of] + self.near(given))
        return context


def _above(voxels: Tensor, edges: Tensor, layers: Tensor) -> Tensor:
    """How far codes are above the edge, of order one; 0 for empty voxels and in empty layers."""
    return (voxels - edges).clamp(min=0.0) * (layers > 0).to(voxels.dtype)[..., None] / 2


def _averaged(before: Tensor, above: Tensor) -> Tensor:
    """Moving averages (N, decays, cells) that include one more layer."""
    return torch.stack([rate * before[:, i] + (1 - rate) * above for i, rate in enumerate(_DECAYS)], dim=1)


def _inside(uniform: Tensor) -> Tensor:
    """Uniform numbers restricted to the range that the codings do not clip."""
    return 1e-6 + (1 - 1.01e-4) * uniform


def _log(slope: Tensor) -> Tensor:
    """Logarithm of a slope; the minimum keeps densities finite where a code is clipped and its slope is 0."""
    return torch.log(slope.clamp(min=1e-8))

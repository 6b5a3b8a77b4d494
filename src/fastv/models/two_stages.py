"""Generators in two stages: the layer energies given the conditions, then the voxels given both."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from fastv.detector.detector import Detector
from fastv.models.codings.layers import LayerCoding
from fastv.models.codings.preprocessing import LayerScale
from fastv.models.codings.response import ResponseCoding
from fastv.models.codings.voxels import VoxelCoding
from fastv.models.contract import (
    Batch,
    ConditionScaler,
    Domain,
    Generator,
    GeneratorSettings,
    NoiseSpec,
    Student,
)
from fastv.models.flows import TIME_FEATURES, Flow
from fastv.models.grid_networks import NetworkSettings, TransformerSettings, grid_network
from fastv.models.layer_grid import LayerGrid
from fastv.models.linear import LinearGaussian
from fastv.models.networks import MLP

_STUDENT_TRAINING: dict[str, Any] = {
    "optimizer": "adamw",
    "learning_rate": 1e-3,
    "schedule": "cosine",
    "warmup_epochs": 1,
    "gradient_clip": 1.0,
    "batch_size": 32,
    "average": 0.995,
    "epochs": 12,  # each costs several of the teacher's own, since the teacher solves its equation for every shower
}


class TwoStageSettings(GeneratorSettings):
    """Settings common to all families in two stages.

    Attributes:
        network: grid network of the voxels.
        features: outputs of the grid network for each voxel.
        hidden: hidden units of the network, shared by all voxels, that computes a voxel's output from its features.
        layer_hidden: widths of the network of the layer energies.
        steps, layer_steps: number of steps at generation for the voxels and for the layer energies.
    """

    network: NetworkSettings = TransformerSettings(width=128, blocks=3, heads=4, expansion=2)
    features: PositiveInt = 4
    hidden: PositiveInt = 16
    layer_hidden: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (256, 256, 256)
    steps: PositiveInt = 8
    layer_steps: PositiveInt = 16
    at_generation: ClassVar[tuple[str, ...]] = ("steps", "layer_steps")


class TwoStages(Generator):
    r"""Codes of the layers, then codes of the voxels, each by a flow from noise to data.

    The first stage draws the codes y of response and layers given the conditions, p(y | c); the second the codes x of
    the voxels given the layer energies e, p(x | e, c). Each stage has its own network, and the loss is the sum of both.
    x are the codes of :class:`~fastv.models.codings.voxels.VoxelCoding`; y are the codes of
    :class:`~fastv.models.codings.layers.LayerCoding`, whitened by :class:`~fastv.models.linear.LinearGaussian`.
    Independent noise, without any flow, therefore already gives the right spectra and the right mean correlations of
    layers; the flows learn the remaining correlations.

    Shapes: showers (N, V) MeV, conditions (N, C), noise (N, 1 + L + V), all normal.

    Raises:
        SettingsError: a network of convolutions, and a mesh whose layers differ in their cells.

    Source: layers first: Krause and Shih, arXiv 2106.05285.
    """

    any_mesh: ClassVar[bool] = True
    settings: TwoStageSettings
    flow_class: ClassVar[type[Flow]]

    def __init__(self, settings: TwoStageSettings, detector: Detector, domain: Domain) -> None:
        super().__init__(settings, detector, domain)
        self.settings = settings
        self.scaler = ConditionScaler(settings.conditions, domain)
        self.layer_coding = LayerCoding(detector)
        self.profile = LayerScale(detector.mesh.n_layers)
        self.voxel_coding = VoxelCoding(detector)
        self.grid = self.voxel_coding.grid
        n, size = detector.mesh.n_layers, self.scaler.size
        self.codes = 1 + n
        self.linear = LinearGaussian(self.codes, size)
        self.shower_noise = NoiseSpec(normal=self.codes + detector.mesh.n_voxels)
        times = self.flow_class.n_times * TIME_FEATURES
        layers = VectorNetwork(self.codes, settings.layer_hidden, size + times)
        voxels = VoxelNetwork(settings, self.grid, size + 1 + n + times)
        self.layers = self.make_flow(layers, settings.layer_steps)
        self.voxels = self.make_flow(voxels, settings.steps)

    @abstractmethod
    def make_flow(self, network: nn.Module, steps: int) -> Flow:
        """The flow of one stage.

        Args:
            network: network of the stage, see :class:`~fastv.models.flows.Flow`.
            steps: number of steps at generation.
        """

    @property
    def preprocessing(self) -> tuple[nn.Module, ...]:
        """The modules that :meth:`fit` fits, which a student copies from its teacher."""
        return self.layer_coding, self.profile, self.linear, self.voxel_coding

    @property
    def evaluations(self) -> dict[str, int]:
        """Number of evaluations of each network to generate a shower."""
        return {"layers": self.layers.evaluations, "voxels": self.voxels.evaluations}

    @property
    def response_coding(self) -> ResponseCoding:
        """The coding of the response."""
        return self.layer_coding.response

    @torch.no_grad()
    def fit(self, batch: Batch) -> None:
        """Fit the codings and the linear model of the layers."""
        scaled, incident = self.scaler(batch.conditions), batch.conditions[:, :1]
        grid = self.grid(batch.energies)
        layers = grid.sum((2, 3))
        self.layer_coding.fit(layers, incident)
        self.profile.fit(layers, incident, scaled[:, :1])
        self.voxel_coding.fit(grid)
        self.linear.fit(self.layer_coding.encode(layers, incident), scaled)

    def _context(self, layers: Tensor, conditions: Tensor, scaled: Tensor) -> Tensor:
        """Context of the voxels, (N, 2 L + 1 + size): levels, standardised layer energies, response and conditions."""
        incident = conditions[:, :1]
        response = self.layer_coding.encode_response(layers.sum(1, keepdim=True) / incident, incident).clamp(-8.0, 8.0)
        profile = self.profile(layers, incident, scaled[:, :1]).clamp(-8.0, 8.0)
        return torch.cat([self.voxel_coding.levels(layers) / 4 - 2, profile, response, scaled], dim=1)

    def stages(self, batch: Batch) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Training data of the stages: data and context of the layers, data and context of the voxels."""
        scaled = self.scaler(batch.conditions)
        grid = self.grid(batch.energies)
        layers = grid.sum((2, 3))
        codes = self.linear.whitened(self.layer_coding.encode(layers, batch.conditions[:, :1]), scaled)
        voxels = self.grid.packed(self.voxel_coding.encode(grid)[:, None])
        return (codes, scaled), (voxels, self._context(layers, batch.conditions, scaled))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """``layers`` and ``voxels``, mean squared errors in units of the codes' spread, and their sum ``loss``."""
        layers, voxels = self.stages(batch)
        terms = {"layers": self.layers.loss(*layers), "voxels": self.voxels.loss(*voxels)}
        return {"loss": terms["layers"] + terms["voxels"], **terms}

    def student(self, steps: int) -> Student:
        """A :class:`~fastv.models.mean_flow.MeanFlow` with the same networks that takes ``steps`` for the voxels."""
        alike = ("conditions", "network", "features", "hidden", "layer_hidden")
        dumped = self.settings.model_dump(mode="json")
        return Student(
            family="mean-flow",
            model={**{name: dumped[name] for name in alike}, "steps": steps},
            training=dict(_STUDENT_TRAINING),
        )

    def draw(self, conditions: Tensor, noise: Tensor) -> Tensor:
        """Voxel energies (N, V) in MeV."""
        scaled = self.scaler(conditions)
        codes = self.linear(self.layers.trajectory(noise[:, : self.codes], scaled)[-1][1], scaled)
        layers = self.layer_coding.decode(codes, conditions[:, :1])
        context = self._context(layers, conditions, scaled)
        start = self.grid.packed(self.grid(noise[:, None, self.codes :]))
        voxels = self.grid.unpacked(self.voxels.trajectory(start, context)[-1][1])[:, 0]
        return self.voxel_coding.decode(voxels, layers)


class VectorNetwork(nn.Module):
    """Dense layers, of widths ``hidden``, on a vector and its context; shapes (N, size), (N, context) -> (N, size)."""

    def __init__(self, size: int, hidden: tuple[int, ...], context: int) -> None:
        super().__init__()
        self.network = MLP(size + context, hidden, size)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """Map a vector and its context to a vector."""
        out: Tensor = self.network(torch.cat([x, context], dim=1))
        return out


class VoxelNetwork(nn.Module):
    """A grid network whose output for each voxel is combined with the voxel's value by a small network shared by all.

    The width of its tokens limits how much information passes the grid network. With the small network the value of the
    voxel itself, in particular on which side of the threshold it is, need not pass it. The first L columns of the
    context, those of the layers, are a second input channel of the grid.

    Shapes: x (N, 1, L, alpha, r), context (N, L + context) -> (N, 1, L, alpha, r); of layers with different cells x is
    :meth:`~fastv.models.layer_grid.LayerGrid.packed`, so that places without voxel are no part of a flow.
    """

    def __init__(self, settings: TwoStageSettings, layers: LayerGrid, context: int) -> None:
        super().__init__()
        self.layers, self.n_layers = layers, layers.shape[0]
        self.grid = grid_network(settings.network, layers, 2, settings.features, self.n_layers + context)
        self.first = nn.Conv3d(1 + settings.features, settings.hidden, 1)
        self.activation = nn.SiLU()
        self.last = nn.Conv3d(settings.hidden, 1, 1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """Map a grid and its context to a grid."""
        x = self.layers.unpacked(x)
        layers = self.layers.masked(context[:, None, : self.n_layers, None, None].expand(x.shape))
        features = self.grid(torch.cat([x, layers], dim=1), context)
        out: Tensor = features[:, :1] + self.last(self.activation(self.first(torch.cat([x, features], dim=1))))
        return self.layers.packed(out)

"""MeanFlow: the average velocity of a flow, for generation in one or a few steps; also the student of other flows."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor, nn

from fastv.errors import ModelError
from fastv.models.contract import Batch, Generator, GeneratorSettings
from fastv.models.flows import AverageFlow, Flow, pick
from fastv.models.two_stages import TwoStages, TwoStageSettings


class MeanFlowSettings(TwoStageSettings):
    """Settings of :class:`MeanFlow`, in addition to those of :class:`~fastv.models.two_stages.TwoStageSettings`.

    Attributes:
        time_mean, time_scale: without a teacher, mean and standard deviation of the normal distribution of logit t.
        share: without a teacher, fraction of the showers of a batch with two different times t < s.
        jumps: with a teacher, number of pairs of times that are learned from each of its trajectories.
        free: fraction of these pairs that are between any two times of the teacher; the others are the steps of a
            generation in ``steps``.
    """

    steps: PositiveInt = 1
    layer_steps: PositiveInt = 4
    time_mean: float = 0.0
    time_scale: PositiveFloat = 1.0
    share: Annotated[float, Field(ge=0, le=1)] = 0.5
    jumps: PositiveInt = 2
    free: Annotated[float, Field(ge=0, le=1)] = 0.5


class MeanFlow(TwoStages):
    r"""The average velocity over any part of the path from noise to data, in two stages.

    With v(z, t) the velocity of flow matching, a network learns

        u(z_t, t, s) = 1/(s - t) int_t^s v(z_r, r) dr ,

    so that z_s = z_t + (s - t) u. Generation takes any number of steps, at least one.

    Without a teacher, u is learned from the identity u = v + (s - t) du/dt. With a teacher, the target is (z_s -
    z_t)/(s - t) between two states of the teacher's own trajectory, so the student learns to generate the teacher's
    shower from the same noise; it starts from the teacher's weights.

    Shapes: showers (N, V) MeV, conditions (N, C), noise (N, 1 + L + V), all normal.

    Raises:
        SettingsError: a network of convolutions, and a mesh whose layers differ in their cells.

    Source: Geng et al., arXiv 2505.13447 (MeanFlow), equations (3) and (6); learning the end points of a teacher's
    trajectories: Luhman and Luhman, arXiv 2101.02388; Liu et al., arXiv 2209.03003, section 2.2.
    """

    family: ClassVar[str] = "mean-flow"
    Settings: ClassVar[type[GeneratorSettings]] = MeanFlowSettings
    settings: MeanFlowSettings
    flow_class: ClassVar[type[Flow]] = AverageFlow
    layers: AverageFlow
    voxels: AverageFlow
    _teacher: tuple[TwoStages, ...] = ()

    def make_flow(self, network: nn.Module, steps: int) -> AverageFlow:
        """The flow of one stage."""
        s = self.settings
        return AverageFlow(network, steps, mean=s.time_mean, scale=s.time_scale, share=s.share)

    def learn_from(self, teacher: Generator) -> None:
        """Copy codings and weights from a flow in two stages, and learn its trajectories from now on.

        Raises:
            ModelError: the teacher is not a flow in two stages.
        """
        if not isinstance(teacher, TwoStages):
            msg = f"the family {self.family!r} learns from flows in two stages, not from {teacher.family!r}"
            raise ModelError(msg)
        for mine, given in zip(self.preprocessing, teacher.preprocessing, strict=True):
            mine.load_state_dict(given.state_dict())
        for flow, of_teacher in ((self.layers, teacher.layers), (self.voxels, teacher.voxels)):
            _copy_weights(of_teacher.network, flow.network)
        # In a tuple, so that the teacher is not registered as a submodule and its weights are not saved.
        self._teacher = (teacher,)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """``layers`` and ``voxels``, mean squared errors in units of the codes' spread, and their sum ``loss``."""
        if not self._teacher:
            return super().loss(batch)
        (teacher,) = self._teacher
        layers, voxels = self.stages(batch)
        terms = {
            "layers": self._imitate(self.layers, teacher.layers, *layers),
            "voxels": self._imitate(self.voxels, teacher.voxels, *voxels),
        }
        return {"loss": terms["layers"] + terms["voxels"], **terms}

    def _imitate(self, flow: AverageFlow, teacher: Flow, like: Tensor, context: Tensor) -> Tensor:
        with torch.no_grad():
            states = teacher.trajectory(torch.randn_like(like), context)
        losses = []
        for _ in range(self.settings.jumps):
            first, second = self._jumps([t for t, _ in states], flow.steps, len(like), like.device)
            (t, before), (s, after) = pick(states, first), pick(states, second)
            losses.append(flow.imitation_loss(before, after, context, t, s))
        return torch.stack(losses).mean()

    def _jumps(self, times: list[float], steps: int, n: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Indices (n,) of the times at which n jumps begin, and of those at which they end."""
        apart = (torch.tensor(times)[:, None] - torch.linspace(0, 1, steps + 1)).abs()
        grid = torch.tensor(sorted(set(apart.argmin(0).tolist())))
        which = torch.randint(len(grid) - 1, (n,))
        first, second = grid[which], grid[which + 1]
        any_first = torch.randint(len(times) - 1, (n,))
        any_second = any_first + 1 + (torch.rand(n) * (len(times) - 1 - any_first)).long()
        free = torch.rand(n) < self.settings.free
        return torch.where(free, any_first, first).to(device), torch.where(free, any_second, second).to(device)


def _copy_weights(source: nn.Module, target: nn.Module) -> None:
    """Copy weights; a matrix with additional columns, for the second time, gets zeros there."""
    given = source.state_dict()
    with torch.no_grad():
        for name, tensor in target.state_dict().items():
            if tensor.shape == given[name].shape:
                tensor.copy_(given[name])
            else:
                tensor.zero_()
                tensor[:, : given[name].shape[1]] = given[name]

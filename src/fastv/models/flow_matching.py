"""Flow matching: straight paths from noise to showers."""

from __future__ import annotations

from typing import ClassVar

from pydantic import PositiveFloat
from torch import nn

from fastv.models.contract import GeneratorSettings
from fastv.models.flows import Flow, Pairing, StraightFlow
from fastv.models.solvers import Solver
from fastv.models.two_stages import TwoStages, TwoStageSettings


class FlowMatchingSettings(TwoStageSettings):
    """Settings of :class:`FlowMatching`, in addition to those of :class:`~fastv.models.two_stages.TwoStageSettings`.

    Attributes:
        solver: solver of the differential equation; can be changed at generation.
        time_mean, time_scale: mean and standard deviation of the normal distribution of logit t in training.
        pairing: how noise and showers of a batch are paired: ``independent``, or by optimal ``transport``.
    """

    at_generation: ClassVar[tuple[str, ...]] = ("solver", *TwoStageSettings.at_generation)
    solver: Solver = "midpoint"
    time_mean: float = 0.0
    time_scale: PositiveFloat = 1.0
    pairing: Pairing = "independent"


class FlowMatching(TwoStages):
    r"""Conditional flow matching with straight paths, in two stages.

    A network learns the velocity of z = t x + (1 - t) n between noise n and data x by minimising

        mean of |v(z, t, c) - (x - n)|^2 (t^2 + (1 - t)^2) ,

    and generation solves dz/dt = v(z, t, c) from noise at t = 0 to data at t = 1. The data are the codes of the layers,
    then those of the voxels: see :class:`~fastv.models.two_stages.TwoStages`.

    Shapes: showers (N, V) MeV, conditions (N, C), noise (N, 1 + L + V), all normal.

    Raises:
        SettingsError: a network of convolutions, and a mesh whose layers differ in their cells.

    Source: Lipman et al., arXiv 2210.02747; Liu et al., arXiv 2209.03003; pairing by transport: Tong et al., arXiv
    2302.00482; in two stages for calorimeters: Favaro et al., arXiv 2405.09629 (CaloDREAM).

    Example:
        >>> from fastv.detector.detector import Detector
        >>> from fastv.models import build
        >>> from fastv.models.contract import Domain
        >>> domain = Domain(energy=(1e3, 1e6), detectors=("par04-siw",))
        >>> build("flow-matching", {"solver": "heun", "steps": 8}, Detector.preset("par04-siw"), domain).evaluations
        {'layers': 32, 'voxels': 16}
    """

    family: ClassVar[str] = "flow-matching"
    Settings: ClassVar[type[GeneratorSettings]] = FlowMatchingSettings
    settings: FlowMatchingSettings
    flow_class: ClassVar[type[Flow]] = StraightFlow

    def make_flow(self, network: nn.Module, steps: int) -> StraightFlow:
        """The flow of one stage."""
        s = self.settings
        return StraightFlow(network, steps, solver=s.solver, mean=s.time_mean, scale=s.time_scale, pairing=s.pairing)

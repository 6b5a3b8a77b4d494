"""Diffusion with the preconditioning, noise levels and solver of EDM."""

from __future__ import annotations

from typing import ClassVar, Self

from pydantic import PositiveFloat, model_validator
from torch import nn

from fastv.models.contract import GeneratorSettings
from fastv.models.flows import DiffusionFlow, Flow
from fastv.models.solvers import Solver
from fastv.models.two_stages import TwoStages, TwoStageSettings


class DiffusionSettings(TwoStageSettings):
    """Settings of :class:`Diffusion`, in addition to those of :class:`~fastv.models.two_stages.TwoStageSettings`.

    All but the distribution of log sigma can be changed at generation.

    Attributes:
        solver: solver of the differential equation at generation.
        log_sigma_mean, log_sigma_scale: mean and standard deviation of log sigma, which is normal in training.
        sigma_min, sigma_max, rho: at generation sigma falls from ``sigma_max`` to ``sigma_min`` in equal steps of
            sigma^(1/``rho``), and then to 0.
    """

    at_generation: ClassVar[tuple[str, ...]] = (
        "solver",
        *TwoStageSettings.at_generation,
        "sigma_min",
        "sigma_max",
        "rho",
    )
    solver: Solver = "heun"
    log_sigma_mean: float = -1.2
    log_sigma_scale: PositiveFloat = 1.2
    sigma_min: PositiveFloat = 0.002
    sigma_max: PositiveFloat = 80.0
    rho: PositiveFloat = 7.0

    @model_validator(mode="after")
    def _sigma_falls(self) -> Self:
        if not self.sigma_min < self.sigma_max:
            msg = f"sigma_min {self.sigma_min:g} must be less than sigma_max {self.sigma_max:g}"
            raise ValueError(msg)
        return self


class Diffusion(TwoStages):
    r"""Diffusion with the preconditioning, noise levels and solver of EDM, in two stages.

    Noise n of level sigma is added to the data x, and a network F reconstructs the data,

        D(x + sigma n, sigma) = (x + sigma n)/(1 + sigma^2) + sigma/sqrt(1 + sigma^2) F ,

    with the loss |D - x|^2 (1 + sigma^2)/sigma^2. Generation solves dx/dsigma = (x - D(x, sigma))/sigma from sigma_max
    n to sigma = 0, in the angle atan(sigma), in which only F remains; noise enters at the start only. The data are the
    codes of the layers, then those of the voxels: see :class:`~fastv.models.two_stages.TwoStages`.

    Shapes: showers (N, V) MeV, conditions (N, C), noise (N, 1 + L + V), all normal.

    Raises:
        SettingsError: a network of convolutions, and a mesh whose layers differ in their cells.

    Source: Karras et al., arXiv 2206.00364; for calorimeters: Amram and Pedro, arXiv 2308.03876 (CaloDiffusion).
    """

    family: ClassVar[str] = "diffusion"
    Settings: ClassVar[type[GeneratorSettings]] = DiffusionSettings
    settings: DiffusionSettings
    flow_class: ClassVar[type[Flow]] = DiffusionFlow

    def make_flow(self, network: nn.Module, steps: int) -> DiffusionFlow:
        """The flow of one stage."""
        s = self.settings
        return DiffusionFlow(
            network,
            steps,
            solver=s.solver,
            mean=s.log_sigma_mean,
            scale=s.log_sigma_scale,
            sigma_min=s.sigma_min,
            sigma_max=s.sigma_max,
            rho=s.rho,
        )

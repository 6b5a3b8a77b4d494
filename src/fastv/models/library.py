"""Shower library: stored showers of full simulation, rescaled to the requested energy."""

from __future__ import annotations

import math
import warnings
from typing import ClassVar

import torch
from pydantic import PositiveInt
from torch import Tensor

from fastv.detector.detector import Detector
from fastv.domain import not_rotated
from fastv.errors import SettingsError, TrainingDataWarning
from fastv.models.codings.preprocessing import above_threshold
from fastv.models.contract import Batch, ConditionScaler, Domain, Generator, GeneratorSettings, NoiseSpec


class LibrarySettings(GeneratorSettings):
    """Settings of :class:`ShowerLibrary`.

    Attributes:
        size: number of stored showers.
        neighbours: number of stored showers nearest in the conditions from which one is drawn.
        rotate: rotate each shower by a random number of alpha cells, at normal incidence.
    """

    size: PositiveInt = 1000
    neighbours: PositiveInt = 10
    rotate: bool = False


class ShowerLibrary(Generator):
    r"""Frozen showers: a random one of the stored showers nearest in the conditions, multiplied by E / E_stored.

    This is the non-parametric baseline that experiments use, and the positive control of tests for memorisation. The
    distance is Euclidean in the scaled conditions. Stored showers are evenly spaced in the ordered incident energies.

    Shapes: showers (N, V) MeV, conditions (N, C), noise (N, 2), uniform: which neighbour, which rotation.

    Raises:
        SettingsError: there are more neighbours than showers.

    Source: Barberio et al., J. Phys. Conf. Ser. 160 (2009) 012082 (frozen showers in ATLAS).
    """

    family: ClassVar[str] = "library"
    Settings: ClassVar[type[GeneratorSettings]] = LibrarySettings
    any_mesh: ClassVar[bool] = True
    settings: LibrarySettings
    showers: Tensor
    conditions: Tensor

    def __init__(self, settings: LibrarySettings, detector: Detector, domain: Domain) -> None:
        super().__init__(settings, detector, domain)
        if settings.neighbours > settings.size:
            msg = (
                f"model.neighbours {settings.neighbours} exceeds the showers in the library, model.size {settings.size}"
            )
            raise SettingsError(msg)
        self.settings = settings
        self.obstacle = not_rotated(detector, domain) if settings.rotate else ""
        self.scaler = ConditionScaler(settings.conditions, domain)
        self.shower_noise = NoiseSpec(normal=0, uniform=2)
        self.register_buffer("showers", torch.zeros(settings.size, detector.mesh.n_voxels))
        # Unused rows are far from every condition.
        self.register_buffer("conditions", torch.full((settings.size, len(settings.conditions)), 1e30))

    @torch.no_grad()
    def fit(self, batch: Batch) -> None:
        """Store ``size`` training showers, evenly spaced in the ordered incident energies."""
        if self.obstacle:
            warnings.warn(f"stored showers are not rotated, because {self.obstacle}", TrainingDataWarning, stacklevel=2)
        order = batch.conditions[:, 0].argsort()
        kept = order[torch.linspace(0, len(order) - 1, min(self.settings.size, len(order))).long()]
        self.showers[: len(kept)] = batch.energies[kept]
        self.conditions[: len(kept)] = batch.conditions[kept]

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Mean distance in the scaled conditions to the nearest stored shower, a measure of the library's density."""
        return {"loss": self._distances(batch.conditions).amin(1).sqrt().mean()}

    def _distances(self, conditions: Tensor) -> Tensor:
        """Squared distances (N, size) to all stored showers."""
        empty = self.conditions[:, 0] > 1e29
        stored = self.scaler(torch.where(empty[:, None], 1.0, self.conditions))
        difference: Tensor = (self.scaler(conditions)[:, None] - stored).square().sum(2)
        return difference + 1e6 * empty.to(difference.dtype)

    def draw(self, conditions: Tensor, noise: Tensor) -> Tensor:
        """Voxel energies (N, V) in MeV."""
        nearest = self._distances(conditions).topk(self.settings.neighbours, dim=1, largest=False).indices
        # If the library is not full, unused rows among the neighbours are replaced by the nearest shower.
        nearest = torch.where(self.conditions[nearest, 0] > 1e29, nearest[:, :1], nearest)
        which = (noise[:, :1] * self.settings.neighbours).long().clamp(0, self.settings.neighbours - 1)
        index = nearest.gather(1, which)[:, 0]
        energies = self.showers[index]
        if self.settings.rotate and not self.obstacle:
            energies = self._turned(energies, noise[:, 1:2])
        energies = energies * (conditions[:, :1] / self.conditions[index, :1])
        return above_threshold(energies, self.detector.threshold)

    def _turned(self, energies: Tensor, uniform: Tensor) -> Tensor:
        """Showers (N, V) rotated so that cells fall on cells, by a random angle each, from uniform numbers (N, 1)."""
        mesh = self.detector.mesh
        turn = (uniform * mesh.turns).long().clamp(0, mesh.turns - 1)
        parts = []
        sizes = [math.prod(shape) for _, shape in mesh.grids]
        of_grids = torch.split(energies, sizes, dim=1) if len(sizes) > 1 else (energies,)
        for part, (_, (layers, alpha, rings)) in zip(of_grids, mesh.grids, strict=True):
            cells = (torch.arange(alpha, device=uniform.device) + turn * (alpha // mesh.turns)) % alpha
            source = cells[:, None, :, None].expand(-1, layers, -1, rings)
            parts.append(part.reshape(-1, layers, alpha, rings).gather(2, source).flatten(1))
        return torch.cat(parts, dim=1) if len(sizes) > 1 else parts[0]

"""Cascade: the energy of a shower is divided again and again, down to its voxels."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, NamedTuple

import torch
from pydantic import Field, NonNegativeInt, PositiveInt
from torch import Tensor

from fastv.detector.detector import Detector
from fastv.models.cell_divisions import CellDivisions
from fastv.models.codings.response import ResponseCoding
from fastv.models.codings.straightening import Straightening
from fastv.models.contract import (
    Batch,
    ConditionScaler,
    Domain,
    Generator,
    GeneratorSettings,
    NoiseSpec,
    Objective,
)
from fastv.models.division_law import DivisionLaw
from fastv.models.divisions import plan_divisions
from fastv.models.energy_bins import EnergyBins
from fastv.models.energy_levels import Levels
from fastv.models.layer_divisions import LayerDivisions
from fastv.models.response import FreeResponse

_CALIBRATION_ROWS = 12_000
_PART = 100
"""Showers whose divisions are computed at once."""


class CascadeSettings(GeneratorSettings):
    """Settings of :class:`Cascade`.

    Attributes:
        components: of the mixture that a share is drawn from.
        layer_hidden, layer_dropout: width and dropout of the networks that divide the visible energy between layers.
        width: of a layer's token, which tells the cells about their layer.
        depth_blocks, depth_kernel: number and kernel size of the convolutions of tokens along the shower axis.
        hidden: width of the network that divides a layer between its cells.
        hidden_layers: number of its hidden layers.
        halvings: how often the spacing of layers is halved until all are divided. A layer sees the cells of the nearest
            layers that are divided before it; 0 divides all layers at once, independently given their energies.
        checkerboard: divide every second block after its neighbours, so that it can see their parts.
        fine_arcs, fine_hidden: cells in alpha of the largest arc that a smaller network divides, and the width of that
            network; most divisions are of small arcs. 0 for one network.
        factors: common factors of the noise of all divisions of rings, and of halves and quarters of rings; 0 for
            independent divisions.
        correlation_bins: bins of incident energy, each with correlations of its own.
    """

    components: Annotated[int, Field(ge=1, le=16)] = 3
    layer_hidden: PositiveInt = 128
    layer_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    width: PositiveInt = 48
    depth_blocks: NonNegativeInt = 2
    depth_kernel: Literal[1, 3, 5, 7, 9] = 5
    hidden: PositiveInt = 96
    hidden_layers: PositiveInt = 2
    halvings: Annotated[int, Field(ge=0, le=12)] = 5
    checkerboard: bool = True
    fine_arcs: NonNegativeInt = 4
    fine_hidden: PositiveInt = 64
    factors: NonNegativeInt = 24
    correlation_bins: PositiveInt = 4


class Cascade(Generator):
    r"""Multiplicative cascade: each energy is divided in two parts, from the whole shower down to its voxels.

    With the response t = E_tot / E_inc, and a division giving E -> (E_1, E - E_1),

        p(x | c) = p(t | c)  prod_(divisions) p(E_1 | E, what is known before, t, c) .

    * layer energies are straightened first (:class:`~fastv.models.codings.straightening.Straightening`), so that the
      sharp edges that single particles make in the spectra of layers need not be learned; E_tot is their sum;
    * p(t | c): a free shape (:class:`~fastv.models.response.FreeResponse`);
    * the visible energy is divided between blocks of layers, in the middle, down to single layers; a division sees all
      blocks of its level;
    * the energy of a layer is divided between blocks of rings, down to rings, and that of a ring between arcs, down to
      voxels; a division sees its neighbourhood, also in layers that were divided before, and a token of its layer,
      which knows all layer energies (:class:`~fastv.models.divisions.DivisionPlan`).

    Every factor is a small distribution with a likelihood (:class:`~fastv.models.division_law.DivisionLaw`), so this is
    a density without any bound, and training maximises it with all divisions of a shower at once. Energies add up
    exactly, no voxel is below the threshold, and there is no energy that the shower does not have. Most blocks are
    empty and need no division, so generation takes time in proportion to the voxels that are hit.

    What a division does not notice is a weak correlation with many others: all layers and rings share the axis of the
    shower. After training, the noise that would give the training showers is computed, and its correlations are fitted
    (:class:`~fastv.models.noise_factors.NoiseFactors`); a division alone keeps its distribution. The density is that of
    independent noise.

    Shapes: showers (N, V) MeV, conditions (N, C); noise (N, 1 + J + 2 F + A normal and L - 1 + D - J uniform columns),
    D the number of divisions of cells, J of those with correlated noise, F of factors, A of local ones.

    Source: multiplicative cascades: Mandelbrot, J. Fluid Mech. 62 (1974) 331; likelihoods from coarse to fine: Reed et
    al., arXiv 1703.03664.
    """

    family: ClassVar[str] = "cascade"
    Settings: ClassVar[type[GeneratorSettings]] = CascadeSettings
    any_mesh: ClassVar[bool] = True
    chain_of_choices: ClassVar[bool] = True
    calibration_showers: ClassVar[int] = 40_000
    settings: CascadeSettings

    def __init__(self, settings: CascadeSettings, detector: Detector, domain: Domain) -> None:
        super().__init__(settings, detector, domain)
        self.settings = settings
        # A detector without a threshold gets one that is far below any energy of interest.
        self.threshold = detector.threshold or 1e-6
        self.scaler = ConditionScaler(settings.conditions, domain)
        self.plan = plan_divisions(detector.mesh, halvings=settings.halvings, checkerboard=settings.checkerboard)
        layers, context = detector.mesh.n_layers, self.scaler.size + 1
        self.response = FreeResponse(self.scaler.size)
        self.straight = Straightening(layers, self.threshold)
        self.levels = Levels(self.threshold)
        law = DivisionLaw(settings.components, self.threshold)
        self.layers = LayerDivisions(layers, context, law, settings.layer_hidden, settings.layer_dropout)
        self.cells = CellDivisions(
            self.plan,
            layers,
            context,
            law,
            width=settings.width,
            depth_blocks=settings.depth_blocks,
            depth_kernel=settings.depth_kernel,
            hidden=settings.hidden,
            hidden_layers=settings.hidden_layers,
            fine_arcs=settings.fine_arcs,
            fine_hidden=settings.fine_hidden,
            factors=settings.factors,
            bins=settings.correlation_bins,
        )
        self.bins = EnergyBins(settings.correlation_bins, domain.energy[1])
        self._columns = [1, *self.cells.normal, layers - 1, self.cells.uniform]
        uniform = sum(self._columns[-2:])
        self.shower_noise = NoiseSpec(normal=sum(self._columns) - uniform, uniform=uniform)

    @property
    def response_coding(self) -> ResponseCoding | None:
        """The coding of the response."""
        return self.response.coding

    def fit(self, batch: Batch) -> None:
        """Fit the straightening of layers, the response, and the scales of the energies that networks see."""
        incident = batch.conditions[:, :1]
        parts = torch.split(batch.energies, _PART)
        layers = torch.cat([self.cells.energies(part)[:, self.cells.roots] for part in parts])
        self.straight.fit(layers, batch.energies)
        straight = self.straight(layers)
        self.response.fit(straight.sum(1, keepdim=True) / incident, incident)
        self.levels.fit(batch.energies)
        self.layers.fit(straight, self.scaler(batch.conditions)[:, :1])
        self.cells.fit(batch.energies, self.levels)

    def _given(self, batch: Batch) -> _Given:
        incident = batch.conditions[:, :1]
        scaled = self.scaler(batch.conditions)
        energies = self.cells.energies(batch.energies)
        straight = self.straight(energies[:, self.cells.roots])
        fraction = straight.sum(1, keepdim=True) / incident
        context = torch.cat([scaled, self.response.context(fraction, incident)], dim=1)
        return _Given(scaled, fraction, context, energies, straight, self._standardised(straight, context))

    def _standardised(self, straight: Tensor, context: Tensor) -> Tensor:
        """Layer energies (N, L) as numbers of mean 0 and width 1 at every incident energy."""
        return self.layers.standardised(straight, context[:, :1])

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """One for response and layers, and one for the cells.

        They share no parameters. But a gradient is clipped with all others of its objective, and showers of high energy
        have so many cells that little would be left of what they tell the layers.
        """
        return Objective("profile", ("response.", "layers.")), Objective("cells", ("cells.",))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Terms ``profile``, the sum of ``response`` and ``layers``, and ``cells``, that of ``rings`` and ``alpha``.

        In nats per shower; ``loss`` is the sum of both. For one objective its terms only.
        """
        given = self._given(batch)
        terms: dict[str, Tensor] = {}
        if batch.objective != "cells":
            of_response = self.response.log_prob(given.fraction, given.scaled, batch.conditions[:, :1])
            of_layers = self.layers.log_prob(given.straight, given.context, self.levels)
            terms |= _terms("profile", response=of_response, layers=of_layers)
        if batch.objective != "profile":
            of_cells = self.cells.log_prob(given.energies, given.standardised, given.context, self.levels)
            terms |= _terms("cells", **of_cells)
        if batch.objective == "loss":
            terms["loss"] = terms["profile"] + terms["cells"]
        return terms

    def log_prob(self, batch: Batch) -> Tensor:
        """log p(x | c), (N,), in nats: the density of voxel energies in MeV, times the probability of which are hit."""
        given, incident = self._given(batch), batch.conditions[:, :1]
        slope = torch.log(self.response.coding.scale.slope(incident) * incident)[:, 0]
        total = self.response.log_prob(given.fraction, given.scaled, incident) - slope
        total = total + self.layers.log_prob(given.straight, given.context, self.levels, in_mev=True)
        total = total + self.straight.log_slope(given.energies[:, self.cells.roots]).sum(1)
        of_cells = self.cells.log_prob(given.energies, given.standardised, given.context, self.levels, in_mev=True)
        return total + sum(of_cells.values())

    @torch.no_grad()
    def calibrate(self, batch: Batch) -> None:
        """Fit the correlations of divisions to training showers."""
        if not self.settings.factors:
            return
        self.bins.fit(batch.conditions[:, 0])
        for number, rows in enumerate(self.bins(batch.conditions[:, :1]).bool().T):
            energies, conditions = (each[rows][:_CALIBRATION_ROWS] for each in (batch.energies, batch.conditions))
            parts = zip(torch.split(energies, _PART), torch.split(conditions, _PART), strict=True)
            given = (self._given(Batch(*part)) for part in parts if len(part[0]))
            self.cells.calibrate(((g.energies, g.standardised, g.context) for g in given), self.levels, number)

    def draw(self, conditions: Tensor, noise: Tensor) -> Tensor:
        """Voxel energies (N, V) in MeV."""
        of_response, *of_factors, of_layers, of_cells = torch.split(noise, self._columns, dim=1)
        edge = self.cells.law.EDGE
        of_layers, of_cells = of_layers.clamp(edge, 1 - edge), of_cells.clamp(edge, 1 - edge)
        scaled, incident = self.scaler(conditions), conditions[:, :1]
        fraction, seen = self.response.sample(of_response, of_response[:, :0], scaled, incident)
        context = torch.cat([scaled, seen], dim=1)
        total = (fraction * incident).clamp(min=1.0001 * self.threshold)
        straight = self.layers.sample(total, context, self.levels, of_layers)
        standardised = self._standardised(straight, context)
        # The parts of an energy are above the threshold up to rounding, which must not empty a layer or a voxel.
        layers = kept_above(self.straight.inverse(straight), self.threshold)
        voxels = self.cells.sample(
            layers, standardised, context, self.levels, tuple(of_factors), of_cells, self.bins(incident)
        )
        return kept_above(voxels, self.threshold)


def _terms(whole: str, **log_probs: Tensor) -> dict[str, Tensor]:
    """Minus the means of logarithms of densities (N,), and their sum."""
    terms = {name: -log_prob.mean() for name, log_prob in log_probs.items()}
    return {whole: torch.stack(list(terms.values())).sum(), **terms}


def kept_above(energies: Tensor, threshold: float) -> Tensor:
    """Energies that are zero or clearly at least the threshold."""
    hit = (energies > 0).to(energies.dtype)
    return energies.clamp(min=threshold * (1 + 1e-6)) * hit


class _Given(NamedTuple):
    """What is known of training showers: scaled conditions, responses, the context of divisions, energies of all
    blocks, straightened layer energies, and these in units of their fluctuations."""

    scaled: Tensor
    fraction: Tensor
    context: Tensor
    energies: Tensor
    straight: Tensor
    standardised: Tensor

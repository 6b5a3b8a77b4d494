"""CaloGAN: a GAN for calorimeters whose generator makes each layer with attention to the one before."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from pydantic import NonNegativeFloat, NonNegativeInt
from torch import Tensor, nn

from fastv.detector.detector import Detector
from fastv.detector.mesh import ReadoutMesh
from fastv.models.adversarial import Generated, VoxelGenerator
from fastv.models.contract import Batch, Domain, GeneratorSettings
from fastv.models.gan import GAN, GANSettings
from fastv.models.grid_networks import NetworkSettings
from fastv.models.layer_grid import LayerGrid, shares_before
from fastv.models.recurrence import along_layers


class CaloGANSettings(GANSettings):
    """Settings of :class:`CaloGAN`, in addition to those of :class:`~fastv.models.gan.GANSettings`.

    Attributes:
        companions: number of kernels of minibatch discrimination in the discriminators; 0 for none.
        energy_weight: weight of the energy constraint.
    """

    companions: NonNegativeInt = 16
    energy_weight: NonNegativeFloat = 1.0


class CaloGAN(GAN):
    r"""The GAN of :class:`~fastv.models.gan.GAN` with the additions of CaloGAN for a calorimeter of several layers.

    **Layer by layer.** The network proposes an image h_l of each layer. The codes x_l of the layer are a mixture of it
    and of the layer before, mapped from cells to cells by a matrix T,

        x_l = cos(phi_l) h_l + sin(phi_l) T x_(l-1) ,    phi_l = pi/2 sigmoid(w_l . (h_l, T x_(l-1)) + v_l) ,

    with an angle phi for each cell: attention to the layer before, so that particles continue from where they were.
    The weights cosine and sine, in place of g and 1 - g of CaloGAN, preserve the variance.

    **Minibatch discrimination.** The discriminators see how close the showers of a batch are to each other, which
    reveals mode collapse: see :class:`~fastv.models.critics.MinibatchDiscrimination`.

    **Energy constraint.** The voxels of a layer should add up to its energy already before they are scaled to it,

        energy_weight  mean over filled layers of |log(sum_v E_v / E_l)| .

    CaloGAN compares the sum over the whole calorimeter, where all energy is visible, with the incident energy. Here the
    response is generated in the first stage, and such a term would remove its fluctuations.

    Stages, networks and inputs of the critics: :class:`~fastv.models.adversarial.Adversarial`.

    Shapes: showers (N, V) MeV, conditions (N, C), noise (N, 1 + L + V), all normal.

    Raises:
        SettingsError: a network of convolutions, and a mesh whose layers differ in their cells.

    Source: Paganini, de Oliveira and Nachman, arXiv 1712.10321, section III.

    Example:
        >>> from fastv.models import build
        >>> domain = Domain(energy=(1e3, 1e6), detectors=("par04-siw",))
        >>> build("calogan", {"companions": 8}, Detector.preset("par04-siw"), domain).noise.normal
        6526
    """

    family: ClassVar[str] = "calogan"
    Settings: ClassVar[type[GeneratorSettings]] = CaloGANSettings
    settings: CaloGANSettings

    def __init__(self, settings: CaloGANSettings, detector: Detector, domain: Domain) -> None:
        super().__init__(settings, detector, domain, companions=settings.companions)

    def make_voxels(self, network: NetworkSettings, context: int) -> nn.Module:
        """A network that generates layer by layer, see :meth:`Adversarial.make_voxels`."""
        return LayerByLayer(network, self.detector.mesh, context)

    def constraints(self, batch: Batch, made: Generated) -> dict[str, Tensor]:
        """``energy``: mean deviation of the voxels' sum from the layer energy, times its weight."""
        layers = self.grid(batch.energies).sum((2, 3))
        filled = (layers > 0).to(layers.dtype)
        tiny = self.voxel_coding.threshold
        off = torch.log(made.unscaled.sum(2).clamp(min=tiny) / layers.clamp(min=tiny)).abs()
        return {"energy": self.settings.energy_weight * (off * filled).sum() / filled.sum().clamp(min=1.0)}


class LayerByLayer(nn.Module):
    """An image of each layer by a grid network, then along the axis the gated mixture with the layer before.

    The matrix from cells to cells is the same for all layers, and starts as that of one; if layers differ in their
    cells, each has its own, which starts from the shares of its cells in those of the layer before.

    Shapes: noise (N, 1, L, alpha, r), context (N, L + ...) -> (N, L, alpha, r).
    """

    def __init__(self, network: NetworkSettings, mesh: ReadoutMesh, context: int) -> None:
        super().__init__()
        self.grid = grid = LayerGrid.of(mesh)
        self.pictures = VoxelGenerator(network, grid, context)
        if grid.alike:
            self.carry = nn.Linear(grid.cells, grid.cells, bias=False)
            nn.init.eye_(self.carry.weight)
        else:
            alpha, r = shares_before(mesh)
            shares = torch.einsum("lij,lkm->likjm", alpha, r)[1:].flatten(3).flatten(1, 2)
            # Codes are of unit variance, and so is their sum with these weights.
            self.carries = nn.Parameter(shares / shares.norm(dim=2, keepdim=True).clamp(min=1e-6))
        self.gate = nn.Parameter(torch.zeros(grid.shape[0], 3))
        with torch.no_grad():
            # Start with little weight on the layer before.
            self.gate[:, 2] = -3.0

    def forward(self, noise: Tensor, context: Tensor) -> Tensor:
        """Codes from noise and context."""
        pictures = self.pictures(noise, context).flatten(2).transpose(0, 1)
        own, other, constant = self.gate[1:].unbind(1)
        asked = pictures[1:] * own[:, None, None] + constant[:, None, None]

        def step(before: Tensor, of_layer: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
            picture, asked, other, *own = of_layer
            carried = before @ own[0].T if own else self.carry(before)
            angle = math.pi / 2 * torch.sigmoid(asked + other * carried)
            made = torch.cos(angle) * picture + torch.sin(angle) * carried
            return made, made

        carries = () if self.grid.alike else (self.carries,)
        following = along_layers(step, pictures[0], (pictures[1:], asked, other, *carries))
        codes = torch.cat([pictures[:1], following]).transpose(0, 1).reshape(-1, *self.grid.shape)
        return self.grid.masked(codes)

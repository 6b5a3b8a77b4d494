"""The detectors that one generator knows, whose voxel energies are on one scale inside it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fastv.detector.detector import Detector
from fastv.errors import GeometryError


class Readouts(nn.Module):
    """The detectors that a generator knows, whose voxel energies are on one scale inside it.

    Voxel energies are compared with the readout threshold everywhere in a generator, which therefore sees those of each
    detector d on the scale of one, ``inside``:

        e = s_d E,  s_d = threshold of ``inside`` / threshold of d .

    Args:
        inside: the detector on whose scale the generator sees voxel energies.
        detectors: all detectors, in the order of the domain of the generator.

    Raises:
        GeometryError: a detector differs in its cells, or in having a threshold.

    Example:
        >>> siw = Detector.preset("par04-siw")
        >>> other = siw.model_copy(update={"name": "other", "energy_scale": 0.066})
        >>> readouts = Readouts(siw, (siw, other))
        >>> index = torch.tensor([0.0, 1.0])
        >>> [round(x, 3) for x in readouts.own(torch.tensor([[0.2], [0.2]]), index).flatten().tolist()]
        [0.2, 0.1]
    """

    factors: Tensor
    thresholds: Tensor

    def __init__(self, inside: Detector, detectors: Sequence[Detector]) -> None:
        super().__init__()
        self.inside = inside
        self.detectors = {detector.name: detector for detector in detectors}
        factors = [factor_between(detector, inside) for detector in detectors]
        self.one_scale = all(factor == 1 for factor in factors)
        self.register_buffer("factors", 1 / torch.tensor(factors), persistent=False)
        self.register_buffer("thresholds", torch.tensor([each.threshold for each in detectors]), persistent=False)

    def named(self, name: str) -> Detector:
        """A detector by its name; one that is not described has the readout of the others."""
        return self.detectors.get(name) or self.inside.model_copy(update={"name": name})

    def own(self, energies: Tensor, index: Tensor | None) -> Tensor:
        """Voxel energies (N, V) in MeV on the scale of each shower's detector, from those inside the generator.

        Args:
            energies: (N, V).
            index: the number (N,) of each shower's detector; None for the first.
        """
        if self.one_scale:
            return energies
        rows = torch.zeros_like(energies[:, 0]) if index is None else index
        factor, threshold = self.factors[rows.long()][:, None], self.thresholds[rows.long()][:, None]
        # Rounding must not take a voxel below the threshold.
        return torch.maximum(energies * factor, threshold) * (energies > 0).to(energies.dtype)


def factor_between(detector: Detector, inside: Detector) -> float:
    """The factor s by which voxel energies of a detector become those on the scale of ``inside``.

    Raises:
        GeometryError: the detectors differ in their cells, or only one has a threshold.
    """
    check_cells(detector, inside)
    if detector.threshold == inside.threshold:
        return 1.0
    if not (detector.threshold and inside.threshold):
        without, has = (detector, inside) if inside.threshold else (inside, detector)
        msg = (
            f"the detector {without.name!r} has no readout threshold, and {has.name!r} has one: one model cannot know "
            "both; name a detector that describes the readout of the showers"
        )
        raise GeometryError(msg)
    return inside.threshold / detector.threshold


def on_threshold(detector: Detector, threshold: float) -> Detector:
    """A detector on the scale of voxel energies on which its threshold is ``threshold``, in MeV; without one, itself.

    Example:
        >>> on_threshold(Detector.preset("par04-siw"), 0.5e-3).energy_scale
        1.0
    """
    if not detector.threshold or detector.threshold == threshold:
        return detector
    return detector.model_copy(update={"energy_scale": detector.readout_threshold / threshold})


def same_readout(one: Detector, other: Detector) -> bool:
    """Whether two detectors have the same mesh, energy scale and threshold."""
    return (one.mesh, one.energy_scale, one.threshold) == (other.mesh, other.energy_scale, other.threshold)


def check_cells(detector: Detector, inside: Detector) -> None:
    """Check that the meshes of two detectors have the same cells, of any size.

    Raises:
        GeometryError: they differ.
    """
    one, other = ([(layer.alpha_cells, layer.r_cells) for layer in each.mesh.layers] for each in (detector, inside))
    if one != other:
        msg = (
            f"the detectors {inside.name!r} ({inside.mesh.describe()}) and {detector.name!r} "
            f"({detector.mesh.describe()}) differ in the cells of their meshes: a model has one number of layers and "
            "of cells in alpha and r, of any size; train a model for each"
        )
        raise GeometryError(msg)

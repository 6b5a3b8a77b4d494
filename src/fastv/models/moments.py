"""Eight numbers of a shower that do not depend on how it was made: energy, extent, and position."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fastv.detector.detector import Detector

MOMENTS = (
    "ln E_tot",
    "ln hits",
    "longitudinal mean",
    "longitudinal width",
    "lateral mean",
    "lateral width",
    "centre x",
    "centre y",
)
"""What the columns of :class:`ShowerMoments` are: energies in MeV, lengths in mm, depth in layers if those have no
thickness."""


class ShowerMoments(nn.Module):
    r"""The moments of showers: logarithms of the total energy and of the number of hits, and how the energy lies.

    Of voxels v at or above the readout threshold, with centres (x, y, z), radii r and E = sum_v E_v,

        mean_q = sum_v q_v E_v / E,   width_q = sqrt(sum_v q_v^2 E_v / E - mean_q^2)

    for q = z, the depth of the layer, and q = r; of x and y the means only. They are those of
    :class:`~fastv.evaluation.observables.observe.Observables`. The incident energy does not enter. Of a shower without
    energy all moments are 0.

    Shapes: voxel energies (N, V) MeV -> (N, 8), in the order of :data:`MOMENTS`.

    Args:
        detector: gives the mesh and the readout threshold.

    Example:
        >>> from fastv import ShowersFile, sample_path
        >>> with ShowersFile(sample_path("test")) as file:
        ...     showers = file[:5]
        >>> moments = ShowerMoments(showers.detector)(torch.from_numpy(showers.energies))
        >>> tuple(moments.shape), bool((moments[:, 3] > 0).all())
        ((5, 8), True)
    """

    weights: Tensor

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        threshold = np.float32(detector.threshold)
        self.below = float(np.nextafter(threshold, np.float32(0)))
        mesh = detector.mesh
        centres, r = mesh.voxel_centres, mesh.voxel_r
        # From the middle of the detector, so that the difference of squares keeps its precision.
        z = mesh.layer_z - mesh.layer_z.mean()
        self.middle = float(mesh.layer_z.mean())
        z = z[mesh.voxel_layer]
        columns = np.stack([np.ones_like(r), z, z**2, r, r**2, centres[:, 0], centres[:, 1]], axis=1)
        self.register_buffer("weights", torch.from_numpy(columns).float(), persistent=False)

    def forward(self, energies: Tensor) -> Tensor:
        """The moments of showers."""
        # Above the number next below the threshold, rather than at or above it: a mask takes three times as long.
        hit = functional.threshold(energies, self.below, 0.0)
        sums = hit @ self.weights
        total = sums[:, :1]
        filled = total > 0
        z, z2, r, r2, x, y = torch.split(sums[:, 1:] / torch.where(filled, total, 1.0), 1, dim=1)
        z_width, r_width = ((q2 - q.square()).clamp(min=0.0).sqrt() for q, q2 in ((z, z2), (r, r2)))
        hits = hit.sign().sum(1, keepdim=True)
        counted = [torch.log(torch.where(filled, each, 1.0)) for each in (total, hits)]
        return torch.cat([*counted, z + self.middle, z_width, r, r_width, x, y], dim=1) * filled

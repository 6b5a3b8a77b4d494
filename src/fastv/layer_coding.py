"""Response and layer energies as normal scores, and back."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fastv.geometry import Detector, ReadoutMesh
from fastv.preprocessing import QuantileMap, ResponseScale
from fastv.voxel_coding import VoxelCoding


class LayerCoding(nn.Module):
    r"""Code the energies of the layers as the normal scores of the response, and of each layer at the visible energy.

    The response t = E_tot / E_inc is standardised by :class:`~fastv.preprocessing.ResponseScale` and mapped to normal
    scores. The layers are the cells of a :class:`~fastv.voxel_coding.VoxelCoding` of the whole shower: each has at
    E_tot a probability to be empty and, where it is not, a distribution of its energy. So normal codes, correlated as
    they may be, give each layer the right spectrum and occupancy at every energy, and layers add up to the response.
    ``decode(encode(x))`` is x to rounding, but for a layer that next to no training shower of this energy has filled.

    Shapes: layer energies (N, L) MeV, incident energies (N, 1) MeV; codes (N, 1 + L).

    Example:
        >>> from fastv import ShowersFile, sample_path
        >>> with ShowersFile(sample_path("train")) as file:
        ...     showers = file[:600]
        >>> layers = torch.from_numpy(showers.grid).sum((2, 3))
        >>> incident = torch.from_numpy(showers.incident_energies)[:, None].float()
        >>> coding = LayerCoding(showers.detector)
        >>> coding.fit(layers, incident)
        >>> codes = coding.encode(layers, incident)
        >>> round(float(codes.mean()), 1), round(float(codes.std()), 1)
        (0.0, 1.0)
        >>> bool(((coding.decode(codes, incident) - layers).abs() < 0.01 * layers + 1e-3).float().mean() > 0.999)
        True
    """

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.n_layers = detector.mesh.n_layers
        self.response = ResponseScale()
        self.quantiles = QuantileMap(1)
        one = ReadoutMesh.cylinder(layers=1, alpha_cells=1, r_cells=self.n_layers, layer_thickness=1.0, r_size=1.0)
        # Twice as many knots as for voxels: the energies of showers fill half of the range.
        self.layers = VoxelCoding(detector.model_copy(update={"mesh": one}), n_levels=25)

    @torch.no_grad()
    def fit(self, layers: Tensor, incident: Tensor) -> None:
        """Fit to training showers."""
        fraction = layers.sum(1, keepdim=True) / incident
        self.response.fit(fraction, incident)
        self.quantiles.fit(self.response(fraction, incident))
        self.layers.fit(layers[:, None, None])

    def encode(self, layers: Tensor, incident: Tensor) -> Tensor:
        """Codes of layer energies; what is empty gets random codes from PyTorch's generator."""
        response = self.quantiles(self.response(layers.sum(1, keepdim=True) / incident, incident))
        return torch.cat([response, self.layers.encode(layers[:, None, None])[:, 0, 0]], dim=1)

    def decode(self, codes: Tensor, incident: Tensor) -> Tensor:
        """Layer energies (N, L) in MeV; one at least is filled."""
        response = self.quantiles.inverse(codes[:, :1].clamp(-50.0, 50.0))
        total = self.response.fraction(response, incident) * incident
        return self.layers.decode(codes[:, None, None, 1:], total)

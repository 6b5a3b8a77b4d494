"""The CaloChallenge's feature vector: the high-level observables of a shower in one row.

It is the input of distances (:mod:`fastv.evaluation.metrics.fpd`, :mod:`fastv.evaluation.metrics.kpd`) and of
high-level classifiers (:mod:`fastv.evaluation.metrics.classifiers`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastv.detector.mesh import ReadoutMesh
from fastv.evaluation.observables.observe import Observables, alpha_layers

F64 = NDArray[np.float64]

_EMPTY = 1e-8
"""MeV, added to energies before the logarithm as in the CaloChallenge: an empty layer gives -8."""
_LENGTH = 100.0
"""mm, the unit of lengths, so that all columns are of order 1."""

_GROUPS = {
    "total energy": "log10 E_tot",
    "layer energies": "log10 E_layer",
    "sparsity": "sparsity",
    "centres in x": "EC_eta",
    "centres in y": "EC_phi",
    "centres in r": "EC_r",
    "widths in x": "width_eta",
    "widths in y": "width_phi",
    "widths in r": "width_r",
}
"""Groups of observables, and the columns of the feature vector that belong to each."""


def feature_matrix(observables: Observables) -> F64:
    """Features (N, F) of a sample: F = 362 for 45 layers with alpha cells, as in data sets 2 and 3.

    Columns, one per layer unless stated otherwise: log10 E_inc (one column); log10(E_layer + 1e-8);
    EC_eta/100, EC_phi/100, width_eta/100, width_phi/100 (only layers with more than one alpha cell);
    log10(E_tot + 1e-8) (one column); sparsity; EC_r/100; width_r/100. Energies in MeV, lengths in mm before division.

    Features are float64 although the observables are float32: log10(E_layer + 1e-8) of layers with little energy and
    covariances of columns that hardly vary need double precision, whereas the relative rounding of 1e-7 of the
    observables is far below the resolution of any distance between samples.

    Args:
        observables: observables of N showers.

    Source: arXiv:2410.21611 (CaloChallenge), high-level features.

    Example:
        >>> from fastv.evaluation.observables.observe import observe
        >>> from fastv.sample import sample_path
        >>> from fastv.showers import ShowersFile
        >>> with ShowersFile(sample_path("test")) as file:
        ...     feature_matrix(observe(file[:20])).shape
        (20, 362)
    """
    o = observables
    alpha = alpha_layers(o.detector.mesh)
    blocks = (
        np.log10(o.incident_energies)[:, None],
        _logarithm(o.layer_energies),
        _length(o.centre_x[:, alpha]),
        _length(o.centre_y[:, alpha]),
        _length(o.width_x[:, alpha]),
        _length(o.width_y[:, alpha]),
        _logarithm(o.total_energy)[:, None],
        o.sparsity,
        _length(o.centre_r),
        _length(o.width_r),
    )
    return np.concatenate(blocks, axis=1, dtype=np.float64)


def tree_features(observables: Observables) -> F64:
    """Features (N, F + L + 1) for trees: the feature vector and every energy relative to the incident one.

    The columns of :func:`feature_matrix`, then log10(E_layer + 1e-8) - log10 E_inc of the L layers, then
    log10(E_tot + 1e-8) - log10 E_inc. They contain no additional information, but a tree cuts on one column at a time
    and does not notice a response that is wrong by 1 % in a column that spans three decades of incident energy.

    Args:
        observables: observables of N showers.

    Example:
        >>> from fastv.evaluation.observables.observe import observe
        >>> from fastv.sample import sample_path
        >>> from fastv.showers import ShowersFile
        >>> with ShowersFile(sample_path("test")) as file:
        ...     observables = observe(file[:20])
        >>> features = tree_features(observables)
        >>> features.shape, np.allclose(10 ** features[:, -1], observables.visible_fraction)
        ((20, 408), True)
    """
    matrix = feature_matrix(observables)
    names = feature_names(observables.detector.mesh)
    energies = [i for i, name in enumerate(names) if name.startswith(("log10 E_layer", "log10 E_tot"))]
    return np.concatenate([matrix, matrix[:, energies] - matrix[:, :1]], axis=1)


def tree_feature_groups(mesh: ReadoutMesh) -> dict[str, tuple[int, ...]]:
    """Columns of :func:`tree_features` by group of observables, each group with log10 E_inc.

    Groups with energies have them relative to the incident one as well. Centres and widths in x and y exist only where
    layers have more than one alpha cell; with a single layer, its energy is the total energy.

    Args:
        mesh: the readout mesh of the showers.

    Example:
        >>> from fastv.detector.detector import Detector
        >>> groups = tree_feature_groups(Detector.preset("par04-siw").mesh)
        >>> len(groups["layer energies"]), groups["total energy"]
        (91, (0, 226, 407))
        >>> list(groups)[2:]
        ['sparsity', 'centres in x', 'centres in y', 'centres in r', 'widths in x', 'widths in y', 'widths in r']
    """
    names = feature_names(mesh)
    relative = [name for name in names if name.startswith(("log10 E_layer", "log10 E_tot"))]
    columns = list(enumerate((*names, *relative)))
    found = {
        group: (0, *(i for i, name in columns if name.rsplit(" ", 1)[0] == start or name == start))
        for group, start in _GROUPS.items()
        if mesh.n_layers > 1 or group != "layer energies"
    }
    return {group: each for group, each in found.items() if len(each) > 1}


def _logarithm(energies: NDArray[np.floating]) -> F64:
    return np.log10(energies.astype(np.float64) + _EMPTY)


def _length(millimetres: NDArray[np.floating]) -> F64:
    return millimetres.astype(np.float64) / _LENGTH


def feature_names(mesh: ReadoutMesh) -> tuple[str, ...]:
    """Names (F,) of the columns of :func:`feature_matrix`, with the numbers of the layers in the detector.

    Example:
        >>> from fastv.detector.detector import Detector
        >>> names = feature_names(Detector.preset("par04-siw").mesh)
        >>> len(names), names[:2], names[-1]
        (362, ('log10 E_inc', 'log10 E_layer 0'), 'width_r 44')
    """
    layers = mesh.layer_ids
    with_alpha = [layers[i] for i in alpha_layers(mesh)]

    def block(name: str, numbers: tuple[int, ...] | list[int]) -> list[str]:
        return [f"{name} {number}" for number in numbers]

    return (
        "log10 E_inc",
        *block("log10 E_layer", layers),
        *(label for name in ("EC_eta", "EC_phi", "width_eta", "width_phi") for label in block(name, with_alpha)),
        "log10 E_tot",
        *(label for name in ("sparsity", "EC_r", "width_r") for label in block(name, layers)),
    )

"""All metrics of one sample against another: FPD, KPD, precision and recall, classifiers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from fastv.detector.mesh import ReadoutMesh
from fastv.errors import NotMeasuredError, TooFewShowersError
from fastv.evaluation.metrics.boosted import BoostedAuc, boosted_auc
from fastv.evaluation.metrics.classifier_records import ClassifierAuc, ClassifierSettings, Kind
from fastv.evaluation.metrics.features import feature_matrix, tree_feature_groups, tree_features
from fastv.evaluation.metrics.fpd import Fpd, fpd
from fastv.evaluation.metrics.kpd import Kpd, kpd
from fastv.evaluation.metrics.prdc import Prdc, prdc
from fastv.evaluation.metrics.voxels import ChosenShowers, log_voxels, low_level_inputs
from fastv.evaluation.observables.observe import Observables
from fastv.evaluation.statistics.chance import paired_rows

_R = TypeVar("_R", bound=BaseModel)
F64 = NDArray[np.float64]

MOST_NEIGHBOURS = 4_000
"""Showers of each sample used for precision and recall, whose time is quadratic in this number."""
SIZES_FOR_TREES = 6
"""Largest number of sizes at which the AUC of boosted trees is measured, each half of the next."""
MOST_VOXELS = 10_000
"""Showers of each sample whose voxels are held in memory."""


class Metrics(BaseModel):
    """FPD, KPD, PRDC and classifiers; a metric that could not be computed is None or absent, ``skipped`` says why."""

    model_config = ConfigDict(frozen=True)

    fpd: Fpd | None = None
    kpd: Kpd | None = None
    prdc: Prdc | None = None
    boosted: BoostedAuc | None = None
    classifiers: tuple[ClassifierAuc, ...] = ()
    skipped: dict[str, str] = {}


def measure(
    reference: Observables,
    generated: Observables,
    voxels: tuple[ChosenShowers, ChosenShowers] | None = None,
    *,
    chance: bool = True,
    classifiers: ClassifierSettings | None = None,
    keep: Path | None = None,
    seed: int = 42,
) -> Metrics:
    """Compute all metrics of one sample against another.

    Args:
        reference, generated: observables of (N,) and (M,) showers.
        voxels: showers of both samples for precision, recall, density and coverage (:data:`MOST_NEIGHBOURS` of them)
            and for low-level classifiers (:data:`MOST_VOXELS`); None omits both.
        chance: whether to compute the values for shuffled labels, which takes longer.
        classifiers: settings of the CaloChallenge's classifiers; None omits them.
        keep: folder of finished trainings of the classifiers, which are reused and continued.
        seed: seed of FPD, KPD and PRDC; 42 is that of the CaloChallenge.

    Raises:
        FileFormatError: a voxel energy of ``voxels`` is NaN, infinite or negative, or ``keep`` holds another file.
        OutputError: ``keep`` cannot be written.
        SettingsError: the device of ``classifiers`` is not available.

    Example:
        >>> from fastv.evaluation.observables.observe import observe
        >>> from fastv.sample import sample_path
        >>> from fastv.showers import ShowersFile
        >>> with ShowersFile(sample_path("test")) as file:
        ...     sample = observe(file[:60])
        >>> sorted(measure(sample, sample).skipped)
        ['boosted', 'fpd']
    """
    a, b = (feature_matrix(sample) for sample in (reference, generated))
    energies = reference.incident_energies, generated.incident_energies
    skipped: dict[str, str] = {}

    def tried(name: str, make: Callable[[], _R]) -> _R | None:
        try:
            return make()
        except (TooFewShowersError, NotMeasuredError) as error:
            skipped[name] = str(error)
            return None

    draws, relabellings = (20, 50) if chance else (10, 0)
    found_fpd = tried("fpd", lambda: fpd(a, b, draws=draws, relabellings=relabellings, energies=energies, seed=seed))
    found_kpd = tried("kpd", lambda: kpd(a, b, relabellings=100 if chance else 0, energies=energies, seed=seed))
    boosted = tried("boosted", lambda: _trees(reference, generated))
    found_prdc = None
    if voxels is not None:
        (x, e), (y, f) = (log_voxels(chosen.spread(MOST_NEIGHBOURS), None) for chosen in voxels)
        found_prdc = tried("prdc", lambda: prdc(x, y, relabellings=50 if chance else 0, energies=(e, f), seed=seed))
        del x, y
    trained: list[ClassifierAuc] = []
    if classifiers is not None:
        from fastv.evaluation.metrics.classifiers import classify

        for kind, inputs in _classifier_inputs(a, b, reference.detector.mesh, voxels):
            path = None if keep is None else keep / f"classifier-{kind}.json"
            shape = reference.detector.mesh.shape if kind == "cnn" else None
            make = partial(classify, kind, *inputs, settings=classifiers, mesh=shape, keep=path)
            if (result := tried(kind, make)) is not None:
                trained.append(result)
    return Metrics(
        fpd=found_fpd, kpd=found_kpd, prdc=found_prdc, boosted=boosted, classifiers=tuple(trained), skipped=skipped
    )


def _trees(reference: Observables, generated: Observables) -> BoostedAuc:
    """The AUC of boosted trees at several sizes, and of each group of observables."""
    groups = tree_feature_groups(reference.detector.mesh)
    first, second = paired_rows(reference.incident_energies, generated.incident_energies)
    a, b = tree_features(reference)[first], tree_features(generated)[second]
    return boosted_auc(a, b, sizes=SIZES_FOR_TREES, groups=groups)


def _classifier_inputs(
    a: F64, b: F64, mesh: ReadoutMesh, voxels: tuple[ChosenShowers, ChosenShowers] | None
) -> Iterator[tuple[Kind, tuple[NDArray[np.floating], NDArray[np.floating]]]]:
    """The classifiers that are possible on the mesh, each with inputs for both samples, in pairs of equal energy."""
    first, second = paired_rows(a[:, 0], b[:, 0])  # log10 of the incident energies
    yield "high", (a[first], b[second])
    if voxels is None:
        return
    chosen = [each.spread(MOST_VOXELS) for each in voxels]
    rows = paired_rows(*(each.incident_energies for each in chosen))
    x, y = (low_level_inputs(showers)[own] for showers, own in zip(chosen, rows, strict=True))
    low = x, y
    yield "low", low
    if mesh.is_regular and min(mesh.shape) > 1:
        yield "cnn", low

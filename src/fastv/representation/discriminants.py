"""Linear discriminants: what tells classes of showers apart, and how well."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from fastv.conditions.table import CONDITIONS
from fastv.detector.detector import Detector
from fastv.errors import GeometryError, SettingsError
from fastv.evaluation.metrics.features import feature_matrix, feature_names, tree_features
from fastv.evaluation.observables.streaming import FirstOfFile
from fastv.representation.components import observed, principal_components, roots
from fastv.representation.pictures import class_picture, loading_picture, write_picture
from fastv.storage.output import check_free, written_whole
from fastv.suggestions import unknown
from fastv.wording import counted

F64 = NDArray[np.float64]
By = Literal["file", "particle", "detector", "energy"]
On = Literal["observables", "voxels"]

FOLDS = 5
LEAST = 20
"""Showers of a class that are needed."""
ENERGY_CLASSES = 3
VOXEL_COMPONENTS = 64
"""Principal components in which voxels are told apart."""
_LOADINGS = 12


@dataclass(frozen=True)
class Discriminants:
    """Linear discriminants of classes of showers; all figures are of showers that were held out.

    Attributes:
        classes: their names.
        counts: showers of each class.
        accuracy, accuracy_error: mean over the classes of the share that is assigned rightly; 1 / classes by chance.
        fisher: Fisher's ratio of each discriminant, the variance between classes over that within.
        loadings: correlation of features with the first discriminant over all showers, the largest first.
        projections: held-out showers on the discriminants, (N, classes - 1).
        labels: class of each shower (N,).
    """

    classes: tuple[str, ...]
    counts: tuple[int, ...]
    accuracy: float
    accuracy_error: float
    fisher: F64
    loadings: dict[str, float]
    projections: F64
    labels: NDArray[np.int64]

    def as_dict(self) -> dict[str, Any]:
        """What a machine reads."""
        return {
            "classes": dict(zip(self.classes, self.counts, strict=True)),
            "accuracy": self.accuracy,
            "accuracy_error": self.accuracy_error,
            "accuracy_by_chance": 1 / len(self.classes),
            "fisher_ratios": self.fisher.tolist(),
            "loadings": self.loadings,
        }


def discriminate(
    files: Sequence[str | Path],
    output: str | Path,
    *,
    by: By = "file",
    on: On = "observables",
    showers: int = 20_000,
    mesh: str | Detector | None = None,
    force: bool = False,
) -> Discriminants:
    r"""Find the linear discriminants of classes of showers, and write them with pictures into a folder.

    The first discriminant is the direction w of the features in which the classes are furthest apart for their width,
    the largest Fisher's ratio (w^T S_B w) / (w^T S_W w), with the covariances S_B between and S_W within classes; the
    others follow in order. S_W is shrunk (Ledoit and Wolf). Accuracy and ratio are those of showers that were held out,
    in five folds.

    Args:
        files: showers files.
        output: the folder to make.
        by: what makes a class: the ``file`` (such as generated and true showers), the ``particle``, the ``detector``,
            or the incident ``energy``, in three classes of as many showers.
        on: ``observables``, those of distances between samples and energies relative to the incident one, or
            ``voxels``: their 64 first principal components, of all files together.
        showers: use the first so many of each file.
        mesh: detector or its name, for plain CaloChallenge files.
        force: replace an existing analysis.

    Raises:
        SettingsError: there is one class only, or one has fewer than 20 showers.
        GeometryError: the files do not have the same features.
        FileFormatError: a file is damaged.
        OutputError: the folder exists, or cannot be written.

    Source: Fisher, Annals of Eugenics 7 (1936) 179; Ledoit and Wolf, J. Multivariate Anal. 88 (2004) 365.

    Example:
        >>> import tempfile
        >>> from fastv.sample import sample_path
        >>> folder = Path(tempfile.mkdtemp()) / "lda"
        >>> found = discriminate([sample_path("test")], folder, by="energy", showers=300)
        >>> len(found.classes), bool(found.accuracy > 0.9)
        (3, True)
    """
    if by not in get_args(By):
        raise SettingsError(unknown("class", str(by), get_args(By)))
    if on not in get_args(On):
        raise SettingsError(unknown("kind of features", str(on), get_args(On)))
    if showers < LEAST:
        msg = f"`showers` must be at least {LEAST}, got {showers}"
        raise SettingsError(msg)
    check_free(output, force=force, kind="analysis")
    paths = [Path(path) for path in ([files] if isinstance(files, str | Path) else files)]
    for number, path in enumerate(paths):
        if path.resolve() in [earlier.resolve() for earlier in paths[:number]]:
            # A shower whose copy is of another class would be assigned to that one: an accuracy below chance.
            msg = f"{path} is given twice; give each file once"
            raise SettingsError(msg)
    with ExitStack() as stack:
        opened = [stack.enter_context(FirstOfFile(path, mesh, showers=showers, parameter="mesh")) for path in paths]
        labels, classes = _classes(opened, by)
        names, features = _features(opened, on, with_energy=by != "energy")
    found = _discriminants(names, features, labels, classes)
    told = {"files": [path.name for path in paths], "by": by, "on": on, **found.as_dict()}
    with written_whole(output, force=force, kind="analysis") as folder:
        folder.mkdir()
        text = json.dumps(told, indent=1, allow_nan=False)
        (folder / "discriminants.json").write_text(f"{text}\n", encoding="utf-8")
        write_picture(folder / "discriminants.png", class_picture(found.projections, found.labels, found.classes))
        write_picture(folder / "loadings.png", loading_picture(found.loadings))
    return found


def names_of(files: Sequence[FirstOfFile]) -> tuple[str, ...]:
    """What files are called in tables and pictures: their names without ending, with a number if several share one."""
    stems = [file.path.stem for file in files]
    return tuple(stem if stems.count(stem) == 1 else f"{stem} ({n + 1})" for n, stem in enumerate(stems))


def check_same_cells(files: Sequence[FirstOfFile]) -> None:
    """Check that the showers of all files have the same features.

    Raises:
        GeometryError: two differ in their cells.
    """
    first = files[0]
    for file in files[1:]:
        if feature_names(file.mesh) != feature_names(first.mesh) or file.mesh.n_voxels != first.mesh.n_voxels:
            what = "their showers do not have the same features"
            msg = f"{file.path} and {first.path} differ in the cells of their meshes: {what}"
            raise GeometryError(msg)


def _classes(files: Sequence[FirstOfFile], by: By) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """The class (N,) of each shower, and the names of the classes."""
    values: list[NDArray[Any]] = []
    for name, file in zip(names_of(files), files, strict=True):
        if by == "file":
            values.append(np.full(len(file), name, dtype=object))
        elif by == "detector":
            values.append(np.full(len(file), file.detector.name, dtype=object))
        elif by == "energy":
            values.append(file.incident_energies)
        else:
            particles = file.conditions.particle
            if particles is None:
                msg = (
                    f"{file.path}: the file does not tell the particle of each shower; take another class than particle"
                )
                raise SettingsError(msg)
            named = {code: CONDITIONS["particle"].named(code) for code in np.unique(particles).tolist()}
            values.append(np.array([named[code] for code in particles.tolist()], dtype=object))
    names: list[str] = []
    joined = np.concatenate(values) if values else np.empty(0)
    if by == "energy" and len(joined):
        edges = np.quantile(joined, np.arange(1, ENERGY_CLASSES) / ENERGY_CLASSES)
        labels = np.searchsorted(edges, joined, side="right")
        ends = [joined.min(), *edges, joined.max()]
        names = [f"{low / 1000:.3g} to {high / 1000:.3g} GeV" for low, high in pairwise(ends)]
        joined = np.array([names[label] for label in labels], dtype=object)
    # In the order of the files, and of energy.
    classes = tuple(sorted(set(names), key=names.index) if by == "energy" else dict.fromkeys(joined.tolist()))
    if len(classes) < 2:
        what = f"one, {classes[0]}" if classes else "none"
        msg = f"there must be at least two classes to tell apart, and by {by} there is {what}; give other files"
        raise SettingsError(msg)
    labels = np.array([classes.index(each) for each in joined.tolist()], dtype=np.int64)
    counts = np.bincount(labels, minlength=len(classes))
    if counts.min() < LEAST:
        few = classes[int(np.argmin(counts))]
        msg = f"the class {few!r} has {counted(counts.min(), 'shower')}; at least {LEAST} are needed"
        raise SettingsError(msg)
    return labels, classes


def _features(files: Sequence[FirstOfFile], on: On, *, with_energy: bool) -> tuple[tuple[str, ...], F64]:
    """Names of the features and their values (N, F)."""
    check_same_cells(files)
    first = files[0]
    if on == "observables":
        names = feature_names(first.mesh)
        parts = []
        for file in files:
            observables = observed(file)
            parts.append(tree_features(observables) if with_energy else feature_matrix(observables)[:, 1:])
        features = np.concatenate(parts)
        relative = [f"{name} / E_inc" for name in names if name.startswith(("log10 E_layer", "log10 E_tot"))]
        return (*names, *relative) if with_energy else names[1:], features
    n = min(VOXEL_COMPONENTS, first.mesh.n_voxels, sum(map(len, files)))
    # Of all files together: showers would be told apart by which file their own components were made of.
    basis = principal_components(files, n)[0].components_[:n].T.astype(np.float32)
    parts = [np.concatenate([roots(part) @ basis for part in file.batches()]) for file in files]
    features = np.concatenate(parts).astype(np.float64)
    names = tuple(f"component {number + 1}" for number in range(features.shape[1]))
    if with_energy:
        energies = np.log10(np.concatenate([file.incident_energies for file in files]))
        return ("log10 E_inc", *names), np.concatenate([energies[:, None], features], axis=1)
    return names, features


def _discriminants(
    names: Sequence[str], features: F64, labels: NDArray[np.int64], classes: tuple[str, ...]
) -> Discriminants:
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.model_selection import StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    varies = np.ptp(features, axis=0) > 0
    if not varies.any():
        msg = "all showers are alike: there is nothing that tells them apart"
        raise SettingsError(msg)
    features, names = features[:, varies], [name for name, each in zip(names, varies, strict=True) if each]
    k = min(len(classes) - 1, features.shape[1])
    projections, right = np.zeros((len(labels), k)), np.zeros(len(labels))
    ratios: list[F64] = []
    first = np.empty(0)
    for train, test in StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(features, labels):
        lda = LinearDiscriminantAnalysis(
            solver="eigen", shrinkage="auto", priors=np.full(len(classes), 1 / len(classes))
        )
        fitted = make_pipeline(StandardScaler(), lda).fit(features[train], labels[train])
        right[test] = fitted.predict(features[test]) == labels[test]
        projected = fitted.transform(features[test])[:, :k]
        # A fold may have found the opposite direction.
        directions = lda.scalings_[:, :k]
        first = directions if not ratios else first
        projections[test] = projected * np.where((directions * first).sum(axis=0) < 0, -1.0, 1.0)
        ratios.append(_fisher(projected, labels[test], len(classes)))
    shares = np.array([right[labels == each].mean() for each in range(len(classes))])
    counts = np.bincount(labels)
    error = float(np.sqrt((shares * (1 - shares) / counts).sum()) / len(classes))
    loadings = _loadings(names, features, projections[:, 0])
    return Discriminants(
        classes,
        tuple(counts.tolist()),
        float(shares.mean()),
        error,
        np.mean(ratios, axis=0),
        loadings,
        projections,
        labels,
    )


def _fisher(projected: F64, labels: NDArray[np.int64], classes: int) -> F64:
    """Variance of the means of classes over the mean variance within classes, of each column."""
    groups = [projected[labels == each] for each in range(classes)]
    between = np.var([group.mean(axis=0) for group in groups], axis=0)
    within = np.mean([group.var(axis=0) for group in groups], axis=0)
    ratio: F64 = between / np.maximum(within, 1e-30)
    return ratio


def _loadings(names: Sequence[str], features: F64, projection: F64) -> dict[str, float]:
    """Correlations of features with a projection, classes taken together; the largest first."""
    x = features - features.mean(axis=0)
    y = projection - projection.mean()
    found = (x.T @ y) / np.maximum(np.sqrt((x**2).sum(axis=0) * (y**2).sum()), 1e-30)
    order = np.argsort(-np.abs(found))[:_LOADINGS]
    return {names[place]: float(found[place]) for place in order}

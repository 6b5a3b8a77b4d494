"""Principal components of showers: explained variance, components as showers, projections."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastv.detector.detector import Detector
from fastv.errors import SettingsError
from fastv.evaluation.observables.observe import Observables, observe
from fastv.evaluation.observables.streaming import FirstOfFile
from fastv.progress import Bar
from fastv.representation.pictures import component_picture, projection_picture, variance_picture, write_picture
from fastv.showers import Showers
from fastv.storage.hdf5 import growing
from fastv.storage.kinds import KINDS
from fastv.storage.output import check_free, written_whole
from fastv.wording import counted

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

FIT_ROWS = 256
"""Showers of a step of the incremental decomposition; the cost of a step grows with their square."""
EXTRA = 16
"""Components that are followed in addition, so that those asked for are not cut off early."""


@dataclass(frozen=True)
class Components:
    """Principal components of showers.

    Attributes:
        mean: of the numbers, (V,).
        components: unit vectors (n, V), in the order of their variance.
        variances: of the scores (n,).
        shares: of the variance of all numbers (n,).
        projections: scores (N, n) of the showers.
        energies: incident energies (N,) in MeV.
        correlations: of each score with quantities of the shower, (n,) by name.
    """

    mean: F32
    components: F32
    variances: F64
    shares: F64
    projections: F32
    energies: F64
    correlations: dict[str, F64]

    def as_dict(self) -> dict[str, Any]:
        """What a machine reads."""
        return {
            "showers": len(self.energies),
            "components": len(self.components),
            "explained_variance_ratio": self.shares.tolist(),
            "cumulative": np.cumsum(self.shares).tolist(),
            "correlations": {name: np.round(values, 6).tolist() for name, values in self.correlations.items()},
        }


def roots(showers: Showers) -> F32:
    """The numbers (N, V) that are decomposed: roots of E_v / E_inc.

    The root makes the fluctuations of large and small energies alike; without it, components would be those of the few
    voxels in the core. The squares of a vector are a shower again.
    """
    numbers: F32 = np.sqrt(showers.energies / showers.incident_energies[:, None].astype(np.float32))
    return numbers


def pieces(files: Sequence[FirstOfFile], size: int) -> Iterator[F32]:
    """The numbers (n, V) of showers in order, at least ``size`` at a time if there are so many."""
    held: list[F32] = []
    left = sum(map(len, files))
    for showers in (part for file in files for part in file.batches(size)):
        held.append(roots(showers))
        left -= len(showers)
        # What would be left is too little for a step of its own.
        if sum(map(len, held)) >= size and (left >= size or not left):
            yield np.concatenate(held)
            held.clear()
    if held:
        yield np.concatenate(held)


def principal_components(files: Sequence[FirstOfFile], n: int) -> tuple[Any, F64]:
    """A fitted ``sklearn.decomposition.IncrementalPCA`` of n components of :func:`roots`, and their shares (n,).

    Memory does not grow with the number of showers.

    Raises:
        SettingsError: there are fewer showers than components, or they are all alike.
    """
    from sklearn.decomposition import IncrementalPCA

    total, voxels, path = sum(map(len, files)), files[0].mesh.n_voxels, files[0].path
    most = min(total, voxels)
    if not 1 <= n <= most:
        what = f"{counted(total, 'shower')} of {counted(voxels, 'voxel')}"
        msg = f"{path}: {counted(n, 'component')} of {what} cannot be had; 1 to {most} are possible, see `n=...`"
        raise SettingsError(msg)
    fitted = IncrementalPCA(n_components=min(n + EXTRA, most))
    with Bar(total=total, unit="shower", desc="components") as bar:
        for numbers in pieces(files, max(FIT_ROWS, n + EXTRA)):
            with np.errstate(invalid="ignore"):  # of showers that are all alike, which is told below
                fitted.partial_fit(numbers)
            bar.update(len(numbers))
    if not fitted.var_.max() > 1e-12:
        msg = f"{path}: all showers are alike: there are no components"
        raise SettingsError(msg)
    shares: F64 = fitted.explained_variance_ratio_[:n]
    return fitted, shares


def components(
    source: str | Path,
    output: str | Path,
    *,
    n: int = 16,
    showers: int | None = None,
    mesh: str | Detector | None = None,
    force: bool = False,
) -> Components:
    r"""Find the principal components of a file's showers, and write them with pictures into a folder.

    With the numbers x_v = sqrt(E_v / E_inc) of a shower, the components are the directions of largest variance:
    eigenvectors of the covariance of x, found incrementally, so that any number of showers can be decomposed.
    ``components.h5`` holds ``mean``, ``components``, ``variances`` and, a row a shower, ``projections``;
    ``components.json`` the shares of the variance; pictures show these, the first components as showers, and the
    projections.

    Args:
        source: the showers file.
        output: the folder to make.
        n: number of components.
        showers: use the first so many; all by default.
        mesh: detector or its name, for a plain CaloChallenge file.
        force: replace an existing analysis.

    Raises:
        SettingsError: there are fewer showers than components, they are all alike, or some are damaged.
        FileFormatError, GeometryError: the file is damaged, or its mesh is unknown.
        OutputError: the folder exists, or cannot be written.

    Source: Pearson, Phil. Mag. 2 (1901) 559; Ross et al., Int. J. Comput. Vision 77 (2008) 125 (incremental).

    Example:
        >>> import tempfile
        >>> from fastv.sample import sample_path
        >>> found = components(sample_path("test"), Path(tempfile.mkdtemp()) / "pca", n=3, showers=300)
        >>> found.components.shape, bool(found.shares[0] > found.shares[1] > found.shares[2])
        ((3, 6480), True)
    """
    check_free(output, force=force, kind="analysis")
    with FirstOfFile(source, mesh, showers=_number(showers), parameter="mesh") as file:
        fitted, shares = principal_components([file], n)
        projections = []
        with Bar(total=len(file), unit="shower", desc="projections") as bar:
            for part in file.batches():
                projections.append(fitted.transform(roots(part))[:, :n].astype(np.float32))
                bar.update(len(part))
        scores = np.concatenate(projections)
        correlations = {name: _correlations(scores, values) for name, values in _quantities(file).items()}
        found = Components(
            fitted.mean_.astype(np.float32),
            fitted.components_[:n].astype(np.float32),
            fitted.explained_variance_[:n],
            shares,
            scores,
            file.incident_energies,
            correlations,
        )
        detector, name = file.detector, file.path.name
    with written_whole(output, force=force, kind="analysis") as folder:
        folder.mkdir()
        _write(folder, found, detector, name)
    return found


def _number(showers: int | None) -> int:
    """How many showers to use at most.

    Raises:
        SettingsError: fewer than 2.
    """
    if showers is not None and showers < 2:
        msg = f"`showers` must be at least 2, got {showers}"
        raise SettingsError(msg)
    return 2**62 if showers is None else showers


def observed(file: FirstOfFile) -> Observables:
    """The observables of all showers of a file.

    Raises:
        SettingsError: some showers are damaged.
    """
    found = observe(file, label=f"observables of {file.path.name}")
    if len(found) != len(file):
        msg = f"{file.path}: some showers are damaged; `fastv.evaluate` counts them"
        raise SettingsError(msg)
    return found


def _quantities(file: FirstOfFile) -> dict[str, F64]:
    """Quantities (N,) of showers that components may stand for."""
    found = observed(file)
    return {
        "log incident energy": np.log(file.incident_energies),
        "visible fraction": found.total_energy / file.incident_energies,
        "longitudinal mean": found.longitudinal_mean,
        "lateral mean": found.lateral_mean,
    }


def _correlations(scores: F32, values: F64) -> F64:
    """Pearson correlation (n,) of scores (N, n) with values (N,); 0 where one of both is constant."""
    x, y = scores - scores.mean(axis=0, dtype=np.float64), values - values.mean()
    size = np.sqrt((x**2).sum(axis=0) * (y**2).sum())
    found: F64 = np.divide(x.T @ y, size, out=np.zeros(x.shape[1]), where=size > 0)
    return found


def _write(folder: Path, found: Components, detector: Detector, source: str) -> None:
    told = {"source": source, "detector": detector.name, **found.as_dict()}
    with growing(folder / "components.h5", {KINDS["components"].attribute: json.dumps({"source": source})}) as out:
        out.append("mean", found.mean)
        out.append("components", found.components)
        out.append("variances", found.variances)
        out.append("projections", found.projections)
        out.append("incident_energies", found.energies[:, None].astype(np.float32))
    (folder / "components.json").write_text(json.dumps(told, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    write_picture(folder / "variance.png", variance_picture(found.shares))
    deviations = np.sqrt(found.variances)
    write_picture(
        folder / "components.png",
        component_picture(detector.mesh, found.mean, found.components, deviations, found.shares),
    )
    write_picture(folder / "projections.png", projection_picture(found.projections, found.energies))

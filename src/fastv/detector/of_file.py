"""The detector whose showers a file holds: stored in it, named by the user, or found from the shape of the data."""

from __future__ import annotations

import itertools
from pathlib import Path

from fastv.detector.detector import PRESETS, Detector
from fastv.detector.mesh import ReadoutMesh
from fastv.errors import GeometryError
from fastv.wording import counted

_DATA_SET_1 = {368: ("photons", "binning_dataset_1_photons.xml"), 533: ("pions", "binning_dataset_1_pions.xml")}
"""Voxels of CaloChallenge data set 1, and the files that describe their meshes."""


def resolve_detector(
    path: Path,
    named: Detector | str | None,
    *,
    stored: Detector | None = None,
    cells: tuple[int, ...] | None = None,
    hint: str = "",
    parameter: str = "mesh",
) -> Detector:
    """The detector whose showers a file holds.

    It is the one stored in the file, or else the one that the user names, or else the only preset that has the right
    cells and ``hint`` in its name.

    Args:
        path: the file, for messages.
        named: the detector that the user names, as in :meth:`Detector.named`.
        stored: the detector that the file itself describes.
        cells: shape of one shower in the file, (V,) or (layer, alpha, r), if known.
        hint: part of the detector's name, if the format gives one.
        parameter: the caller's name for ``named``, for messages.

    Raises:
        GeometryError: no detector is given, it is unknown or ambiguous, or its mesh does not fit the file.

    Example:
        >>> resolve_detector(Path("a.h5"), None, cells=(45, 50, 18), hint="SiW").name
        'par04-siw-fine'
        >>> resolve_detector(Path("a.h5"), None, cells=(7,))
        Traceback (most recent call last):
        fastv.errors.GeometryError: a.h5 does not name its detector; name it with `mesh` (no preset has 7 voxels; \
a detector FILE.yaml or a binning FILE.xml describes a mesh)
    """
    given = Detector.named(named) if isinstance(named, str) else named
    if stored and given and stored.mesh != given.mesh:
        msg = f"{path}: the file is of {stored.name}, whose mesh is not that of {given.name}"
        raise GeometryError(msg)
    detector = stored or given
    if detector is None:
        fitting = [one for one in PRESETS.values() if cells is None or _fits(one.mesh, cells)]
        meant = [one for one in fitting if hint and hint.lower() in one.name]
        if len(meant) == 1:
            return meant[0]
        names = " or ".join(one.name for one in meant or fitting)
        known = names if cells is None else f"{_words(cells)}: {names}" if names else _other(cells)
        msg = f"{path} does not name its detector; name it with `{parameter}` ({known})"
        raise GeometryError(msg)
    if cells is not None and not _fits(detector.mesh, cells):
        own = (detector.mesh.n_voxels,) if len(cells) == 1 else detector.mesh.shape
        order = axes_that_fit(cells[::-1], detector.mesh)
        reason = f" (name the order of its axes with `axes='{order}'`)" if order else ""
        msg = f"{path}: a shower has {_words(cells)}{reason}; the mesh of {detector.name} has {_words(own)}"
        raise GeometryError(msg)
    return detector


def axes_that_fit(shape: tuple[int, ...], mesh: ReadoutMesh) -> str | None:
    """An order of axes in which a shower of three axes fits a mesh, or None.

    Example:
        >>> axes_that_fit((45, 16, 9), PRESETS["par04-siw"].mesh)
        'layer,alpha,r'
    """
    if len(shape) != 3 or not mesh.is_regular:
        return None
    sizes = dict(zip(("layer", "alpha", "r"), mesh.shape, strict=True))
    orders = itertools.permutations(sizes)
    return next((",".join(axes) for axes in orders if tuple(sizes[axis] for axis in axes) == tuple(shape)), None)


def _fits(mesh: ReadoutMesh, cells: tuple[int, ...]) -> bool:
    if len(cells) == 1:
        return cells == (mesh.n_voxels,)
    return mesh.is_regular and mesh.shape == cells


def _other(cells: tuple[int, ...]) -> str:
    known = _DATA_SET_1.get(cells[0]) if len(cells) == 1 else None
    of = f"of CaloChallenge data set 1, {known[0]}: its binning {known[1]}" if known else "a binning FILE.xml"
    if known:
        return f"{_words(cells)} are those {of}"
    turned = ((axes_that_fit(cells[::-1], one.mesh), one.name) for one in PRESETS.values())
    order, name = next(((axes, name) for axes, name in turned if axes), ("", ""))
    hint = f"; {name} has them in the order `axes='{order}'`" if order else ""
    return f"no preset has {_words(cells)}{hint}; a detector FILE.yaml or {of} describes a mesh"


def _words(cells: tuple[int, ...]) -> str:
    if len(cells) == 1:
        return counted(cells[0], "voxel")
    return f"r x alpha x z = {' x '.join(map(str, cells[::-1]))} cells"

"""LEMURS data sets (arXiv 2509.05108): Par04's HDF5 with both angles, on the grid (N, 9, 16, 45) of (r, alpha, z).

``incident_energy``, ``incident_theta``, ``incident_phi`` (N,), in MeV and rad; ``showers`` of visible energy in MeV.
Five detectors share the grid, with cells of different sizes; a file does not name its detector.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastv.errors import GeometryError, OutputError
from fastv.formats import par04_h5
from fastv.formats.contract import Asked, Layout, Plan, Reader, Writer
from fastv.showers import Showers

SHAPE = (45, 16, 9)
"""(layer, alpha, r) of every shower of LEMURS."""


def recognises(layout: Layout) -> bool:
    """Whether a file has showers on the grid of LEMURS and both angles."""
    shapes = [layout.items[name].shape for name in par04_h5.SPELLINGS["showers"] if name in layout.items]
    return any(shape[1:] == SHAPE[::-1] for shape in shapes) and all(
        any(name in layout.items for name in par04_h5.SPELLINGS[angle]) for angle in ("theta", "phi")
    )


def read(path: Path, asked: Asked) -> Reader:
    """Open a file for reading; see :class:`fastv.formats.par04_h5.GridReader`."""
    return par04_h5.GridReader(path, asked, angles=True)


class _LemursWriter:
    """Writer that refuses showers without angles, which readers of LEMURS need."""

    not_kept: tuple[str, ...] = ()

    def __init__(self, write: Writer) -> None:
        self._write = write

    def __call__(self, showers: Showers) -> None:
        for angle in ("theta", "phi"):
            if getattr(showers, angle) is None:
                msg = f"lemurs needs {angle} for every shower, and the input has none; give `{angle}`, as in 90deg"
                raise OutputError(msg)
        self._write(showers)


@contextmanager
def written(path: Path, plan: Plan) -> Iterator[Writer]:
    """Write a file.

    Raises:
        GeometryError: the mesh is not the grid of LEMURS.
        OutputError: the output exists, the showers have no angles, or the disk is full.
    """
    mesh = plan.detector.mesh
    if not mesh.is_regular or mesh.shape != SHAPE:
        msg = f"lemurs needs 9 x 16 x 45 cells (r, alpha, z), got {mesh.describe()}; par04-h5 stores any regular mesh"
        raise GeometryError(msg)
    with par04_h5.written(path, plan, "lemurs") as write:
        yield _LemursWriter(write)

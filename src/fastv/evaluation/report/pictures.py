"""Pictures of individual showers, full simulation and generated side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from numpy.typing import NDArray

from fastv.detector.detector import Detector
from fastv.errors import GeometryError
from fastv.evaluation.report.labels import literal
from fastv.evaluation.report.style import new_figure, paper_style
from fastv.showers import Showers, ShowersFile


def shower_gallery(
    reference: str | Path | Showers,
    generated: str | Path | Showers,
    *,
    energies: tuple[float, ...] = (5e3, 5e4, 5e5),
    mesh: str | Detector | None = None,
    labels: tuple[str, str] = ("Geant4", "FastV"),
) -> Figure:
    """A few showers in 3D: the reference in the top row, generated ones of the same incident energy below.

    Each point is a voxel above threshold at its centre, its colour the voxel energy on one logarithmic scale a column.

    Args:
        reference, generated: showers files or showers in memory.
        energies: incident energies in MeV, one column each; the nearest shower of the reference is shown, and the
            generated shower nearest to that one.
        mesh: detector or its preset's name, for plain CaloChallenge files.
        labels: names of the rows.

    Raises:
        FileFormatError: a file is missing or damaged.
        GeometryError: the samples have different meshes, or no depths.

    Example:
        >>> from fastv.sample import sample_path
        >>> figure = shower_gallery(sample_path("test"), sample_path("train"), energies=(5e4,))
        >>> len(figure.axes)
        3
    """
    rows = _pick(reference, generated, energies, mesh)
    detector = rows[0].detector
    with paper_style():
        figure = new_figure(4.2 * len(energies), 7.4)
        width = 0.97 / len(energies)
        for column in range(len(energies)):
            voxels = [row.energies[column].astype(np.float64) for row in rows]
            top = max(float(voxels[0].max()), 100 * detector.threshold, 1e-2)
            norm = LogNorm(top * 1e-4, top)
            for i, (row, values) in enumerate(zip(rows, voxels, strict=True)):
                axes = figure.add_axes((0.01 + column * width, 0.52 - 0.44 * i, width, 0.46), projection="3d")
                _draw(axes, values, detector, norm)
                energy = row.incident_energies[column] / 1000
                axes.set_title(f"{literal(labels[i])}, {energy:.3g} GeV", y=0.93)
            bar = figure.add_axes((0.01 + (column + 0.15) * width, 0.065, 0.7 * width, 0.014))
            figure.colorbar(ScalarMappable(norm, "plasma_r"), cax=bar, orientation="horizontal")
            bar.set_xlabel("voxel energy [MeV]", loc="center", fontsize=11, labelpad=1)
            bar.tick_params(labelsize=10)
            bar.minorticks_off()
    return figure


def _draw(axes: Any, energies: NDArray[np.float64], detector: Detector, norm: LogNorm) -> None:
    mesh = detector.mesh
    order = np.flatnonzero(energies >= max(detector.threshold, 1e-3))
    order = order[np.argsort(energies[order])]  # the most energetic on top
    x, y, z = mesh.voxel_centres[order].T
    strength = np.clip(np.asarray(norm(energies[order])), 0, 1)
    colours = matplotlib.colormaps["plasma_r"](strength)
    colours[:, 3] = 0.1 + 0.9 * strength
    axes.patch.set_visible(False)  # it would cover the labels of the row above
    axes.scatter(z, x, y, c=colours, s=3 + 40 * strength**2, linewidths=0, depthshade=False)
    reach = max(block.r_edges[-1] for block in mesh.blocks)
    depth = float(mesh.layer_z[-1])
    axes.set_xlim(0, depth)
    axes.set_ylim(-reach, reach)
    axes.set_zlim(-reach, reach)
    axes.set_box_aspect((1.7, 1, 1), zoom=1.06)
    axes.view_init(elev=18, azim=-62)
    axes.set_xlabel("depth [mm]", fontsize=10, labelpad=4, loc="center")
    axes.set_ylabel("x [mm]", fontsize=10, labelpad=0, loc="center")
    axes.set_zlabel("y [mm]", fontsize=10, labelpad=-4)
    axes.tick_params(labelsize=8, pad=-1)
    axes.locator_params(nbins=4)
    for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
        axis.set_pane_color((1, 1, 1, 0))
        axis.line.set_color("#999999")
        axis.set_minor_locator(NullLocator())
    axes.grid(visible=False)


def _pick(
    reference: str | Path | Showers, generated: str | Path | Showers, energies: tuple[float, ...], mesh: Any
) -> tuple[Showers, Showers]:
    first = _nearest(reference, np.asarray(energies), mesh)
    second = _nearest(generated, first.incident_energies, mesh)
    if first.detector.mesh != second.detector.mesh:
        msg = f"the samples have different meshes: {first.detector.name} and {second.detector.name}"
        raise GeometryError(msg)
    return first, second


def _nearest(sample: str | Path | Showers, energies: NDArray[np.float64], mesh: Any) -> Showers:
    if isinstance(sample, Showers):
        distance = np.abs(np.log(sample.incident_energies[:, None] / energies))
        return sample[distance.argmin(axis=0)]
    with ShowersFile(sample, mesh, parameter="mesh") as file:
        rows = np.abs(np.log(file.incident_energies[:, None] / energies)).argmin(axis=0)
        # Files are read by sorted unique indices.
        unique, back = np.unique(rows, return_inverse=True)
        return file[unique][back]

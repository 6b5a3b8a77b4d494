"""What is lost of showers by codes of several sizes, of principal components and of autoencoders; JSON and a picture.

    python benchmarks/distortion.py -o DIR [--data FILE ...] [--judge FILE] [--sizes N ...] [--codes N ...] [--epochs N]
        [--showers N] [--mesh M]

Principal components are those of the roots of E_v / E_inc of the first of ``--data`` (the shipped training sample), for
each of ``--sizes``; the size 0 is the mean shower. ``autoencoder`` is trained on all of ``--data`` with each of
``--codes`` numbers, unless ``DIR`` has the model; an interrupted training goes on. Both are told the incident energy.
The first ``--showers`` of ``--judge`` (the shipped test sample) are reconstructed. Of energies E and reconstructed ones
E', relative to the visible energy, as means over showers with errors: ``voxels``, the sum over voxels of
(sqrt E - sqrt E')^2, ``rings`` and ``layers``, the same of the energies of all rings of cells, and of all layers.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastv.detector.mesh import ReadoutMesh
from fastv.evaluation.observables.streaming import FirstOfFile
from fastv.evaluation.report.style import (
    GENERATED_COLOUR,
    REFERENCE_COLOUR,
    TARGET_COLOUR,
    grid,
    paper_style,
    plain_logarithms,
)
from fastv.model import load
from fastv.representation.components import principal_components, roots
from fastv.representation.pictures import write_picture
from fastv.sample import sample_path
from fastv.showers import Showers, ShowersFile
from fastv.training.loop import train

Array = NDArray[Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--data", type=Path, nargs="+", default=[sample_path("train")])
    parser.add_argument("--judge", type=Path, default=sample_path("test"))
    parser.add_argument("--sizes", type=int, nargs="+", default=(0, 1, 2, 4, 8, 16, 32, 64, 128))
    parser.add_argument("--codes", type=int, nargs="*", default=(4, 16, 64))
    parser.add_argument("--epochs", type=int, help="in place of those of the preset")
    parser.add_argument("--showers", type=int, default=2000)
    parser.add_argument("--mesh", default="par04-siw")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    with ShowersFile(options.judge, options.mesh) as file:
        judge = file[: options.showers]
    judge = judge[judge.energies.sum(axis=1) > 0]
    results: dict[str, dict[int, Any]] = {"principal components": {}, "autoencoder": {}}
    with FirstOfFile(options.data[0], options.mesh, showers=2**62, parameter="mesh") as file:
        fitted, _ = principal_components([file], max(1, *options.sizes))
    x = roots(judge) - fitted.mean_
    for size in options.sizes:
        basis = fitted.components_[:size]
        back = np.clip((x @ basis.T) @ basis + fitted.mean_, 0, None) ** 2 * judge.incident_energies[:, None]
        results["principal components"][size] = lost(judge, back)
    for size in options.codes:
        folder = options.output / f"autoencoder-{size}"
        if not folder.exists():
            settings: dict[str, Any] = {"model.code": size, "model.density_components": 1}
            if options.epochs is not None:
                settings["training.epochs"] = options.epochs
            train("autoencoder", options.data, folder, mesh=options.mesh, settings=settings, resume=True)
        results["autoencoder"][size] = lost(judge, load(folder).reconstruct(judge).energies)
    told = {"judge": options.judge.name, "showers": len(judge), "lost": results}
    (options.output / "distortion.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    draw(options.output / "distortion.png", results)
    print(json.dumps(told, indent=1))


def lost(showers: Showers, back: Array) -> dict[str, float]:
    """Means over showers of what is lost, with their errors."""
    mesh = showers.detector.mesh
    sums: dict[str, Callable[[Array], Array]] = {
        "voxels": lambda energies: energies,
        "rings": lambda energies: of_rings(mesh, energies),
        "layers": lambda energies: np.add.reduceat(energies, mesh.layer_boundaries[:-1], axis=1),
    }
    found: dict[str, float] = {}
    visible = showers.energies.sum(axis=1, dtype=np.float64)
    for name, summed in sums.items():
        rest = np.sqrt(summed(showers.energies)) - np.sqrt(summed(back))
        each = (rest**2).sum(axis=1, dtype=np.float64) / visible
        found |= {name: float(each.mean()), f"{name}_error": float(each.std() / len(each) ** 0.5)}
    return {name: round(value, 6) for name, value in found.items()}


def of_rings(mesh: ReadoutMesh, energies: Array) -> Array:
    """Energies (N, rings of all layers) of voxels (N, V)."""
    parts, start = [], 0
    for block in mesh.blocks:
        rings = len(block.r_edges) - 1
        stop = start + block.layers * block.alpha_cells * rings
        cells = energies[:, start:stop].reshape(len(energies), block.layers, block.alpha_cells, rings)
        parts.append(cells.sum(axis=2).reshape(len(energies), -1))
        start = stop
    return np.concatenate(parts, axis=1)


def draw(path: Path, results: dict[str, dict[int, Any]]) -> None:
    """What is lost against the size of the code, a panel for voxels, rings and layers."""
    colours = {"principal components": TARGET_COLOUR, "autoencoder": GENERATED_COLOUR}
    with paper_style():
        figure, cells = grid(1, 3, 5.2, 4.2)
        for place, what in enumerate(("voxels", "rings", "layers")):
            axes = figure.add_subplot(cells[0, place])
            for name, of_sizes in results.items():
                sizes = [size for size in of_sizes if size]
                values, errors = ([of_sizes[size][key] for size in sizes] for key in (what, f"{what}_error"))
                axes.errorbar(sizes, values, errors, fmt="o-", ms=4, color=colours[name], label=name)
            if 0 in results["principal components"]:
                mean = results["principal components"][0][what]
                axes.axhline(mean, ls="--", color=REFERENCE_COLOUR, label="mean shower")
            axes.set_xscale("log")
            plain_logarithms(axes.xaxis)
            axes.set_ylim(bottom=0)
            axes.set_title(what)
            axes.set_xlabel("numbers of the code")
            axes.set_ylabel("lost, relative")
            if place == 0:
                axes.legend(fontsize=10, loc="lower left")
    write_picture(path, figure)


if __name__ == "__main__":
    main()

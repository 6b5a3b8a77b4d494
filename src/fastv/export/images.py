"""Nodes that generate the mirror images of showers inside a graph, as :class:`fastv.mirror.Mirror` does outside."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from fastv.export.nodes import INT, Nodes
from fastv.mirror import BEYOND


def folded(
    nodes: Nodes, table: str, column: int, width: int, *, unit: float = 1.0, output: str | None = None
) -> tuple[str, str]:
    """A table of numbers with theta of the showers of which others are the images, and which showers are images.

    Args:
        nodes: they are added to these.
        table: numbers (N, ``width``), limited to the domain.
        column: that of theta.
        width: number of columns.
        unit: of theta, in rad.
        output: name of the new table.

    Returns:
        The table, and 1 for each image, 0 for each other shower (N,).
    """
    # The whole table is computed with: it is small, and each operator that takes columns apart needs a microsecond.
    limit, turn, rest = np.full(width, np.finfo(np.float32).max), np.zeros(width), np.zeros(width)
    limit[column] = BEYOND / unit
    # The angle of half a turn has more digits than single precision; the difference to its first ones is exact.
    turn[column] = np.float32(math.pi / unit)
    rest[column] = math.pi / unit - turn[column]
    beyond = nodes("Greater", table, nodes.constant(limit[None]))
    known = nodes("Add", nodes("Sub", nodes.constant(turn[None]), table), nodes.constant(rest[None]))
    images = nodes("Cast", nodes("Gather", beyond, nodes.integers(column), axis=1), to=INT)
    return nodes("Where", beyond, known, table, output=output), images


def ordered(
    nodes: Nodes,
    rows: str,
    images: str,
    order: NDArray[np.int64],
    cells: NDArray[np.int64],
    *,
    output: str | None = None,
) -> str:
    """Rows of each shower in an order, in which those of an image are those of other places.

    The order is chosen, not the numbers: onnxruntime's ``Where`` takes four times as long for all voxels of a shower.

    Args:
        nodes: they are added to these.
        rows: (N, K, W).
        images: from :func:`folded`, which of the N showers are images; "" if none is.
        order: numbers (...) of the rows of a shower.
        cells: the row whose content each row of an image has, at least (K,).
        output: name of the result.

    Returns:
        The rows (N, ..., W).
    """
    if not images:
        return nodes("Gather", rows, nodes.integers(order), axis=1, output=output)
    orders = nodes.integers(np.stack([order, cells[order]])[..., None])
    return nodes("GatherND", rows, nodes("Gather", orders, images, axis=0), batch_dims=1, output=output)


def reflected(nodes: Nodes, energies: str, images: str, cells: NDArray[np.int64]) -> str:
    """Energies (N, V) of showers, of which images have at each voxel the energy of another.

    Args:
        nodes: they are added to these.
        energies: as they are made, (N, V).
        images: from :func:`folded`, which of the N showers are images; "" if none is.
        cells: the voxel (V,) whose energy each voxel of an image has.
    """
    if not images:
        return energies
    # Voxels that stay side by side are moved together.
    starts = np.flatnonzero(np.diff(cells, prepend=-2) != 1)
    width = int(np.gcd.reduce([*starts, *cells[starts], len(cells)]))
    number = len(cells) // width
    moved = ordered(
        nodes, nodes.reshaped(energies, 0, number, width), images, np.arange(number), cells[::width] // width
    )
    return nodes.reshaped(moved, 0, len(cells))

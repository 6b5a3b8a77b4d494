"""Readout meshes, which divide a shower into voxels.

Voxel energies have the axes (N, layer, alpha, r) with r varying fastest, or are flattened to (N, V). Lengths are in mm,
angles in rad.
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from functools import cached_property
from pathlib import Path
from typing import Annotated, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveInt, ValidationError, model_validator

from fastv.detector.binning import read_bin
from fastv.detector.quantities import Edge, Length
from fastv.errors import FileFormatError, GeometryError
from fastv.records import Frozen, first_problem, shortened
from fastv.wording import counted

MOST_LAYERS = 10_000
MOST_VOXELS = 10_000_000
"""Limits of a mesh, far above those of any detector: a damaged file must not ask for all memory."""


class LayerBlock(Frozen):
    """Consecutive layers that share one segmentation.

    Attributes:
        layers: number of layers.
        alpha_cells: cells around the shower axis in each layer.
        r_edges: increasing edges of the cells in r, mm.
        thickness: thickness of one layer along the shower axis in mm, or None if unknown.
        first_id: number of the first layer in its detector (CaloChallenge data set 1 skips numbers).

    Example:
        >>> LayerBlock(layers=2, alpha_cells=10, r_edges=(0.0, 2.0, 5.0)).r_cells
        2
    """

    layers: PositiveInt
    alpha_cells: PositiveInt
    r_edges: Annotated[tuple[Edge, ...], Field(min_length=2)]
    thickness: Length | None = None
    first_id: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _edges_rise(self) -> Self:
        edges = np.asarray(self.r_edges)
        if edges[0] < 0 or not np.all(np.isfinite(edges)) or np.any(np.diff(edges) <= 0):
            msg = f"r_edges must increase from a radius >= 0, got {list(self.r_edges)}"
            raise ValueError(msg)
        return self

    @property
    def r_cells(self) -> int:
        """Number of cells in r."""
        return len(self.r_edges) - 1


class ReadoutMesh(Frozen):
    """A cylindrical readout mesh around the shower axis.

    The mesh is a sequence of :class:`LayerBlock`; one built by :meth:`cylinder` has a single block. The first alpha
    cell starts at -pi. Voxels are ordered (layer, alpha, r) with r varying fastest.

    Example:
        >>> mesh = ReadoutMesh.cylinder(layers=45, alpha_cells=16, r_cells=9, layer_thickness=3.4, r_size=4.65)
        >>> mesh.shape, mesh.n_voxels
        ((45, 16, 9), 6480)
        >>> mesh.layer_slice(1)
        slice(144, 288, None)
    """

    blocks: Annotated[tuple[LayerBlock, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _fits_into_memory(self) -> Self:
        if self.n_layers > MOST_LAYERS or self.n_voxels > MOST_VOXELS:
            raise ValueError(_too_many(self.n_layers, self.n_voxels))
        return self

    @classmethod
    def cylinder(
        cls, *, layers: int, alpha_cells: int, r_cells: int, layer_thickness: float, r_size: float
    ) -> ReadoutMesh:
        """Build a regular mesh of equal cells.

        Args:
            layers: number of layers along the shower axis.
            alpha_cells: number of cells around the axis.
            r_cells: number of cells in r.
            layer_thickness: size of a cell along the axis, mm.
            r_size: size of a cell in r, mm.

        Raises:
            GeometryError: a number of cells is not a whole number above zero, or a size is not a finite number above
                zero.
        """
        for name, cells in {"layers": layers, "alpha_cells": alpha_cells, "r_cells": r_cells}.items():
            if isinstance(cells, bool) or not isinstance(cells, int | np.integer) or cells < 1:
                msg = f"{name} must be a whole number of at least 1, got {cells!r}"
                raise GeometryError(msg)
        if layers > MOST_LAYERS or int(layers) * int(alpha_cells) * int(r_cells) > MOST_VOXELS:
            raise GeometryError(_too_many(int(layers), int(layers) * int(alpha_cells) * int(r_cells)))
        for name, size in {"layer_thickness": layer_thickness, "r_size": r_size}.items():
            if not (np.isfinite(size) and size > 0):
                msg = f"{name} must be a length above zero in mm, got {size!r}"
                raise GeometryError(msg)
        edges = tuple(round(i * float(r_size), 9) for i in range(r_cells + 1))
        try:
            block = LayerBlock(
                layers=int(layers), alpha_cells=int(alpha_cells), r_edges=edges, thickness=float(layer_thickness)
            )
        except ValidationError as error:
            raise GeometryError(first_problem(error)) from error
        return cls(blocks=(block,))

    @classmethod
    def from_binning_xml(cls, path: str | Path, particle: str | None = None) -> ReadoutMesh:
        """Read the mesh of one particle from a CaloChallenge binning file (XML).

        Layers with a single r edge have no voxels and are left out; the other layers keep their numbers. Layer
        thicknesses are not in the file and stay unknown.

        Args:
            path: the XML file.
            particle: which ``<Bin>``: its name, its PDG code or particle (``22``, ``photon``), its range of eta
                (``eta=20-25``, as in the file), several of these joined by colons, or its place (``bin=2``). It may be
                omitted if the file has only one.

        Raises:
            FileFormatError: the file is missing or not a valid binning.
            GeometryError: no bin of the file is selected, or several; the message lists what selects each.
        """
        path = Path(path)
        particle, bin_ = read_bin(path, particle)
        blocks: list[LayerBlock] = []
        layer: ET.Element | None = None
        try:
            for layer in bin_.iter("Layer"):
                edges = tuple(float(edge) for edge in layer.attrib["r_edges"].split(","))
                if len(edges) < 2:
                    continue
                blocks.append(
                    LayerBlock(
                        layers=1,
                        alpha_cells=int(layer.attrib["n_bin_alpha"]),
                        r_edges=edges,
                        first_id=int(layer.attrib["id"]),
                    )
                )
            return cls(blocks=_join_equal_blocks(blocks))
        except (KeyError, ValueError) as error:
            if isinstance(error, KeyError):
                reason = f"attribute {error} is missing"
            elif isinstance(error, ValidationError):
                reason = first_problem(error)
            else:
                reason = str(error)
            layer_id = "the first" if layer is None else layer.get("id", "without id")
            msg = f"{path}: bad layer {layer_id} in the binning of {particle!r}: {reason}"
            raise FileFormatError(msg) from error

    @cached_property
    def layers(self) -> tuple[LayerBlock, ...]:
        """One single-layer block per layer, in depth order."""
        return tuple(
            block.model_copy(update={"layers": 1, "first_id": block.first_id + i})
            for block in self.blocks
            for i in range(block.layers)
        )

    @property
    def n_layers(self) -> int:
        """Number of layers."""
        return sum(block.layers for block in self.blocks)

    @property
    def n_voxels(self) -> int:
        """Number of voxels V."""
        return sum(block.layers * block.alpha_cells * block.r_cells for block in self.blocks)

    @property
    def is_regular(self) -> bool:
        """Whether all layers share one segmentation, so that showers are an array (N, layer, alpha, r)."""
        first = self.blocks[0]
        return all((b.alpha_cells, b.r_edges) == (first.alpha_cells, first.r_edges) for b in self.blocks)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Numbers of cells (layer, alpha, r) of a regular mesh.

        Raises:
            GeometryError: the layers differ in their segmentation.
        """
        if not self.is_regular:
            msg = "this mesh has layers of different segmentation and no common (layer, alpha, r) shape"
            raise GeometryError(msg)
        return self.n_layers, self.blocks[0].alpha_cells, self.blocks[0].r_cells

    @cached_property
    def grids(self) -> tuple[tuple[slice, tuple[int, int, int]], ...]:
        """Consecutive layers with the same numbers of cells: their voxels, and the shape (layer, alpha, r) of these.

        Example:
            >>> front = LayerBlock(layers=2, alpha_cells=4, r_edges=(0, 1, 2))
            >>> ReadoutMesh(blocks=(front, LayerBlock(layers=1, alpha_cells=1, r_edges=(0, 5), first_id=2))).grids
            ((slice(0, 16, None), (2, 4, 2)), (slice(16, 17, None), (1, 1, 1)))
        """
        shapes: list[tuple[int, int, int]] = []
        for block in self.blocks:
            layers, cells = block.layers, (block.alpha_cells, block.r_cells)
            if shapes and shapes[-1][1:] == cells:
                layers += shapes.pop()[0]
            shapes.append((layers, *cells))
        ends = np.cumsum([math.prod(shape) for shape in shapes]).tolist()
        return tuple((slice(end - math.prod(shape), end), shape) for end, shape in zip(ends, shapes, strict=True))

    @cached_property
    def turns(self) -> int:
        """By how many different angles the mesh can be rotated around its axis, so that cells fall on cells.

        The greatest common divisor of the numbers of cells in alpha; a layer without cells in alpha fits any angle.

        Example:
            >>> cells = [LayerBlock(layers=1, alpha_cells=n, r_edges=(0, 1), first_id=n) for n in (1, 8, 12)]
            >>> ReadoutMesh(blocks=tuple(cells)).turns
            4
        """
        return math.gcd(*(block.alpha_cells for block in self.blocks if block.alpha_cells > 1)) or 1

    def describe(self) -> str:
        """A short description of the mesh.

        Example:
            >>> ReadoutMesh.cylinder(layers=4, alpha_cells=1, r_cells=2, layer_thickness=3.4, r_size=5).describe()
            '4 layers x 1 alpha x 2 r, 8 voxels'
        """
        if self.is_regular:
            layers, alpha, r = self.shape
            return f"{counted(layers, 'layer')} x {alpha} alpha x {r} r, {counted(self.n_voxels, 'voxel')}"
        return f"{counted(self.n_layers, 'layer')} of different segmentation, {counted(self.n_voxels, 'voxel')}"

    @cached_property
    def layer_boundaries(self) -> NDArray[np.int64]:
        """Index of the first voxel of each layer, followed by V, shape (n_layers + 1,)."""
        sizes = [layer.alpha_cells * layer.r_cells for layer in self.layers]
        return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)

    def layer_slice(self, layer: int) -> slice:
        """The voxels of one layer as a slice of the flattened array; a negative index counts from the last layer.

        Raises:
            IndexError: the mesh has no such layer.
        """
        layer = range(self.n_layers)[layer]
        return slice(int(self.layer_boundaries[layer]), int(self.layer_boundaries[layer + 1]))

    @cached_property
    def layer_ids(self) -> tuple[int, ...]:
        """The number of each layer in its detector, n_layers of them."""
        return tuple(layer.first_id for layer in self.layers)

    @cached_property
    def voxel_layer(self) -> NDArray[np.int64]:
        """Index of the layer of each voxel, shape (V,)."""
        return np.repeat(np.arange(self.n_layers), np.diff(self.layer_boundaries))

    @cached_property
    def voxel_r(self) -> NDArray[np.float64]:
        """Radius of each voxel centre, midway between the edges of the voxel, in mm, shape (V,)."""
        return np.concatenate([np.tile(_middles(layer.r_edges), layer.alpha_cells) for layer in self.layers])

    @cached_property
    def voxel_alpha(self) -> NDArray[np.float64]:
        """Azimuth alpha of each voxel centre in rad, shape (V,); the first cell starts at -pi."""
        return np.concatenate(
            [
                np.repeat(_middles(np.linspace(-np.pi, np.pi, layer.alpha_cells + 1)), layer.r_cells)
                for layer in self.layers
            ]
        )

    @cached_property
    def layer_z(self) -> NDArray[np.float64]:
        """Depth of the middle of each layer in mm, shape (n_layers,); index + 1/2 if thicknesses are unknown."""
        thickness = [layer.thickness for layer in self.layers]
        known = [1.0 if t is None else t for t in thickness] if None in thickness else thickness
        ends = np.cumsum(np.asarray(known, dtype=np.float64))
        return ends - np.asarray(known, dtype=np.float64) / 2

    @cached_property
    def voxel_centres(self) -> NDArray[np.float64]:
        """Cartesian voxel centres in mm, shape (V, 3): x = r cos(alpha), y = r sin(alpha), z along the axis."""
        x = self.voxel_r * np.cos(self.voxel_alpha)
        y = self.voxel_r * np.sin(self.voxel_alpha)
        return np.stack([x, y, self.layer_z[self.voxel_layer]], axis=1)


def _too_many(layers: int, voxels: int) -> str:
    return (
        f"{shortened(layers)} layers and {shortened(voxels)} voxels are too many; "
        f"a mesh has at most {MOST_LAYERS} layers and {MOST_VOXELS} voxels"
    )


def _middles(edges: tuple[float, ...] | NDArray[np.float64]) -> NDArray[np.float64]:
    array = np.asarray(edges, dtype=np.float64)
    return (array[1:] + array[:-1]) / 2


def _join_equal_blocks(blocks: list[LayerBlock]) -> tuple[LayerBlock, ...]:
    joined: list[LayerBlock] = []
    for block in blocks:
        if joined:
            last = joined[-1]
            expected = last.model_copy(update={"layers": 1, "first_id": last.first_id + last.layers})
            if block == expected:
                joined[-1] = last.model_copy(update={"layers": last.layers + 1})
                continue
        joined.append(block)
    return tuple(joined)

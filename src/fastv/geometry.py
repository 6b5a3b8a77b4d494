"""Detectors and the readout meshes that divide their showers into voxels.

A voxel array has the axes (N, layer, alpha, r), r fastest; flattened it is (N, V). Lengths are in mm, angles in rad,
energies in MeV.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import Field, PositiveInt, ValidationError, model_validator

from fastv.errors import FileFormatError, GeometryError
from fastv.stack import Frozen, PositiveFloat, Slab, SlabGroup, Stack


def first_problem(error: ValidationError) -> str:
    """The path to the first bad value and what is wrong with it, in one line.

    Example:
        >>> try:
        ...     Detector.model_validate({"name": "a", "mesh": {"blocks": [{"layers": 0}]}})
        ... except ValidationError as error:
        ...     print(first_problem(error))
        mesh.blocks.0.layers: Input should be greater than 0
    """
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    text = str(first["msg"]).removeprefix("Value error, ")
    return f"{where}: {text}" if where else text


class LayerBlock(Frozen):
    """A run of consecutive layers that share one segmentation.

    Attributes:
        layers: number of layers.
        alpha_cells: cells around the shower axis in each layer.
        r_edges: rising edges of the cells in r, mm.
        thickness: depth of one layer along the shower axis, mm, or None where a file does not tell it.
        first_id: number of the first layer in its detector (CaloChallenge data set 1 skips numbers).

    Example:
        >>> LayerBlock(layers=2, alpha_cells=10, r_edges=(0.0, 2.0, 5.0)).r_cells
        2
    """

    layers: PositiveInt
    alpha_cells: PositiveInt
    r_edges: Annotated[tuple[float, ...], Field(min_length=2)]
    thickness: PositiveFloat | None = None
    first_id: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _edges_rise(self) -> Self:
        edges = np.asarray(self.r_edges)
        if edges[0] < 0 or not np.all(np.isfinite(edges)) or np.any(np.diff(edges) <= 0):
            msg = f"r_edges must rise from a radius >= 0, got {list(self.r_edges)}"
            raise ValueError(msg)
        return self

    @property
    def r_cells(self) -> int:
        """Number of cells in r."""
        return len(self.r_edges) - 1


class ReadoutMesh(Frozen):
    """A cylindrical readout mesh around the shower axis.

    The mesh is a list of :class:`LayerBlock`; a regular mesh has one. Alpha slice 0 starts at -pi. Voxels are ordered
    (layer, alpha, r), r fastest.

    Example:
        >>> mesh = ReadoutMesh.cylinder(layers=45, alpha_cells=16, r_cells=9, layer_thickness=3.4, r_size=4.65)
        >>> mesh.shape, mesh.n_voxels
        ((45, 16, 9), 6480)
        >>> mesh.layer_slice(1)
        slice(144, 288, None)
    """

    blocks: Annotated[tuple[LayerBlock, ...], Field(min_length=1)]

    @classmethod
    def cylinder(
        cls, *, layers: int, alpha_cells: int, r_cells: int, layer_thickness: float, r_size: float
    ) -> ReadoutMesh:
        """Build a regular mesh from its numbers of cells and their sizes in mm.

        Raises:
            GeometryError: a number of cells is not a whole number above zero, or a size is not a finite number above
                zero.
        """
        for name, cells in {"layers": layers, "alpha_cells": alpha_cells, "r_cells": r_cells}.items():
            if isinstance(cells, bool) or not isinstance(cells, int | np.integer) or cells < 1:
                msg = f"{name} must be a whole number of at least 1, got {cells!r}"
                raise GeometryError(msg)
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
        """Read the mesh of one particle from a CaloChallenge binning XML.

        Layers with a single r edge have no voxels and are left out; their neighbours keep their ids. ``particle`` is
        the ``name`` of a ``<Bin>``; it may be omitted when the file has only one.

        Raises:
            FileFormatError: the file is missing or no valid binning.
            GeometryError: the particle is not in the file.
        """
        path = Path(path)
        try:
            root = ET.parse(path).getroot()
        except OSError as error:
            msg = f"{path}: cannot read the binning: {error.strerror or error}"
            raise FileFormatError(msg) from error
        except (ET.ParseError, ValueError, LookupError) as error:  # the last two: an unknown or wrong encoding
            msg = f"{path}: no valid XML ({error})"
            raise FileFormatError(msg) from error
        bins = {bin_.get("name", ""): bin_ for bin_ in root.iter("Bin")}
        if particle is None and len(bins) == 1:
            particle = next(iter(bins))
        if particle is None or particle not in bins:
            known = ", ".join(sorted(bins)) or "none"
            msg = f"{path}: no binning for particle {particle!r}; the file has: {known}"
            raise GeometryError(msg)
        blocks: list[LayerBlock] = []
        layer: ET.Element | None = None
        try:
            for layer in bins[particle].iter("Layer"):
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
        """(layer, alpha, r) of a regular mesh.

        Raises:
            GeometryError: the layers differ in their segmentation.
        """
        if not self.is_regular:
            msg = "this mesh has layers of different segmentation and no common (layer, alpha, r) shape"
            raise GeometryError(msg)
        return self.n_layers, self.blocks[0].alpha_cells, self.blocks[0].r_cells

    def describe(self) -> str:
        """The mesh in words.

        Example:
            >>> ReadoutMesh.cylinder(layers=4, alpha_cells=1, r_cells=2, layer_thickness=3.4, r_size=5).describe()
            '4 layers x 1 alpha x 2 r, 8 voxels'
        """
        if self.is_regular:
            layers, alpha, r = self.shape
            return f"{layers} layers x {alpha} alpha x {r} r, {self.n_voxels} voxels"
        return f"{self.n_layers} layers of different segmentation, {self.n_voxels} voxels"

    @cached_property
    def layer_boundaries(self) -> NDArray[np.int64]:
        """First voxel of each layer and V at the end, shape (n_layers + 1,)."""
        sizes = [layer.alpha_cells * layer.r_cells for layer in self.layers]
        return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)

    def layer_slice(self, layer: int) -> slice:
        """The voxels of one layer in the flattened array; a negative number counts from the last layer.

        Raises:
            IndexError: the mesh has no such layer.
        """
        layer = range(self.n_layers)[layer]
        return slice(int(self.layer_boundaries[layer]), int(self.layer_boundaries[layer + 1]))

    @cached_property
    def layer_ids(self) -> tuple[int, ...]:
        """The number of each layer in its detector."""
        return tuple(layer.first_id for layer in self.layers)

    @cached_property
    def voxel_layer(self) -> NDArray[np.int64]:
        """Index of the layer of each voxel, shape (V,)."""
        return np.repeat(np.arange(self.n_layers), np.diff(self.layer_boundaries))

    @cached_property
    def voxel_r(self) -> NDArray[np.float64]:
        """Radius of each voxel centre in mm, shape (V,): the middle of its edges."""
        return np.concatenate([np.tile(_middles(layer.r_edges), layer.alpha_cells) for layer in self.layers])

    @cached_property
    def voxel_alpha(self) -> NDArray[np.float64]:
        """Angle of each voxel centre in rad, shape (V,); slice 0 starts at -pi."""
        return np.concatenate(
            [
                np.repeat(_middles(np.linspace(-np.pi, np.pi, layer.alpha_cells + 1)), layer.r_cells)
                for layer in self.layers
            ]
        )

    @cached_property
    def layer_z(self) -> NDArray[np.float64]:
        """Depth of the middle of each layer in mm, shape (n_layers,); index + 1/2 where depths are unknown."""
        thickness = [layer.thickness for layer in self.layers]
        known = [1.0 if t is None else t for t in thickness] if None in thickness else thickness
        ends = np.cumsum(np.asarray(known, dtype=np.float64))
        return ends - np.asarray(known, dtype=np.float64) / 2

    @cached_property
    def voxel_centres(self) -> NDArray[np.float64]:
        """Cartesian centres (x, y, z) in mm, shape (V, 3): x = r cos(alpha), y = r sin(alpha), z along the axis."""
        x = self.voxel_r * np.cos(self.voxel_alpha)
        y = self.voxel_r * np.sin(self.voxel_alpha)
        return np.stack([x, y, self.layer_z[self.voxel_layer]], axis=1)


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


_OLD_STACK = ("absorber", "sensitive", "stack_layers", "inner_radius")
"""How files of format version 1 tell the stack: of repeated pairs of slabs in a barrel."""


class Detector(Frozen):
    """A calorimeter and how its showers are read out.

    ``energy_scale`` divides the visible energy before it is written (CaloChallenge uses 0.033 for Par04 SiW), so that
    voxel energies add up to about the incident energy. ``readout_threshold`` is visible energy in MeV: voxels below it
    read zero. ``stack`` tells the material; only full simulation needs it.

    Example:
        >>> detector = Detector.preset("par04-siw")
        >>> detector.mesh.n_voxels, round(detector.threshold, 5)
        (6480, 0.01515)
    """

    name: str
    description: str = ""
    mesh: ReadoutMesh
    energy_scale: PositiveFloat = 1.0
    readout_threshold: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    stack: Stack | None = None

    @model_validator(mode="before")
    @classmethod
    def _read_old_stack(cls, content: Any) -> Any:
        """Take the four fields of format version 1 for what they are."""
        if not isinstance(content, dict) or not any(name in content for name in _OLD_STACK):
            return content
        old = {name: content[name] for name in _OLD_STACK if content.get(name) is not None}
        rest = {name: value for name, value in content.items() if name not in _OLD_STACK}
        if not old:
            return rest
        if len(old) < len(_OLD_STACK) or "stack" in content:
            msg = f"{', '.join(old)}: a detector is described by 'stack' (format version 1: by {', '.join(_OLD_STACK)})"
            raise ValueError(msg)
        slabs = []
        for name, active in (("absorber", False), ("sensitive", True)):
            if not (isinstance(old[name], list | tuple) and len(old[name]) == 2):
                msg = f"{name} must be a material and its thickness in mm, got {old[name]!r}"
                raise ValueError(msg)
            slabs.append({"material": old[name][0], "thickness": old[name][1], "active": active})
        group = {"repeat": old["stack_layers"], "slabs": slabs}
        return {**rest, "stack": {"shape": "barrel", "inner_radius": old["inner_radius"], "groups": [group]}}

    @property
    def threshold(self) -> float:
        """Readout threshold in the units of the file: ``readout_threshold / energy_scale``, MeV."""
        return self.readout_threshold / self.energy_scale

    @classmethod
    def preset(cls, name: str) -> Detector:
        """A detector by name.

        Raises:
            GeometryError: the name is unknown; the message lists the known ones.
        """
        try:
            return PRESETS[name]
        except KeyError:
            known = ", ".join(PRESETS)
            msg = f"unknown detector or mesh {name!r}; known: {known}, a detector FILE.yaml or a binning FILE.xml"
            raise GeometryError(msg) from None

    @classmethod
    def named(cls, name: str) -> Detector:
        """A preset, a detector of one's own, or the mesh of a CaloChallenge binning.

        ``FILE.yaml`` is read by :meth:`from_yaml`; ``FILE.xml``, or ``FILE.xml:PARTICLE`` if it has several, is a
        binning. A binning tells neither the energy scale nor the threshold: they are 1 and 0.

        Raises:
            GeometryError: the name is unknown; the message lists the known ones; or a value in the file is not allowed.
            FileFormatError: the file is missing or damaged.
        """
        if name.endswith((".yaml", ".yml")):
            return cls.from_yaml(name)
        path, _, particle = name.partition(".xml")
        if not name.endswith(".xml") and not particle.startswith(":"):
            return cls.preset(name)
        mesh = ReadoutMesh.from_binning_xml(f"{path}.xml", particle[1:] or None)
        return cls(name=f"{Path(path).name}{particle}", description="mesh of a CaloChallenge binning", mesh=mesh)

    @classmethod
    def from_yaml(cls, path: str | Path) -> Detector:
        """A detector of one's own.

        The file holds the fields of this class. ``mesh`` may be given as the arguments of
        :meth:`ReadoutMesh.cylinder`; without ``name``, the detector is called after the file.

        Raises:
            FileFormatError: the file is missing or no valid YAML.
            GeometryError: a value is not allowed; the message gives the path to it.

        Example:
            >>> import tempfile
            >>> path = Path(tempfile.mkdtemp()) / "sandwich.yaml"
            >>> _ = path.write_text('''
            ... energy_scale: 0.13
            ... mesh: {layers: 20, alpha_cells: 8, r_cells: 10, layer_thickness: 6, r_size: 5}
            ... stack:
            ...   shape: planar
            ...   distance: 1000
            ...   groups:
            ...     - repeat: 20
            ...       slabs:
            ...         - {material: G4_Pb, thickness: 2}
            ...         - {material: G4_POLYSTYRENE, thickness: 4, active: true}
            ... ''')
            >>> Detector.from_yaml(path).stack.describe()
            'planar, front face at 1000 mm: 20 x (2 mm Pb + 4 mm POLYSTYRENE)'
        """
        path = Path(path)
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except OSError as error:
            msg = f"{path}: cannot read the detector: {error.strerror or error}"
            raise FileFormatError(msg) from error
        except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
            msg = f"{path}: no valid YAML ({' '.join(str(error).split())})"
            raise FileFormatError(msg) from error
        if not isinstance(content, dict):
            msg = f"{path}: a detector is a mapping with 'mesh' and 'stack', got {type(content).__name__}"
            raise GeometryError(msg)
        content.setdefault("name", path.stem)
        mesh = content.get("mesh")
        try:
            if isinstance(mesh, dict) and "blocks" not in mesh:
                content["mesh"] = _RegularMesh.model_validate({"mesh": mesh}).mesh.build()
            return cls.model_validate(content)
        except ValidationError as error:
            msg = f"{path}: {first_problem(error)}"
            raise GeometryError(msg) from error
        except GeometryError as error:
            msg = f"{path}: mesh: {error}"
            raise GeometryError(msg) from error


class _Cylinder(Frozen):
    """The arguments of :meth:`ReadoutMesh.cylinder`."""

    layers: PositiveInt
    alpha_cells: PositiveInt
    r_cells: PositiveInt
    layer_thickness: PositiveFloat
    r_size: PositiveFloat

    def build(self) -> ReadoutMesh:
        return ReadoutMesh.cylinder(**self.model_dump())


class _RegularMesh(Frozen):
    """Gives errors the path that a user sees in the file."""

    mesh: _Cylinder


def _barrel(repeat: int, *slabs: Slab) -> Stack:
    """A barrel with the inner radius of Par04."""
    return Stack(shape="barrel", inner_radius=800.0, groups=(SlabGroup(repeat=repeat, slabs=slabs),))


_THRESHOLD = 0.5e-3
"""Par04 keeps voxels of more than 0.5 keV."""


def _par04_siw(name: str, data_set: int, mesh: ReadoutMesh) -> Detector:
    return Detector(
        name=name,
        description=f"Geant4 example Par04: 90 x (1.4 mm W + 0.3 mm Si), mesh of CaloChallenge data set {data_set}",
        mesh=mesh,
        energy_scale=0.033,  # of CaloChallenge; the whole stack sees 0.0315 of the energy
        readout_threshold=_THRESHOLD,
        stack=_barrel(90, Slab(material="G4_W", thickness=1.4), Slab(material="G4_Si", thickness=0.3, active=True)),
    )


def _par04_scipb(name: str, how: str, mesh: ReadoutMesh) -> Detector:
    return Detector(
        name=name,
        description=f"Geant4 example Par04: 45 x (4.4 mm Pb + 1.2 mm polystyrene), {how}",
        mesh=mesh,
        energy_scale=0.033,  # the whole stack sees 0.0331 of the energy, measured with electrons of 10 GeV
        readout_threshold=_THRESHOLD,
        stack=_barrel(
            45, Slab(material="G4_Pb", thickness=4.4), Slab(material="G4_POLYSTYRENE", thickness=1.2, active=True)
        ),
    )


PRESETS: dict[str, Detector] = {
    detector.name: detector
    for detector in (
        _par04_siw(
            "par04-siw",
            2,
            ReadoutMesh.cylinder(layers=45, alpha_cells=16, r_cells=9, layer_thickness=3.4, r_size=4.65),
        ),
        _par04_siw(
            "par04-siw-fine",
            3,
            ReadoutMesh.cylinder(layers=45, alpha_cells=50, r_cells=18, layer_thickness=3.4, r_size=2.325),
        ),
        # Par04's lead and scintillator has cells of 4 mm x 5.6 mm, 18 x 50 x 45 of them (r, alpha, z). As with SiW, the
        # coarse mesh has cells of twice the size in r and 16 in alpha.
        _par04_scipb(
            "par04-scipb",
            "mesh of half its granularity in r",
            ReadoutMesh.cylinder(layers=45, alpha_cells=16, r_cells=9, layer_thickness=5.6, r_size=8.0),
        ),
        _par04_scipb(
            "par04-scipb-fine",
            "its mesh",
            ReadoutMesh.cylinder(layers=45, alpha_cells=50, r_cells=18, layer_thickness=5.6, r_size=4.0),
        ),
        # Lead tungstate is the default material of Par04; no cell sizes are published. As for the others, r cells are
        # half a Moliere radius (20 mm) and z cells about half a radiation length (8.9 mm); 225 mm are 25 radiation
        # lengths, nearly those of the crystals of CMS (230 mm).
        Detector(
            name="par04-pbwo4",
            description="Geant4 example Par04 with one homogeneous crystal: 225 mm PbWO4",
            mesh=ReadoutMesh.cylinder(layers=45, alpha_cells=16, r_cells=9, layer_thickness=5.0, r_size=10.0),
            energy_scale=1.0,  # all of the energy is seen
            readout_threshold=_THRESHOLD,
            stack=_barrel(1, Slab(material="G4_PbWO4", thickness=225.0, active=True)),
        ),
    )
}

"""Detectors, each a readout mesh, a stack of materials and readout parameters, and the built-in presets.

Lengths are in mm, energies in MeV.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import PositiveInt, ValidationError, model_validator

from fastv.detector.binning import split_name
from fastv.detector.mesh import LayerBlock, ReadoutMesh
from fastv.detector.quantities import Length, Threshold
from fastv.detector.stack import Slab, SlabGroup, Stack
from fastv.errors import FileFormatError, GeometryError
from fastv.records import Frozen, PositiveFloat, first_problem
from fastv.storage.documents import MOST_YAML_BYTES, DocumentError, parse_yaml, read_text
from fastv.suggestions import unknown

_OLD_STACK = ("absorber", "sensitive", "stack_layers", "inner_radius")
"""Fields that describe the stack in files of format version 1: repeated pairs of slabs in a barrel."""


class Detector(Frozen):
    """A calorimeter and how its showers are read out.

    Attributes:
        name: of the detector.
        description: one line for users.
        mesh: the readout mesh.
        energy_scale: visible energies are divided by it before they are written, so that the voxel energies of a shower
            add up to about its incident energy (CaloChallenge: 0.033 for Par04 SiW).
        readout_threshold: visible energy in MeV; voxels below it read zero.
        stack: the materials; only full simulation needs them.

    Example:
        >>> detector = Detector.preset("par04-siw")
        >>> detector.mesh.n_voxels, round(detector.threshold, 5)
        (6480, 0.01515)
    """

    name: str
    description: str = ""
    mesh: ReadoutMesh
    energy_scale: PositiveFloat = 1.0
    readout_threshold: Threshold = 0.0
    stack: Stack | None = None

    @model_validator(mode="before")
    @classmethod
    def _read_old_stack(cls, content: Any) -> Any:
        """Translate the four fields of format version 1 into a ``stack``."""
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
        """Readout threshold on the scale of the voxel energies, ``readout_threshold / energy_scale``, in MeV."""
        return self.readout_threshold / self.energy_scale

    @classmethod
    def preset(cls, name: str) -> Detector:
        """A built-in detector by name.

        Raises:
            GeometryError: the name is unknown; the message lists the known ones.
        """
        try:
            return PRESETS[name]
        except KeyError:
            more = ", a detector FILE.yaml or a binning FILE.xml"
            raise GeometryError(unknown("detector or mesh", name, PRESETS, more)) from None

    @classmethod
    def named(cls, name: str) -> Detector:
        """A preset, a user-defined detector, or the mesh of a CaloChallenge binning file.

        Args:
            name: name of a preset; ``FILE.yaml``, read by :meth:`from_yaml`; or a binning ``FILE.xml``, written
                ``FILE.xml:PARTICLE`` if it holds several bins (see :meth:`ReadoutMesh.from_binning_xml`). A binning
                file gives neither energy scale nor threshold, which become 1 and 0.

        Raises:
            GeometryError: the name is unknown (the message lists the known ones), or a value in the file is invalid.
            FileFormatError: the file is missing or damaged.
        """
        if name.lower().endswith((".yaml", ".yml")):
            return cls.from_yaml(name)
        binning = split_name(name)
        if binning is None:
            return cls.preset(name)
        path, particle = binning
        mesh = ReadoutMesh.from_binning_xml(path, particle or None)
        own = Path(path).stem + (f":{particle}" if particle else "")
        return cls(name=own, description="mesh of a CaloChallenge binning", mesh=mesh)

    @classmethod
    def from_yaml(cls, path: str | Path) -> Detector:
        """A user-defined detector from a YAML file.

        Args:
            path: a file with the fields of this class. ``mesh`` may be given as the arguments of
                :meth:`ReadoutMesh.cylinder`; without ``name``, the detector is named after the file.

        Raises:
            FileFormatError: the file is missing or not valid YAML.
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
            text = read_text(path, MOST_YAML_BYTES)
        except DocumentError as error:
            msg = f"{path}: cannot read the detector: {error}"
            raise FileFormatError(msg) from error
        try:
            content = parse_yaml(text)
        except DocumentError as error:
            msg = f"{path}: {error}"
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
    layer_thickness: Length
    r_size: Length

    def build(self) -> ReadoutMesh:
        return ReadoutMesh.cylinder(**self.model_dump())


class _RegularMesh(Frozen):
    """Wraps the mesh so that error messages give the path to a value as it is in the file."""

    mesh: _Cylinder


def _barrel(repeat: int, *slabs: Slab) -> Stack:
    """A barrel with the inner radius of Par04."""
    return Stack(shape="barrel", inner_radius=800.0, groups=(SlabGroup(repeat=repeat, slabs=slabs),))


_THRESHOLD = 0.5e-3
"""Readout threshold of Par04 in MeV: 0.5 keV."""


def _par04_siw(name: str, data_set: int, mesh: ReadoutMesh) -> Detector:
    return Detector(
        name=name,
        description=f"Geant4 example Par04: 90 x (1.4 mm W + 0.3 mm Si), mesh of CaloChallenge data set {data_set}",
        mesh=mesh,
        energy_scale=0.033,  # as in CaloChallenge; the sampling fraction of the whole stack is 0.0315
        readout_threshold=_THRESHOLD,
        stack=_barrel(90, Slab(material="G4_W", thickness=1.4), Slab(material="G4_Si", thickness=0.3, active=True)),
    )


def _par04_scipb(name: str, how: str, mesh: ReadoutMesh) -> Detector:
    return Detector(
        name=name,
        description=f"Geant4 example Par04: 45 x (4.4 mm Pb + 1.2 mm polystyrene), {how}",
        mesh=mesh,
        energy_scale=0.033,  # the sampling fraction of the whole stack is 0.0331, measured with 10 GeV electrons
        readout_threshold=_THRESHOLD,
        stack=_barrel(
            45, Slab(material="G4_Pb", thickness=4.4), Slab(material="G4_POLYSTYRENE", thickness=1.2, active=True)
        ),
    )


def _ild_layer(tungsten: float) -> tuple[Slab, ...]:
    """A layer of ILD's calorimeter: half a double-sided slab and the structure around it, each material in one place.

    Carbon fibre and circuit boards are given by slabs of graphite and glass with the same number of radiation lengths,
    and air.
    """
    absorber = (Slab(material="G4_W", thickness=tungsten),) if tungsten else ()
    return (
        *absorber,
        Slab(material="G4_GRAPHITE", thickness=0.69),
        Slab(material="G4_AIR", thickness=0.42),
        Slab(material="G4_Si", thickness=0.525, active=True),
        Slab(material="G4_AIR", thickness=0.79),
        Slab(material="G4_Pyrex_Glass", thickness=1.11),
        Slab(material="G4_Cu", thickness=0.35),
    )


def _ild_ecal() -> Detector:
    """Source: constants of ILD_l5_v02 in k4geo (ILD/compact/ILD_common_v02/ecal_defs.xml); ILD, arXiv:1912.04601."""
    layers = ((1, 0.0), (20, 2.1), (9, 4.2))
    edges = tuple(5.0 * i for i in range(10))
    groups = tuple(SlabGroup(repeat=repeat, slabs=_ild_layer(tungsten)) for repeat, tungsten in layers)
    firsts = (0, 1, 21)
    blocks = tuple(
        LayerBlock(
            layers=group.repeat, alpha_cells=16, r_edges=edges, thickness=group.depth / group.repeat, first_id=first
        )
        for group, first in zip(groups, firsts, strict=True)
    )
    return Detector(
        name="ild-ecal",
        description="barrel of ILD's SiW calorimeter: 20 layers of 2.1 mm W, 9 of 4.2 mm, 30 of 0.525 mm Si",
        mesh=ReadoutMesh(blocks=blocks),
        energy_scale=0.022,  # of 10 GeV electrons; that of the last nine layers is about half of the others'
        readout_threshold=_THRESHOLD,
        stack=Stack(shape="barrel", inner_radius=1805.0, groups=groups),
    )


def _cld_endcap() -> Detector:
    """Source: k4geo, FCCee/CLD (ECalEndcap_o2_v01_03.xml, CLD_o2_v05.xml); CLD, arXiv:1911.12230.

    Tungsten alloy, circuit boards and ground foils, of which copper is nearly half, are given by slabs of the metals in
    them, and by glass in place of G10 with as many radiation lengths.
    """
    slabs = (
        Slab(material="G4_W", thickness=1.63),
        Slab(material="G4_Ni", thickness=0.27),
        Slab(material="G4_Pyrex_Glass", thickness=0.1),
        Slab(material="G4_Cu", thickness=0.05),
        Slab(material="G4_Si", thickness=0.5, active=True),
        Slab(material="G4_AIR", thickness=0.1),
        Slab(material="G4_Cu", thickness=0.6),
        Slab(material="G4_Pyrex_Glass", thickness=0.95),
        Slab(material="G4_AIR", thickness=0.85),
    )
    return Detector(
        name="cld-endcap",
        description="endcap of CLD's SiW calorimeter: 40 planes of 1.9 mm W alloy and 0.5 mm Si",
        mesh=ReadoutMesh.cylinder(layers=40, alpha_cells=16, r_cells=9, layer_thickness=5.05, r_size=5.0),
        energy_scale=0.0258,  # of 10 GeV electrons
        readout_threshold=_THRESHOLD,
        stack=Stack(shape="planar", distance=2307.0, groups=(SlabGroup(repeat=40, slabs=slabs),)),
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
            energy_scale=1.0,  # a homogeneous calorimeter: all deposited energy is visible
            readout_threshold=_THRESHOLD,
            stack=_barrel(1, Slab(material="G4_PbWO4", thickness=225.0, active=True)),
        ),
        # Calorimeters of two detectors of electron-positron colliders. Cells in r are as wide as their pads, 5 mm, and
        # each layer of the mesh has one of silicon.
        _ild_ecal(),
        _cld_endcap(),
    )
}

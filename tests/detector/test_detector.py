"""Meshes and detectors: voxel order, centres, presets, CaloChallenge binnings."""

from __future__ import annotations

import json
import math
import os
import re
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from fastv.detector.detector import PRESETS, Detector
from fastv.detector.mesh import LayerBlock, ReadoutMesh
from fastv.detector.stack import Slab, SlabGroup, Stack
from fastv.errors import FastVError, FileFormatError, GeometryError
from fastv.model import load
from fastv.records import first_problem
from fastv.sample import sample_path
from fastv.showers import ShowersFile

# Edges (mm) and alpha cells of the photons of CaloChallenge data set 1; all other of its 24 layers have no voxels.
PHOTON_LAYERS = {
    0: ([0, 5, 10, 30, 50, 100, 200, 400, 600], 1),
    1: ([0, 2, 4, 6, 8, 10, 12, 15, 20, 30, 40, 50, 70, 90, 120, 150, 200], 10),
    2: ([0, 2, 5, 10, 15, 20, 25, 30, 40, 50, 60, 80, 100, 130, 160, 200, 250, 300, 350, 400], 10),
    3: ([0, 50, 100, 200, 400, 600], 1),
    12: ([0, 100, 200, 400, 1000, 2000], 1),
}


def write_binning(path: Path, layers: dict[int, tuple[list[float], int]], *particles: str, last: int = 24) -> Path:
    lines = ["<Bins>"]
    for particle in particles:
        lines.append(f'<Bin pid="22" etaMin="0" etaMax="130" name="{particle}">')
        for i in range(last):
            edges, alpha = layers.get(i, ([0], 1))
            text = ",".join(f"{edge:g}" for edge in edges)
            lines.append(f'<Layer id="{i}" r_edges="{text}" n_bin_alpha="{alpha}" />')
        lines.append("</Bin>")
    path.write_text("\n".join([*lines, "</Bins>"]))
    return path


@pytest.fixture
def photon_mesh(tmp_path: Path) -> ReadoutMesh:
    return ReadoutMesh.from_binning_xml(write_binning(tmp_path / "b.xml", PHOTON_LAYERS, "photon"))


class TestPresets:
    def test_calochallenge_data_set_2(self) -> None:
        detector = Detector.preset("par04-siw")
        assert detector.mesh.shape == (45, 16, 9)
        assert detector.mesh.n_voxels == 6480
        assert detector.threshold == pytest.approx(0.5e-3 / 0.033)
        assert detector.mesh.blocks[0].r_edges[-1] == pytest.approx(9 * 4.65)
        assert detector.mesh.layer_z[[0, -1]] == pytest.approx([1.7, 44.5 * 3.4])

    def test_calochallenge_data_set_3(self) -> None:
        mesh = Detector.preset("par04-siw-fine").mesh
        assert mesh.shape == (45, 50, 18)
        assert mesh.n_voxels == 40500
        # Both meshes cover the same cylinder.
        assert mesh.blocks[0].r_edges[-1] == pytest.approx(Detector.preset("par04-siw").mesh.blocks[0].r_edges[-1])

    def test_two_stack_layers_make_one_readout_layer(self) -> None:
        detector = Detector.preset("par04-siw")
        assert detector.stack is not None
        assert detector.stack.depth == pytest.approx(45 * 3.4)
        assert len(detector.stack.slabs) == 180

    def test_lead_and_scintillator_of_par04(self) -> None:
        coarse, fine = Detector.preset("par04-scipb"), Detector.preset("par04-scipb-fine")
        assert coarse.stack == fine.stack
        assert coarse.stack is not None
        assert [(slab.material, slab.thickness, slab.active) for slab in coarse.stack.slabs[:2]] == [
            ("G4_Pb", 4.4, False),
            ("G4_POLYSTYRENE", 1.2, True),
        ]
        # 45 layers of the mesh are the 45 layers of the stack; both meshes cover the same cylinder.
        assert coarse.stack.depth == pytest.approx(45 * 5.6)
        assert coarse.mesh.blocks[0].r_edges[-1] == fine.mesh.blocks[0].r_edges[-1] == 72.0
        assert fine.mesh.shape == (45, 50, 18)

    @pytest.mark.parametrize("name", PRESETS)
    def test_the_mesh_is_as_deep_as_the_stack_and_wide_enough(self, name: str) -> None:
        detector = PRESETS[name]
        assert detector.stack is not None
        assert sum(layer.thickness or 0 for layer in detector.mesh.layers) == pytest.approx(detector.stack.depth)
        # 95 % of a shower lie within two Moliere radii of its axis; a shower of 1 TeV needs 22 radiation lengths.
        assert detector.mesh.blocks[0].r_edges[-1] > 2 * detector.stack.moliere_radius
        assert detector.stack.radiation_lengths > 21.5

    def test_an_unknown_name_lists_the_known_ones(self) -> None:
        with pytest.raises(GeometryError) as raised:
            Detector.preset("par05")
        assert all(name in str(raised.value) for name in ["par05", *PRESETS])

    @pytest.mark.parametrize("name", PRESETS)
    def test_json_round_trip(self, name: str) -> None:
        assert Detector.model_validate_json(PRESETS[name].model_dump_json()) == PRESETS[name]


class TestOldFiles:
    """Format version 1 told the stack in four fields."""

    OLD = {"absorber": ["G4_W", 1.4], "sensitive": ["G4_Si", 0.3], "stack_layers": 90, "inner_radius": 800.0}

    def content(self, **changes: object) -> dict[str, object]:
        content = PRESETS["par04-siw"].model_dump(mode="json")
        del content["stack"]
        return {**content, **self.OLD, **changes}

    def test_they_are_read_as_what_they_were(self) -> None:
        assert Detector.model_validate(self.content()) == PRESETS["par04-siw"]

    def test_fields_that_were_never_set(self) -> None:
        empty = dict.fromkeys(self.OLD)
        assert Detector.model_validate(self.content(**empty)).stack is None

    @pytest.mark.parametrize(
        ("changes", "problem"),
        [
            ({"inner_radius": None}, "absorber, sensitive, stack_layers: a detector is described by 'stack'"),
            ({"stack": None}, "absorber, sensitive, stack_layers, inner_radius: a detector is described by 'stack'"),
            ({"sensitive": 3}, "sensitive must be a material and its thickness in mm, got 3"),
            ({"sensitive": ["G4_Si"]}, "sensitive must be a material and its thickness in mm, got ['G4_Si']"),
            ({"sensitive": ["G4_Six", 0.3]}, "stack.groups.0.slabs.1.material: unknown material 'G4_Six'"),
            ({"stack_layers": 0}, "stack.groups.0.repeat: "),
        ],
    )
    def test_damage_is_named(self, changes: dict[str, object], problem: str) -> None:
        with pytest.raises(ValidationError) as raised:
            Detector.model_validate(self.content(**changes))
        assert first_problem(raised.value).startswith(problem)

    @pytest.mark.parametrize("part", ["train", "test"])
    def test_the_shipped_showers(self, part: Literal["train", "test"]) -> None:
        with ShowersFile(sample_path(part)) as file:
            assert file.format_version == 1
            assert file.detector == PRESETS["par04-siw"]

    def test_the_shipped_model(self, tmp_path: Path) -> None:
        model = load("par04-siw")
        assert model.detector == PRESETS["par04-siw"]
        model.save(tmp_path / "again")
        again = load(tmp_path / "again")
        assert again.digest() == model.digest()
        assert again.description == model.description
        assert (
            json.loads((tmp_path / "again" / "model.json").read_text())["format_version"]
            == again.description.format_version
        )


class TestYaml:
    TEXT = """
energy_scale: 0.13
readout_threshold: 5e-4
mesh: {layers: 20, alpha_cells: 8, r_cells: 10, layer_thickness: 6, r_size: 5}
stack:
  shape: planar
  distance: 1000
  half_width: 300
  groups:
    - slabs: [{material: G4_Al, thickness: 10}]
    - repeat: 20
      slabs:
        - {material: G4_Pb, thickness: 2}
        - {material: G4_POLYSTYRENE, thickness: 4, active: true}
"""

    def write(self, folder: Path, old: str = "", new: str = "") -> Path:
        assert old in self.TEXT
        (folder / "mine.yaml").write_text(self.TEXT.replace(old, new, 1) if old else self.TEXT)
        return folder / "mine.yaml"

    def test_a_detector_of_ones_own(self, tmp_path: Path) -> None:
        detector = Detector.named(str(self.write(tmp_path)))
        assert (detector.name, detector.energy_scale, detector.readout_threshold) == ("mine", 0.13, 5e-4)
        assert detector.mesh.shape == (20, 8, 10)
        assert detector.stack is not None
        assert detector.stack.depth == pytest.approx(130)
        assert detector.stack.front == 1000
        assert Detector.model_validate_json(detector.model_dump_json()) == detector

    def test_a_mesh_of_blocks(self, tmp_path: Path) -> None:
        blocks = "{layers: 2, alpha_cells: 4, r_edges: [0, 1, 3]}, {layers: 1, alpha_cells: 1, r_edges: [0, 9]}"
        (tmp_path / "a.yaml").write_text(f"mesh: {{blocks: [{blocks}]}}")
        assert Detector.from_yaml(tmp_path / "a.yaml").mesh.n_voxels == 17

    @pytest.mark.parametrize(
        ("old", "new", "problem"),
        [
            ("G4_Pb", "G4_PB", "stack.groups.1.slabs.0.material: unknown material 'G4_PB'; did you mean G4_Pb?"),
            ("thickness: 4,", "thickness: -4,", "stack.groups.1.slabs.1.thickness: must be greater than 0"),
            ("thickness: 4,", "thickness: .inf,", "stack.groups.1.slabs.1.thickness: must be a finite number"),
            (", active: true", "", "stack: no slab is active"),
            ("distance: 1000", "inner_radius: 1000", "stack: a planar stack needs distance in mm"),
            ("half_width", "half_length", "stack: half_length is not for a planar stack"),
            ("shape: planar", "shape: spherical", "stack.shape: must be 'barrel' or 'planar'"),
            ("repeat: 20", "repeat: 0", "stack.groups.1.repeat: "),
            ("repeat: 20", "repeat: 100000000", "stack.groups.1.repeat: "),
            ("repeat:", "repeats:", "stack.groups.1.repeats: nothing of this name is known here"),
            ("layers: 20", "layers: 0", "mesh.layers: must be greater than 0"),
            ("layers: 20", "layer: 20", "mesh.layers: is missing"),
            ("r_size: 5", "r_size: 1e-12", "mesh: r_edges must increase"),
            ("energy_scale: 0.13", "energy_scale: 0", "energy_scale: must be greater than 0"),
            ("energy_scale: 0.13", "energy_skale: 0.13", "energy_skale: nothing of this name is known here"),
        ],
    )
    def test_the_path_to_the_bad_value(self, tmp_path: Path, old: str, new: str, problem: str) -> None:
        path = self.write(tmp_path, old, new)
        with pytest.raises(GeometryError) as raised:
            Detector.from_yaml(path)
        assert str(raised.value).startswith(f"{path}: {problem}")
        assert "\n" not in str(raised.value)

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("- 1", "is a mapping"),
            ("", "is a mapping"),
            ("a: [", "not valid YAML"),
            ("a: !!python/name:os.system", "YAML"),
        ],
    )
    def test_no_detector(self, tmp_path: Path, text: str, problem: str) -> None:
        (tmp_path / "a.yaml").write_text(text)
        with pytest.raises(FastVError, match=problem) as raised:
            Detector.from_yaml(tmp_path / "a.yaml")
        assert "\n" not in str(raised.value)

    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(FileFormatError, match=r"none.yaml: cannot read the detector: No such file"):
            Detector.named(str(tmp_path / "none.yaml"))


class TestVoxelOrder:
    """Flattened voxels are (layer, alpha, r), r fastest, alpha slice 0 starts at -pi."""

    def test_against_explicit_loops(self) -> None:
        mesh = ReadoutMesh.cylinder(layers=3, alpha_cells=5, r_cells=2, layer_thickness=2.0, r_size=10.0)
        voxel = 0
        for layer in range(3):
            for a in range(5):
                for r in range(2):
                    alpha = -math.pi + (a + 0.5) * 2 * math.pi / 5
                    radius = (r + 0.5) * 10.0
                    assert mesh.voxel_layer[voxel] == layer
                    assert mesh.voxel_alpha[voxel] == pytest.approx(alpha)
                    assert mesh.voxel_r[voxel] == pytest.approx(radius)
                    expected = [radius * math.cos(alpha), radius * math.sin(alpha), (layer + 0.5) * 2.0]
                    assert mesh.voxel_centres[voxel] == pytest.approx(expected)
                    voxel += 1
        assert voxel == mesh.n_voxels

    @given(layers=st.integers(1, 9), alpha=st.integers(1, 9), r=st.integers(1, 9), size=st.floats(0.1, 100))
    def test_any_cylinder_is_consistent(self, layers: int, alpha: int, r: int, size: float) -> None:
        mesh = ReadoutMesh.cylinder(layers=layers, alpha_cells=alpha, r_cells=r, layer_thickness=1.0, r_size=size)
        assert mesh.shape == (layers, alpha, r)
        assert mesh.n_voxels == layers * alpha * r == len(mesh.voxel_r) == len(mesh.voxel_centres)
        assert mesh.layer_boundaries[-1] == mesh.n_voxels
        # The mesh is symmetric around its axis: the mean position of each layer is on it.
        mean = mesh.voxel_centres.reshape(layers, -1, 3).mean(axis=1)[:, :2]
        assert alpha == 1 or np.abs(mean).max() < 1e-9 * size * r
        assert np.all((mesh.voxel_alpha > -math.pi) & (mesh.voxel_alpha < math.pi))

    def test_layer_slices_cover_all_voxels_once(self, photon_mesh: ReadoutMesh) -> None:
        covered = np.concatenate([np.arange(368)[photon_mesh.layer_slice(i)] for i in range(photon_mesh.n_layers)])
        assert covered.tolist() == list(range(368))

    def test_layer_slice_counts_from_the_end_and_knows_its_bounds(self) -> None:
        mesh = Detector.preset("par04-siw").mesh
        assert mesh.layer_slice(-1) == mesh.layer_slice(44)
        with pytest.raises(IndexError):
            mesh.layer_slice(45)


class TestCylinder:
    GOOD = {"layers": 3, "alpha_cells": 4, "r_cells": 2, "layer_thickness": 3.4, "r_size": 4.65}

    @pytest.mark.parametrize("name", ["layers", "alpha_cells", "r_cells"])
    @pytest.mark.parametrize("value", [0, -1, 2.5, True, "3"])
    def test_refuses_odd_numbers_of_cells(self, name: str, value: object) -> None:
        with pytest.raises(GeometryError, match=f"^{name} must be a whole number"):
            ReadoutMesh.cylinder(**{**self.GOOD, name: value})  # type: ignore[arg-type]

    @pytest.mark.parametrize("name", ["layer_thickness", "r_size"])
    @pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
    def test_refuses_odd_sizes(self, name: str, value: float) -> None:
        with pytest.raises(GeometryError, match=f"^{name} must be a length above zero"):
            ReadoutMesh.cylinder(**{**self.GOOD, name: value})  # type: ignore[arg-type]

    def test_refuses_cells_too_small_to_tell_apart(self) -> None:
        with pytest.raises(GeometryError, match="r_edges must increase"):
            ReadoutMesh.cylinder(**{**self.GOOD, "r_size": 1e-12})  # type: ignore[arg-type]

    def test_edges_are_clean_decimals(self) -> None:
        mesh = ReadoutMesh.cylinder(**{**self.GOOD, "r_cells": 9})  # type: ignore[arg-type]
        assert mesh.blocks[0].r_edges == (0.0, 4.65, 9.3, 13.95, 18.6, 23.25, 27.9, 32.55, 37.2, 41.85)


class TestBinningXml:
    def test_photons_of_data_set_1(self, photon_mesh: ReadoutMesh) -> None:
        assert photon_mesh.n_layers == 5
        assert photon_mesh.layer_ids == (0, 1, 2, 3, 12)
        assert photon_mesh.n_voxels == 8 + 160 + 190 + 5 + 5 == 368
        assert not photon_mesh.is_regular
        assert photon_mesh.describe() == "5 layers of different segmentation, 368 voxels"
        with pytest.raises(GeometryError, match="different segmentation"):
            _ = photon_mesh.shape

    def test_irregular_voxels_follow_each_layer(self, photon_mesh: ReadoutMesh) -> None:
        assert photon_mesh.voxel_r[:3] == pytest.approx([2.5, 7.5, 20])
        second = photon_mesh.layer_slice(1)
        assert photon_mesh.voxel_r[second][:3] == pytest.approx([1, 3, 5])
        assert photon_mesh.voxel_alpha[second][0] == pytest.approx(-0.9 * math.pi)
        assert photon_mesh.voxel_alpha[second][15:17] == pytest.approx([-0.9 * math.pi, -0.7 * math.pi])
        # Depths are not in the binning: layers stand one unit apart.
        assert photon_mesh.layer_z.tolist() == [0.5, 1.5, 2.5, 3.5, 4.5]

    def test_equal_neighbours_join_to_one_block(self, tmp_path: Path) -> None:
        layers = {i: ([0.0, 4.65, 9.3], 16) for i in range(45)}
        mesh = ReadoutMesh.from_binning_xml(write_binning(tmp_path / "b.xml", layers, "electron", last=45))
        assert len(mesh.blocks) == 1
        assert mesh.shape == (45, 16, 2)
        assert mesh.layer_ids == tuple(range(45))

    def test_a_gap_in_the_numbers_is_kept(self, tmp_path: Path) -> None:
        layers = {i: ([0.0, 1.0], 2) for i in (0, 1, 5)}
        mesh = ReadoutMesh.from_binning_xml(write_binning(tmp_path / "b.xml", layers, "pion"))
        assert mesh.layer_ids == (0, 1, 5)
        assert mesh.shape == (3, 2, 1)

    def test_several_particles_must_be_told_apart(self, tmp_path: Path) -> None:
        path = write_binning(tmp_path / "b.xml", PHOTON_LAYERS, "photon", "pion")
        assert ReadoutMesh.from_binning_xml(path, "pion").n_voxels == 368
        with pytest.raises(
            GeometryError, match=r"several bins; the file has: photon or pion; choose one as in .*b.xml:photon$"
        ):
            ReadoutMesh.from_binning_xml(path)
        with pytest.raises(GeometryError, match=r"no bin 'kaon'; .*: photon or pion;"):
            ReadoutMesh.from_binning_xml(path, "kaon")

    def test_a_detector_can_be_named_by_its_binning(self, tmp_path: Path) -> None:
        path = write_binning(tmp_path / "b.xml", PHOTON_LAYERS, "photon", "pion")
        detector = Detector.named(f"{path}:photon")
        assert (detector.name, detector.mesh.n_voxels, detector.energy_scale) == ("b:photon", 368, 1.0)
        assert Detector.named("par04-siw") is PRESETS["par04-siw"]
        with pytest.raises(GeometryError, match="known: par04-siw"):
            Detector.named("my.xmlish")

    @pytest.mark.parametrize(
        ("bins", "choices", "ambiguous"),
        [
            # Two particles without names.
            (
                ['pid="22"', 'pid="211"'],
                {"22": 1, "photon": 1, "gamma": 1, "211": 2, "pi+": 2, "bin=2": 2},
                "22 or 211",
            ),
            # One particle in two slices of eta.
            (
                ['name="photon" etaMin="0" etaMax="20"', 'name="photon" etaMin="20" etaMax="25"'],
                {"photon:eta=0-20": 1, "photon:eta=20-25": 2, "eta=20-25": 2},
                "photon:eta=0-20 or photon:eta=20-25",
            ),
            (
                ['pid="11" etaMin="0" etaMax="5"', 'pid="11" etaMin="5" etaMax="9"', 'pid="22" etaMin="0" etaMax="5"'],
                {"electron:eta=5-9": 2, "11:eta=0-5": 1, "22": 3, "photon": 3, "eta=5-9": 2},
                "11:eta=0-5 or 11:eta=5-9 or 22",
            ),
            # Nothing tells these apart.
            (['name="a"', 'name="a"', 'name="b:c"'], {"bin=1": 1, "bin=2": 2, "b:c": 3}, "bin=1 or bin=2 or b:c"),
        ],
    )
    def test_bins_are_told_apart_by_all_that_they_have(
        self, tmp_path: Path, bins: list[str], choices: dict[str, int], ambiguous: str
    ) -> None:
        """Bin k of the file has k cells in r."""
        path = tmp_path / "b.xml"
        layer = '<Layer id="0" n_bin_alpha="1" r_edges="{}"/>'
        texts = (
            f"<Bin {each}>{layer.format(','.join(map(str, range(number + 1))))}</Bin>"
            for number, each in enumerate(bins, start=1)
        )
        path.write_text(f"<Bins>{''.join(texts)}</Bins>")
        for choice, number in choices.items():
            assert Detector.named(f"{path}:{choice}").mesh.n_voxels == number, choice
        with pytest.raises(
            GeometryError, match=f"several bins; the file has: {re.escape(ambiguous)}; choose one as in"
        ):
            Detector.named(str(path))
        for spelling in ambiguous.split(" or "):
            assert ReadoutMesh.from_binning_xml(path, spelling)

    def test_a_choice_that_fits_several_is_not_made(self, tmp_path: Path) -> None:
        path = tmp_path / "b.xml"
        path.write_text("<Bins><Bin pid='22' etaMin='0' etaMax='5'/><Bin pid='22' etaMin='5' etaMax='9'/></Bins>")
        with pytest.raises(GeometryError, match=r"several bins 'photon'; the file has: 22:eta=0-5 or 22:eta=5-9;"):
            Detector.named(f"{path}:photon")

    @pytest.mark.parametrize("name", ["my.xml.files/b.xml", "B.XML", "my.xml:files/b.xml"])
    def test_any_path_can_be_named(self, tmp_path: Path, name: str) -> None:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        write_binning(path, PHOTON_LAYERS, "photon", "pion")
        assert Detector.named(f"{path}:photon").mesh.n_voxels == 368

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", "no valid XML"),
            (b"\x89HDF\r\n", "no valid XML"),
            (b"<?xml version='1.0' encoding='no-such-code'?><Bins/>", "no valid XML"),
            (b"<Bins></Bins>", "the file has: none"),
            (b"<Bins><Bin name='a'></Bin></Bins>", "blocks"),
            (b"<Bins><Bin name='a'><Layer id='0' n_bin_alpha='1'/></Bin></Bins>", "attribute 'r_edges' is missing"),
            (b"<Bins><Bin name='a'><Layer id='7' r_edges='0,x' n_bin_alpha='1'/></Bin></Bins>", "bad layer 7"),
            (b"<Bins><Bin name='a'><Layer id='0' r_edges='0,5,4' n_bin_alpha='1'/></Bin></Bins>", "must increase"),
            (b"<Bins><Bin name='a'><Layer id='0' r_edges='0,nan' n_bin_alpha='1'/></Bin></Bins>", "must increase"),
            (b"<Bins><Bin name='a'><Layer id='0' r_edges='0,1' n_bin_alpha='0'/></Bin></Bins>", "alpha_cells"),
        ],
    )
    def test_damage_is_named(self, tmp_path: Path, content: bytes, message: str) -> None:
        path = tmp_path / "bad.xml"
        path.write_bytes(content)
        with pytest.raises(FastVError, match=message) as raised:
            ReadoutMesh.from_binning_xml(path)
        assert str(path) in str(raised.value)
        assert "\n" not in str(raised.value)

    def test_missing_file_and_folder(self, tmp_path: Path) -> None:
        with pytest.raises(FileFormatError, match="cannot read the binning: No such file"):
            ReadoutMesh.from_binning_xml(tmp_path / "none.xml")
        with pytest.raises(FileFormatError, match="it is a folder, not a regular file"):
            ReadoutMesh.from_binning_xml(tmp_path)
        os.mkfifo(tmp_path / "pipe.xml")
        with pytest.raises(FileFormatError, match="it is a pipe, not a regular file"):
            Detector.named(str(tmp_path / "pipe.xml"))

    @given(st.binary(max_size=60), st.integers(0, 400))
    def test_random_damage_never_escapes(self, tmp_path: Path, junk: bytes, position: int) -> None:
        whole = write_binning(tmp_path / "b.xml", {0: ([0, 1, 2], 3)}, "photon", last=2).read_bytes()
        (tmp_path / "c.xml").write_bytes(whole[:position] + junk + whole[position + len(junk) :])
        try:
            mesh = ReadoutMesh.from_binning_xml(tmp_path / "c.xml")
        except FastVError:
            return
        assert mesh.n_voxels >= 1


class TestValidation:
    @pytest.mark.parametrize("edges", [(0.0, 0.0), (1.0, 0.5), (-1.0, 1.0), (0.0, math.inf), (0.0,)])
    def test_edges_must_rise_from_zero_or_more(self, edges: tuple[float, ...]) -> None:
        with pytest.raises(ValidationError):
            LayerBlock(layers=1, alpha_cells=1, r_edges=edges)

    def test_problems_carry_the_path_to_the_value(self) -> None:
        content = PRESETS["par04-siw"].model_dump(mode="json")
        content["mesh"]["blocks"][0]["r_edges"][3] = "far"
        with pytest.raises(ValidationError) as raised:
            Detector.model_validate(content)
        assert first_problem(raised.value).startswith("mesh.blocks.0.r_edges.3: ")

    @pytest.mark.parametrize("scale", [0.0, -1.0, math.nan, math.inf])
    def test_an_energy_scale_is_a_finite_number_above_zero(self, scale: float) -> None:
        mesh = PRESETS["par04-siw"].mesh
        with pytest.raises(ValidationError):
            Detector(name="bad", mesh=mesh, energy_scale=scale)

    def test_unknown_fields_are_errors(self) -> None:
        with pytest.raises(ValidationError, match="treshold"):
            Detector(name="bad", mesh=PRESETS["par04-siw"].mesh, treshold=1.0)  # type: ignore[call-arg]


def test_equality_does_not_depend_on_what_was_computed() -> None:
    first, second, other = (
        ReadoutMesh.cylinder(layers=2, alpha_cells=4, r_cells=r, layer_thickness=1.0, r_size=1.0) for r in (3, 3, 4)
    )
    for mesh in (first, second, other):
        assert mesh.voxel_r.shape == mesh.layer_z[mesh.voxel_layer].shape
    assert first == second
    assert hash(first) == hash(second)
    assert first != other
    assert first != "a mesh"
    assert Detector(name="a", mesh=first) == Detector(name="a", mesh=second)


class TestStack:
    LAYER = SlabGroup(
        repeat=2, slabs=(Slab(material="G4_Pb", thickness=2.0), Slab(material="G4_Si", thickness=0.5, active=True))
    )
    STACK = Stack(
        shape="barrel", inner_radius=500.0, groups=(SlabGroup(slabs=(Slab(material="G4_Al", thickness=10.0),)), LAYER)
    )

    def test_slabs_and_their_surfaces(self) -> None:
        assert [slab.material for slab in self.STACK.slabs] == ["G4_Al", "G4_Pb", "G4_Si", "G4_Pb", "G4_Si"]
        assert self.STACK.boundaries.tolist() == [0.0, 10.0, 12.0, 12.5, 14.5, 15.0]
        assert (self.STACK.depth, self.STACK.front) == (15.0, 500.0)
        assert self.STACK.right_angle == math.pi / 2

    def test_radiation_length_and_moliere_radius(self) -> None:
        assert self.STACK.radiation_lengths == pytest.approx(10 / 88.97 + 4 / 5.612 + 1 / 93.7, rel=1e-3)
        one = Stack(shape="planar", distance=1.0, groups=(SlabGroup(slabs=(self.LAYER.slabs[1],)),))
        assert one.moliere_radius == pytest.approx(49.4, rel=0.01)
        assert one.right_angle == 0

    def test_what_was_computed_is_not_kept_in_copies(self) -> None:
        assert len(self.STACK.boundaries) == 6
        shorter = self.STACK.model_copy(update={"groups": self.STACK.groups[1:]})
        assert len(shorter.slabs) == 4
        assert len(shorter.boundaries) == 5

    def test_equality(self) -> None:
        again = Stack.model_validate_json(self.STACK.model_dump_json())
        assert len(again.boundaries) == len(self.STACK.boundaries)
        assert again == self.STACK
        assert hash(again) == hash(self.STACK)
        assert again.model_copy(update={"inner_radius": 400.0}) != self.STACK
        assert again != self.LAYER


def test_lengths_and_energies_with_their_units(tmp_path: Path) -> None:
    text = (
        "mesh: {layers: 2, alpha_cells: 1, r_cells: 2, layer_thickness: %s, r_size: %s}\nreadout_threshold: %s\n"
        "stack: {shape: planar, distance: %s, groups: [{slabs: [{material: G4_Si, thickness: %s, active: true}]}]}\n"
    )
    (tmp_path / "d.yaml").write_text(text % ("1cm", "5 mm", "0.5keV", "1m", "300um"))
    with_units = Detector.from_yaml(tmp_path / "d.yaml")
    (tmp_path / "d.yaml").write_text(text % (10, 5, 0.0005, 1000, 0.3))
    assert with_units == Detector.from_yaml(tmp_path / "d.yaml")
    (tmp_path / "d.yaml").write_text(text % ("1GeV", 5, 0.0005, 1000, 0.3))
    with pytest.raises(GeometryError, match=r"mesh.layer_thickness: length '1GeV': unknown unit 'GeV'"):
        Detector.from_yaml(tmp_path / "d.yaml")


class TestDetectorsOfColliders:
    def test_ild_has_24_radiation_lengths_and_thicker_absorbers_behind(self) -> None:
        detector = Detector.preset("ild-ecal")
        assert detector.stack is not None
        assert detector.stack.radiation_lengths == pytest.approx(24, abs=0.5)  # arXiv:1912.04601
        tungsten = [slab.thickness for slab in detector.stack.slabs if slab.material == "G4_W"]
        assert tungsten == [2.1] * 20 + [4.2] * 9

    def test_cld_is_202_mm_deep_and_has_22_radiation_lengths(self) -> None:
        detector = Detector.preset("cld-endcap")
        assert detector.stack is not None
        assert detector.stack.depth == pytest.approx(2509 - 2307)
        assert detector.stack.radiation_lengths == pytest.approx(22, abs=0.5)  # arXiv:1911.12230
        assert detector.stack.right_angle == 0

    @pytest.mark.parametrize("name", ["ild-ecal", "cld-endcap"])
    def test_each_layer_of_the_mesh_holds_one_of_silicon(self, name: str) -> None:
        detector = Detector.preset(name)
        assert detector.stack is not None
        ends = np.cumsum([layer.thickness for layer in detector.mesh.layers])
        assert ends[-1] == pytest.approx(detector.stack.depth)
        middles = (detector.stack.boundaries[1:] + detector.stack.boundaries[:-1]) / 2
        active = [middle for middle, slab in zip(middles, detector.stack.slabs, strict=True) if slab.active]
        assert np.searchsorted(ends, active).tolist() == list(range(detector.mesh.n_layers))

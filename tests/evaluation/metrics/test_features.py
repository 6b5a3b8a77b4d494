"""The feature vector against its definition, one shower and one layer at a time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fastv.detector.detector import Detector
from fastv.detector.mesh import LayerBlock, ReadoutMesh
from fastv.evaluation.metrics.features import feature_matrix, feature_names, tree_feature_groups, tree_features
from fastv.evaluation.observables.observe import observe
from fastv.showers import Showers


def slow(showers: Showers) -> tuple[list[str], np.ndarray]:
    """Columns in the order of the definition, in double precision."""
    mesh, threshold = showers.mesh, np.float32(showers.detector.threshold)
    names: list[str] = []
    rows = []
    for energy, shower in zip(showers.incident_energies, showers.energies, strict=True):
        blocks: dict[str, dict[int, float]] = {}
        total = 0.0
        for layer, number in enumerate(mesh.layer_ids):
            voxels = mesh.layer_slice(layer)
            e = np.where(shower[voxels] >= threshold, shower[voxels], 0).astype(float)
            r, alpha = mesh.voxel_r[voxels], mesh.voxel_alpha[voxels]
            total += e.sum()
            blocks.setdefault("log10 E_layer", {})[number] = np.log10(e.sum() + 1e-8)
            blocks.setdefault("sparsity", {})[number] = np.mean(e == 0)
            for name, q in {"eta": r * np.cos(alpha), "phi": r * np.sin(alpha), "r": r}.items():
                if name != "r" and mesh.layers[layer].alpha_cells == 1:
                    continue
                centre = (q * e).sum() / (e.sum() + 1e-16)
                width = np.sqrt(max(0.0, (q * q * e).sum() / (e.sum() + 1e-16) - centre**2))
                blocks.setdefault(f"EC_{name}", {})[number] = centre / 100
                blocks.setdefault(f"width_{name}", {})[number] = width / 100
        row = [("log10 E_inc", np.log10(energy))]
        for name in ("log10 E_layer", "EC_eta", "EC_phi", "width_eta", "width_phi"):
            row += [(f"{name} {number}", value) for number, value in blocks[name].items()]
        row.append(("log10 E_tot", np.log10(total + 1e-8)))
        for name in ("sparsity", "EC_r", "width_r"):
            row += [(f"{name} {number}", value) for number, value in blocks[name].items()]
        rows.append([value for _, value in row])
        names = [name for name, _ in row]
    return names, np.array(rows)


@pytest.mark.parametrize(("sample", "columns"), [("geant4", 362), ("irregular", 26)])
def test_features_follow_the_definition(sample: str, columns: int, request: pytest.FixtureRequest) -> None:
    showers: Showers = request.getfixturevalue(sample)[:15]
    names, expected = slow(showers)
    found = feature_matrix(observe(showers))
    assert found.shape == (15, columns)
    assert found.dtype == np.float64
    assert list(feature_names(showers.mesh)) == names
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_an_empty_shower_has_features(geant4: Showers) -> None:
    showers = replace(geant4[:2], energies=np.zeros_like(geant4[:2].energies))
    row = dict(zip(feature_names(showers.mesh), feature_matrix(observe(showers))[0], strict=True))
    assert row["log10 E_tot"] == row["log10 E_layer 7"] == -8
    assert row["sparsity 7"] == 1
    assert row["EC_r 7"] == row["width_eta 7"] == 0


def test_trees_get_energies_relative_to_the_incident_one(geant4: Showers) -> None:
    observables = observe(geant4[:40])
    names = np.array(feature_names(geant4.mesh))
    features = tree_features(observables)
    assert features.shape == (40, 362 + 46)
    np.testing.assert_array_equal(features[:, :362], feature_matrix(observables))
    energies = np.char.startswith(names, "log10 E_") & (names != "log10 E_inc")
    np.testing.assert_allclose(features[:, 362:] + features[:, :1], features[:, :362][:, energies], rtol=1e-12)


def test_groups_hold_every_column_and_the_incident_energy_each(irregular_detector: Detector) -> None:
    """Of any mesh: layers without alpha cells have no centres in x and y; of a single layer the energy is the total."""
    one = ReadoutMesh(blocks=(LayerBlock(layers=1, alpha_cells=1, r_edges=(0, 5, 10), first_id=0),))
    for mesh in (Detector.preset("par04-siw").mesh, irregular_detector.mesh, one):
        groups = tree_feature_groups(mesh)
        relative = (1 if mesh.n_layers == 1 else mesh.n_layers) + 1
        names = feature_names(mesh)
        columns = {column for group in groups.values() for column in group}
        missing = set(range(len(names) + mesh.n_layers + 1)) - columns
        assert all(group[0] == 0 and len(set(group)) == len(group) > 1 for group in groups.values())
        if mesh.n_layers > 1:
            assert missing == set()
            assert len(groups["layer energies"]) == 2 * relative - 1
        else:
            assert set(groups) == {"total energy", "sparsity", "centres in r", "widths in r"}
    assert len(tree_feature_groups(irregular_detector.mesh)["centres in x"]) == 3

"""Requests: each event is a function of the seed and its number alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import kstest

from fastv.conditions.units import AngleSpec, EnergySpec
from fastv.detector.detector import Detector
from fastv.errors import GeometryError, SettingsError
from fastv.simulation.request import Events, SimulationRequest, directions


def request_of(**fields: object) -> SimulationRequest:
    return SimulationRequest(**{"detector": "par04-siw", "energy": "1-1000GeV", **fields})  # type: ignore[arg-type]


def columns_of(events: Events) -> dict[str, NDArray[Any]]:
    """Everything that an event depends on."""
    own = {name: getattr(events, name) for name in ("numbers", "position", "random_indices")}
    return {**own, **events.conditions.columns}


def assert_same(a: Events, b: Events) -> None:
    for name, values in columns_of(a).items():
        np.testing.assert_array_equal(values, columns_of(b)[name], err_msg=name)


class TestEvents:
    REQUEST = request_of(theta="50-90deg", phi="0-360deg", particle="e-,e+,gamma", position_spread=2.0, seed=3)

    @settings(max_examples=30)
    @given(st.lists(st.integers(0, 2**40), max_size=20))
    def test_an_event_does_not_depend_on_its_neighbours(self, events: list[int]) -> None:
        together = columns_of(self.REQUEST.events(np.array(events, dtype=np.int64)))
        for i, event in enumerate(events):
            for name, alone in columns_of(self.REQUEST.events(np.array([event]))).items():
                np.testing.assert_array_equal(together[name][i], alone[0], err_msg=name)

    def test_runs_of_events_are_the_same_as_one_by_one(self) -> None:
        whole = self.REQUEST.events(np.arange(3000))
        back = self.REQUEST.events(np.arange(3000)[::-1])
        assert_same(whole, Events(**{name: value[::-1] for name, value in vars(back).items()}))

    def test_everything_differs_between_events_and_seeds(self) -> None:
        events = np.arange(5000)
        one, other = self.REQUEST.events(events), request_of(seed=4).events(events)
        for drawn in (one, other):
            assert len(np.unique(drawn.conditions.energy)) > 4990  # float32 may repeat
            assert len(np.unique(drawn.random_indices, axis=0)) == 5000
            # All bits of the place in Geant4's stream are random: neighbouring events share no pattern.
            bits = np.unpackbits(drawn.random_indices.view(np.uint8), axis=1)
            assert np.abs(bits.mean(axis=0) - 0.5).max() < 5 * 0.5 / np.sqrt(5000)
        assert not np.any(one.conditions.energy == other.conditions.energy)
        assert self.REQUEST.geant4_seed != request_of(seed=4).geant4_seed

    def test_small_seeds_do_not_coincide(self) -> None:
        """calzone's generator forces the last bit of its seed to one, so 2 and 3 would be the same."""
        seeds = {request_of(seed=seed).geant4_seed | 1 for seed in range(1000)}
        assert len(seeds) == 1000

    def test_distributions(self) -> None:
        events = self.REQUEST.events(np.arange(20_000))
        energy, theta, phi, particle = (
            events.conditions.columns[name] for name in ("energy", "theta", "phi", "particle")
        )
        for values, low, high in (
            (np.log(energy), np.log(1e3), np.log(1e6)),
            (theta, np.radians(50), np.radians(90)),
            (phi, 0.0, 2 * np.pi),
        ):
            assert kstest(values, "uniform", (low, high - low)).pvalue > 1e-3
        # No two conditions of an event are related.
        columns = np.stack([np.log(energy), theta, phi, *events.position.T])
        assert np.abs(np.corrcoef(columns)[:3, :3] - np.eye(3)).max() < 0.03
        assert set(np.unique(particle)) == {-11, 11, 22}

    def test_the_start_is_spread_across_the_flight(self) -> None:
        events = self.REQUEST.events(np.arange(20_000))
        theta, phi = (events.conditions.columns[name] for name in ("theta", "phi"))
        assert np.abs(np.sum(events.position * events.direction, axis=1)).max() < 1e-6
        along_phi = np.stack([-np.sin(phi), np.cos(phi), np.zeros(20_000)], axis=1)
        along_theta = directions(theta + np.pi / 2, phi)
        for across in (along_phi, along_theta):
            assert kstest(np.sum(events.position * across, axis=1), "norm", (0, 2)).pvalue > 1e-3
        assert np.all(request_of().events(np.arange(10)).position == 0)

    def test_the_file_holds_exactly_what_was_simulated(self) -> None:
        conditions = self.REQUEST.conditions(np.arange(100))
        for values in (conditions.columns[name] for name in ("energy", "theta", "phi")):
            np.testing.assert_array_equal(values, values.astype(np.float32))

    def test_lists_meet_each_other(self) -> None:
        request = request_of(energy="10,50,100GeV", theta="60,90deg", phi="0,30deg", particle="e-,gamma")
        conditions = request.conditions(np.arange(24))
        met = set(zip(*(conditions.columns[name] for name in ("energy", "theta", "phi", "particle")), strict=True))
        assert len(met) == 24
        assert conditions.energy[:4].tolist() == [1e4, 5e4, 1e5, 1e4]

    @pytest.mark.parametrize("events", [np.array([-1]), np.zeros((2, 2), int)])
    def test_numbers_of_events(self, events: np.ndarray) -> None:
        with pytest.raises(SettingsError, match="integers from 0"):
            request_of().conditions(events)

    def test_no_events(self) -> None:
        assert len(request_of().conditions(np.empty(0, int))) == 0


class TestFields:
    def test_texts_and_values_mean_the_same(self) -> None:
        text = request_of(energy="50GeV", theta="1.5rad", phi="90deg", particle="gamma")
        value = request_of(
            detector=Detector.preset("par04-siw"), energy=5e4, theta=1.5, phi=AngleSpec((np.pi / 2,)), particle=22
        )
        assert text == value
        assert request_of(energy=EnergySpec((1e3, 1e6), is_range=True)) == request_of()
        assert request_of(particle=["e-", "-11", 22]).particle == (11, -11, 22)

    def test_it_travels(self) -> None:
        request = request_of(theta="60-90deg", physics={"cut": 0.7}, seed=2**70)
        again = SimulationRequest.model_validate_json(request.model_dump_json())
        assert again == request
        assert_same(again.events(np.arange(5)), request.events(np.arange(5)))

    def test_a_right_angle_by_default(self, tmp_path: Path) -> None:
        assert request_of().theta_spec.values == (np.pi / 2,)
        assert request_of(detector=str(planar(tmp_path))).theta_spec.values == (0.0,)

    @pytest.mark.parametrize(
        ("fields", "problem"),
        [
            ({"energy": "0.5keV"}, "energy 0.5keV is outside the range of Geant4's physics, 1keV to 100TeV"),
            ({"energy": "1GeV-200TeV"}, "energy 200TeV is outside"),
            (
                {"theta": "5-90deg"},
                "theta 5deg is outside the acceptance of the barrel stack; allowed is 10deg to 170deg",
            ),
            ({"theta": "180deg"}, "theta 180deg is outside the acceptance of"),
            ({"particle": "quark"}, "unknown particle 'quark'; known: e-, e+"),
            ({"particle": ()}, "simulation: particle: "),
            ({"seed": -1}, "simulation: seed: "),
            ({"physics": {"cut": 0}}, "simulation: physics.cut: "),
            ({"physics": {"cuts": 1}}, "simulation: physics.cuts: nothing of this name"),
            ({"position_spread": -1}, "simulation: position_spread: "),
            ({"position_spread": 81}, "a position spread of 81 mm would start particles inside the stack"),
            ({"theta": [1, 2]}, "simulation: theta: "),
            ({"energi": 3}, "simulation: energi: nothing of this name"),
        ],
    )
    def test_bad_values(self, fields: dict[str, object], problem: str) -> None:
        with pytest.raises(SettingsError) as raised:
            request_of(**fields)
        assert str(raised.value).startswith(problem)
        assert "\n" not in str(raised.value)

    def test_a_detector_that_is_not_known_well_enough(self) -> None:
        siw = Detector.preset("par04-siw")
        with pytest.raises(GeometryError, match="unknown detector"):
            request_of(detector="par05")
        with pytest.raises(SettingsError, match="par04-siw has no 'stack'"):
            request_of(detector=siw.model_copy(update={"stack": None}))
        block = siw.mesh.blocks[0].model_copy(update={"thickness": None})
        flat = siw.model_copy(update={"mesh": siw.mesh.model_copy(update={"blocks": (block,)})})
        with pytest.raises(SettingsError, match="has no layer thickness"):
            request_of(detector=flat)

    def test_directions_that_miss(self, tmp_path: Path) -> None:
        path = str(planar(tmp_path, "half_width: 100,"))
        request_of(detector=path, theta="5deg")
        with pytest.raises(
            SettingsError, match="theta 6deg is outside the acceptance of the planar stack, which ends at 100 mm"
        ):
            request_of(detector=path, theta="0-6deg")
        with pytest.raises(
            SettingsError, match=r"theta 81deg is outside the acceptance of the planar stack; allowed is 0deg to 80deg"
        ):
            request_of(detector=str(planar(tmp_path)), theta="81deg")
        stack = Detector.preset("par04-siw").stack
        assert stack is not None
        short = stack.model_copy(update={"half_length": 800.0})
        detector = Detector.preset("par04-siw").model_copy(update={"stack": short})
        request_of(detector=detector, theta="46-90deg")
        with pytest.raises(
            SettingsError, match="theta 44deg is outside the acceptance of the barrel stack, which ends at 800 mm"
        ):
            request_of(detector=detector, theta="44-90deg")


def planar(folder: Path, limit: str = "") -> Path:
    slab = "{material: G4_Si, thickness: 100, active: true}"
    mesh = "{layers: 10, alpha_cells: 4, r_cells: 5, layer_thickness: 10, r_size: 20}"
    text = f"mesh: {mesh}\nstack: {{shape: planar, distance: 1000, {limit} groups: [{{slabs: [{slab}]}}]}}"
    (folder / "planar.yaml").write_text(text)
    return folder / "planar.yaml"


def test_provenance() -> None:
    pytest.importorskip("calzone")
    provenance = request_of(theta="60-90deg", seed=5).provenance()
    assert provenance["engine"].startswith("Geant4 11.")
    assert provenance["particle"] == "e-"
    assert provenance["physics"] == {"em_model": "standard", "had_model": None, "cut": 1.0}
    assert provenance["seed"] == 5
    assert {"data_sets", "detector", "energy", "theta", "phi", "code_version"} <= set(provenance)
    assert request_of(particle="e-,gamma").provenance()["particles"] == ["e-", "gamma"]


def test_the_spread_of_the_start_is_round() -> None:
    """Shifts along theta and along phi are independent, and both have the spread that was asked for."""
    events = request_of(theta="50-90deg", phi="0-360deg", position_spread=2.0, seed=4).events(np.arange(20_000))
    theta, phi = (events.conditions.columns[name] for name in ("theta", "phi"))
    along_phi = np.stack([-np.sin(phi), np.cos(phi), np.zeros(len(phi))], axis=1)
    shifts = np.stack(
        [(events.position * axis).sum(axis=1) for axis in (directions(theta + np.pi / 2, phi), along_phi)]
    )
    assert np.abs(shifts.std(axis=1) - 2.0).max() < 0.05
    assert abs(np.corrcoef(shifts)[0, 1]) < 0.04
    # Of independent normal numbers the direction is uniform.
    assert kstest(np.arctan2(shifts[1], shifts[0]), "uniform", (-np.pi, 2 * np.pi)).pvalue > 1e-3

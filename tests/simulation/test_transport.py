"""Physics of Geant4's showers, and that each is a function of the request and its number."""

from __future__ import annotations

import hashlib
import math
import subprocess
import sys
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from fastv.detector.detector import Detector
from fastv.detector.mesh import ReadoutMesh
from fastv.detector.stack import Slab, SlabGroup, Stack
from fastv.errors import MissingExtraError, SettingsError
from fastv.showers import Showers
from fastv.simulation.request import SimulationRequest
from fastv.simulation.transport import Transport
from fastv.simulation.voxelisation import Voxeliser

# Lead and scintillator in planes; layers of the mesh end where the slabs do.
PLANES = Detector(
    name="planes",
    mesh=ReadoutMesh.cylinder(layers=40, alpha_cells=8, r_cells=6, layer_thickness=4.0, r_size=20.0),
    energy_scale=0.2,
    stack=Stack(
        shape="planar",
        distance=500.0,
        groups=(
            SlabGroup(
                slabs=(
                    Slab(material="G4_Pb", thickness=4.0),
                    Slab(material="G4_POLYSTYRENE", thickness=4.0, active=True),
                ),
                repeat=20,
            ),
        ),
    ),
)


def request_of(detector: Detector | str = "par04-siw", **fields: object) -> SimulationRequest:
    return SimulationRequest(**{"detector": detector, "energy": "1GeV", **fields})  # type: ignore[arg-type]


@cache
def transport(detector: str = "par04-siw", **fields: object) -> Transport:
    return Transport(request_of(PLANES if detector == "planes" else detector, **fields))


def assert_same(a: Showers, b: Showers) -> None:
    np.testing.assert_array_equal(a.energies, b.energies)
    np.testing.assert_array_equal(a.extra["event"], b.extra["event"])
    for name in ("incident_energies", "theta", "phi", "pdg"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


def mean_position(showers: Showers) -> NDArray[np.float64]:
    """Mean x, y, z of each shower in mm, weighted with energy, shape (n, 3)."""
    energies = showers.energies.astype(np.float64)
    positions: NDArray[np.float64] = energies @ showers.mesh.voxel_centres / energies.sum(axis=1, keepdims=True)
    return positions


def assert_zero(values: NDArray[np.float64], sigmas: float = 3.5) -> None:
    error = values.std(ddof=1) / math.sqrt(len(values))
    assert abs(values.mean()) < sigmas * error, f"{values.mean():.3g} +- {error:.2g}"


@cache
def visible_fractions() -> NDArray[np.float64]:
    """Visible energy of electrons of 10 GeV, everywhere in the silicon, as a fraction."""
    siw = transport(energy="10GeV", seed=1)
    return np.array([siw.deposits(event).energies.sum() for event in range(25)]) / 1e4


@pytest.mark.geant4
class TestPhysics:
    def test_sampling_fraction(self) -> None:
        visible = visible_fractions()
        assert visible.std() / math.sqrt(len(visible)) < 3e-4
        assert visible.mean() == pytest.approx(0.0315, abs=5e-4)

    def test_resolution(self) -> None:
        visible = visible_fractions()
        # 12 to 13.5 % / sqrt(E) are 3.8 to 4.3 %; the error of 25 showers is 14 %.
        assert 0.028 < visible.std(ddof=1) / visible.mean() < 0.055

    @pytest.mark.parametrize("detector", ["par04-siw", "par04-pbwo4", "planes"])
    def test_energy_is_conserved(self, detector: str) -> None:
        """Deposits and what leaves add up to the incident energy, but for nuclei that photons have broken up."""
        request = request_of(PLANES if detector == "planes" else detector, energy="300MeV", particle="e-,gamma", seed=2)
        everywhere = Transport(request, all_active=True)
        whole = 0
        for event in range(40):
            deposits = everywhere.deposits(event)
            escaped = sum(sum(energies) for energies in deposits.escaped.values())
            # A positron that leaves takes along the mass of itself and of the electron it came with.
            escaped += 2 * 0.51099895 * len(deposits.escaped.get(-11, []))
            missing = 300 - deposits.energies.sum() - escaped
            # Geant4 has no hadronic physics here: the mass of nuclei is not accounted for, some 8 MeV a nucleon.
            hadrons = sum(len(energies) for code, energies in deposits.escaped.items() if abs(code) > 22)
            if abs(missing) < 1e-6:
                whole += 1
            else:
                assert 0 < missing < 12 * (hadrons + 1)
        assert whole >= 30

    def test_the_depth_of_the_maximum_rises_with_the_logarithm_of_the_energy(self) -> None:
        showers = transport(energy="0.3,6GeV", seed=3).showers(range(36))
        low, high = (mean_position(showers[showers.incident_energies == e])[:, 2] for e in (300.0, 6000.0))
        # The centre of gravity moves by one radiation length (4.22 mm here) for a factor e in energy.
        rise = (high.mean() - low.mean()) / math.log(20)
        error = math.hypot(high.std() / math.sqrt(len(high)), low.std() / math.sqrt(len(low))) / math.log(20)
        assert rise == pytest.approx(4.22, abs=3.5 * error)
        assert error < 1

    def test_photons_start_later_than_electrons(self) -> None:
        showers = transport(energy="500MeV", particle="e-,gamma", seed=4).showers(range(80))
        electrons, photons = (mean_position(showers[showers.pdg == code])[:, 2] for code in (11, 22))
        # By 9/7 of a radiation length less what an electron needs; some half of one.
        assert 0 < photons.mean() - electrons.mean() < 2 * 4.22

    @pytest.mark.parametrize("theta", [50, 70, 90, 130])
    def test_the_axis_is_centred_at_any_angle(self, theta: int) -> None:
        showers = transport(theta=f"{theta}deg", position_spread=5.0, seed=5).showers(range(30))
        assert showers.theta is not None
        np.testing.assert_allclose(np.degrees(showers.theta), theta, atol=1e-5)
        positions = mean_position(showers)
        assert_zero(positions[:, 0])
        assert_zero(positions[:, 1])
        # Nor does it lean: deep in the calorimeter the showers together are centred as well, to some mm.
        deep = showers.energies * (showers.mesh.voxel_layer >= 15)
        moments = deep @ showers.mesh.voxel_centres[:, 0]
        assert_zero(moments)
        assert moments.std() / math.sqrt(30) < 3 * deep.sum(axis=1).mean()

    def test_planes_at_an_angle(self) -> None:
        showers = transport("planes", theta="30deg", phi="0-360deg", seed=6).showers(range(30))
        assert_zero(mean_position(showers)[:, 0])
        assert_zero(mean_position(showers)[:, 1])

    def test_the_sector_equals_full_cylinders(self) -> None:
        request = request_of(theta="50-90deg", seed=7)
        a, b = (Transport(request, full=full).showers(range(40)) for full in (False, True))
        for observable in (
            lambda s: s.energies.sum(axis=1) / s.incident_energies,
            lambda s: mean_position(s)[:, 2],
            lambda s: s.energies @ s.mesh.voxel_r / s.energies.sum(axis=1),
            lambda s: np.log((s.energies > 0).sum(axis=1)),
        ):
            assert_zero(observable(a) - observable(b))

    def test_deposits_of_planes_lie_in_their_slab(self) -> None:
        """Steps end on surfaces where layers of the mesh end, too: rounding must not move their energy."""
        planes = transport("planes", energy="500MeV", seed=8)
        showers = planes.showers(range(10)).grid.sum(axis=(2, 3))
        assert showers[:, 1::2].sum() > 0
        # Even layers are lead, which is not active.
        assert not showers[:, ::2].any()
        inside = planes.deposits(3)
        assert len(inside.energies) > 50
        remainder = inside.points[:, 2] % 8.0
        assert np.all((remainder > 4.0) & (remainder < 8.0))

    def test_voxels_equal_one_deposit_after_the_other(self) -> None:
        siw = transport(theta="50-90deg", energy="3GeV", seed=9)
        mesh = siw.request.detector.mesh
        for event in range(4):
            deposits = siw.deposits(event)
            visible = np.zeros(mesh.shape)
            for (x, y, z), energy in zip(deposits.points.tolist(), deposits.energies.tolist(), strict=True):
                layer, ring = math.floor(z / 3.4), math.floor(math.hypot(x, y) / 4.65)
                cell = math.floor((math.pi + math.atan2(y, x)) / (2 * math.pi / 16))
                if 0 <= layer < 45 and ring < 9:
                    visible[layer, cell % 16, ring] += energy
            visible[visible < 0.5e-3] = 0
            expected = (visible / 0.033).astype(np.float32).reshape(-1)
            np.testing.assert_array_equal(siw.showers([event]).energies[0], expected)
            np.testing.assert_array_equal(Voxeliser(siw.request.detector)(deposits.points, deposits.energies), expected)


FIELDS = {"energy": "0.05-1GeV", "theta": "50-90deg", "phi": "0-360deg", "particle": "e-,gamma,e+", "seed": 11}


@pytest.fixture(scope="module")
def whole() -> Showers:
    return transport(**FIELDS, position_spread=2.0).showers(range(60))


@pytest.mark.geant4
class TestReplay:
    def test_chunks_and_order_do_not_matter(self, whole: Showers) -> None:
        again = transport(**FIELDS, position_spread=2.0)
        for events in ([59, 3, 17], range(20, 40), [0], []):
            assert_same(again.showers(events), whole[np.array(events, dtype=np.int64)])

    def test_in_another_process_and_after_other_simulations(self, whole: Showers) -> None:
        script = (
            "import hashlib; from fastv.simulation.request import SimulationRequest;"
            "from fastv.simulation.transport import Transport;"
            f"fields = {FIELDS};"
            "other = Transport(SimulationRequest(detector='par04-scipb', energy='1GeV', physics={'cut': 0.3}));"
            "other.showers([0, 1]);"
            "request = SimulationRequest(detector='par04-siw', position_spread=2.0, **fields);"
            "showers = Transport(request).showers([41, 40]);"
            "print(hashlib.sha256(showers.energies.tobytes()).hexdigest())"
        )
        found = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
        assert found.strip() == hashlib.sha256(whole.energies[[41, 40]].tobytes()).hexdigest()

    def test_seeds_give_other_showers(self, whole: Showers) -> None:
        other = transport(**{**FIELDS, "seed": 12}, position_spread=2.0).showers(range(10))
        assert not np.any(np.all(other.energies == whole.energies[:10], axis=1) & whole.energies[:10].any(axis=1))

    def test_the_file_tells_everything(self, whole: Showers) -> None:
        assert whole.pdg is not None
        assert whole.theta is not None
        assert whole.phi is not None
        assert np.ptp(whole.phi) > 5
        assert whole.extra["event"].tolist() == list(range(60))
        assert whole.extra["event"].dtype == np.int64
        assert whole.extra["cpu_seconds"].dtype == np.float32
        assert np.all(whole.extra["cpu_seconds"] > 0)
        assert whole.extra["start_position"].shape == (60, 3)
        assert "start_position" not in transport(**FIELDS).showers([0]).extra
        assert whole.provenance["seed"] == 11
        assert whole.provenance["particles"] == ["e-", "gamma", "e+"]

    def test_a_barrel_is_symmetric_in_phi(self) -> None:
        """It is transported at phi = 0, so phi changes nothing but what the file tells."""
        one, other = (transport(phi=phi, seed=13).showers(range(5)) for phi in ("0deg", "77deg"))
        np.testing.assert_array_equal(one.energies, other.energies)
        assert other.phi is not None
        np.testing.assert_allclose(np.degrees(other.phi), 77, rtol=1e-6)


@pytest.mark.geant4
class TestTracks:
    def test_the_paths_of_an_event(self) -> None:
        siw = transport(theta="60deg", phi="30deg", energy="500MeV", position_spread=3.0, seed=14)
        before = siw.showers([5])
        tracks = siw.tracks(5)
        assert_same(siw.showers([5]), before)
        assert not siw._simulation.tracking
        primary = tracks[0]
        assert (primary.number, primary.parent, primary.pdg, primary.process) == (1, 0, 11, "Primary")
        assert primary.energy == pytest.approx(500)
        # It starts where the request says, and enters the calorimeter at the origin of the shower's frame.
        events = siw.request.events(np.array([5]))
        np.testing.assert_allclose(primary.detector_points[0], events.position[0], atol=1e-9)
        np.testing.assert_allclose(primary.points[1], 0, atol=1e-6)
        np.testing.assert_allclose(primary.points[0, :2], 0, atol=1e-9)
        assert np.hypot(*primary.detector_points[1, :2]) == pytest.approx(800)
        flight = primary.detector_points[1] - primary.detector_points[0]
        np.testing.assert_allclose(flight / np.linalg.norm(flight), events.direction[0], atol=1e-6)

    def test_both_frames_have_the_same_lengths(self) -> None:
        for track in transport(theta="60deg", phi="30deg", energy="500MeV", position_spread=3.0, seed=14).tracks(6):
            assert len(track.points) == len(track.energies) == len(track.times) >= 2
            steps = [np.linalg.norm(np.diff(each, axis=0), axis=1) for each in (track.points, track.detector_points)]
            np.testing.assert_allclose(*steps, atol=1e-7)
            assert track.energy == track.energies[0]
            assert np.all(np.diff(track.times) >= 0)

    def test_family(self) -> None:
        tracks = transport(energy="500MeV", seed=15).tracks(0)
        numbers = {track.number for track in tracks}
        assert len(numbers) == len(tracks) > 20
        assert all(track.parent in numbers for track in tracks if track.parent)
        assert {track.pdg for track in tracks} >= {11, -11, 22}
        high = transport(energy="500MeV", seed=15).tracks(0, above=10.0)
        assert {track.number for track in high} == {track.number for track in tracks if track.energy >= 10}


class TestRefusals:
    def test_without_calzone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "calzone", None)
        with pytest.raises(MissingExtraError, match=r"pip install 'calzone>="):
            Transport(request_of())

    @pytest.mark.geant4
    def test_physics_that_the_particle_needs(self) -> None:
        with pytest.raises(SettingsError, match="without a hadronic model"):
            Transport(request_of(particle="pi-"))

    @pytest.mark.geant4
    def test_a_code_that_geant4_does_not_know(self) -> None:
        with pytest.raises(SettingsError, match="Geant4 knows no particle 99 that flies"):
            Transport(request_of(particle=99))

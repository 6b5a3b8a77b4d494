"""Spectra: their densities, their texts, their files."""

from __future__ import annotations

import math
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import kstest

from fastv.conditions.spectra import Spectrum, drawn, parse_spectrum
from fastv.conditions.units import EnergySpec, parse_angle, parse_energy_spec
from fastv.errors import FastVError, FileFormatError, SettingsError
from fastv.sample import sample_path
from fastv.showers import ShowersFile

EVENTS = np.arange(20_000)
UNIFORM = np.random.default_rng(1).random(len(EVENTS))


@pytest.mark.parametrize("index", [-3.7, -2.0, -1.0, 0.0, 1.5])
def test_power_laws_have_their_density(index: float) -> None:
    spectrum = parse_spectrum(f"power{index:+g}:2-300GeV")
    assert spectrum.index == index
    norm = quad(lambda e: e**index, 2, 300)[0]
    drawn = spectrum.energies(EVENTS, UNIFORM) / 1e3
    for middle in (3.0, 10.0, 100.0):
        share = quad(lambda e: e**index, 2, middle)[0] / norm
        assert np.mean(drawn < middle) == pytest.approx(
            share, abs=4 * math.sqrt(share * (1 - share) / len(drawn)) + 1e-9
        )


@pytest.mark.parametrize(
    ("text", "transform"),
    [("1-1000GeV", np.log), ("log-uniform:1-1000GeV", np.log), ("uniform:1-1000GeV", np.asarray)],
)
def test_ranges_are_uniform_in_their_variable(text: str, transform: np.ufunc) -> None:
    drawn = transform(parse_spectrum(text).energies(EVENTS, UNIFORM))
    low, high = transform(1e3), transform(1e6)
    assert kstest(drawn, "uniform", (low, high - low)).pvalue > 1e-3


def test_a_flat_power_law_is_uniform_and_index_minus_one_log_uniform() -> None:
    flat, uniform = parse_spectrum("power0:1-9GeV"), parse_spectrum("uniform:1-9GeV")
    np.testing.assert_allclose(flat.energies(EVENTS, UNIFORM), uniform.energies(EVENTS, UNIFORM))
    steep, log = parse_spectrum("power-1:1-9GeV"), parse_spectrum("1-9GeV")
    np.testing.assert_array_equal(steep.energies(EVENTS, UNIFORM), log.energies(EVENTS, UNIFORM))


@given(
    index=st.floats(-20, 20), low=st.floats(1e-3, 1e6), ratio=st.floats(1.001, 1e9), u=st.floats(0, 1, exclude_max=True)
)
def test_energies_stay_in_their_range(index: float, low: float, ratio: float, u: float) -> None:
    spectrum = Spectrum(kind="power", values=(low, low * ratio), index=index)
    energy = spectrum.energies(np.array([0]), np.array([u]))[0]
    assert low <= energy <= low * ratio


def test_values_take_turns() -> None:
    spectrum = parse_spectrum("10,50GeV,1TeV")
    assert spectrum.energies(np.array([0, 4, 2, 300]), np.zeros(4)).tolist() == [1e4, 5e4, 1e6, 1e4]
    assert (spectrum.low, spectrum.high, spectrum.turns) == (1e4, 1e6, 3)


@pytest.mark.parametrize(
    "text", ["1-1000GeV", "uniform:1-100GeV", "power-2:1-100GeV", "power+1.5:1GeV-1TeV", "10,50GeV"]
)
def test_a_description_is_read_back(text: str) -> None:
    spectrum = parse_spectrum(text)
    assert parse_spectrum(spectrum.describe()) == spectrum
    assert Spectrum.model_validate_json(spectrum.model_dump_json()) == spectrum


class TestFiles:
    def test_of_showers(self) -> None:
        spectrum = parse_spectrum(str(sample_path("train")))
        with ShowersFile(sample_path("train")) as file:
            energies = file.incident_energies
        assert spectrum.kind == "file"
        np.testing.assert_array_equal(spectrum.energies(np.arange(600), np.zeros(600)), energies)
        assert spectrum.energies(np.array([603]), np.zeros(1))[0] == energies[3]
        assert spectrum.describe().startswith("600 energies of par04-siw-train.h5 (SHA-256 ")

    def test_of_text(self, tmp_path: Path) -> None:
        (tmp_path / "e.txt").write_text("# a test beam\n50GeV\n\n0.5 TeV  # the highest\n")
        assert parse_spectrum(str(tmp_path / "e.txt")).values == (5e4, 5e5)

    @pytest.mark.parametrize(
        ("name", "content", "problem"),
        [
            ("e.txt", b"50\n", "line 1: energy '50' has no unit"),
            ("e.txt", b"1GeV\n1-2GeV\n", "line 2: .* not a list or a range"),
            ("e.txt", b"# nothing\n", "contains no energies"),
            ("e.txt", b"\xff\xfe\x00", "cannot read"),
            ("e.h5", b"nothing", "cannot open: it is truncated or not an HDF5 file"),
        ],
    )
    def test_damage(self, tmp_path: Path, name: str, content: bytes, problem: str) -> None:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(FileFormatError, match=problem) as raised:
            parse_spectrum(str(tmp_path / name))
        assert str(tmp_path / name) in str(raised.value)
        assert "\n" not in str(raised.value)

    @pytest.mark.parametrize(
        ("name", "values", "problem"),
        [
            ("energies", [1.0], "no energies 'incident_energies'; the file contains: energies"),
            ("incident_energies", [1.0, -3.0], "energy 1 is -3.0 MeV"),
            ("incident_energies", [np.nan], "energy 0 is nan MeV"),
            ("incident_energies", [], "contains no energies"),
            ("incident_energies", [b"x"], "no energies"),
        ],
    )
    def test_bad_files(self, tmp_path: Path, name: str, values: list[object], problem: str) -> None:
        with h5py.File(tmp_path / "e.h5", "w") as file:
            file[name] = values
        with pytest.raises(FileFormatError, match=problem):
            parse_spectrum(str(tmp_path / "e.h5"))

    def test_missing(self) -> None:
        with pytest.raises(FileFormatError, match="none.h5: no such file"):
            parse_spectrum("none.h5")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("50", "no unit"),
        ("power:1-2GeV", "not understood; write it as 50GeV, 10,50GeV"),
        ("power-2:50GeV", "a range is needed after the colon"),
        ("uniform:1,2GeV", "a range is needed"),
        ("uniform:2-1GeV", "of a range must be below the second"),
        ("power-99:1-2GeV", "the index must be a number from -20 to 20"),
        ("power1.2.3:1-2GeV", "the index must be a number"),
        ("triangular:1-2GeV", "not understood"),
        ("uniform:", "not understood"),
    ],
)
def test_texts_that_are_no_spectrum(text: str, problem: str) -> None:
    with pytest.raises(SettingsError, match=problem) as raised:
        parse_spectrum(text)
    assert "\n" not in str(raised.value)


@given(st.text(alphabet="power-uniform:+.,0123456789eGMTV ", max_size=20))
def test_random_texts_never_escape(text: str) -> None:
    try:
        spectrum = parse_spectrum(text)
    except FastVError:
        return
    assert 0 < spectrum.low <= spectrum.high


@pytest.mark.parametrize("fields", [{"kind": "power", "values": (1.0, 2.0)}, {"kind": "uniform", "values": (2.0, 1.0)}])
def test_contradictions(fields: dict[str, object]) -> None:
    with pytest.raises(SettingsError):
        Spectrum(**fields)  # type: ignore[arg-type]


energies = st.floats(1e-6, 1e12)


class TestRequests:
    def test_a_range_of_energies_is_log_uniform(self) -> None:
        spec = parse_energy_spec("1-1000GeV")
        made = drawn(spec, 30_000, np.random.default_rng(1))
        assert made.shape == (30_000,)
        assert made.min() >= spec.low
        assert made.max() <= spec.high
        # Each decade gets a third; the median is the geometric mean.
        decades = np.histogram(np.log10(made), [3, 4, 5, 6])[0] / 30_000
        assert decades == pytest.approx([1 / 3] * 3, abs=0.01)

    @given(st.lists(energies, min_size=1, max_size=6), st.integers(0, 50))
    def test_a_list_is_drawn_in_equal_shares_and_in_order(self, values: list[float], n: int) -> None:
        made = drawn(EnergySpec(tuple(values)), n, np.random.default_rng(0))
        assert len(made) == n
        shares = [n // len(values) + (i < n % len(values)) for i in range(len(values))]
        assert made.tolist() == np.repeat(values, shares).tolist()

    def test_energies_and_angles_of_lists_are_not_tied_to_each_other(self) -> None:
        rng = np.random.default_rng(0)
        energy = drawn(parse_energy_spec("10,100GeV"), 8, rng)
        angle = drawn(parse_angle("60,90deg"), 8, rng).round(3)
        assert len(set(zip(energy, angle, strict=True))) == 4

    def test_the_same_seed_draws_the_same(self) -> None:
        for spec in (parse_energy_spec("1-10GeV"), parse_angle("60-90deg")):
            first, again = (drawn(spec, 5, np.random.default_rng(3)) for _ in range(2))
            assert first.tolist() == again.tolist()

    def test_a_range_of_angles_is_uniform(self) -> None:
        made = drawn(parse_angle("60-90deg"), 10_000, np.random.default_rng(1))
        assert np.degrees(made.mean()) == pytest.approx(75, abs=0.5)
        assert np.degrees([made.min(), made.max()]) == pytest.approx([60, 90], abs=0.1)

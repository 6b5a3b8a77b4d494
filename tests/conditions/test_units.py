"""Energies and angles as a user writes them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastv.conditions.units import (
    ENERGY_UNITS,
    AngleSpec,
    EnergySpec,
    format_energy,
    parse_angle,
    parse_energy,
    parse_energy_spec,
)
from fastv.errors import SettingsError

energies = st.floats(1e-6, 1e12)


class TestParseEnergy:
    @pytest.mark.parametrize(
        ("text", "mev"),
        [
            ("50GeV", 50_000.0),
            ("50 GeV", 50_000.0),
            (" 1.5e3MeV ", 1500.0),
            ("0.5keV", 0.0005),
            ("1TeV", 1e6),
            (".5TeV", 5e5),
            ("1.GeV", 1000.0),
        ],
    )
    def test_values(self, text: str, mev: float) -> None:
        assert parse_energy(text) == mev

    @pytest.mark.parametrize("text", ["1-10GeV", "1,2GeV"])
    def test_one_energy_is_one(self, text: str) -> None:
        with pytest.raises(SettingsError, match="one energy is needed"):
            parse_energy(text)

    @given(energies)
    def test_round_trip_is_exact(self, mev: float) -> None:
        assert parse_energy(format_energy(mev)) == mev

    @given(energies, st.integers(1, 9))
    def test_rounded_text_is_close(self, mev: float, digits: int) -> None:
        assert parse_energy(format_energy(mev, digits, space=" ")) == pytest.approx(
            mev, rel=0.51 * 10.0 ** (1 - digits)
        )

    @given(st.decimals(min_value="1e-9", max_value="1e9", allow_nan=False), st.sampled_from(list(ENERGY_UNITS)))
    def test_units_differ_by_powers_of_ten(self, number: object, unit: str) -> None:
        assert parse_energy(f"{number}{unit}") == pytest.approx(float(str(number)) * 10.0 ** ENERGY_UNITS[unit])

    @pytest.mark.parametrize(("mev", "text"), [(999.99, "1 GeV"), (0.0005, "0.5 keV"), (0.0, "0 MeV"), (2e6, "2 TeV")])
    def test_reading_unit(self, mev: float, text: str) -> None:
        assert format_energy(mev, 3, space=" ") == text


class TestParseEnergySpec:
    @pytest.mark.parametrize(
        ("text", "values", "is_range"),
        [
            ("1-1000GeV", (1e3, 1e6), True),
            ("500MeV-1TeV", (500.0, 1e6), True),
            ("1e3 - 1e5 MeV", (1e3, 1e5), True),
            ("1e-1-1e+1GeV", (100.0, 1e4), True),
            ("10,50,100GeV", (1e4, 5e4, 1e5), False),
            ("500MeV, 1, 2GeV", (500.0, 1e3, 2e3), False),
            ("50GeV", (5e4,), False),
        ],
    )
    def test_values(self, text: str, values: tuple[float, ...], is_range: bool) -> None:
        assert parse_energy_spec(text) == EnergySpec(values, is_range)

    @pytest.mark.parametrize("text", ["50", "1-1000", "10,50,100", "1GeV,5", "1GeV-10"])
    def test_a_bare_number_is_an_error_that_says_what_is_allowed(self, text: str) -> None:
        with pytest.raises(SettingsError, match="has no unit; write keV, MeV, GeV or TeV, as in"):
            parse_energy_spec(text)

    @pytest.mark.parametrize(
        ("text", "meant"),
        [("50gev", "50GeV"), ("10,50GEV", "10,50GeV"), ("1 - 2 mev", "1 - 2 MeV"), ("90 degrees", "90 deg")],
    )
    def test_units_in_other_letters_are_suggested(self, text: str, meant: str) -> None:
        with pytest.raises(SettingsError, match=f"unknown unit .*; did you mean {meant}.$"):
            (parse_angle if "deg" in meant else parse_energy_spec)(text)

    @pytest.mark.parametrize("text", ["50gev", "50 mev", "50eV", "50deg", "1-10PeV"])
    def test_unknown_units(self, text: str) -> None:
        with pytest.raises(SettingsError, match="unknown unit .*allowed are keV, MeV, GeV or TeV"):
            parse_energy_spec(text)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "is not understood"),
            ("GeV", "is not understood"),
            ("1-2-3GeV", "is not understood"),
            ("1-2,3GeV", "is not understood"),
            ("50GeV,", "is not understood"),
            ("nanGeV", "is not understood"),
            ("٣GeV", "is not understood"),
            ("-5GeV", "above zero"),
            ("0GeV", "above zero"),
            ("1e-999GeV", "above zero"),
            ("1e999GeV", "finite"),
            ("1e9999999999999999GeV", "finite"),
            ("10-5GeV", "of a range must be below the second"),
            ("5-5GeV", "of a range must be below the second"),
        ],
    )
    def test_what_is_refused(self, text: str, message: str) -> None:
        with pytest.raises(SettingsError, match=message) as raised:
            parse_energy_spec(text)
        assert repr(text) in str(raised.value)
        assert "\n" not in str(raised.value)

    @given(st.lists(energies, min_size=1, max_size=5))
    def test_list_round_trip(self, values: list[float]) -> None:
        spec = EnergySpec(tuple(values))
        assert parse_energy_spec(str(spec)) == spec

    @given(energies, st.floats(1.001, 1e6))
    def test_range_round_trip(self, low: float, factor: float) -> None:
        spec = EnergySpec((low, low * factor), is_range=True)
        assert parse_energy_spec(str(spec)) == spec

    @given(st.text(max_size=20))
    def test_any_text_is_understood_or_refused(self, text: str) -> None:
        try:
            spec = parse_energy_spec(text)
        except SettingsError:
            return
        assert spec.low > 0


class TestParseAngle:
    @pytest.mark.parametrize(
        ("text", "values", "is_range"),
        [
            ("90deg", (math.pi / 2,), False),
            ("1.2rad", (1.2,), False),
            ("60-90deg", (math.pi / 3, math.pi / 2), True),
            ("-180-180deg", (-math.pi, math.pi), True),
            ("-90--30deg", (-math.pi / 2, -math.pi / 6), True),
            ("0,45,90deg", (0.0, math.pi / 4, math.pi / 2), False),
        ],
    )
    def test_values(self, text: str, values: tuple[float, ...], is_range: bool) -> None:
        spec = parse_angle(text)
        assert spec.values == pytest.approx(values)
        assert spec.is_range == is_range

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("90", "has no unit; write deg or rad, as in 90deg"),
            ("90GeV", "unknown unit 'GeV'; allowed are deg or rad"),
            ("90rad", "full turn"),
            ("361deg", "full turn"),
            ("90-60deg", "of a range must be below the second"),
            ("right", "is not understood"),
        ],
    )
    def test_what_is_refused(self, text: str, message: str) -> None:
        with pytest.raises(SettingsError, match=message):
            parse_angle(text)

    @given(st.lists(st.floats(-6, 6), min_size=1, max_size=4))
    def test_round_trip(self, values: list[float]) -> None:
        spec = AngleSpec(tuple(values))
        assert parse_angle(str(spec)) == spec

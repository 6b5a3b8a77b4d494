"""Spectra of incident energies and angles, for simulations (a function of the event number) and for generation.

Energies are in MeV, angles in rad.
"""

from __future__ import annotations

import hashlib
import math
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import h5py
import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from fastv.conditions.units import AngleSpec, EnergySpec, format_energy, parse_energy, parse_energy_spec
from fastv.errors import FileFormatError, SettingsError
from fastv.records import Frozen, PositiveFloat
from fastv.storage.guard import check_regular, check_stored
from fastv.storage.hdf5 import damage_named, open_hdf5
from fastv.wording import counted

_HDF5 = (".h5", ".hdf5", ".hdf")
_TEXT = (".txt", ".dat", ".csv")
_SHAPED = re.compile(r"\s*(log-uniform|uniform|power\s*([+-]?[\d.]+(?:[eE][+-]?\d+)?))\s*:(.*)", re.DOTALL)
_MOST_INDEX = 20.0

EXAMPLES = "50GeV, 10,50GeV, 1-1000GeV (log-uniform), uniform:1-100GeV, power-2:1-100GeV or FILE.h5"


class Spectrum(Frozen):
    """The spectrum of incident energies of a simulation.

    Attributes:
        kind: ``list`` (the values are used in turn), ``file`` (the energies of a file are used in turn),
            ``log-uniform``, ``uniform``, or ``power`` (density proportional to E^index).
        values: energies in MeV: all those of a list or file, otherwise the lowest and the highest.
        index: exponent of a power law, otherwise None.
        source: name and SHA-256 of the file, otherwise None.

    Raises:
        SettingsError: the values or the index do not fit the kind.

    Example:
        >>> spectrum = parse_spectrum("power-2:1-100GeV")
        >>> spectrum.energies(np.arange(3), np.array([0.0, 0.5, 1.0])).round(2).tolist()
        [1000.0, 1980.2, 100000.0]
        >>> parse_spectrum("10,50GeV").energies(np.arange(4), np.zeros(4)).tolist()
        [10000.0, 50000.0, 10000.0, 50000.0]
    """

    kind: Literal["list", "file", "log-uniform", "uniform", "power"]
    values: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)]
    index: Annotated[float, Field(ge=-_MOST_INDEX, le=_MOST_INDEX)] | None = None
    source: dict[str, str] | None = None

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        if self.is_range and not (len(self.values) == 2 and self.values[0] < self.values[1]):
            msg = f"a {self.kind} spectrum needs a lower and a higher energy, got {self.values} MeV"
            raise SettingsError(msg)
        if (self.kind == "power") != (self.index is not None):
            msg = "a power law needs an index; other spectra have none"
            raise SettingsError(msg)
        return self

    @property
    def is_range(self) -> bool:
        """Whether energies are drawn between the two values."""
        return self.kind not in ("list", "file")

    @property
    def low(self) -> float:
        """The lowest energy in MeV."""
        return min(self.values)

    @property
    def high(self) -> float:
        """The highest energy in MeV."""
        return max(self.values)

    @property
    def turns(self) -> int:
        """Number of events after which the values of a list repeat; 1 for other kinds."""
        return len(self.values) if self.kind == "list" else 1

    def energies(self, events: NDArray[np.int64], uniform: NDArray[np.float64]) -> NDArray[np.float64]:
        """Energies (n,) of events in MeV.

        For a list or file of k values, event i has value i modulo k. For the other kinds the cumulative distribution is
        inverted: with q = E_high / E_low and p = index + 1, E = E_low q^u for p = 0 (log-uniform), otherwise
        E = E_low (1 + u (q^p - 1))^(1/p), which is uniform for p = 1.

        Args:
            events: numbers (n,) of the events, from 0.
            uniform: random numbers u (n,) in [0, 1].
        """
        if not self.is_range:
            return np.asarray(self.values)[events % len(self.values)]
        index = {"log-uniform": -1.0, "uniform": 0.0}.get(self.kind, self.index)
        assert index is not None  # of a power law, checked when the spectrum was made
        ratio, p = self.high / self.low, index + 1
        drawn = ratio**uniform if abs(p) < 1e-9 else (1 + uniform * (ratio**p - 1)) ** (1 / p)
        return np.clip(self.low * drawn, self.low, self.high)

    def describe(self) -> str:
        """A short description; that of a range or list can be read back by :func:`parse_spectrum`.

        Example:
            >>> parse_spectrum("1-1000GeV").describe()
            'log-uniform:1GeV-1TeV'
        """
        if self.source is not None:
            number = counted(len(self.values), "energy", "energies")
            return f"{number} of {self.source['file']} (SHA-256 {self.source['sha256'][:12]})"
        if self.is_range:
            kind = self.kind if self.index is None else f"power{self.index:+g}"
            return f"{kind}:{format_energy(self.low)}-{format_energy(self.high)}"
        return ",".join(format_energy(value) for value in self.values)


def parse_spectrum(text: str) -> Spectrum:
    """Parse a spectrum, or read the energies of a file.

    Args:
        text: ``50GeV``; a list ``10,50GeV``; a log-uniform range ``1-1000GeV``; ``uniform:1-100GeV``; a power law such
            as ``power-2:1-100GeV``, with a density proportional to E^-2; or the path of a showers file (.h5), or of a
            text file (.txt, .csv, .dat) with one energy and its unit per line.

    Raises:
        SettingsError: the text is none of these, or an energy is not above zero.
        FileFormatError: the file is missing, damaged, or contains no energies.

    Example:
        >>> parse_spectrum("uniform:1-100GeV").kind
        'uniform'
    """
    path = Path(text.strip())
    if path.suffix.lower() in (*_HDF5, *_TEXT):
        return _from_file(path)
    shaped = _SHAPED.fullmatch(text)
    if shaped is None:
        if ":" in text:
            msg = f"spectrum {text!r} is not understood; write it as {EXAMPLES}"
            raise SettingsError(msg)
        return of_spec(parse_energy_spec(text))
    kind, index, rest = shaped.groups()
    spec = parse_energy_spec(rest)
    if not spec.is_range:
        msg = f"spectrum {text!r}: a range is needed after the colon, as in {kind}:1-100GeV"
        raise SettingsError(msg)
    if index is None:
        return Spectrum(kind="uniform" if kind == "uniform" else "log-uniform", values=spec.values)
    try:
        number = float(index)
    except ValueError:
        number = math.inf
    if not abs(number) <= _MOST_INDEX:
        msg = f"spectrum {text!r}: the index must be a number from {-_MOST_INDEX:g} to {_MOST_INDEX:g}"
        raise SettingsError(msg)
    return Spectrum(kind="power", values=spec.values, index=number)


def of_spec(spec: EnergySpec) -> Spectrum:
    """The spectrum of an :class:`fastv.conditions.units.EnergySpec`: a list, or a log-uniform range."""
    return Spectrum(kind="log-uniform" if spec.is_range else "list", values=spec.values)


def drawn(
    values: EnergySpec | AngleSpec | tuple[int, ...] | tuple[str, ...], n: int, rng: np.random.Generator
) -> NDArray[Any]:
    """Draw the values (n,) of a requested condition.

    A range of energies is log-uniform, a range of angles uniform. Lists are not random: of k energies, each has n/k
    consecutive showers (the first ones one more, if k does not divide n); angles and PDG codes alternate from shower to
    shower, so that each value occurs at every energy.

    Example:
        >>> rng = np.random.default_rng(1)
        >>> drawn(EnergySpec((1e4, 5e4)), 4, rng).tolist(), drawn(AngleSpec((1.0, 1.5)), 4, rng).tolist()
        ([10000.0, 10000.0, 50000.0, 50000.0], [1.0, 1.5, 1.0, 1.5])
    """
    if isinstance(values, AngleSpec):
        return angles(values, np.arange(n), rng.random(n if values.is_range else 0))[0]
    if isinstance(values, tuple):
        return np.resize(np.asarray(values), n)
    if values.is_range:
        return np.clip(np.exp(rng.uniform(math.log(values.low), math.log(values.high), n)), values.low, values.high)
    shares = [len(share) for share in np.array_split(np.arange(n), len(values.values))]
    return np.repeat(np.asarray(values.values, dtype=np.float64), shares)


def angles(
    spec: AngleSpec, turn: NDArray[np.int64], uniform: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Angles of showers: uniform in a range, or the values of a list in turn.

    Args:
        spec: the range or list.
        turn: for each shower (n,), how often all combinations of the faster varying conditions were completed before.
        uniform: for a range, random numbers (n,) in [0, 1].

    Returns:
        Angles (n,) in rad, and ``turn`` (n,) for the next condition.

    Example:
        >>> values, turn = angles(AngleSpec((1.0, 1.5)), np.arange(5), np.zeros(5))
        >>> values.tolist(), turn.tolist()
        ([1.0, 1.5, 1.0, 1.5, 1.0], [0, 0, 1, 1, 2])
    """
    if spec.is_range:
        return spec.low + uniform * (spec.high - spec.low), turn
    values = np.asarray(spec.values, dtype=np.float64)
    return values[turn % len(values)], turn // len(values)


def _from_file(path: Path) -> Spectrum:
    check_regular(path, "a file of energies")
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        energies = _hdf5_energies(path) if path.suffix.lower() in _HDF5 else _text_energies(path)
    except (OSError, RuntimeError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        msg = f"{path}: cannot read the energies: {reason}"
        raise FileFormatError(msg) from error
    bad = np.flatnonzero(~(np.isfinite(energies) & (energies > 0)))
    if not energies.size or bad.size:
        msg = f"{path}: " + (f"energy {bad[0]} is {energies[bad[0]]} MeV" if bad.size else "it contains no energies")
        raise FileFormatError(msg)
    return Spectrum(kind="file", values=tuple(energies.tolist()), source={"file": path.name, "sha256": digest})


def _hdf5_energies(path: Path) -> NDArray[np.float64]:
    with open_hdf5(path) as file, damage_named(path):
        data = file.get("incident_energies")
        if not isinstance(data, h5py.Dataset) or data.dtype.kind not in "fiu" or data.size is None:
            msg = f"{path}: no energies 'incident_energies'; the file contains: {', '.join(sorted(file)) or 'nothing'}"
            raise FileFormatError(msg)
        check_stored(path, data)
        return np.asarray(data[...], dtype=np.float64).reshape(-1)


def _text_energies(path: Path) -> NDArray[np.float64]:
    energies = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        try:
            energies.append(parse_energy(text))
        except SettingsError as error:
            msg = f"{path}: line {number}: {error}"
            raise FileFormatError(msg) from error
    return np.asarray(energies, dtype=np.float64)

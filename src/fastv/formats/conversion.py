"""Conversion between any two formats, with one batch of showers in memory at a time.

Voxel energies are converted from the energy scale of the input to that of the output, the readout threshold is applied
if the input was not read out, and columns that the input lacks are filled with values from the user. All of this is
reported in the result and in the provenance of the output.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastv._version import __version__
from fastv.conditions.particles import PDG_NAMES, particle_code
from fastv.conditions.table import CONDITIONS
from fastv.conditions.units import ENERGY_UNITS, format_angle, format_energy, parse_angle, parse_energy
from fastv.detector.detector import Detector
from fastv.errors import FileFormatError, GeometryError, OutputError, SettingsError
from fastv.formats import FORMATS, READ_ONLY, Format, named
from fastv.formats.contract import Asked, Layout, Plan, Reader, Writer, scaled
from fastv.formats.hdf5 import layout_of
from fastv.progress import Bar
from fastv.showers import BLOCK_ROWS, Showers
from fastv.showers.checks import energies_in_doubt
from fastv.storage.guard import check_regular
from fastv.storage.output import check_free
from fastv.wording import counted

_BATCH_BYTES = 2**25
_ANY_AXES = ("calochallenge", "lemurs", "par04-h5")
"""Formats that other codes write with other orders of axes."""
_FIXED_UNITS = ("par04-root", "zenodo-vae", "showerdata")
"""Formats whose writers are single programs, with known units."""
_MOST_SAMPLED = 8.0
"""Visible energy in units of what the detector's energy scale promises, beyond which the scale must be wrong."""


@dataclass(frozen=True)
class Conversion:
    """What a conversion did.

    Attributes:
        input, output: the files.
        source, target: names of their formats.
        detected: whether the format of the input was recognised from its content.
        showers: number of showers.
        detector: name of the detector.
        mesh: description of its mesh.
        input_scale, output_scale: factors by which visible energies are divided in the input and in the output.
        threshold: applied readout threshold in MeV of visible energy, or None.
        below_threshold: number of voxels above zero and below the threshold, which were set to zero.
        below_threshold_energy: their fraction of the energy.
        outside_mesh: number of deposits outside the mesh, which were omitted.
        outside_mesh_energy: their fraction of the energy.
        filled: columns that the input lacks, with the value given by the user.
        not_kept: columns that the output cannot store.
        axes: order of the axes of a shower in the input, if the user named it.
        energy_unit, voxel_unit: units of incident energies and of voxel energies in the input.
        doubts: what should be checked: units or energy scales that seem to be wrong.
        empty: number of showers without any energy.
        response: median of the total voxel energy over the incident energy in the output, of showers that are not
            empty; None if all are.
        seconds: time of the conversion.
        bytes: size of the output.
    """

    input: str
    output: str
    source: str
    target: str
    detected: bool
    showers: int
    detector: str
    mesh: str
    input_scale: float
    output_scale: float
    threshold: float | None
    below_threshold: int
    below_threshold_energy: float
    outside_mesh: int
    outside_mesh_energy: float
    filled: Mapping[str, float]
    not_kept: tuple[str, ...]
    axes: str | None
    energy_unit: str
    voxel_unit: str
    doubts: tuple[str, ...]
    empty: int
    response: float | None
    seconds: float
    bytes: int

    def as_dict(self) -> dict[str, Any]:
        """The result as JSON data."""
        return asdict(self)

    def lines(self) -> list[str]:
        """The result as lines of text."""
        found = ", recognised from its content" if self.detected else ""
        lines = [
            f"{self.input} ({self.source}{found}) -> {self.output} ({self.target}): "
            f"{counted(self.showers, 'shower')} of {self.detector}, {self.mesh}, {self.seconds:.1f} s",
            f"energies: {_scale_text(self.input_scale)} in the input, {_scale_text(self.output_scale)} in the output",
        ]
        if (self.energy_unit, self.voxel_unit) != ("MeV", "MeV"):
            lines.append(f"units of the input: incident energies in {self.energy_unit}, voxels in {self.voxel_unit}")
        if self.threshold is not None:
            lines.append(
                f"threshold {_energy_text(self.threshold)} of visible energy: "
                f"{counted(self.below_threshold, 'voxel')} below it set "
                f"to zero, {self.below_threshold_energy:.2e} of the energy"
            )
        if self.outside_mesh:
            omitted = counted(self.outside_mesh, "deposit")
            lines.append(f"omitted: {omitted} outside the mesh, {self.outside_mesh_energy:.2e} of the energy")
        if self.filled:
            lines.append("filled in: " + ", ".join(f"{name} {value:.6g}" for name, value in self.filled.items()))
        typical = "" if self.response is None else f"E_tot / E_inc: median {self.response:.4g}"
        empty = f"empty: {self.empty} of {counted(self.showers, 'shower')}" if self.empty else ""
        lines.append("; ".join(filter(None, (typical, empty))))
        lines.extend(f"please check: {doubt}" for doubt in self.doubts)
        if self.not_kept:
            lines.append(f"not kept, because {self.target} cannot store it: {', '.join(self.not_kept)}")
        return lines


def _scale_text(scale: float) -> str:
    return "visible energy" if scale == 1 else f"visible energy / {scale:g}"


def _energy_text(energy: float) -> str:
    return format_energy(energy, 4, space=" ") if energy else "0"


def convert(
    source: str | Path,
    output: str | Path,
    *,
    from_format: str | None = None,
    to_format: str | None = None,
    mesh: Detector | str | None = None,
    input_scale: float | None = None,
    output_scale: float | None = None,
    threshold: float | str | None = None,
    axes: str | None = None,
    energy_unit: str | None = None,
    voxel_unit: str | None = None,
    theta: float | str | None = None,
    phi: float | str | None = None,
    particle: str | None = None,
    force: bool = False,
) -> Conversion:
    """Convert a file from one format to another, with one batch of showers in memory at a time.

    Args:
        source: the file, or the folder of the format ``zenodo-vae``.
        output: the file or folder to write; it appears when it is complete.
        from_format: format of the input; by default recognised from its content.
        to_format: format of the output; by default given by its suffix, if only one format has it. A suffix of HDF5
            means FastV's own format, unless the input has that format.
        mesh: detector, or its name, if the input does not contain it.
        input_scale: factor by which visible energies were divided in the input, if the input does not contain it. By
            default 1, or for CaloChallenge the energy scale of the detector.
        output_scale: factor by which to divide visible energies in the output. By default 1, or for FastV's own format
            and CaloChallenge the energy scale of the detector.
        threshold: set voxels below this visible energy to zero: MeV, or a text such as ``"0.5keV"``, or ``"none"``. By
            default the threshold of the detector, if the input holds visible energies and was not written by FastV.
        axes: order of the axes of a shower in an HDF5 file, if it is not that of the format: ``"layer,alpha,r"``.
        energy_unit: unit of the incident energies in the input: MeV (default), GeV, keV or TeV.
        voxel_unit: likewise for the voxel energies.
        theta, phi: angles of all showers in rad, or as text such as ``"90deg"``, if the input does not contain them.
        particle: name or PDG code of all particles, if the input does not contain it.
        force: replace an existing output.

    Returns:
        A summary of the conversion.

    Raises:
        FileFormatError: the input is missing, damaged, of an unknown format, or not of the given format; or its showers
            have far more energy than came in, and no unit is given.
        GeometryError: the detector is unknown or does not fit, or the output format cannot store its mesh.
        MissingExtraError: a format needs a package that is not installed.
        OutputError: the output exists, its format cannot store the showers, or the disk is full.
        SettingsError: a format is unknown or ambiguous, or an argument has a value that is not allowed.

    Example:
        >>> import tempfile
        >>> from fastv.sample import sample_path
        >>> from fastv.showers import ShowersFile
        >>> folder = Path(tempfile.mkdtemp())
        >>> with ShowersFile(sample_path("train")) as file:
        ...     file[:5].write(folder / "ours.h5")
        >>> result = convert(folder / "ours.h5", folder / "par04.h5", to_format="par04-h5")
        >>> result.showers, result.input_scale, result.output_scale
        (5, 0.033, 1.0)
        >>> convert(folder / "par04.h5", folder / "back.h5").source
        'par04-h5'
    """
    return _convert(
        Path(source),
        check_free(output, force=force, kind="showers"),
        named(from_format) if from_format else None,
        named(to_format) if to_format else None,
        Asked(mesh, input_scale, axes, energy_unit, voxel_unit),
        _Settings.of(threshold, theta, phi, particle, output_scale),
        force=force,
    )


def _convert(
    source: Path,
    output: Path,
    origin: Format | None,
    target: Format | None,
    asked: Asked,
    settings: _Settings,
    *,
    force: bool,
) -> Conversion:
    started = time.perf_counter()
    _check_apart(source, output)
    _check_scale("input_scale", asked.energy_scale)
    detected = origin is None
    origin = _with_axes(origin or recognise(source), asked)
    units = _units(origin, asked)
    if target is not None and target.name in READ_ONLY:
        msg = f"{target.name} is only read; choose another format with `to_format`: {', '.join(FORMATS)}"
        raise SettingsError(msg)
    target = target or _by_suffix(output, origin)
    _check_suffix(output, target)
    with origin.load().read(_existing(source), asked) as reader:
        if not len(reader):
            msg = f"{source}: the file contains no showers"
            raise FileFormatError(msg)
        plan, applied = _plan(reader, origin, target, settings, asked, force)
        work = _Work(reader, plan, settings, applied, units, asked)
        with target.load().written(output, plan) as write:
            work.run(write)
    return Conversion(
        input=str(source),
        output=str(output),
        source=origin.name,
        target=target.name,
        detected=detected,
        showers=plan.total,
        detector=plan.detector.name,
        mesh=plan.detector.mesh.describe(),
        input_scale=reader.energy_scale,
        output_scale=plan.energy_scale,
        threshold=applied,
        below_threshold=work.below,
        below_threshold_energy=work.share(work.below_energy),
        outside_mesh=reader.outside.deposits,
        outside_mesh_energy=work.share(work.outside_energy),
        filled=settings.columns,
        not_kept=tuple(dict.fromkeys((*reader.not_kept, *work.not_kept))),
        axes=asked.axes,
        energy_unit=asked.energy_unit or "MeV",
        voxel_unit=asked.voxel_unit or "MeV",
        doubts=work.doubts(),
        empty=work.empty,
        response=work.response,
        seconds=round(time.perf_counter() - started, 3),
        bytes=_size(output),
    )


def recognise(path: str | Path) -> Format:
    """Recognise the format of a file from its content.

    Raises:
        FileFormatError: the file is missing, damaged, or of an unknown format.

    Example:
        >>> from fastv.sample import sample_path
        >>> recognise(sample_path("train")).name
        'fastv'
    """
    layout = _look(_existing(Path(path)))
    if layout.noted in FORMATS:
        return FORMATS[layout.noted]
    for each in (*FORMATS.values(), *READ_ONLY.values()):
        if each.load().recognises(layout):
            return each
    if layout.kind == "folder":
        found = "a folder without files SiW_angle_<degrees>.h5 or SciPb_angle_<degrees>.h5"
    elif layout.kind == "hdf5":
        described = [f"{name} {item.shape}" for name, item in layout.items.items()]
        found = f"an HDF5 file with {', '.join(described[:12]) or 'no data sets'}"
    else:
        found = "neither HDF5 nor ROOT"
    msg = f"{path}: unknown format, it is {found}; known: {', '.join({**FORMATS, **READ_ONLY})}"
    raise FileFormatError(msg)


def _existing(path: Path) -> Path:
    """A file that can be read, or a folder.

    Raises:
        FileFormatError: there is none.
    """
    try:
        folder = path.is_dir()
    except OSError:
        folder = False
    if not folder:
        check_regular(path)
    return path


def _look(path: Path) -> Layout:
    if path.is_dir():
        return Layout(path, "folder")
    try:
        with path.open("rb") as file:
            head = file.read(8)
    except OSError as error:
        msg = f"{path}: cannot open: {error.strerror or error}"
        raise FileFormatError(msg) from error
    if head[:4] == b"root":
        return Layout(path, "root")
    return layout_of(path) if head == b"\x89HDF\r\n\x1a\n" else Layout(path, "other")


def _check_apart(source: Path, output: Path) -> None:
    """Refuse to overwrite the input."""
    try:
        overlap = source.resolve().is_relative_to(output.resolve())
    except OSError:
        return  # opening it will say what is wrong
    if overlap:
        msg = f"{output} would replace {source}, which is being read; choose another name for the output"
        raise OutputError(msg)


def _with_axes(origin: Format, asked: Asked) -> Format:
    """The format that reads a file whose axes the user names."""
    if asked.axes is None or origin.name in READ_ONLY:
        return origin
    if origin.name not in _ANY_AXES:
        msg = f"{origin.name} fixes the order of its axes; leave `axes` out"
        raise SettingsError(msg)
    return replace(READ_ONLY["other-h5"], visible=origin.visible)


def _units(origin: Format, asked: Asked) -> tuple[float, float]:
    """Factors to MeV of incident energies and of voxel energies."""
    factors = []
    for name in ("energy_unit", "voxel_unit"):
        unit = getattr(asked, name)
        if unit is not None and unit not in ENERGY_UNITS:
            meant = next((one for one in ENERGY_UNITS if one.lower() == str(unit).lower()), None)
            hint = f"; did you mean {meant}?" if meant else ""
            msg = f"`{name}` must be one of {', '.join(ENERGY_UNITS)}, got {unit!r}{hint}"
            raise SettingsError(msg)
        if unit is not None and origin.name in _FIXED_UNITS:
            msg = f"{origin.name} fixes its units; leave `{name}` out"
            raise SettingsError(msg)
        factors.append(10.0 ** ENERGY_UNITS[unit or "MeV"])
    return factors[0], factors[1]


def _by_suffix(output: Path, origin: Format) -> Format:
    suffix = output.suffix.lower()
    fitting = [each for each in FORMATS.values() if suffix in each.suffixes]
    if len(fitting) == 1:
        return fitting[0]
    ours = FORMATS["fastv"]
    if ours in fitting and origin != ours:
        return ours
    choice = ", ".join(each.name for each in fitting or FORMATS.values() if each != origin)
    what = f"several formats have the suffix {suffix!r}" if fitting else f"no format has the suffix {suffix!r}"
    if not fitting:
        endings = dict.fromkeys(ending for each in FORMATS.values() for ending in each.suffixes)
        what += f"; known endings are {', '.join(endings)}"
    msg = f"{output}: {what}; choose one with `to_format`: {choice}"
    raise SettingsError(msg)


def _check_suffix(output: Path, target: Format) -> None:
    suffix = output.suffix.lower()
    others = [each.name for each in FORMATS.values() if suffix in each.suffixes]
    if others and target.name not in others:
        allowed = f"a name that ends in {' or '.join(target.suffixes)}" if target.suffixes else "the name of a folder"
        msg = f"{output}: {suffix} is the suffix of {', '.join(others)}; {target.name} needs {allowed}"
        raise SettingsError(msg)


@dataclass(frozen=True)
class _Settings:
    """What the user states: threshold in MeV, values of columns (rad, PDG code), energy scale of the output."""

    threshold: float | None
    columns: Mapping[str, float]
    particle: str | None
    output_scale: float | None

    @classmethod
    def of(
        cls,
        threshold: float | str | None,
        theta: float | str | None,
        phi: float | str | None,
        particle: str | None,
        output_scale: float | None,
    ) -> _Settings:
        _check_scale("output_scale", output_scale)
        columns: dict[str, float] = {}
        for name, angle in (("theta", theta), ("phi", phi)):
            if angle is None:
                continue
            if isinstance(angle, str):
                spec = parse_angle(angle)
                if len(spec.values) != 1:
                    msg = f"`{name}` is one angle for all showers, as in 90deg, got {angle}"
                    raise SettingsError(msg)
                angle = spec.values[0]
            condition = CONDITIONS[name]
            if not condition.low <= angle <= condition.high:
                msg = f"`{name}` must be {condition.allowed}, got {format_angle(angle)}"
                raise SettingsError(msg)
            columns[name] = float(angle)
        if particle is not None:
            columns["pdg"] = particle_code(particle)
        return cls(_threshold(threshold), columns, particle, output_scale)


def _check_scale(parameter: str, scale: float | None) -> None:
    if scale is not None and not (math.isfinite(scale) and scale > 0):
        msg = f"`{parameter}` must be a number above zero, got {scale}"
        raise SettingsError(msg)


def _threshold(threshold: float | str | None) -> float | None:
    if isinstance(threshold, str):
        bare = threshold.strip()
        if bare == "none" or bare in {f"0{unit}" for unit in ("", *ENERGY_UNITS)}:
            return 0.0
        return parse_energy(threshold)
    if threshold is not None and not (math.isfinite(threshold) and threshold >= 0):
        msg = f"the threshold must be an energy in MeV, got {threshold}"
        raise SettingsError(msg)
    return threshold


def _plan(
    reader: Reader, origin: Format, target: Format, settings: _Settings, asked: Asked, force: bool
) -> tuple[Plan, float | None]:
    """The plan for the writer, and the threshold to apply in MeV of visible energy, or None."""
    detector = reader.detector
    applied = settings.threshold
    if applied is not None:
        detector = detector.model_copy(update={"readout_threshold": applied})
    elif origin.visible and not reader.described:
        applied = detector.readout_threshold
    scale = settings.output_scale or (1.0 if target.visible else detector.energy_scale)
    if not target.visible:
        detector = detector.model_copy(update={"energy_scale": scale})
    described = reader.provenance.get("converted", [])
    step = {
        "from": origin.name,
        "to": target.name,
        "file": reader.path.name,
        "by": f"FastV {__version__}",
        "detector": detector.name,
        "input_scale": reader.energy_scale,
        "output_scale": scale,
        "threshold": applied,
        **{name: getattr(asked, name) for name in ("axes", "energy_unit", "voxel_unit") if getattr(asked, name)},
        **({"filled": dict(settings.columns)} if settings.columns else {}),
    }
    provenance = {
        **reader.provenance,
        "converted": [*(described if isinstance(described, list) else [described]), step],
    }
    code = settings.columns.get("pdg")
    if code is not None:
        provenance.setdefault("particle", PDG_NAMES.get(int(code), str(settings.particle)))
    return Plan(len(reader), detector, scale, provenance, force), applied


class _Work:
    """Converts all batches, and counts what is lost; energies in MeV on the energy scale of the output."""

    def __init__(
        self,
        reader: Reader,
        plan: Plan,
        settings: _Settings,
        threshold: float | None,
        units: tuple[float, float],
        asked: Asked,
    ) -> None:
        self._reader, self._plan, self._settings, self._asked = reader, plan, settings, asked
        self._incident_factor = units[0]
        self._factor = units[1] * reader.energy_scale / plan.energy_scale
        self._ratios: list[NDArray[np.float64]] = []
        self.empty = 0
        # A float32 voxel at the threshold itself is not below it.
        self._threshold = np.float32((threshold or 0.0) / plan.energy_scale * (1 - 1e-6))
        self.below = 0
        self.below_energy = 0.0
        self.not_kept: tuple[str, ...] = ()
        self._kept_energy = 0.0

    @property
    def outside_energy(self) -> float:
        """Energy of the deposits outside the mesh."""
        return self._reader.outside.energy * self._factor

    def share(self, energy: float) -> float:
        """An energy as a fraction of the total energy of the input."""
        total = self._kept_energy + self.below_energy + self.outside_energy
        return energy / total if total > 0 else 0.0

    @property
    def response(self) -> float | None:
        """Median of total over incident energy of the showers that are not empty."""
        ratios = np.concatenate(self._ratios)
        return float(np.median(ratios[ratios > 0])) if (ratios > 0).any() else None

    def _check_energies(self) -> None:
        """Refuse showers of other codes with far more energy than came in, unless the user stated a unit.

        Raises:
            FileFormatError: incident energies seem to be in GeV.
        """
        asked, reader = self._asked, self._reader
        if reader.described or asked.energy_unit is not None or asked.voxel_unit is not None:
            return
        doubt = energies_in_doubt(self._ratios[0], self._plan.energy_scale)
        if doubt is not None:
            unit = "TeV" if "TeV" in doubt else "GeV"
            msg = f"{reader.path}: {doubt}; give `energy_unit='{unit}'`, or `energy_unit='MeV'` if they are right"
            raise FileFormatError(msg)

    def doubts(self) -> tuple[str, ...]:
        """What the user should check in the output: its units, and the energy scale of the input."""
        asked, reader = self._asked, self._reader
        doubt = energies_in_doubt(np.concatenate(self._ratios), self._plan.energy_scale)
        if doubt is not None:
            return (doubt,)
        expected, response = reader.detector.energy_scale, self.response or 0.0
        known = reader.described or asked.energy_scale is not None or reader.energy_scale != 1.0
        visible = response * self._plan.energy_scale
        if known or expected == 1.0 or visible < _MOST_SAMPLED * expected:
            return ()
        return (
            f"{visible:.3g} of the incident energy is visible, but {reader.detector.name} samples about {expected:g}; "
            f"if the voxel energies of the input were divided by it, give `input_scale={expected:g}`",
        )

    def run(self, write: Writer) -> None:
        """Convert all batches."""
        size = max(1, min(BLOCK_ROWS, _BATCH_BYTES // (4 * self._plan.detector.mesh.n_voxels)))
        done = 0
        with (
            # Values that are NaN or too large for single precision are refused below; no warning is needed.
            np.errstate(invalid="ignore", over="ignore"),
            Bar(total=self._plan.total, unit="shower", desc="converting") as bar,
        ):
            for batch in self._reader.batches(size):
                converted = self._converted(batch)
                if not done:
                    self._check_energies()
                write(converted)
                done += len(batch)
                bar.update(len(batch))
        if done != self._plan.total:
            which = f"only {done} of {counted(self._plan.total, 'shower')} could be read"
            msg = f"{self._reader.path}: the file is damaged: {which}"
            raise FileFormatError(msg)
        if self._reader.outside.deposits and self._kept_energy + self.below_energy == 0:
            msg = (
                f"{self._reader.path}: all {self._reader.outside.deposits} deposits lie outside the mesh of "
                f"{self._plan.detector.name}; give another one with `mesh`"
            )
            raise GeometryError(msg)
        self.not_kept = write.not_kept

    def _converted(self, showers: Showers) -> Showers:
        energies = scaled(showers.energies, self._factor)
        if self._threshold > 0:
            energies = self._thresholded(energies)
        energy = float(energies.sum(dtype=np.float64))
        if not math.isfinite(energy):
            scale = f"{self._plan.energy_scale:g}"
            msg = f"{self._reader.path}: a voxel energy divided by {scale} is too large for single precision"
            raise FileFormatError(msg)
        self._kept_energy += energy
        incident = showers.incident_energies * self._incident_factor
        ratios = energies.sum(axis=1, dtype=np.float64) / incident
        self._ratios.append(ratios)
        self.empty += int(np.count_nonzero(ratios == 0))
        return replace(
            showers,
            incident_energies=incident,
            energies=energies,
            detector=self._plan.detector,
            provenance=self._plan.provenance,
            **self._filled(showers),
        )

    def _thresholded(self, energies: NDArray[np.float32]) -> NDArray[np.float32]:
        below = (energies > 0) & (energies < self._threshold)
        if not below.any():
            return energies
        self.below += int(below.sum())
        self.below_energy += float(energies[below].sum(dtype=np.float64))
        return np.where(below, np.float32(0), energies)

    def _filled(self, showers: Showers) -> dict[str, Any]:
        filled: dict[str, Any] = {}
        for name, value in self._settings.columns.items():
            if getattr(showers, name) is not None:
                option = "particle" if name == "pdg" else name
                msg = f"{self._reader.path} contains {name} for every shower; leave `{option}` out"
                raise SettingsError(msg)
            filled[name] = np.full(len(showers), value, dtype=np.int32 if name == "pdg" else np.float64)
        return filled


def _size(path: Path) -> int:
    files = [each for each in path.rglob("*") if each.is_file()] if path.is_dir() else [path]
    return sum(each.stat().st_size for each in files)

"""Summaries of showers files."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fastv.conditions.particles import PDG_NAMES
from fastv.conditions.table import CONDITIONS
from fastv.conditions.words import in_words
from fastv.detector.detector import Detector
from fastv.errors import FileFormatError
from fastv.showers import Showers, ShowersFile
from fastv.showers.checks import HOW_TO_CONVERT, energies_in_doubt
from fastv.summary.lines import energy_text, further_conditions, provenance_rows, size_text
from fastv.wording import counted

Spectrum = Literal["single energy", "discrete", "log-uniform", "uniform", "other"]

_BATCH_BYTES = 2**25
_MOST_DISCRETE = 64
_FEWEST_FOR_A_KIND = 20


@dataclass(frozen=True)
class Moments:
    """Mean, standard deviation and extremes of a quantity."""

    mean: float
    std: float
    min: float
    max: float


@dataclass(frozen=True)
class HighestVoxel:
    """The highest voxel energy of a file in MeV, with its shower and layer."""

    energy: float
    shower: int
    layer: int


@dataclass(frozen=True)
class FileSummary:
    """Summary of a showers file. Energies are in MeV on the scale of the file, angles in rad.

    Attributes:
        path: the file.
        file_bytes: size of the file.
        format_version: version of the attribute ``fastv``, or None for a plain CaloChallenge file.
        detector: name of the detector.
        description: description of the detector.
        mesh: description of its readout mesh.
        layers: number of layers.
        shape: (layer, alpha, r), or None if the layers differ.
        voxels: number of voxels per shower.
        showers: number of showers.
        incident_min, incident_max: range of the incident energies.
        spectrum: kind of the spectrum of incident energies.
        incident_values: the energies of a discrete spectrum, in increasing order.
        doubt: what seems to be wrong with the units, or None.
        visible_fraction: total voxel energy divided by the incident energy, over all showers.
        energy_scale: factor by which visible energies were divided.
        sampling_fraction: mean visible energy over incident energy, ``visible_fraction.mean * energy_scale``.
        sparsity: mean fraction of voxels that are zero.
        highest_voxel: the highest voxel energy.
        empty_showers: showers without any energy.
        threshold: readout threshold on the scale of the file; times ``energy_scale`` it is visible energy.
        below_threshold: number of voxels above zero and below the threshold.
        conditions: moments of the other real-valued conditions, such as the angles; None if the file has no values.
        particles: number of showers of each PDG code; empty if the file has no codes.
        extra: moments of each extra column with one value per shower.
        provenance: how the showers were made.
    """

    path: str
    file_bytes: int
    format_version: int | None
    detector: str
    description: str
    mesh: str
    layers: int
    shape: tuple[int, int, int] | None
    voxels: int
    showers: int
    incident_min: float
    incident_max: float
    spectrum: Spectrum
    incident_values: tuple[float, ...]
    doubt: str | None
    visible_fraction: Moments
    energy_scale: float
    sampling_fraction: float
    sparsity: float
    highest_voxel: HighestVoxel
    empty_showers: int
    threshold: float
    below_threshold: int
    conditions: Mapping[str, Moments | None]
    particles: Mapping[int, int]
    extra: Mapping[str, Moments]
    provenance: Mapping[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """The summary as JSON data, each condition under its own name."""
        content: dict[str, Any] = {}
        for name, value in asdict(self).items():
            content |= value if name == "conditions" else {name: value}
        return content

    def rows(self) -> list[tuple[str, str]]:
        """Labels and values of the table, in order."""
        version = "CaloChallenge" if self.format_version is None else f"FastV {self.format_version}"
        rows = [
            ("file", f"{self.path} ({size_text(self.file_bytes)}, {version})"),
            ("detector", f"{self.detector}: {self.description}" if self.description else self.detector),
            ("mesh", self.mesh),
            ("showers", f"{self.showers}" + (f", {self.empty_showers} of which empty" if self.empty_showers else "")),
            ("incident energy", self._incident_text()),
            *([] if self.doubt is None else [("please check", f"{self.doubt}; {HOW_TO_CONVERT}")]),
            (
                "E_tot / E_inc",
                f"{self.visible_fraction.mean:.4f}, spread {self.visible_fraction.std:.4f}, "
                f"from {self.visible_fraction.min:.4f} to {self.visible_fraction.max:.4f}",
            ),
            (
                "sampling fraction",
                f"{100 * self.sampling_fraction:.3f} % of E_inc is visible (energy scale {self.energy_scale:g})",
            ),
            ("sparsity", f"{100 * self.sparsity:.2f} % of the voxels are zero"),
            (
                "highest voxel",
                f"{energy_text(self.highest_voxel.energy, 4)} in layer {self.highest_voxel.layer} "
                f"of shower {self.highest_voxel.shower}",
            ),
            ("threshold", self._threshold_text()),
        ]
        rows += [
            (name, in_words(name, values.min, values.max, digits=5))
            for name, values in self.conditions.items()
            if values is not None
        ]
        if self.particles:
            names = (f"{PDG_NAMES.get(code, f'PDG {code}')}: {count}" for code, count in self.particles.items())
            rows.append(("particles", ", ".join(names)))
        rows += [
            (name, f"mean {column.mean:.4g}, spread {column.std:.4g}, from {column.min:.4g} to {column.max:.4g}")
            for name, column in self.extra.items()
        ]
        return rows + provenance_rows(self.provenance)

    def tables(self) -> list[str]:
        """None."""
        return []

    def _incident_text(self) -> str:
        if self.spectrum == "single energy":
            return energy_text(self.incident_min, 6)
        if self.spectrum == "discrete" and len(self.incident_values) <= 12:
            return ", ".join(energy_text(value, 6) for value in self.incident_values)
        span = f"{energy_text(self.incident_min, 4)} to {energy_text(self.incident_max, 4)}"
        if self.spectrum == "other":
            return span
        return f"{span}, {f'{len(self.incident_values)} values' if self.spectrum == 'discrete' else self.spectrum}"

    def _threshold_text(self) -> str:
        if self.threshold == 0:
            return "none"
        visible = energy_text(self.threshold * self.energy_scale, 4)
        below = counted(self.below_threshold, "voxel")
        return f"{energy_text(self.threshold, 4)} ({visible} visible), {below} below it"


def summarise_file(path: str | Path, mesh: Detector | str | None = None) -> FileSummary:
    """Summarise a showers file in one pass, with one batch of showers in memory at a time.

    Args:
        path: the file.
        mesh: detector, or its name, of a plain CaloChallenge file (see :meth:`fastv.detector.detector.Detector.named`).

    Raises:
        FileFormatError: the file is missing, damaged or empty, or contains an unphysical value.
        GeometryError: the detector is unknown, or its mesh does not fit the file.

    Example:
        >>> from fastv.sample import sample_path
        >>> summary = summarise_file(sample_path("train"))
        >>> summary.showers, summary.voxels, summary.spectrum
        (600, 6480, 'log-uniform')
        >>> 0.030 < summary.sampling_fraction < 0.033
        True
    """
    with ShowersFile(path, mesh, parameter="mesh") as file:
        if not len(file):
            msg = f"{path}: the file contains no showers"
            raise FileFormatError(msg)
        detector = file.detector
        fraction = _Running()
        ratios: list[NDArray[np.float64]] = []
        conditions = {name: _Running() for name in further_conditions()}
        extra: dict[str, _Running] = {}
        particles: dict[int, int] = {}
        highest = HighestVoxel(energy=-1.0, shower=0, layer=0)
        zeros = empty = below = start = 0
        # A float32 voxel at the threshold itself is not below it.
        threshold = np.float32(detector.threshold * (1 - 1e-6))
        for batch in file.batches(max(1, _BATCH_BYTES // (4 * detector.mesh.n_voxels))):
            energies = batch.energies
            totals = energies.sum(axis=1, dtype=np.float64)
            ratios.append(totals / batch.incident_energies)
            fraction.add(ratios[-1])
            empty += int(np.count_nonzero(totals == 0))
            filled = int(np.count_nonzero(energies))
            zeros += energies.size - filled
            if threshold > 0:
                below += int(np.count_nonzero(energies < threshold)) - (energies.size - filled)
            row, voxel = divmod(int(np.argmax(energies)), energies.shape[1])
            if energies[row, voxel] > highest.energy:
                layer = int(np.searchsorted(detector.mesh.layer_boundaries, voxel, side="right")) - 1
                number = detector.mesh.layer_ids[layer]
                highest = HighestVoxel(energy=float(energies[row, voxel]), shower=start + row, layer=number)
            _add_conditions(batch, conditions, particles, extra)
            start += len(batch)
        kind, values = _spectrum(file.incident_energies)
        return FileSummary(
            path=str(path),
            file_bytes=Path(path).stat().st_size,
            format_version=file.format_version,
            detector=detector.name,
            description=detector.description,
            mesh=detector.mesh.describe(),
            layers=detector.mesh.n_layers,
            shape=detector.mesh.shape if detector.mesh.is_regular else None,
            voxels=detector.mesh.n_voxels,
            showers=len(file),
            incident_min=float(file.incident_energies.min()),
            incident_max=float(file.incident_energies.max()),
            spectrum=kind,
            incident_values=values,
            doubt=energies_in_doubt(np.concatenate(ratios), detector.energy_scale),
            visible_fraction=fraction.moments(),
            energy_scale=detector.energy_scale,
            sampling_fraction=fraction.mean * detector.energy_scale,
            sparsity=zeros / (len(file) * detector.mesh.n_voxels),
            highest_voxel=highest,
            empty_showers=empty,
            threshold=detector.threshold,
            below_threshold=below,
            conditions={name: found.moments() if found.n else None for name, found in conditions.items()},
            particles=dict(sorted(particles.items())),
            extra={name: column.moments() for name, column in extra.items()},
            provenance=file.provenance,
        )


class _Running:
    """Mean, standard deviation and extremes of numbers that arrive in batches (Chan's update)."""

    def __init__(self) -> None:
        self.n = 0
        self.mean = 0.0
        self._squares = 0.0
        self._min = math.inf
        self._max = -math.inf

    def add(self, values: NDArray[Any]) -> None:
        values = values.astype(np.float64)
        n, mean = len(values), float(values.mean())
        step = mean - self.mean
        self._squares += float(((values - mean) ** 2).sum()) + step * step * self.n * n / (self.n + n)
        self.mean += step * n / (self.n + n)
        self.n += n
        self._min = min(self._min, float(values.min()))
        self._max = max(self._max, float(values.max()))

    def moments(self) -> Moments:
        return Moments(mean=self.mean, std=math.sqrt(self._squares / self.n), min=self._min, max=self._max)


def _add_conditions(
    batch: Showers, conditions: dict[str, _Running], particles: dict[int, int], extra: dict[str, _Running]
) -> None:
    for name, running in conditions.items():
        if (values := batch.conditions.get(name)) is not None:
            running.add(values)
    if batch.pdg is not None:
        for code, count in zip(*np.unique(batch.pdg, return_counts=True), strict=True):
            particles[int(code)] = particles.get(int(code), 0) + int(count)
    own = {condition.column for condition in CONDITIONS.values()}
    for name, column in batch.extra.items():
        if column.ndim == 1 and name not in own:
            with np.errstate(invalid="ignore", over="ignore"):  # an extra column may hold anything
                extra.setdefault(name, _Running()).add(column)


def _spectrum(energies: NDArray[np.float64]) -> tuple[Spectrum, tuple[float, ...]]:
    """The kind of a spectrum, and its values if it is discrete."""
    values = np.unique(energies)
    if len(values) == 1:
        return "single energy", (float(values[0]),)
    if len(values) <= _MOST_DISCRETE and len(values) <= len(energies) // 2:
        return "discrete", tuple(float(value) for value in values)
    # Kolmogorov-Smirnov distances; 1.63 / sqrt(N) is exceeded by 1 % of true samples, by fewer with fitted ends.
    if len(energies) < _FEWEST_FOR_A_KIND:
        return "other", ()
    limit = 1.63 / math.sqrt(len(energies))
    log_uniform, uniform = _ks_distance(np.log(np.sort(energies))), _ks_distance(np.sort(energies))
    if min(log_uniform, uniform) > limit:
        return "other", ()
    return ("log-uniform" if log_uniform <= uniform else "uniform"), ()


def _ks_distance(rising: NDArray[np.float64]) -> float:
    """Kolmogorov-Smirnov distance between sorted values and a uniform distribution between their extremes."""
    span = rising[-1] - rising[0]
    if span == 0:  # the logarithms of adjacent floats may be equal
        return 1.0
    expected = (rising - rising[0]) / span
    steps = np.arange(len(rising) + 1) / len(rising)
    return float(np.maximum(np.abs(steps[1:] - expected), np.abs(steps[:-1] - expected)).max())

"""Contents of a view: panels side by side, each with one or more events in one mesh."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastv.conditions.particles import PDG_NAMES
from fastv.conditions.units import format_energy
from fastv.detector.detector import Detector
from fastv.display.cells import Floats, depth_scale, has_depths, layer_edges, reach
from fastv.display.outline import Line, axis_lines, circle, mesh_lines, particle_start, stack_lines
from fastv.errors import SettingsError, printable
from fastv.progress import Bar
from fastv.showers import Showers, ShowersFile
from fastv.wording import counted

COLOURED_SHARE = 0.998
"""Share of the energy that is in voxels above the lower end of the colour scale."""


@dataclass(frozen=True)
class Event:
    """One shower, or the mean of many.

    Attributes:
        name: short name for the list of events, such as ``shower 3``.
        heading: particle, incident energy and direction.
        facts: text with the sums of energies and the number of hits.
        voxels: indices of the voxels with energy in increasing order, shape (hits,).
        energies: their energies in MeV, shape (hits,).
        lines: lines of this event alone: slabs at its angle, tracks.
        legend: (colour ``#rrggbb``, text) for each kind of line.
    """

    name: str
    heading: str
    facts: str
    voxels: NDArray[np.int64]
    energies: Floats
    lines: tuple[Line, ...] = ()
    legend: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Panel:
    """One scene: a mesh and the events in it.

    Attributes:
        title: of the panel, such as the name of the generator; may be empty.
        detector: the detector, with its mesh.
        events: at least one.
        lines: lines that all events share: outline of the mesh and shower axis; set from the detector.

    Raises:
        SettingsError: there is no event.
    """

    title: str
    detector: Detector
    events: tuple[Event, ...]
    lines: tuple[Line, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.events:
            msg = "a view needs at least one shower"
            raise SettingsError(msg)
        mesh = self.detector.mesh
        object.__setattr__(self, "lines", (*mesh_lines(mesh), *axis_lines(mesh)))

    @property
    def frame(self) -> Floats:
        """Points (n, 3) in mm that a picture has to contain, with z as it is drawn."""
        mesh = self.detector.mesh
        depth, radius = float(layer_edges(mesh)[-1]), reach(mesh)
        rings = [circle(radius, z, 16) for z in (0.0, depth)]
        floor = [[x, -radius, z] for x in (-radius, radius) for z in (0.0, depth)]
        return np.concatenate([*rings, floor, [[0.0, 0.0, particle_start(mesh)]]]) * [1.0, 1.0, depth_scale(mesh)]


def shower_panel(showers: Showers, title: str = "", *, names: Sequence[str] | None = None) -> Panel:
    """A panel with one event for each shower.

    Args:
        showers: one or more, in memory.
        title: of the panel.
        names: of the events; by default ``shower 0``, ``shower 1`` and so on.

    Raises:
        SettingsError: there is no shower.

    Example:
        >>> from fastv.sample import sample_path
        >>> with ShowersFile(sample_path("test")) as file:
        ...     panel = shower_panel(file[:2], "Geant4")
        >>> panel.events[1].heading
        'e-, 950 GeV, normal incidence'
        >>> panel.events[1].facts
        'visible 29.8 GeV, scaled 902 GeV; 4299 of 6480 voxels hit'
    """
    events = []
    for i, energies in enumerate(showers.energies.astype(np.float64)):
        voxels = np.flatnonzero(energies > 0)
        theta = None if showers.theta is None else float(showers.theta[i])
        events.append(
            Event(
                name=names[i] if names else f"shower {i}",
                heading=heading(showers, i),
                facts=facts(energies, showers.detector),
                voxels=voxels,
                energies=energies[voxels],
                lines=_slabs(showers.detector, theta),
            )
        )
    return Panel(title, showers.detector, tuple(events))


def heading(showers: Showers, row: int) -> str:
    """Particle, incident energy and direction of a shower."""
    energy = format_energy(float(showers.incident_energies[row]), 3, space=" ")
    theta = showers.theta
    direction = (
        _provenance_text(showers, "direction") if theta is None else f"theta {math.degrees(float(theta[row])):.3g}°"
    )
    return ", ".join(part for part in (_particle(showers, row), energy, direction) if part)


def facts(energies: Floats, detector: Detector) -> str:
    """The sums of the voxel energies (V,) of a shower, and its number of hits."""
    hits = int(np.count_nonzero(energies > 0))
    return f"{_sums(float(energies.sum(dtype=np.float64)), detector)}; {_hits(hits, detector.mesh.n_voxels)}"


def mean_panel(
    source: ShowersFile | Showers, count: int | None = None, title: str = "", *, progress: bool = False
) -> Panel:
    """A panel with the mean energy per voxel of many showers.

    Args:
        source: showers, or an open file, which is read in batches.
        count: number of showers, from the first on; by default all.
        title: of the panel.
        progress: show a progress bar on standard error.

    Raises:
        SettingsError: ``count`` is less than 1 or more than there are showers.

    Example:
        >>> from fastv.sample import sample_path
        >>> with ShowersFile(sample_path("test")) as file:
        ...     panel = mean_panel(file, 100)
        >>> panel.events[0].heading
        'mean of 100 showers, e-, 1.08 GeV to 950 GeV, normal incidence'
    """
    count = len(source) if count is None else count
    if not 1 <= count <= len(source):
        msg = f"a mean of {count} showers was requested; there are {len(source)}, and at least 1 is needed"
        raise SettingsError(msg)
    total = np.zeros(source.mesh.n_voxels)
    thetas: list[NDArray[np.float64]] = []
    particles: dict[str, None] = {}
    bar = Bar(total=count, desc="showers", unit="shower" if progress else True, leave=False)
    size = max(1, 2**24 // source.mesh.n_voxels)
    with bar:
        for start in range(0, count, size):
            batch = source[start : min(start + size, count)]
            total += batch.energies.sum(axis=0, dtype=np.float64)
            if batch.theta is not None:
                thetas.append(batch.theta)
            particles.update(dict.fromkeys(_particle(batch, i) for i in _first_of_each(batch.pdg)))
            bar.update(len(batch))
    incident = source.incident_energies[:count]
    mean = total / count
    voxels = np.flatnonzero(mean > 0)
    low, high = (format_energy(float(e), 3, space=" ") for e in (incident.min(), incident.max()))
    heading = [
        f"mean of {counted(count, 'shower')}",
        *particles,
        low if low == high else f"{low} to {high}",
    ]
    theta = None
    if not thetas:
        heading.append(_provenance_text(batch, "direction"))
    else:
        angles = np.concatenate(thetas)
        first, last = (f"{math.degrees(a):.3g}°" for a in (angles.min(), angles.max()))
        heading.append(f"theta {first}" if first == last else f"theta {first} to {last}")
        theta = float(angles.min()) if first == last else None
    mixed = bool(thetas) and theta is None
    event = Event(
        name="mean",
        heading=", ".join(part for part in heading if part),
        facts=f"on average {_sums(float(mean.sum()), source.detector)}; "
        f"{_hits(len(voxels), source.mesh.n_voxels)} at least once",
        voxels=voxels,
        energies=mean[voxels],
        lines=() if mixed else _slabs(source.detector, theta),
    )
    return Panel(title, source.detector, (event,))


def file_panel(file: ShowersFile, rows: Sequence[int], title: str = "") -> Panel:
    """A panel with selected showers of an open file, each named after its number there.

    Args:
        file: the open file.
        rows: numbers of the showers, from 0.
        title: of the panel.

    Raises:
        SettingsError: the file has no such shower.
        FileFormatError: the file is damaged.

    Example:
        >>> from fastv.sample import sample_path
        >>> with ShowersFile(sample_path("test")) as file:
        ...     file_panel(file, [7]).events[0].name
        'shower 7'
    """
    for row in rows:
        if not 0 <= row < len(file):
            allowed = f"it has 0 to {len(file) - 1}" if len(file) else "it has none"
            msg = f"{file.path}: no shower {row}; {allowed}"
            raise SettingsError(msg)
    showers = file[np.asarray(rows, dtype=np.int64)]
    return shower_panel(showers, title, names=[f"shower {row}" for row in rows])


def load_panel(path: str | Path, rows: Sequence[int], title: str = "", *, mesh: str | Detector | None = None) -> Panel:
    """A panel with selected showers of a file.

    Args:
        path: the showers file.
        rows, title: as of :func:`file_panel`.
        mesh: detector or its name, for a plain CaloChallenge file.

    Raises:
        SettingsError: the file has no such shower.
        FileFormatError, GeometryError: see :class:`ShowersFile`.

    Example:
        >>> from fastv.sample import sample_path
        >>> load_panel(sample_path("test"), [7]).events[0].name
        'shower 7'
    """
    with ShowersFile(path, mesh, parameter="mesh") as file:
        return file_panel(file, rows, title)


def colour_range(events: Sequence[Event]) -> tuple[float, float]:
    """Energies in MeV at the two ends of a logarithmic colour scale for all given events.

    The upper end is the highest voxel energy. The lower end is the energy below which voxels hold a share of
    1 - :data:`COLOURED_SHARE` of the total, limited to one to five decades below the upper end.

    Example:
        >>> event = Event("a", "", "", np.arange(3), np.array([1e-9, 10.0, 1000.0]))
        >>> colour_range([event])
        (10.0, 1000.0)
    """
    energies = np.concatenate([event.energies for event in events])
    if not energies.size:
        return 1e-2, 1.0
    high = float(energies.max())
    rising = np.sort(energies)
    below = np.searchsorted(np.cumsum(rising), (1 - COLOURED_SHARE) * rising.sum())
    return float(np.clip(rising[min(below, rising.size - 1)], 1e-5 * high, 0.1 * high)), high


def check_side_by_side(panels: Sequence[Panel]) -> None:
    """Check that panels have the same number of events, so that one view can show them together.

    Raises:
        SettingsError: there is no panel, or their numbers of events differ.
    """
    counts = {len(panel.events) for panel in panels}
    if len(counts) != 1:
        found = " and ".join(str(len(panel.events)) for panel in panels) or "none"
        msg = f"the panels of a view need the same number of showers; they have {found}"
        raise SettingsError(msg)


def _first_of_each(pdg: NDArray[np.int32] | None) -> list[int]:
    return [0] if pdg is None else [int(i) for i in np.sort(np.unique(pdg, return_index=True)[1])]


def _particle(showers: Showers, row: int) -> str:
    if showers.pdg is not None:
        code = int(showers.pdg[row])
        return PDG_NAMES.get(code, f"PDG {code}")
    return _provenance_text(showers, "particle")


def _provenance_text(showers: Showers, key: str) -> str:
    """The first 40 characters of a text in the provenance; empty if there is none."""
    text: Any = showers.provenance.get(key, "")
    return printable(text)[:40] if isinstance(text, str) else ""


def _sums(total: float, detector: Detector) -> str:
    if detector.energy_scale == 1:
        return f"visible {format_energy(total, 3, space=' ')}"
    visible = format_energy(total * detector.energy_scale, 3, space=" ")
    return f"visible {visible}, scaled {format_energy(total, 3, space=' ')}"


def _hits(hits: int, voxels: int) -> str:
    return f"{hits or 'empty: none'} of {counted(voxels, 'voxel')} hit"


def _slabs(detector: Detector, theta: float | None) -> tuple[Line, ...]:
    if detector.stack is None or not has_depths(detector.mesh):
        return ()
    return tuple(stack_lines(detector.stack, detector.mesh, theta))

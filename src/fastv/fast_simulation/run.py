"""Fast simulation: primary particles, the material in front, and a calorimeter that a model and Geant4 share."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from fastv._version import __version__
from fastv.conditions.spectra import Spectrum
from fastv.conditions.table import NORMAL_INCIDENCE
from fastv.conditions.units import AngleSpec, EnergySpec, format_angle, parse_angle
from fastv.detector.detector import Detector
from fastv.errors import GeometryError, SettingsError
from fastv.fast_simulation.choice import Fate, conditions, fates
from fastv.fast_simulation.edm4hep import check_edm4hep, write_edm4hep
from fastv.fast_simulation.entering import STRAIGHT, Front
from fastv.fast_simulation.generating import Source, generated, source
from fastv.fast_simulation.hepmc import HepMCFile
from fastv.fast_simulation.hits import Columns, columns_of, hits_file, read_block, totals, write_block
from fastv.fast_simulation.particles import LIGHT, Particles
from fastv.fast_simulation.placement import places
from fastv.fast_simulation.primaries import Gun, Primaries, check_primaries
from fastv.fast_simulation.process import Geant4
from fastv.fast_simulation.request import Plate, TransportRequest
from fastv.fast_simulation.seeds import chosen, geant4_seed, random_indices
from fastv.progress import Bar, say
from fastv.showers.layout import SHOWERS_ENDINGS
from fastv.simulation.data_sets import DataSets, check_models, geant4_version
from fastv.simulation.request import PhysicsSettings, SimulationRequest
from fastv.storage.blocks import Blocks
from fastv.storage.output import check_ending, check_free
from fastv.storage.unfinished import is_left
from fastv.wording import counted

if TYPE_CHECKING:
    from fastv.model import Model

_MOST_TOGETHER = 1000
"""Showers that are generated at a time, unless an event has more: their voxels must fit into memory."""
_MOST_EVENTS = 10**8
_BLOCK = ".columns"
"""Ending of the files of finished events."""


@dataclass(frozen=True)
class FastSimulation:
    """Result of a fast simulation.

    Attributes:
        output: the file.
        events: number of events.
        entered: number of particles that entered the calorimeter.
        fates: how many of them had which :class:`~fastv.fast_simulation.choice.Fate`, by its name.
        accounts: sums of :data:`fastv.fast_simulation.hits.ACCOUNTS` over all events, MeV.
        seconds: duration of this run.
        seconds_of: duration in this run of the ``front``, the ``model`` and ``geant4`` in the calorimeter.
    """

    output: str
    events: int
    entered: int
    fates: dict[str, int]
    accounts: dict[str, float]
    seconds: float
    seconds_of: dict[str, float]

    def as_dict(self) -> dict[str, Any]:
        """The result as JSON data."""
        return asdict(self)


def fastsim(
    model: Model | str | Path,
    output: str | Path,
    *,
    energy: str | float | EnergySpec | Spectrum | None = None,
    n: int | None = None,
    particle: str | int | tuple[int, ...] | None = None,
    theta: str | float | AngleSpec | None = None,
    phi: str | float | AngleSpec | None = None,
    position_spread: float = 0.0,
    events: str | Path | None = None,
    detector: Detector | str | None = None,
    plate: Plate | str | None = None,
    angle_tolerance: str | float = NORMAL_INCIDENCE,
    control: float = 0.0,
    physics: PhysicsSettings | None = None,
    seed: int = 0,
    batch_events: int = 100,
    edm4hep: str | Path | None = None,
    resume: bool = False,
    force: bool = False,
) -> FastSimulation:
    """Simulate events in which a model generates the showers that it knows, and Geant4 simulates all others.

    Primary particles start in front of the calorimeter; Geant4 transports them through what lies in front of it.
    Particles that enter it and are in the domain of the model are taken out and generated in batches; the others go on
    in full simulation. All random numbers of an event are a function of the seed and of its number.

    Args:
        model: a model, the name of a shipped one, its directory, or a graph that was exported from it (``.onnx``, with
            the contract ``fastv``), which is faster; its showers are the same within rounding.
        output: the file of hits, see :mod:`fastv.fast_simulation.hits`.
        energy, particle, theta, phi, position_spread: of a gun at the origin, as in :func:`fastv.simulate`.
        n: number of events; with ``events`` by default all in the file.
        events: a file of events (HepMC3, ASCII) in place of the gun.
        detector: the calorimeter, by default that of the model: its mesh, readout and material must be the same.
        plate: material in front of the calorimeter, such as ``"G4_Al:20mm"``; by default vacuum.
        angle_tolerance: by how much a direction may be outside the domain of the model, in rad or as a text such as
            ``"2deg"``.
        control: fraction of the particles in the domain that are simulated nevertheless, from 0 to 1.
        physics: physics models of Geant4 and production cut.
        seed: the same seed and ``batch_events`` give the same file.
        batch_events: events whose particles are generated together.
        edm4hep: another file for the same hits as columns of EDM4hep, see :mod:`fastv.fast_simulation.edm4hep`.
        resume: continue an interrupted run with the same arguments; finished batches of events are kept.
        force: replace existing files, and discard an interrupted run.

    Returns:
        A summary.

    Raises:
        SettingsError: an argument is not allowed, or a particle starts inside the calorimeter.
        GeometryError: the detector is not that of the model.
        FileFormatError: the file of events is missing or damaged.
        ModelError: there is no such model.
        SimulationError: Geant4 is needed and lacks data sets, or fails.
        OutputError: a file exists, the interrupted run had other arguments, or the disk is full.
        MissingExtraError: calzone, pyhepmc or uproot is needed and not installed.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "hits.h5"
        >>> done = fastsim("par04-siw", path, energy="50GeV", n=3, seed=1)
        >>> done.fates
        {'fast': 3}
    """
    started = time.perf_counter()
    check_ending(output, SHOWERS_ENDINGS, "hits")
    Blocks.check_free(output, kind="hits", force=force, resume=resume)
    # A run that was killed at its very end has left both files.
    replaced = force or (resume and is_left(output))
    if edm4hep is not None:
        check_edm4hep(edm4hep)
        check_free(edm4hep, force=replaced, kind="hits")
    _check_arguments(n, control, seed, batch_events)
    tolerance = _tolerance(angle_tolerance)
    chosen_plate = Plate.parsed(plate) if isinstance(plate, str) else plate
    one = source(model)
    calorimeter = _detector_of(one, detector)
    physics = physics or PhysicsSettings()
    check_models(physics.em_model, physics.had_model)
    front = _request("front", calorimeter, physics, seed, chosen_plate)
    gun = {"energy": energy, "particle": particle, "theta": theta, "phi": phi}
    asked: dict[str, Any] = {name: value for name, value in gun.items() if value is not None}
    if position_spread:
        asked["position_spread"] = position_spread
    if events is None:
        primaries = _gun(asked, n, calorimeter, physics, seed)
    elif asked:
        msg = f"give either `events=...` or a gun, not both; leave out {', '.join(f'`{name}`' for name in asked)}"
        raise SettingsError(msg)
    else:
        primaries = HepMCFile(events, n)
    check_primaries(primaries, front)
    if chosen_plate is not None or control or not set(primaries.codes) <= set(STRAIGHT):
        DataSets(geant4_version()[0]).check(physics.em_model, physics.had_model, primaries.codes)
    run = _Run(one, _request("calorimeter", calorimeter, physics, seed), front, tolerance, control, seed)
    provenance = {
        "engine": f"FastV {__version__}, with Geant4 through calzone where the model does not generate",
        "model": one.name,
        "model_sha256": one.digest,
        "primaries": primaries.describe(),
        "detector": calorimeter.name,
        "plate": None if chosen_plate is None else chosen_plate.describe(),
        "physics": physics.model_dump(mode="json"),
        "angle_tolerance": tolerance,
        "control": control,
        "seed": seed,
        "batch_events": batch_events,
        "code_version": __version__,
    }
    known = {**provenance, "detector": calorimeter.model_dump(mode="json"), "events": len(primaries)}
    request = json.dumps({**known, "edm4hep": None if edm4hep is None else str(edm4hep)}, sort_keys=True)
    count = -(-len(primaries) // batch_events)
    opened = Blocks(output, count, request, kind="hits", resume=resume, force=force, ending=_BLOCK)
    with closing(run), closing(opened) as blocks:
        missing = set(blocks.missing())
        done = len(primaries) - sum(min(batch_events, len(primaries) - each * batch_events) for each in missing)
        with Bar(total=len(primaries), initial=done, unit="event", desc="simulating") as bar:
            for block, (numbers, particles) in enumerate(primaries.blocks(batch_events)):
                if block in missing:
                    with blocks.written(block) as temporary:
                        write_block(temporary, run.simulate(numbers, particles))
                    bar.update(len(numbers))
        if not blocks.complete:
            with blocks.joined() as (parts, temporary), hits_file(temporary, calorimeter, provenance) as writer:
                for part in parts:
                    writer.append(read_block(part))
        counts, sums = totals(output)
        if failed := counts[Fate.failed]:
            say(
                f"the model gave {counted(failed, 'particle')} an energy that is negative or not finite, which "
                f"{'was' if failed == 1 else 'were'} simulated instead"
            )
        if edm4hep is not None:
            write_edm4hep(output, edm4hep, force=replaced)
        blocks.remove()
    return FastSimulation(
        output=str(output),
        events=len(primaries),
        entered=counts.total(),
        fates={fate.name: counts[fate] for fate in Fate if counts[fate]},
        accounts=sums,
        seconds=time.perf_counter() - started,
        seconds_of={**run.seconds, "front": run.front.seconds},
    )


def _check_arguments(n: int | None, control: float, seed: int, batch_events: int) -> None:
    if not 0 <= control <= 1:
        msg = f"`control` must be a fraction from 0 to 1, got {control}"
        raise SettingsError(msg)
    if seed < 0:
        msg = f"the seed must not be negative, got {seed}"
        raise SettingsError(msg)
    for what, number in {"the number of events": n, "`batch_events`": batch_events}.items():
        if number is not None and not 1 <= number <= _MOST_EVENTS:
            msg = f"{what} must be from 1 to {_MOST_EVENTS}, got {number}"
            raise SettingsError(msg)


def _gun(asked: dict[str, Any], n: int | None, detector: Detector, physics: PhysicsSettings, seed: int) -> Primaries:
    if "energy" not in asked or n is None:
        msg = "which particles? give `energy=...` and `n=...` for a gun, or `events=...`"
        raise SettingsError(msg)
    rest = {"detector": detector, "physics": physics, "seed": seed}
    return Gun(SimulationRequest.model_validate({"particle": "e-", "phi": 0.0, **asked, **rest}), n)


def _request(
    part: Literal["front", "calorimeter"],
    detector: Detector,
    physics: PhysicsSettings,
    seed: int,
    plate: Plate | None = None,
) -> TransportRequest:
    if plate is not None and detector.stack is not None and plate.thickness + plate.gap >= detector.stack.front:
        front = f"{detector.stack.front:g} mm"
        msg = f"`plate`: {plate.describe()}, does not fit between the origin and the calorimeter, {front}"
        raise SettingsError(msg)
    return TransportRequest(detector=detector, part=part, plate=plate, physics=physics, geant4_seed=geant4_seed(seed))


def _tolerance(asked: str | float) -> float:
    if isinstance(asked, str):
        spec = parse_angle(asked)
        if len(spec.values) != 1:
            msg = f"`angle_tolerance` must be one angle, as in 2deg, got {asked!r}"
            raise SettingsError(msg)
        asked = spec.values[0]
    if not 0 <= asked <= np.pi:
        msg = f"`angle_tolerance` must be from 0 to 180 deg, got {format_angle(asked)}"
        raise SettingsError(msg)
    return asked


def _detector_of(model: Source, asked: Detector | str | None) -> Detector:
    """The calorimeter, which must be one that the model knows.

    Raises:
        GeometryError: its mesh, readout or material differ from those of the model.
    """
    if asked is None:
        found = known = model.detectors[0]
    else:
        found = Detector.named(asked) if isinstance(asked, str) else asked
        known = next((each for each in model.detectors if each.name == found.name), model.detectors[0])
    if found.stack is None:
        msg = f"the model {model.name} does not describe the material of {found.name}; give `detector=...`, FILE.yaml"
        raise GeometryError(msg)
    differs = [
        name for name in ("mesh", "energy_scale", "readout_threshold") if getattr(found, name) != getattr(known, name)
    ]
    if known.stack not in (None, found.stack):
        differs.append("stack")
    if differs:
        names = ", ".join(each.name for each in model.detectors)
        msg = f"the model {model.name} does not know {found.name}: {', '.join(differs)} differs from its {names}"
        raise GeometryError(msg)
    if "detector" in model.condition_names and found.name not in model.domain.detectors:
        msg = f"the model {model.name} does not know the detector {found.name!r}: {', '.join(model.domain.detectors)}"
        raise GeometryError(msg)
    return found


class _Run:
    """One fast simulation: the model, Geant4, and how long each takes."""

    def __init__(
        self,
        model: Source,
        calorimeter: TransportRequest,
        front: TransportRequest,
        tolerance: float,
        control: float,
        seed: int,
    ) -> None:
        self._source, self._detector = model, calorimeter.detector
        self._tolerance, self._control, self._seed = tolerance, control, seed
        self._stack = calorimeter.stack
        self._geant4 = Geant4(calorimeter)
        self.front = Front(front, seed)
        self.seconds = {"model": 0.0, "geant4": 0.0}

    def close(self) -> None:
        """End the processes of Geant4."""
        self._geant4.close()
        self.front.close()

    def simulate(self, events: range, primaries: Particles) -> Columns:
        """Generate or simulate all that enters in a batch of events."""
        came = self.front.entered(primaries, events)
        entered = came.particles
        of_event = entered.event - events.start
        drawn = [chosen(self._seed, event, n, self._control) for event, n in _numbers(entered)]
        control = np.concatenate([np.zeros(0, dtype=bool), *drawn])
        fate = fates(self._source, self._stack, entered, self._tolerance, control)
        parts = [*self._generate(entered, fate), *self._simulate(entered, fate)]
        hits = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        order = np.argsort(hits["particle"], kind="stable")
        hits = {name: column[order] for name, column in hits.items()}
        hits["position"] = places(self._detector, entered, hits["particle"], hits["cell"])
        light = ((hits["position"] - entered.position[hits["particle"]]) * entered.direction[hits["particle"]]).sum(1)
        # A generated shower has no times: they are those of light along the axis.
        hits["time"] = entered.time[hits["particle"]] + np.where(hits["fast"], light / LIGHT, hits["time"])
        fast, row = fate == Fate.fast, of_event[hits["particle"]]

        def sums(values: NDArray[Any], rows: NDArray[Any]) -> NDArray[np.float64]:
            return np.bincount(rows, weights=values, minlength=len(events)).astype(np.float64)

        full = sums(hits["energy"] * ~hits["fast"], row)
        accounts = {
            "incident": sums(primaries.available, primaries.event - events.start),
            "front": came.deposited,
            "missed": came.missed,
            "declared": sums(entered.available * fast, of_event),
            "simulated": sums(entered.available * ~fast, of_event),
            "generated": sums(hits["energy"] * hits["fast"], row),
            "full": full,
            "outside": sums(self._visible, of_event) - full,
            "leaked": sums(self._leaked, of_event),
        }
        return columns_of(events, accounts, primaries, entered, fate, hits)

    def _generate(self, entered: Particles, fate: NDArray[np.uint8]) -> Iterator[dict[str, NDArray[Any]]]:
        """The hits of generated particles; the fate of those without a valid shower becomes ``failed``."""
        rows = np.flatnonzero(fate == Fate.fast)
        yield _hits(rows[:0], rows[:0], rows[:0], rows[:0], fast=True)
        for some in _groups(entered.event[rows]):
            mine = rows[some]
            started, particles = time.perf_counter(), entered[mine]
            asked = conditions(self._source, self._detector.name, particles)
            energies, valid = generated(self._source, asked, particles.event, self._seed)
            self.seconds["model"] += time.perf_counter() - started
            fate[mine[~valid]] = Fate.failed
            energies[~valid] = 0
            row, cell = np.nonzero(energies)
            yield _hits(mine[row], cell, energies[row, cell], np.zeros(len(row)), fast=True)

    def _simulate(self, entered: Particles, fate: NDArray[np.uint8]) -> Iterator[dict[str, NDArray[Any]]]:
        """The hits of particles in full simulation, event by event."""
        self._visible, self._leaked = np.zeros(len(entered)), np.zeros(len(entered))
        started, first = time.perf_counter(), 0
        for event, n in _numbers(entered):
            mine = first + np.flatnonzero(fate[first : first + n] != Fate.fast)
            indices = random_indices(self._seed, event, n, front=False)[mine - first]
            first += n
            if mine.size:
                got = self._geant4.run(entered[mine], indices)
                self._visible[mine], self._leaked[mine] = got["visible"], got["leaked"]
                yield _hits(mine[got["row"]], got["cell"], got["energy"], got["time"], fast=False)
        self.seconds["geant4"] += time.perf_counter() - started


def _hits(
    particle: NDArray[Any], cell: NDArray[Any], energy: NDArray[Any], when: NDArray[Any], *, fast: bool
) -> dict[str, NDArray[Any]]:
    return {
        "particle": particle.astype(np.int64),
        "cell": cell.astype(np.int64),
        "energy": energy.astype(np.float32),
        "time": when.astype(np.float64),
        "fast": np.full(len(particle), fast),
    }


def _groups(event: NDArray[np.int64]) -> Iterator[slice]:
    """Rows of whole events, few enough to be generated together.

    Args:
        event: number (N,) of the event of each row, rising.
    """
    start, end = 0, 0
    for following in [*(np.flatnonzero(np.diff(event)) + 1).tolist(), len(event)]:
        if following - start > _MOST_TOGETHER and end > start:
            yield slice(start, end)
            start = end
        end = following
    if end > start:
        yield slice(start, end)


def _numbers(particles: Particles) -> list[tuple[int, int]]:
    """The number of each event, in order, and how many particles it has."""
    numbers, counts = np.unique(particles.event, return_counts=True)
    return list(zip(numbers.tolist(), counts.tolist(), strict=True))

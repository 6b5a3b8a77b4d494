"""Production: full simulation of showers into a file, on this machine or on a cluster.

The work is divided into blocks of events, as :class:`fastv.showers.ShowersWriter` keeps them. An event depends only on
the seed and its number, so it does not matter which worker simulates a block, or when. Finished blocks survive a kill;
the same command continues from there.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from concurrent.futures import as_completed
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastv.conditions.spectra import Spectrum
from fastv.conditions.units import AngleSpec, EnergySpec
from fastv.detector.detector import Detector
from fastv.errors import OutputError, SettingsError, SimulationError
from fastv.processors import usable_processors
from fastv.progress import say
from fastv.showers import BLOCK_ROWS, Showers, ShowersWriter
from fastv.showers.layout import SHOWERS_ENDINGS
from fastv.simulation.data_sets import DataSets, geant4_version
from fastv.simulation.pools import ClusterPool, LocalPool
from fastv.simulation.process import ShowerError
from fastv.simulation.progress import Progress
from fastv.simulation.request import PhysicsSettings, SimulationRequest
from fastv.storage.output import check_ending, check_free
from fastv.storage.unfinished import is_left
from fastv.wording import counted

if TYPE_CHECKING:
    from fastv.simulation.pools import Pool

_BLOCK_SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500, BLOCK_ROWS)
_BLOCK_ENERGY = 2e6
"""Incident energy in MeV of a block: about half a minute of work, which a kill may lose."""

_MOST_BLOCKS = 20_000
_FEWEST_BLOCKS = 32
"""Enough blocks to be distributed evenly over the workers of one machine."""

_MOST_SHOWERS = 10**8
_MOST_WORKERS = 1000
_LAST_EVENT = 2**62

_CPU_SECONDS = "cpu_seconds"

_MOST_FAILURES = 10
"""Number of failed blocks after which the production stops."""


@dataclass(frozen=True)
class Production:
    """Result of a production.

    Attributes:
        output: the file.
        showers: number of showers in the file.
        simulated: number of showers simulated in this run; the others are from an interrupted run.
        energy: sum of the incident energies in MeV simulated in this run.
        seconds: duration of this run.
        cpu_seconds: CPU time of Geant4 in this run.
    """

    output: str
    showers: int
    simulated: int
    energy: float
    seconds: float
    cpu_seconds: float

    def as_dict(self) -> dict[str, Any]:
        """The result as JSON data."""
        return asdict(self)


def simulate(
    detector: Detector | str,
    output: str | Path,
    *,
    energy: str | float | EnergySpec | Spectrum,
    n: int | None = None,
    particle: str | int | tuple[int, ...] = "e-",
    theta: str | float | AngleSpec | None = None,
    phi: str | float | AngleSpec = 0.0,
    position_spread: float = 0.0,
    physics: PhysicsSettings | None = None,
    seed: int = 0,
    workers: int | None = None,
    scheduler: str | None = None,
    event: int | None = None,
    tracks: str | Path | None = None,
    tracks_above: float = 0.0,
    cpu_seconds: bool = False,
    block_rows: int | None = None,
    resume: bool = False,
    force: bool = False,
) -> Production:
    """Simulate showers with Geant4 into a file.

    The same call continues an interrupted run. The file is the same, bit for bit, for any number of workers, on a
    cluster, and after interruptions; its showers do not depend on ``block_rows``.

    Args:
        detector: a detector with a stack, the name of a preset, or FILE.yaml.
        output: the showers file; finished blocks are kept next to it until it is complete.
        energy: energies in MeV, or a text such as ``"50GeV"``, ``"10,50GeV"``, ``"1-1000GeV"`` (log-uniform),
            ``"power-2:1-100GeV"`` or the name of a file with energies.
        n: number of showers; with ``event`` it only limits the number of the event.
        particle: names or PDG codes; several are taken in turn.
        theta, phi: direction in rad, or a text such as ``"60-90deg"``; by default perpendicular to the slabs.
        position_spread: standard deviation of the starting point in each transverse direction, in mm.
        physics: physics models and production cut.
        seed: the same seed gives the same showers.
        workers: number of processes on this machine; by default the number of usable processors.
        scheduler: address of a Dask scheduler, such as ``"tcp://host:8786"``, whose workers are used instead.
        event: simulate only this event of the sequence, into a file with one shower.
        tracks: with ``event``, a file for its tracks (see :mod:`fastv.simulation.tracks`).
        tracks_above: lowest initial kinetic energy in MeV of a written track; there are about 1500 tracks per GeV.
        cpu_seconds: store the CPU time of Geant4 for each shower as an extra column. It is measured, so the file
            differs from run to run.
        block_rows: showers per block; by default about half a minute of work.
        resume: fail unless there is an interrupted run to continue.
        force: replace an existing file.

    Returns:
        A summary of the production.

    Raises:
        SettingsError: an argument is not allowed, or arguments contradict each other.
        GeometryError: the detector is unknown.
        SimulationError: data sets are missing, Geant4 fails repeatedly on an event, or the scheduler does not answer.
        MissingExtraError: calzone, or Dask for ``scheduler``, is not installed.
        OutputError: the file exists, another command is writing it, an interrupted run had a different request, or the
            disk is full.
    """
    request = SimulationRequest.model_validate(
        {
            "detector": detector,
            "particle": particle,
            "energy": energy,
            "theta": theta,
            "phi": phi,
            "position_spread": position_spread,
            "physics": physics or PhysicsSettings(),
            "seed": seed,
        }
    )
    _check_arguments(n, workers, scheduler, block_rows)
    check_ending(output, SHOWERS_ENDINGS, "showers")
    single = {"workers": workers, "block_rows": block_rows, "resume": resume or None}
    _check_event(event, n, tracks, tracks_above, [name for name, value in single.items() if value is not None])
    if scheduler is None:
        DataSets(geant4_version()[0]).check(request.physics.em_model, request.physics.had_model, request.particle)
    if event is not None:
        return _replay(request, event, output, tracks, tracks_above, scheduler, cpu_seconds=cpu_seconds, force=force)
    assert n is not None  # checked above
    return _produce(
        request, n, output, workers, scheduler, block_rows, cpu_seconds=cpu_seconds, resume=resume, force=force
    )


def _check_arguments(n: int | None, workers: int | None, scheduler: str | None, block_rows: int | None) -> None:
    limits = {
        "showers": (n, _MOST_SHOWERS),
        "workers": (workers, _MOST_WORKERS),
        "showers per block": (block_rows, None),
    }
    for what, (number, most) in limits.items():
        if number is not None and number < 1:
            msg = f"the number of {what} must be at least 1, got {number}"
            raise SettingsError(msg)
        if number is not None and most is not None and number > most:
            msg = f"the number of {what} must be at most {most}, got {number}"
            raise SettingsError(msg)
    if workers is not None and scheduler is not None:
        msg = "`workers` is for this machine, `scheduler` for a cluster; give one of them"
        raise SettingsError(msg)


def _check_event(
    event: int | None, n: int | None, tracks: str | Path | None, above: float, others: Sequence[str]
) -> None:
    """Check the arguments for a single event; ``others`` are given arguments that do not apply to it."""
    if event is None:
        if n is None:
            msg = "how many showers? give `n=...`, or `event=...` for a single one"
            raise SettingsError(msg)
        if tracks is not None:
            msg = "`tracks` is for a single event; choose it with `event=...`"
            raise SettingsError(msg)
    elif not 0 <= event <= _LAST_EVENT:
        msg = f"events are numbered from 0 to 2**62, got {event}"
        raise SettingsError(msg)
    elif n is not None and event >= n:
        msg = f"no event {event} among the {counted(n, 'shower')} of this command, numbered from 0"
        raise SettingsError(msg)
    elif others:
        msg = f"`event` simulates a single event; leave out {', '.join(f'`{name}`' for name in others)}"
        raise SettingsError(msg)
    if above < 0 or (above and tracks is None):
        msg = "`tracks_above` must be at least 0 and needs `tracks=...`, the file for the tracks"
        raise SettingsError(msg)


def default_block_rows(energies: NDArray[np.float64]) -> int:
    """Showers per block for showers of given energies (n,) in MeV; depends only on the request.

    Example:
        >>> default_block_rows(np.full(10_000, 1e6)), default_block_rows(np.full(10_000, 1e3))
        (2, 200)
    """
    n = len(energies)
    wanted = min(_BLOCK_ENERGY / energies.mean(), n / _FEWEST_BLOCKS)
    wanted = max(wanted, n / _MOST_BLOCKS)
    return max((rows for rows in _BLOCK_SIZES if rows <= wanted), default=1)


def _produce(
    request: SimulationRequest,
    n: int,
    output: str | Path,
    workers: int | None,
    scheduler: str | None,
    block_rows: int | None,
    *,
    cpu_seconds: bool,
    resume: bool,
    force: bool,
) -> Production:
    started = time.perf_counter()
    left = ShowersWriter.left_behind(output)
    if resume and not is_left(output):
        msg = f"{output}: there is no interrupted run to continue; leave `resume` out to start one"
        raise OutputError(msg)
    # Checked before a cluster is used; an interrupted run is continued even without `resume`.
    ShowersWriter.check_free(output, force=force, resume=True)
    energies = _energies(request, n)
    progress = Progress(energies)
    with closing(_pool(request, workers, scheduler, progress.add)) as pool:
        asked: dict[str, Any] = {
            "request_sha256": _digest(request),
            "provenance": pool.provenance(),
            "columns": [_CPU_SECONDS] if cpu_seconds else [],
        }
        known = left is not None and left == {**left, **asked, "total": n}
        rows = block_rows or (left["block_rows"] if left is not None and known else default_block_rows(energies))
        resume = known or not force
        with closing(ShowersWriter(output, n, asked, block_rows=rows, resume=resume, force=force)) as writer:
            finish = partial(_finished, provenance=asked["provenance"], keep_cpu_seconds=cpu_seconds)
            seconds = _simulate_blocks(writer, pool, energies, progress, finish)
            writer.finish()
    return Production(
        output=str(output),
        showers=n,
        simulated=progress.finished,
        energy=progress.energy,
        seconds=time.perf_counter() - started,
        cpu_seconds=seconds,
    )


def _replay(
    request: SimulationRequest,
    event: int,
    output: str | Path,
    tracks: str | Path | None,
    above: float,
    scheduler: str | None,
    *,
    cpu_seconds: bool,
    force: bool,
) -> Production:
    started = time.perf_counter()
    check_free(output, force=force, kind="showers")
    if tracks is not None and check_free(tracks, force=force, kind="tracks").resolve() == Path(output).resolve():
        msg = f"showers and tracks cannot both be written to {output}; choose another name for one of them"
        raise OutputError(msg)
    with closing(_pool(request, 1, scheduler)) as pool:
        try:
            showers: Showers = pool.showers([event]).result()
            paths = None if tracks is None else pool.tracks(event, above).result()
        except ShowerError as error:
            raise SimulationError(*error.args) from error
    (showers if cpu_seconds else _without_times(showers)).write(output, force=force)
    if tracks is not None and paths is not None:
        paths.write(tracks, request.detector, event, showers.provenance, force=force)
    return Production(
        output=str(output),
        showers=1,
        simulated=1,
        energy=float(showers.incident_energies[0]),
        seconds=time.perf_counter() - started,
        cpu_seconds=float(showers.extra[_CPU_SECONDS][0]),
    )


def _pool(
    request: SimulationRequest,
    workers: int | None,
    scheduler: str | None,
    on_event: Callable[[int], None] | None = None,
) -> Pool:
    if scheduler is None:
        return LocalPool(request, workers or usable_processors(), on_event)
    pool = ClusterPool(request, scheduler)
    if not pool.workers:
        say(f"{scheduler} has no workers yet; waiting for them")
    return pool


def _simulate_blocks(
    writer: ShowersWriter,
    pool: Pool,
    energies: NDArray[np.float64],
    progress: Progress,
    finish: Callable[[Showers], Showers],
) -> float:
    """Simulate the missing blocks, the most expensive ones first; returns the CPU time of Geant4 in s."""
    missing = [writer.rows(block) for block in writer.missing()]
    # Free workers take the next block. With the cheapest ones last, all finish at about the same time.
    missing.sort(key=lambda rows: -energies[rows].sum())
    cpu_seconds, successes = 0.0, 0
    failures: list[str] = []
    with progress.shown(missing):
        futures = {pool.showers(range(rows.start, rows.stop)): rows for rows in missing}
        for future in as_completed(futures):
            rows = futures.pop(future)
            try:
                showers: Showers = future.result()
            except ShowerError as error:
                failures.append(f"events {rows.start} to {rows.stop - 1}: {error}")
                # If the first block fails, or many do, individual events are not the cause.
                if not successes or len(failures) == _MOST_FAILURES:
                    break
                continue
            cpu_seconds += float(showers.extra[_CPU_SECONDS].sum())
            writer.write_block(rows.start // writer.block_rows, finish(showers))
            for event in range(rows.start, rows.stop):
                progress.add(event)
            successes += 1
    if failures:
        more = f" (and {counted(len(failures) - 1, 'more block')})" if len(failures) > 1 else ""
        msg = f"{failures[0]}{more}; all other showers are kept, the same command tries these again"
        raise SimulationError(msg)
    return cpu_seconds


def _finished(showers: Showers, *, provenance: dict[str, Any], keep_cpu_seconds: bool) -> Showers:
    """Check the provenance of showers, and prepare them for the file.

    Raises:
        SimulationError: Geant4 or its data sets have other versions than at the start of the run.
    """
    for name, value in provenance.items():
        if showers.provenance.get(name) != value:
            msg = (
                f"a worker has {name} {showers.provenance.get(name)!r}, the run started with {value!r}; "
                "all workers need the same versions"
            )
            raise SimulationError(msg)
    return showers if keep_cpu_seconds else _without_times(showers)


def _without_times(showers: Showers) -> Showers:
    extra = {name: column for name, column in showers.extra.items() if name != _CPU_SECONDS}
    return replace(showers, extra=extra)


def _energies(request: SimulationRequest, n: int) -> NDArray[np.float64]:
    """Incident energies (n,) of the first n events in MeV."""
    pieces = [request.conditions(np.arange(start, min(start + 100_000, n))).energy for start in range(0, n, 100_000)]
    return np.concatenate(pieces)


def _digest(request: SimulationRequest) -> str:
    return hashlib.sha256(request.model_dump_json().encode()).hexdigest()

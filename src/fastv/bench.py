"""Speed of a model in onnxruntime and PyTorch, including noise, scaling and network, and against Geant4."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from fastv._version import __version__
from fastv.conditions.table import CONDITIONS
from fastv.display.figure import FORMATS, save
from fastv.errors import FileFormatError, ModelError, SettingsError
from fastv.evaluation.report.labels import literal
from fastv.evaluation.report.style import GENERATED_COLOUR, REFERENCE_COLOUR, grid, paper_style
from fastv.export import OnnxGenerator, export
from fastv.models.contract import Domain, noise_stream
from fastv.processors import usable_processors
from fastv.records import first_problem, one_line
from fastv.runtime.guard import Guard
from fastv.showers import Conditions, ShowersFile
from fastv.storage.output import check_ending, check_free, written_whole
from fastv.suggestions import unknown
from fastv.timing import timed
from fastv.wording import counted

if TYPE_CHECKING:
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

    from fastv.model import Model

ENGINES = ("onnxruntime", "pytorch")
BATCHES = (1, 10, 100, 1000, 10_000)
_ROWS = 100
"""Showers per pass of PyTorch, as in ``fastv generate``."""
_ENERGY_BINS = 6
_Generate = Callable[[NDArray[np.float32]], object]
_Row = dict[str, Any]


class _Reference(NamedTuple):
    """Showers of full simulation: their conditions, and processor times (N,) in s."""

    path: Path
    conditions: Conditions
    seconds: NDArray[np.float64]


def bench(
    model: str | Path,
    *,
    batch: Sequence[int] = BATCHES,
    threads: int | str | Sequence[int | str] = 1,
    engine: str | Sequence[str] = "onnxruntime",
    seconds: float = 3.0,
    geant4: str | Path | None = None,
    plot: str | Path | None = None,
    options: Mapping[str, Any] | None = None,
    force: bool = False,
) -> dict[str, Any]:
    """Time generation at several batch sizes.

    Each repetition draws new noise and conditions (log-uniform in the domain) and generates. Repetitions come in
    rounds, of which the first eighth is warm-up, until the two fastest rounds agree within 5 %, or six were made. The
    machine was ``quiet`` if they agree and a single thread had a processor for itself; other times are worth nothing.

    Args:
        model: a model, which is exported to a temporary file, or an ONNX file of contract ``fastv``.
        batch: numbers of showers per request.
        threads: threads that share the work of a request, ``all`` for all processors, or several of these.
        engine: ``onnxruntime``, ``pytorch``, or both.
        seconds: minimum time for each batch size.
        geant4: a showers file of full simulation with the processor time of each shower (``cpu_seconds``), to compare
            with at the same energies.
        plot: picture to write (PNG, PDF or SVG): ms per shower by batch size and, with ``geant4``, by energy.
        options: settings that can be changed at generation, such as ``{"steps": 8}``.
        force: replace an existing picture.

    Returns:
        JSON data: the model, the machine, and for each engine, number of threads and batch size a row of ``timings``
        with median and 99th percentile of the time in ms per shower. ``engine`` and ``threads`` are those of the first
        rows. ``start_up``: seconds from the start of Python to the first shower by ``fastv.runtime``, in a process of
        its own, with its memory and how it grew. ``geant4``: mean processor time, and how many times faster the first
        engine is with single showers, in bins of energy. ``quiet``: whether all times can be trusted.

    Raises:
        SettingsError: a batch size, number of threads, engine or option is not allowed, or an ONNX file has none.
        ModelError: the model does not exist or cannot be exported.
        FileFormatError: the showers have no processor times, or lack a condition of the model.
        OutputError: the picture exists and ``force`` is false.
    """
    asked = [threads] if isinstance(threads, int | str) else threads
    counts = [usable_processors() if each == "all" else each for each in asked]
    engines = [engine] if isinstance(engine, str) else list(engine)
    if not counts or not all(isinstance(each, int) and each > 0 for each in counts) or not batch or min(batch) < 1:
        msg = f"batch sizes and `threads` (or 'all') must be at least 1, got threads {counts}, batch {list(batch)}"
        raise SettingsError(msg)
    for each in engines or [""]:
        if each not in ENGINES:
            raise SettingsError(unknown("engine", each, ENGINES))
    if plot is not None:
        check_ending(plot, tuple(f".{each}" for each in FORMATS), "pictures")
        check_free(plot, force=force)
    reference = None if geant4 is None else _read_reference(geant4)
    if str(model).endswith(".onnx"):
        if options or "pytorch" in engines:
            msg = (
                f"{model}: a graph has the options of its export and runs in onnxruntime only; "
                "give options to `fastv.export.export`, or a model here"
            )
            raise SettingsError(msg)
        result = _measured(_Subject(Path(model), str(model), None, seconds), batch, counts, engines, reference)
    else:
        from fastv.model import load

        loaded = load(model).with_options(**(options or {}))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            export(loaded, path)
            result = _measured(_Subject(path, loaded.name, loaded, seconds), batch, counts, engines, reference)
        result |= {
            "options": loaded.options,
            "evaluations": loaded.generator.evaluations,
            "parameters": loaded.n_parameters,
            "weights_sha256": loaded.digest(),
        }
    if plot is not None:
        with written_whole(plot, force=force) as temporary:
            save(speed_plot(result), temporary, picture_format=Path(plot).suffix[1:].lower())
    return result


@dataclass(frozen=True)
class _Subject:
    """What is timed: a graph, and the model that it was made from, unless the graph is what was given."""

    path: Path
    name: str
    model: Model | None
    seconds: float

    @contextmanager
    def generator(self, engine: str, threads: int) -> Iterator[tuple[OnnxGenerator, Domain, _Generate]]:
        """The graph, its domain, and a function that generates showers of given conditions."""
        stream = noise_stream(3)
        with closing(OnnxGenerator(self.path, threads=threads)) as graph:
            try:
                domain = Domain.model_validate(graph.domain)
            except ValidationError as error:
                msg = f"{self.name}: the metadata of the graph are damaged: domain: {first_problem(error)}"
                raise ModelError(msg) from error
            if self.model is None or engine == "onnxruntime":
                yield graph, domain, lambda conditions: graph.generate(conditions, stream)
            else:
                with _pytorch(self.model, threads) as generate:
                    yield graph, domain, generate

    def timed(self, threads: int, size: int, generate: _Generate, draw: Callable[[], NDArray[np.float32]]) -> _Row:
        """The times of requests for ``size`` showers, of conditions that are drawn anew each time."""

        def once() -> float:
            conditions = draw()
            begin = time.perf_counter()
            generate(conditions)
            return time.perf_counter() - begin

        found = timed(once, self.seconds)
        scale = 1000.0 / size
        return {
            "ms_per_shower_median": round(scale * found.median, 5),
            "ms_per_shower_p99": round(scale * found.p99, 5),
            "showers_per_second": round(size / found.median, 1),
            "repetitions": found.repetitions,
            "spread": round(found.spread, 3),
            "processor_share": round(found.share, 3),
            "quiet": found.quiet(threads),
        }


@contextmanager
def _pytorch(model: Model, threads: int) -> Iterator[_Generate]:
    """Generation in PyTorch with a number of threads."""
    import torch

    generator, before, stream = model.generator, torch.get_num_threads(), noise_stream(3)
    mirror = generator.mirror

    def generate(conditions: NDArray[np.float32]) -> list[object]:
        noise = torch.from_numpy(generator.noise.draw_from(stream, len(conditions)))
        inputs = torch.from_numpy(mirror.folded(conditions))
        parts = zip(torch.split(inputs, _ROWS), torch.split(noise, _ROWS), strict=True)
        with torch.inference_mode():
            made = [generator.sample(columns, noises).numpy() for columns, noises in parts]
        return [mirror.image(part, conditions[i * _ROWS :][:_ROWS]) for i, part in enumerate(made)]

    torch.set_num_threads(threads)
    try:
        yield generate
    finally:
        torch.set_num_threads(before)


def _measured(
    subject: _Subject,
    batch: Sequence[int],
    counts: Sequence[Any],
    engines: Sequence[str],
    reference: _Reference | None,
) -> dict[str, Any]:
    """All times of a model."""
    rows: list[_Row] = []
    for engine in engines:
        for threads in counts:
            with subject.generator(engine, threads) as (graph, domain, generate):
                for size in batch:
                    stream = noise_stream((4, size))
                    found = subject.timed(
                        threads, size, generate, partial(domain.draw, graph.condition_names, size, stream)
                    )
                    rows.append({"engine": engine, "threads": threads, "batch": size, **found})
    with subject.generator(engines[0], 1) as (graph, domain, generate):
        compared = None if reference is None else _compared(subject, graph, generate, reference)
        start = _start_up(subject, graph.condition_names, domain)
        voxels = graph.detector.mesh.n_voxels
    trusted = [*rows, *(compared["by_energy"] if compared else ())]
    return {
        "model": subject.name,
        "engine": engines[0],
        "threads": counts[0],
        "included": "noise, scaling, graph; not the export, not writing",
        "voxels": voxels,
        "processor": processor(),
        "processors": usable_processors(),
        "fastv": __version__,
        "timings": rows,
        "quiet": all(row["quiet"] for row in trusted),
        "start_up": start,
        **({"geant4": compared} if compared else {}),
    }


def _read_reference(path: str | Path) -> _Reference:
    """The conditions of showers of full simulation, and the processor time of each in s."""
    with ShowersFile(path) as file:
        if "cpu_seconds" not in file.columns:
            msg = (
                f"{path} does not tell the processor time of its showers (the column cpu_seconds); "
                "give showers of `fastv.simulate`, which stores it on request"
            )
            raise FileFormatError(msg)
        return _Reference(Path(path), file.conditions, np.asarray(file.column("cpu_seconds"), dtype=np.float64))


def _compared(subject: _Subject, graph: OnnxGenerator, generate: _Generate, reference: _Reference) -> dict[str, Any]:
    """Single showers of the model against the processor time of Geant4, in bins of energy.

    Raises:
        FileFormatError: the showers lack a condition of the model, or none is inside its domain.
    """
    columns = reference.conditions.columns
    if missing := [name for name in graph.condition_names if name not in columns]:
        msg = f"{reference.path}: its showers have no {missing[0]}, on which the model is conditional; give others"
        raise FileFormatError(msg)
    checked = Guard(graph.condition_names, graph.domain).check(len(reference.conditions), columns)
    inside = np.setdiff1d(np.arange(len(reference.conditions)), list(checked.outside))
    if not len(inside):
        why = next(iter(checked.outside.values()), "it has none")
        msg = f"{reference.path}: no shower is inside the domain of the model ({why}); give others"
        raise FileFormatError(msg)
    energies, rng = reference.conditions.energy, np.random.default_rng(5)
    rows = []
    for members in _energy_bins(energies, inside):

        def draw(members: NDArray[Any] = members) -> NDArray[np.float32]:
            row: int = rng.choice(members)
            return checked.columns[row : row + 1]

        found = subject.timed(1, 1, generate, draw)
        cpu = 1000.0 * reference.seconds[members]
        rows.append(
            {
                "energy_mev": [float(energies[members].min()), float(energies[members].max())],
                "showers": len(members),
                "geant4_ms": round(float(cpu.mean()), 3),
                "ms_per_shower": found["ms_per_shower_median"],
                "times_faster": round(float(cpu.mean()) / found["ms_per_shower_median"], 1),
                "spread": found["spread"],
                "quiet": found["quiet"],
            }
        )
    return {
        "file": reference.path.name,
        "included": "processor time of Geant4 as recorded in the file, on the machine that made it; single showers of "
        "the model on one thread of this one",
        "outside_domain": len(checked.outside),
        "by_energy": rows,
    }


def _energy_bins(energies: NDArray[np.float64], rows: NDArray[Any]) -> list[NDArray[Any]]:
    """Rows by their energy where there are few energies, otherwise in bins of the same width in its logarithm."""
    values = np.unique(energies[rows])
    edges = values
    if len(values) > 2 * _ENERGY_BINS:
        edges = np.geomspace(values[0], values[-1], _ENERGY_BINS + 1)[:-1]
        edges[0] = values[0]
    numbers = np.searchsorted(edges, energies[rows], side="right")
    return [rows[numbers == number] for number in np.unique(numbers)]


_START_UP = """
import json, os, sys, time
from fastv.runtime import Runtime

def megabytes():  # not the largest ever, which a process inherits from the one that started it
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    except OSError:
        return None

runtime = Runtime(sys.argv[1])
conditions = json.loads(sys.argv[2])
runtime.generate(0, **conditions)
first, cpu, before, event = time.time(), time.process_time(), megabytes(), 1
while event < 10_000 and time.time() < first + float(sys.argv[3]):
    runtime.generate(event, **conditions)
    event += 1
print(json.dumps([first, cpu, before, event, megabytes()]))
"""


def _start_up(subject: _Subject, names: Sequence[str], domain: Domain) -> dict[str, Any]:
    """From the start of Python to the first shower by ``fastv.runtime``, the fastest of a few; and its memory."""
    conditions = {name: _first(name, domain) for name in names}
    arguments = [str(subject.path), json.dumps(conditions), str(min(subject.seconds, 2.0))]
    found = []
    for _ in range(3 if subject.seconds >= 1 else 1):
        begin = time.time()
        done = subprocess.run(
            [sys.executable, "-c", _START_UP, *arguments], capture_output=True, text=True, check=False
        )
        if done.returncode:
            why = one_line(done.stderr.strip().rpartition("\n")[-1])
            msg = f"{subject.name}: the runtime cannot generate a first shower ({why})"
            raise ModelError(msg)
        first, *others = json.loads(done.stdout)
        found.append((first - begin, *others))
    seconds, cpu, before, showers, after = min(found)
    return {
        "seconds": round(seconds, 3),
        "cpu_seconds": round(cpu, 3),
        "memory_mb": before and round(before, 1),
        "showers": showers,
        "growth_mb": before and round(after - before, 1),
    }


def _first(name: str, domain: Domain) -> Any:
    """A value of a condition inside a domain."""
    if CONDITIONS[name].choices:
        return getattr(domain, CONDITIONS[name].choices)[0]
    return (domain.bounds(name) or (0.0, 0.0))[0]


def speed_plot(result: Mapping[str, Any]) -> Figure:
    """The times of :func:`bench` by batch size and, if they were compared with Geant4, by energy."""
    compared = result.get("geant4")
    with paper_style():
        figure, cells = grid(1, 2 if compared else 1, 6.2, 4.2, top=0.35)
        axes = figure.add_subplot(cells[0])
        for (engine, threads), rows in groupby(result["timings"], lambda row: (row["engine"], row["threads"])):
            points = sorted((row["batch"], row["ms_per_shower_median"]) for row in rows)
            label = f"{engine}, {counted(threads, 'thread')}"
            axes.plot(*zip(*points, strict=True), "o-" if engine == "onnxruntime" else "s--", label=label, ms=4)
        axes.set(xscale="log", yscale="log", xlabel="showers per request", ylabel="ms per shower")
        axes.set_ylim(*_decades([row["ms_per_shower_median"] for row in result["timings"]]))
        _plain_labels(axes.yaxis)
        axes.legend()
        if compared:
            axes = figure.add_subplot(cells[1])
            middle = [np.sqrt(np.prod(row["energy_mev"])) / 1000.0 for row in compared["by_energy"]]
            geant4, own = ([row[key] for row in compared["by_energy"]] for key in ("geant4_ms", "ms_per_shower"))
            axes.plot(middle, geant4, "o-", color=REFERENCE_COLOUR, label="Geant4", ms=4)
            axes.plot(middle, own, "o-", color=GENERATED_COLOUR, label=f"{result['engine']}, single showers", ms=4)
            for x, y, row in zip(middle, own, compared["by_energy"], strict=True):
                times = f"{row['times_faster']:,.0f}x"
                axes.annotate(times, (x, y), xytext=(0, 7), textcoords="offset points", ha="center", fontsize=10)
            axes.set(xscale="log", yscale="log", xlabel="incident energy [GeV]", ylabel="ms per shower")
            axes.margins(x=0.1, y=0.15)
            _plain_labels(axes.xaxis)
            _plain_labels(axes.yaxis)
            axes.legend()
        noisy = "" if result["quiet"] else "; the machine was not quiet"
        title = f"{literal(result['model'])} on {literal(result['processor'])}{noisy}"
        figure.text(0.012, 0.985, title, ha="left", va="top", fontsize=10)
    return figure


def _plain_labels(axis: Axis) -> None:
    """Labels such as 0.2: within a decade those of matplotlib, 2 x 10^-1, need more room than there is."""
    from matplotlib.ticker import LogLocator

    axis.set_minor_locator(LogLocator(subs=(2.0, 5.0)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter("{x:g}")


def _decades(values: Sequence[float]) -> tuple[float, float]:
    """Powers of ten around values, with room for a legend."""
    return 10.0 ** np.floor(np.log10(min(values) / 1.5)), 10.0 ** np.ceil(np.log10(3.0 * max(values)))


def processor() -> str:
    """Name of this machine's processor.

    Example:
        >>> bool(processor())
        True
    """
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()

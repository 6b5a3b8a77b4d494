"""Speed of a model in onnxruntime, including noise, scaling and the graph."""

from __future__ import annotations

import platform
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from fastv._version import __version__
from fastv.errors import ModelError, SettingsError
from fastv.export import OnnxGenerator, export
from fastv.models.contract import Domain, noise_stream
from fastv.records import first_problem


def bench(
    model: str | Path,
    *,
    batch: Sequence[int] = (1, 100, 1000),
    threads: int = 1,
    seconds: float = 3.0,
    options: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Time generation at several batch sizes.

    Each repetition draws new noise and conditions (log-uniform in the domain) and runs the graph; the first eighth is
    warm-up and not counted.

    Args:
        model: a model, which is exported to a temporary file, or an ONNX file of contract ``fastv``.
        batch: numbers of showers per request.
        threads: threads that share the work of a request.
        seconds: minimum time for each batch size.
        options: settings that can be changed at generation, such as ``{"steps": 8}``.

    Returns:
        JSON data: the model, the machine, and for each batch size ``timings`` with median and 99th percentile of the
        time in ms per shower over repetitions.

    Raises:
        SettingsError: a batch size or the number of threads is below 1, or an option is unknown or given with an ONNX
            file.
        ModelError: the model does not exist or cannot be exported.
    """
    if threads < 1 or not batch or min(batch) < 1:
        msg = f"threads and batch sizes must be at least 1, got threads {threads}, batch {list(batch)}"
        raise SettingsError(msg)
    if str(model).endswith(".onnx"):
        if options:
            msg = (
                f"{model}: the options of a graph are those of its export; "
                "give them to `fastv.export.export`, or a model here"
            )
            raise SettingsError(msg)
        return _bench(OnnxGenerator(model, threads=threads), str(model), batch, seconds)
    from fastv.model import load

    loaded = load(model).with_options(**(options or {}))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        export(loaded, path)
        result = _bench(OnnxGenerator(path, threads=threads), loaded.name, batch, seconds)
    return {
        **result,
        "options": loaded.options,
        "evaluations": loaded.generator.evaluations,
        "parameters": loaded.n_parameters,
        "weights_sha256": loaded.digest(),
    }


def _bench(generator: OnnxGenerator, name: str, batch: Sequence[int], seconds: float) -> dict[str, Any]:
    stream = noise_stream(3)
    try:
        domain = Domain.model_validate(generator.domain)
    except ValidationError as error:
        msg = f"{name}: the metadata of the graph are damaged: domain: {first_problem(error)}"
        raise ModelError(msg) from error
    rows = []
    for size in batch:
        times: list[float] = []
        started = time.perf_counter()
        while not _enough(len(times), time.perf_counter() - started, seconds):
            conditions = domain.draw(generator.condition_names, size, stream)
            begin = time.perf_counter()
            generator.generate(conditions, stream)
            times.append(time.perf_counter() - begin)
        counted = 1000 * np.array(times[len(times) // 8 :]) / size
        median, p99 = np.quantile(counted, [0.5, 0.99])
        rows.append(
            {
                "batch": size,
                "ms_per_shower_median": round(float(median), 5),
                "ms_per_shower_p99": round(float(p99), 5),
                "showers_per_second": round(1000.0 / float(median), 1),
                "repetitions": len(counted),
            }
        )
    generator.close()
    return {
        "model": name,
        "engine": "onnxruntime",
        "threads": generator.threads,
        "included": "noise, scaling, graph; not the export, not writing",
        "voxels": generator.detector.mesh.n_voxels,
        "processor": processor(),
        "fastv": __version__,
        "timings": rows,
    }


def _enough(repetitions: int, elapsed: float, seconds: float) -> bool:
    """Whether to stop: after at least eight repetitions, or three if each takes long."""
    return elapsed >= seconds and (repetitions >= 8 or (repetitions >= 3 and elapsed >= 10 * seconds))


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

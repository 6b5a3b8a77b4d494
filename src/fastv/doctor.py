"""Report on the installation: Python packages, Geant4 and its data sets, processors, memory, disk."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from fastv._version import __version__
from fastv.errors import FastVError, MissingExtraError
from fastv.installation import packages_of_extras
from fastv.processors import usable_processors
from fastv.simulation.data_sets import (
    CONTENTS,
    EM_MODELS,
    HADRON_MODELS,
    OVERRIDES,
    VARIABLE,
    DataSets,
    geant4_version,
)

ELECTROMAGNETIC = "e-, e+, gamma, mu-, mu+, pi0"
HADRONIC = f"{ELECTROMAGNETIC}, hadrons, ions"


def examine() -> dict[str, Any]:
    """Examine the installation; missing parts are reported and never raise an error.

    Returns:
        JSON data with ``fastv``, ``python``, ``platform``, ``extras`` (packages with versions, or None where one is
        missing), ``geant4`` (see :func:`examine_geant4`), ``processors``, ``memory_gb``, ``torch`` (version and
        devices) and ``free_disk_gb`` of the current folder.
    """
    return {
        "fastv": __version__,
        "python": f"{platform.python_version()} ({sys.executable})",
        "platform": platform.platform(),
        "extras": extras(),
        "geant4": examine_geant4(),
        "processors": {"usable": usable_processors(), "all": os.cpu_count()},
        "memory_gb": _memory(),
        "torch": _torch(),
        "free_disk_gb": round(shutil.disk_usage(Path.cwd()).free / 1e9, 1),
    }


def extras() -> dict[str, dict[str, str | None]]:
    """The optional packages of each extra, with their versions, or None where one is not installed.

    Example:
        >>> sorted(extras()["geant4"])
        ['calzone']
    """
    return {
        extra: {name: _version(name) for name in packages}
        for extra, packages in packages_of_extras().items()
        if extra not in ("test", "lint", "dev", "all")
    }


def examine_geant4() -> dict[str, Any]:
    """Examine Geant4 and its data sets.

    Returns:
        JSON data with ``version`` of Geant4 and of ``calzone`` (None if it is not installed, with the ``problem``);
        ``folder`` of the data sets and ``told_by``, what set it; ``data_sets``: name, version, state, contents and
        other versions of each; ``physics``: for each combination of models its particles and what is lacking;
        ``command`` that downloads incomplete data sets, or None; ``overrides``: environment variables that would take
        data sets from elsewhere; ``runs``: the time of a test shower, or its problem.
    """
    try:
        version, calzone = geant4_version()
    except MissingExtraError as error:
        return {"version": None, "calzone": None, "problem": str(error)}
    sets = DataSets(version)
    combinations = [(model, None) for model in EM_MODELS] + [("standard", model) for model in HADRON_MODELS]
    physics = [
        {
            "name": em_model if had_model is None else f"{em_model}+{had_model}",
            "particles": ELECTROMAGNETIC if had_model is None else HADRONIC,
            "lacking": [
                {"data_set": name, "state": sets[name].state, "reason": reason}
                for name, reason in sets.lacking(em_model, had_model)
            ],
        }
        for em_model, had_model in combinations
    ]
    return {
        "version": version,
        "calzone": calzone,
        "folder": str(sets.folder),
        "told_by": VARIABLE if os.environ.get(VARIABLE) else "calzone",
        "data_sets": [
            {
                "name": each.name,
                "version": each.version,
                "state": each.state,
                "contents": CONTENTS[each.name],
                "other_versions": list(each.other_versions),
            }
            for each in sets
        ],
        "physics": physics,
        "command": _command(sets),
        "overrides": [name for name in OVERRIDES if name in os.environ],
        "runs": _shower() if not physics[0]["lacking"] else None,
    }


def _command(sets: DataSets) -> str | None:
    incomplete = [each.name for each in sets if each.state != "complete"]
    if not incomplete:
        return None
    return sets.download_command(incomplete if len(incomplete) < len(sets.all) else None)


def _shower() -> dict[str, Any]:
    """Simulate one shower in a separate process."""
    from fastv.simulation.process import GeantProcess, ShowerError
    from fastv.simulation.request import SimulationRequest

    request = SimulationRequest.model_validate({"detector": "par04-siw", "energy": "1GeV"})
    started = time.perf_counter()
    try:
        with GeantProcess(request) as process:
            showers = process.showers([0])
    except (ShowerError, FastVError) as error:
        return {"problem": str(error)}
    return {
        "seconds": round(time.perf_counter() - started, 2),
        "cpu_ms_per_gev": round(1e3 * float(showers.extra["cpu_seconds"][0]), 2),
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _memory() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
    except (AttributeError, ValueError, OSError):
        return None  # not available on this system


def _torch() -> dict[str, Any]:
    import torch

    devices = ["cpu"]
    devices += [f"cuda:{i} ({torch.cuda.get_device_name(i)})" for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        devices.append("mps")
    return {"version": torch.__version__, "devices": devices, "threads": torch.get_num_threads()}

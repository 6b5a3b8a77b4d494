"""FastV: generative fast simulation of particle showers.

Names are loaded when first used, so that ``import fastv`` is instant.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fastv._version import __version__

if TYPE_CHECKING:
    from fastv.detector.detector import Detector as Detector
    from fastv.detector.mesh import ReadoutMesh as ReadoutMesh
    from fastv.display import view as view
    from fastv.errors import FastVError as FastVError
    from fastv.evaluation import evaluate as evaluate
    from fastv.fast_simulation.run import fastsim as fastsim
    from fastv.formats.conversion import convert as convert
    from fastv.model import Model as Model
    from fastv.model import load as load
    from fastv.retrieval import index as index
    from fastv.retrieval import search as search
    from fastv.sample import sample_path as sample_path
    from fastv.showers import Showers as Showers
    from fastv.showers import ShowersFile as ShowersFile
    from fastv.simulation.production import simulate as simulate
    from fastv.training.loop import train as train

_HOMES = {
    "Detector": "fastv.detector.detector",
    "FastVError": "fastv.errors",
    "Model": "fastv.model",
    "ReadoutMesh": "fastv.detector.detector",
    "Showers": "fastv.showers",
    "ShowersFile": "fastv.showers",
    "convert": "fastv.formats.conversion",
    "evaluate": "fastv.evaluation",
    "fastsim": "fastv.fast_simulation.run",
    "index": "fastv.retrieval",
    "load": "fastv.model",
    "sample_path": "fastv.sample",
    "search": "fastv.retrieval",
    "simulate": "fastv.simulation.production",
    "train": "fastv.training.loop",
    "view": "fastv.display",
}

__all__ = ["__version__", *sorted(_HOMES)]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        msg = f"module 'fastv' has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)

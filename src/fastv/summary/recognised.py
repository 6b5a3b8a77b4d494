"""A summary of whatever it is: files and folders by what they say of themselves, models and recipes by name."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from fastv.detector.detector import Detector
from fastv.errors import FileFormatError
from fastv.storage.documents import is_folder
from fastv.storage.hdf5 import open_hdf5
from fastv.storage.kinds import is_root, kind_of, kind_of_folder
from fastv.suggestions import did_you_mean
from fastv.summary.lines import Summary
from fastv.summary.model import RecipeSummary, summarise_model
from fastv.summary.showers import summarise_file
from fastv.training.recipe import load_recipe, preset_names

_SUMMARIES = {
    "codes": "columns.summarise_codes",
    "scores": "columns.summarise_scores",
    "estimates": "columns.summarise_estimates",
    "components": "columns.summarise_components",
    "hits": "hits.summarise_hits",
    "tracks": "hits.summarise_tracks",
    "EDM4hep": "hits.summarise_edm4hep",
    "index": "index.summarise_index",
}
"""The functions that summarise other kinds than showers and models, imported when they are needed: kinds of files of
:mod:`fastv.storage.kinds`, hits as columns of EDM4hep, and folders."""

_OF_FILES = {"analysis": "the results of an analysis", "report": "a report", "demonstration": "a demonstration"}
"""Kinds of folders that hold files to read each on its own."""


def summarise(path: str | Path, mesh: Detector | str | None = None) -> Summary:
    """Summarise a file or folder that FastV wrote, or a shipped model, preset or family given by its name.

    Args:
        path: a file of showers, hits, tracks, codes, scores, estimates or components; a model directory or an index; a
            recipe FILE.yaml; or a name. What exists under the name comes first.
        mesh: as for :func:`summarise_file`.

    Raises:
        ModelError: as for :func:`summarise_model`.
        FileFormatError, GeometryError: as for :func:`summarise_file`; also if nothing has this name.
        SettingsError: a setting of the recipe is unknown, or a value is not allowed.

    Example:
        >>> summarise("vae").as_dict()["model"]["latent"]
        10
    """
    from fastv.model import shipped_models
    from fastv.models import FAMILIES

    name = str(path)
    if is_folder(path):
        kind = kind_of_folder(Path(path))
        if kind in _OF_FILES:
            files = ", ".join(sorted(each.name for each in Path(path).glob("*.h5"))) or "none that is described here"
            msg = f"{path}: it is a folder with {_OF_FILES[kind]}; name one of its files: {files}"
            raise FileFormatError(msg)
        return _summary(kind, Path(path)) if kind in _SUMMARIES else summarise_model(path)
    there = _exists(path)
    if name in shipped_models() and not there:
        return summarise_model(path)
    recipes = [*preset_names(), *(family for family in FAMILIES if family not in preset_names())]
    if (name in recipes and not there) or Path(path).suffix.lower() in (".yaml", ".yml"):
        return RecipeSummary(name, load_recipe(name))
    if not there and not Path(path).suffix and len(Path(path).parts) == 1:
        hint = did_you_mean(name, [*shipped_models(), *recipes])
        known = f"shipped models {', '.join(shipped_models())}; presets and families {', '.join(recipes)}"
        msg = f"{name}: no such file; known by name: {known}{hint}"
        raise FileFormatError(msg)
    kind = _kind_of_file(Path(path))
    return _summary(kind, Path(path)) if kind in _SUMMARIES else summarise_file(path, mesh)


def _kind_of_file(path: Path) -> str | None:
    """The kind of a file; None for what FastV did not write."""
    if is_root(path):
        return "EDM4hep"
    with open_hdf5(path) as file:
        found = kind_of(file)
    return found.name if found else None


def _summary(kind: str, path: Path) -> Summary:
    module, name = _SUMMARIES[kind].split(".")
    function: Callable[[Path], Summary] = getattr(import_module(f"fastv.summary.{module}"), name)
    return function(path)


def _exists(path: str | Path) -> bool:
    """Whether there is a file; a name that no file can have is left to the reader, which tells what is wrong."""
    try:
        return Path(path).exists()
    except (OSError, ValueError):
        return True

"""The kinds of files and folders that FastV writes, by what they say of themselves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import h5py

MARKER = ".fastv-output"
"""A file in every folder of FastV, with the kind of output; no other folder is replaced."""

_NAMED_BY = {"model.json": "model", "report.json": "report", "index.json": "index"}
"""Files that tell the kind of a folder whose marker does not."""


@dataclass(frozen=True, kw_only=True)
class FileKind:
    """One kind of file.

    Attributes:
        name: what the file holds, in a word.
        attribute: the attribute in which it describes itself, ``fastv`` or one that no other kind has.
        item: what distinguishes it from other kinds with the attribute ``fastv``: a data set or group.
        told: what it holds and how to read it, for messages of what reads other kinds.
    """

    name: str
    attribute: str = "fastv"
    item: str = ""
    told: str = ""

    def fits(self, file: h5py.File) -> bool:
        """Whether a file says that it is of this kind."""
        return self.attribute in file.attrs and (not self.item or self.item in file)


KINDS: dict[str, FileKind] = {
    kind.name: kind
    for kind in (
        FileKind(
            name="codes",
            attribute="fastv_codes",
            told="it holds codes of showers; read it with fastv.representation.codes_file.CodesFile",
        ),
        FileKind(name="scores", attribute="fastv_scores", told="it holds anomaly scores, a data set each"),
        FileKind(
            name="estimates", attribute="fastv_estimates", told="it holds estimates of conditions, a data set each"
        ),
        FileKind(
            name="components", attribute="fastv_components", told="it holds principal components, a data set each"
        ),
        FileKind(name="showers", item="showers"),
        FileKind(
            name="hits",
            item="hits",
            told="it holds hits of `fastv.fastsim`: "
            "fastv.fast_simulation.hits.read_hits(...).showers() gives its showers",
        ),
        FileKind(
            name="tracks",
            item="first",
            told="it holds tracks of Geant4; read it with fastv.simulation.tracks.read_tracks",
        ),
    )
}
"""All kinds by name; the first one that fits counts. To add one, add an entry here and, for ``fastv info``, in
``fastv.summary``."""


def kind_of(file: h5py.File) -> FileKind | None:
    """What an open file says that it is; None if FastV did not write it, such as a plain CaloChallenge file.

    Example:
        >>> import h5py
        >>> from fastv.sample import sample_path
        >>> with h5py.File(sample_path("test")) as file:
        ...     kind_of(file).name
        'showers'
    """
    return next((kind for kind in KINDS.values() if kind.fits(file)), None)


def kind_of_folder(folder: Path) -> str | None:
    """What a folder says that it is; None if FastV did not write it."""
    marker = folder / MARKER
    if marker.is_file() and marker.stat().st_size < 100 and (told := marker.read_text(errors="replace").strip()):
        return told
    return next((kind for name, kind in _NAMED_BY.items() if (folder / name).exists()), None)


def is_root(path: Path) -> bool:
    """Whether a file begins as ROOT files do; what cannot be read does not, nor a pipe, for which one would wait."""
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return file.read(4) == b"root"
    except (OSError, ValueError):
        return False

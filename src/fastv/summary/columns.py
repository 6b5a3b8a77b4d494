"""Summaries of files with a row for each shower: codes, scores, estimates; and of principal components."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from fastv.conditions.record import Conditions, checked
from fastv.conditions.table import CONDITIONS
from fastv.errors import FileFormatError
from fastv.representation.codes_file import CodesFile
from fastv.storage.documents import DocumentError, parse_json
from fastv.storage.guard import check_stored
from fastv.storage.hdf5 import damage_named, open_hdf5
from fastv.storage.kinds import KINDS
from fastv.summary.lines import Facts, condition_rows, file_text, moments_of, moments_text, ranges_of, words
from fastv.wording import counted

_MADE_BY = ("model", "family", "model_sha256")
_NO_RESULTS = {"row", *(condition.column for condition in CONDITIONS.values())}


def summarise_codes(path: Path) -> Facts:
    """Summarise a file of codes.

    Raises:
        FileFormatError: the file is damaged.
    """
    with CodesFile(path) as file:
        told, conditions, n = file.description, file.conditions, len(file)
        empty = 0
        for _, codes in file.batches():
            empty += int(np.isnan(next(iter(codes.groups.values())).mean).any(axis=1).sum())
    groups = ", ".join(f"{name} ({size})" for name, size in told.groups.items())
    lines = [
        ("file", file_text(path, f"codes, version {told.format_version}")),
        ("showers", _showers(n, empty, "a code")),
        ("code", f"{counted(sum(told.groups.values()), 'number')}: {groups}"),
        ("detector", told.detector),
        *condition_rows(conditions),
        *_told_rows({"source": told.source, **{name: getattr(told, name) for name in _MADE_BY}}),
    ]
    content = {**_content("codes", path, n, conditions), "empty": empty, **told.model_dump()}
    return Facts(lines, content)


def summarise_scores(path: Path) -> Facts:
    """Summarise a file of anomaly scores.

    Raises:
        FileFormatError: the file is damaged.
    """
    return _with_results(path, "scores", "a score")


def summarise_estimates(path: Path) -> Facts:
    """Summarise a file of estimates of conditions.

    Raises:
        FileFormatError: the file is damaged.
    """
    return _with_results(path, "estimates", "an estimate")


def _with_results(path: Path, kind: str, one: str) -> Facts:
    """A file of a row for each shower, with its conditions and results of one number each."""
    with _opened(path, kind) as (file, told):
        n = len(_array(path, file, "row", (None,)))
        columns = {name: _column(path, file, name, n) for name in file}
    known = {name: columns[each.column] for name, each in CONDITIONS.items() if each.column in columns}
    conditions = Conditions.of(
        **{name: checked(CONDITIONS[name], values, str(path), range(n)) for name, values in known.items()}
    )
    results = {name: values for name, values in columns.items() if name not in _NO_RESULTS}
    empty = int(np.any([~np.isfinite(values) for values in results.values()], axis=0).sum()) if results else n
    lines = [
        ("file", file_text(path, kind)),
        ("showers", _showers(n, empty, one)),
        *((name, moments_text(values)) for name, values in results.items()),
        *condition_rows(conditions),
        *_told_rows(told),
    ]
    found = {name: moments_of(values) for name, values in results.items()}
    return Facts(lines, {**_content(kind, path, n, conditions), "empty": empty, **told, kind: found})


def summarise_components(path: Path) -> Facts:
    """Summarise a file of principal components.

    Raises:
        FileFormatError: the file is damaged.
    """
    with _opened(path, "components") as (file, told):
        voxels = len(_array(path, file, "mean", (None,)))
        variances = _array(path, file, "variances", (None,))
        _array(path, file, "components", (len(variances), voxels))
        n = len(_array(path, file, "projections", (None, len(variances))))
        energies = _column(path, file, CONDITIONS["energy"].column, n)
    conditions = Conditions.of(energy=checked(CONDITIONS["energy"], energies, str(path), range(n)))
    most = ", ".join(f"{each:.4g}" for each in variances[:8].tolist())
    lines = [
        ("file", file_text(path, "principal components")),
        ("components", f"{len(variances)} of {counted(voxels, 'voxel')}"),
        ("variances", f"{most}, ..." if len(variances) > 8 else most),
        ("showers", f"{n}, with their projections"),
        *condition_rows(conditions),
        *_told_rows(told),
    ]
    content = {**_content("components", path, n, conditions), "voxels": voxels, "variances": variances.tolist()}
    return Facts(lines, {**content, **told})


@contextmanager
def _opened(path: Path, kind: str) -> Iterator[tuple[h5py.File, Mapping[str, Any]]]:
    """An open file, with the content of the attribute in which it describes itself."""
    attribute = KINDS[kind].attribute
    with open_hdf5(path) as file, damage_named(path):
        text = file.attrs[attribute]
        try:
            told = parse_json(text if isinstance(text, str | bytes) else "")
            if not isinstance(told, dict):
                msg = "it is no mapping"
                raise DocumentError(msg)
        except DocumentError as error:
            msg = f"{path}: the attribute {attribute!r} is damaged: {error}"
            raise FileFormatError(msg) from error
        yield file, told


def _array(path: Path, file: h5py.File, name: str, shape: tuple[int | None, ...]) -> NDArray[Any]:
    """A data set of numbers of this shape; None stands for any length."""
    data = file.get(name)
    came = data.shape if isinstance(data, h5py.Dataset) and data.dtype.kind in "fiu" else None
    if came is None or len(came) != len(shape) or any(a not in (None, b) for a, b in zip(shape, came, strict=True)):
        wanted = ", ".join("N" if each is None else str(each) for each in shape)
        msg = f"{path}: damaged: {name!r} must be numbers ({wanted}{',' if len(shape) == 1 else ''})"
        raise FileFormatError(msg)
    check_stored(path, data)
    values: NDArray[Any] = data[...]
    return values


def _column(path: Path, file: h5py.File, name: str, n: int) -> NDArray[Any]:
    """A data set with one number for each shower, as (n,)."""
    data = file.get(name)
    flat = isinstance(data, h5py.Dataset) and data.shape == (n,)
    return _array(path, file, name, (n,) if flat else (n, 1)).reshape(-1)


def _showers(n: int, empty: int, what: str) -> str:
    return f"{n}, {empty} of which without {what}" if empty else f"{n}"


def _content(kind: str, path: Path, n: int, conditions: Conditions) -> dict[str, Any]:
    content = {"kind": kind, "path": str(path), "file_bytes": path.stat().st_size, "showers": n}
    return {**content, "conditions": ranges_of(conditions)}


def _told_rows(told: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a file tells of its source, of the model that made it, and the rest."""
    rows = [("source", words(told.get("source", "not recorded")))]
    if "model" in told:
        rows.append(("model", f"{words(told['model'])}, family {words(told.get('family'))}"))
        rows.append(("weights", f"SHA-256 {words(told.get('model_sha256'))}"))
    return rows + [(name, words(value)) for name, value in told.items() if name not in ("source", *_MADE_BY)]

"""Summary of an index."""

from __future__ import annotations

from pathlib import Path

from fastv.errors import FileFormatError
from fastv.retrieval.index_folder import Index
from fastv.summary.lines import Facts, detector_rows, size_text
from fastv.wording import counted


def summarise_index(path: Path) -> Facts:
    """Summarise an index; the showers files are looked for, and not read.

    Raises:
        FileFormatError: the index is damaged.
    """
    index = Index(path)
    told, size = index.description, sum(each.stat().st_size for each in path.rglob("*") if each.is_file())
    states = [_state(index, number) for number in range(len(index.files))]
    lines = [
        ("index", f"{path} ({size_text(size)}, version {told.format_version})"),
        *detector_rows(told.detector),
        ("showers", f"{len(index)} in {counted(len(index.files), 'file')}"),
        ("codes", f"{told.bits} bits each"),
        ("model", told.model),
        ("weights", f"SHA-256 {told.model_sha256}"),
        ("made with", f"FastV {told.code_version}"),
    ]
    for file, state in zip(index.files, states, strict=True):
        where = f"{file.path} ({size_text(file.size)}), {counted(file.indexed, 'shower')}"
        lines.append(("showers file", where if state == "there" else f"{where}; {state}"))
    files = [
        {"path": file.path, "showers": file.indexed, "file_bytes": file.size, "sha256": file.sha256, "state": state}
        for file, state in zip(index.files, states, strict=True)
    ]
    content = {
        "kind": "index",
        "path": str(path),
        "bytes": size,
        "format_version": told.format_version,
        "code_version": told.code_version,
        "model": told.model,
        "model_sha256": told.model_sha256,
        "detector": told.detector.name,
        "mesh": told.detector.mesh.describe(),
        "bits": told.bits,
        "showers": len(index),
        "files": files,
    }
    return Facts(lines, content)


def _state(index: Index, number: int) -> str:
    """Whether a showers file is there, is missing, or has changed since it was indexed."""
    try:
        index.located(number)
    except FileFormatError as error:
        return "missing" if "missing" in str(error) else "changed since it was indexed"
    return "there"

"""The files of a folder that a verb has written, as it names them to its user."""

from __future__ import annotations

from pathlib import Path


def written(folder: str | Path) -> str:
    """A line that names the files of a new folder.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for name in ("scores.png", "scores.h5", ".fastv-output"):
        ...         (Path(folder) / name).touch()
        ...     written(folder).replace(folder, "out")
        'in out: scores.h5, scores.png'
    """
    names = sorted(path.name for path in Path(folder).iterdir() if not path.name.startswith("."))
    return f"in {folder}: {', '.join(names)}"

"""The working folder of an unfinished training, next to its output."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from fastv.errors import OutputError
from fastv.showers import ShowersFile
from fastv.storage.output import check_free, readable_os_errors

LOG = "training.jsonl"
CHECKPOINT = "checkpoint.safetensors"


def free_output(output: str | Path, *, force: bool, resume: bool) -> Path:
    """Refuse an existing output, or an interrupted training that would be lost, before any work is done.

    With ``resume`` the output may exist if an interrupted training left its state: it may have been killed after its
    model was complete. Whether it is the same training is checked when the state is read.

    Args:
        output: the model directory.
        force: replace an existing output and discard an interrupted training.
        resume: continue an interrupted training.

    Returns:
        The path to write, with a symbolic link resolved.

    Raises:
        OutputError: the output exists, or an interrupted training would be lost.
    """
    left = (_folder_of(Path(output)) / CHECKPOINT).exists()
    free = check_free(output, force=force or (resume and left))
    if left and not (resume or force):
        msg = f"{output}: there is an interrupted training; `resume=True` continues it, `force=True` starts over"
        raise OutputError(msg)
    return free


def _folder_of(output: Path) -> Path:
    output = output.resolve() if output.is_symlink() else output
    return output.with_name(f".{output.name}.training")


def working_folder(output: Path, *, resume: bool) -> Path:
    """Create the folder for the state of a training; it is emptied unless ``resume``.

    Raises:
        OutputError: the folder cannot be created.
    """
    folder = _folder_of(output)
    if folder.exists() and not resume:
        shutil.rmtree(folder)
    with readable_os_errors(folder):
        folder.mkdir(exist_ok=True)
    return folder


def clean_up(folder: Path, drawn: Sequence[ShowersFile]) -> None:
    """Remove the working folder and generated showers; the state last, as it tells the next run that all is done."""
    for file in drawn:
        file.close()
        file.path.unlink()
    for left in folder.iterdir():
        if left.name != CHECKPOINT:
            left.unlink()
    shutil.rmtree(folder)

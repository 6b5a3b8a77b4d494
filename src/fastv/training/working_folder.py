"""What an unfinished training keeps beside its output, and when that may be continued, replaced or removed."""

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
    """Refuse early, before any work, a model directory that exists, or an interrupted training that would be lost.

    With ``resume`` the output may exist as long as an interrupted training has left its state: that training may have
    been killed after its model was complete. Whether it is the same one is seen when the state is read.

    Raises:
        OutputError: the output is in the way; see :func:`fastv.storage.output.check_free`.
    """
    left = (_folder_of(Path(output)) / CHECKPOINT).exists()
    free = check_free(output, force=force or (resume and left))
    if left and not (resume or force):
        msg = f"{output}: an interrupted training is there; `resume=True` continues it, `force=True` starts over"
        raise OutputError(msg)
    return free


def _folder_of(output: Path) -> Path:
    output = output.resolve() if output.is_symlink() else output
    return output.with_name(f".{output.name}.training")


def working_folder(output: Path, *, resume: bool) -> Path:
    """The folder for the state of a training, empty unless ``resume``.

    Raises:
        OutputError: it cannot be made.
    """
    folder = _folder_of(output)
    if folder.exists() and not resume:
        shutil.rmtree(folder)
    with readable_os_errors(folder):
        folder.mkdir(exist_ok=True)
    return folder


def clean_up(folder: Path, drawn: Sequence[ShowersFile]) -> None:
    """Remove what only the training needed; the state goes last, for it tells the next run that all is done."""
    for file in drawn:
        file.close()
        file.path.unlink()
    for left in folder.iterdir():
        if left.name != CHECKPOINT:
            left.unlink()
    shutil.rmtree(folder)

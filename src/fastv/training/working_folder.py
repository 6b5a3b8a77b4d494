"""The working folder of an unfinished training, next to its output."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from torch.nn import Module

from fastv.errors import OutputError, TrainingError
from fastv.progress import say
from fastv.records import shortened
from fastv.storage.documents import parse_json
from fastv.storage.output import check_free, flush_to_disk, readable_os_errors
from fastv.storage.unfinished import UnfinishedFolder, is_ours, resumable

LOG = "training.jsonl"
CHECKPOINT, PREVIOUS = "checkpoint.safetensors", "previous.safetensors"
"""The state after the last epoch, and the one before it, which serves if the last one is damaged."""

SHOWERS, SHOWERS_NOTE = "showers.h5", "showers.json"
"""Showers that a teacher generated for its student, and how, with their checksum."""


class WorkingFolder:
    """The state of an unfinished training, in ``.<output>.training``; only one training at a time uses an output.

    An existing output, or an interrupted training that would be lost, is refused before any work is done. With
    ``resume`` the output may exist if an interrupted training left its state: it may have been killed after its model
    was complete. Whether it is the same training is checked when the state is read.

    Args:
        output: the model directory.
        force: replace an existing output and discard an interrupted training.
        resume: continue an interrupted training.
        first: whether this is the first of several processes of one training; the others change nothing.

    Raises:
        OutputError: the output exists, an interrupted training would be lost, another program is training this output,
            or the folder is not FastV's.
    """

    def __init__(self, output: str | Path, *, force: bool, resume: bool, first: bool = True) -> None:
        self._resume = resume
        self._folder: UnfinishedFolder | None = None
        self.path = resumable(output, "training")
        left = is_ours(self.path)
        self.output = check_free(output, force=force or (resume and left), kind="model")
        if not first:
            return
        with readable_os_errors(self.output):
            self._folder = UnfinishedFolder(self.path, self.output)
            try:
                if self.has_state() and not (resume or force):
                    msg = (
                        f"{self.output}: there is an interrupted training; `resume=True` continues it, "
                        "`force=True` starts over"
                    )
                    raise OutputError(msg)
                if not self.has_state():
                    # Another training may have finished since.
                    check_free(output, force=force, kind="model")
            except BaseException:
                self.close()
                raise

    def has_state(self) -> bool:
        """Whether the folder has the state of a training."""
        return any((self.path / name).exists() for name in (CHECKPOINT, PREVIOUS))

    def begin(self) -> None:
        """Empty the folder, unless the training is resumed."""
        if self._folder is not None and not self._resume:
            with readable_os_errors(self.output):
                self._folder.empty()
        self._resume = True

    def write(self, tensors: Mapping[str, Tensor], progress: Mapping[str, Any]) -> None:
        """Write the state after an epoch, in one file with its checksum; the one before is kept.

        Args:
            tensors: all tensors of the state.
            progress: JSON data; ``log`` is the list of the lines of the log, which are also written to a file of their
                own for those who want to follow.

        Raises:
            OutputError: the disk is full.
        """
        contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        text = json.dumps(progress)
        content = save(contiguous, metadata={"progress": text, "checksum": _checksum(contiguous, text)})
        with readable_os_errors(self.output):
            self._put(LOG, "".join(f"{line}\n" for line in progress["log"]).encode())
            self._put(CHECKPOINT, content, aside=PREVIOUS)

    def _put(self, name: str, content: bytes, aside: str | None = None) -> None:
        path, temporary = self.path / name, self.path / f"{name}.part"
        try:
            temporary.write_bytes(content)
            flush_to_disk(temporary)
            if aside is not None and path.exists():
                path.replace(path.with_name(aside))
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise

    def read(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """The last state that is whole; None if there is none at all.

        Raises:
            TrainingError: each state is damaged.
        """
        problems: list[str] = []
        for name in (CHECKPOINT, PREVIOUS):
            path = self.path / name
            if not path.exists():
                continue
            try:
                state = _read(path)
            except (SafetensorError, OSError, KeyError, ValueError, TypeError, RecursionError, MemoryError) as error:
                problems.append(f"{path}: the state of the interrupted training is damaged ({error})")
                continue
            if problems:
                say(f"{problems[0]}; that of the epoch before is used")
                if self._folder is not None:
                    # It must not take the place of the good one.
                    (self.path / CHECKPOINT).unlink()
            return state
        if problems:
            msg = f"{problems[0]}; `force=True` starts over"
            raise TrainingError(msg)
        return None

    @property
    def showers(self) -> Path:
        """The file for showers that are generated for this training only."""
        return self.path / SHOWERS

    def has_showers(self, request: Mapping[str, Any]) -> bool:
        """Whether an interrupted training has generated all showers of this request; a damaged file is removed."""
        try:
            told = json.loads((self.path / SHOWERS_NOTE).read_text())
            if told == {"request": request, "sha256": _sha256(self.showers)}:
                return True
        except (OSError, ValueError, RecursionError):
            pass
        self.showers.unlink(missing_ok=True)
        return False

    def note_showers(self, request: Mapping[str, Any]) -> None:
        """Note that all showers of a request have been generated."""
        note = json.dumps({"request": request, "sha256": _sha256(self.showers)})
        with readable_os_errors(self.output):
            self._put(SHOWERS_NOTE, note.encode())

    def remove(self) -> None:
        """Remove the folder; the state last, as it tells the next run that all is done."""
        if self._folder is not None:
            with readable_os_errors(self.output):
                self._folder.remove(last=(CHECKPOINT,))

    def close(self) -> None:
        """Release the output; the state is kept for a later ``resume``."""
        if self._folder is not None:
            self._folder.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    with safe_open(path, "pt") as file:
        told = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a dict)
    if told["checksum"] != _checksum(tensors, told["progress"]):
        msg = "its checksum is wrong"
        raise ValueError(msg)
    progress = parse_json(told["progress"])
    if not isinstance(progress, dict):
        msg = "it tells no progress"
        raise TypeError(msg)
    return tensors, progress


def check_state(tensors: Mapping[str, Tensor], progress: Mapping[str, Any], module: Module) -> None:
    """Check that a state is one of this module: all tensors that it is loaded into, of their shapes, and its progress.

    Raises:
        ValueError: something is missing, or is not as the module needs it.
    """
    own = module.state_dict()
    shapes = {f"{part}{name}": tensor.shape for part in ("model.", "best.") for name, tensor in own.items()}
    # A training that has not yet had a best epoch has none of its tensors.
    if not any(name.startswith("best.") for name in tensors):
        shapes = {name: shape for name, shape in shapes.items() if name.startswith("model.")}
    missing = sorted(set(shapes) - set(tensors))
    shapes |= {f"average.{name}": parameter.shape for name, parameter in module.named_parameters()}
    parameters = {f"optimizer.{name}": parameter.shape for name, parameter in module.named_parameters()}
    for name, tensor in tensors.items():
        # Adam keeps a number of steps and averages of the shape of the parameter.
        owner = parameters.get(name.rpartition("/")[0])
        fits = tensor.shape == shapes[name] if name in shapes else owner is not None and tensor.shape in (owner, ())
        if missing or not fits:
            msg = f"tensor {shortened(missing[0] if missing else name, 60)!r} does not fit"
            raise ValueError(msg)
    epoch, best, loss, log = (progress.get(key) for key in ("epoch", "best_epoch", "best_loss", "log"))
    counted = type(epoch) is int and type(best) is int and -1 <= best < epoch
    logged = isinstance(log, list) and len(log) == epoch and all(isinstance(line, str) for line in log)
    if not counted or not logged or not isinstance(loss, int | float):
        msg = "its progress does not fit"
        raise ValueError(msg)


def _checksum(tensors: Mapping[str, Tensor], text: str) -> str:
    """Checksum of contiguous tensors on the CPU and of the text that is stored with them."""
    digest = hashlib.blake2b(text.encode(), digest_size=16)
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

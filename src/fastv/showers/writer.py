"""Writing showers files in blocks that survive a kill."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from fastv.errors import FastVError, OutputError, SettingsError
from fastv.showers.file import ShowersFile
from fastv.showers.layout import BLOCK_ROWS, as_json, join_blocks
from fastv.showers.record import Showers, write_showers
from fastv.storage.lock import locked
from fastv.storage.output import check_free, readable_os_errors, written_whole


class ShowersWriter:
    """Writer of a showers file block by block, so that a kill at any moment loses no finished block.

    Finished blocks are kept in the folder ``.<name>.parts`` next to the output, in any order. :meth:`finish` joins them
    into a temporary file without recompressing the data, renames it and removes the blocks. Only one writer at a time
    can use an output. The block size affects the chunks of the file only if blocks are smaller than its usual chunks or
    do not divide :data:`BLOCK_ROWS`.

    Args:
        path: the final file.
        total: number of showers; block i starts with shower ``i * block_rows``.
        request: JSON data that identify the content (model digest, seed, conditions); a run with a different request
            cannot continue these blocks.
        block_rows: showers per block, by default :data:`BLOCK_ROWS`; fewer if each shower is expensive. A resumed run
            needs the value of the interrupted one, see :meth:`left_behind`.
        resume: continue an interrupted run. If it was killed after its file was complete, no block is missing.
        force: replace an existing output and, unless ``resume``, discard the blocks of an interrupted run.

    Raises:
        OutputError: the output exists; or an interrupted run left blocks, and neither ``resume`` nor ``force`` is given
            or its request differs; or another program is writing this output.
        SettingsError: ``total`` or ``block_rows`` is below one.

    Example:
        >>> import tempfile
        >>> from fastv.sample import sample_path
        >>> path = Path(tempfile.mkdtemp()) / "copy.h5"
        >>> with ShowersFile(sample_path("train")) as file:
        ...     writer = ShowersWriter(path, total=len(file), request={"copy of": file.path.name})
        ...     for block in writer.missing():
        ...         writer.write_block(block, file[writer.rows(block)])
        ...     writer.finish()
        >>> len(ShowersFile(path))
        600
    """

    def __init__(
        self,
        path: str | Path,
        total: int,
        request: Mapping[str, Any],
        *,
        block_rows: int | None = None,
        resume: bool = False,
        force: bool = False,
    ) -> None:
        self._lock: int | None = None
        self.total = total
        self.block_rows = BLOCK_ROWS if block_rows is None else block_rows
        for what, number in {"showers": total, "showers per block": self.block_rows}.items():
            if number < 1:
                msg = f"the number of {what} must be at least 1, got {number}"
                raise SettingsError(msg)
        text = as_json({"total": total, "block_rows": self.block_rows, **request}, sort_keys=True)
        self._complete = resume and not force and _is_left_complete(Path(path), text)
        self.path = check_free(path, force=force or self._complete)
        self._force = force
        self._parts = _parts_of(self.path)
        note = self._parts / "request.json"
        with readable_os_errors(self.path):
            found = self._parts.exists()
            self._parts.mkdir(exist_ok=True)
            self._lock = locked(self._parts / "lock", self.path)
            try:
                if found and not resume:
                    if not force and note.exists():
                        msg = (
                            f"{self.path}: an interrupted run left finished showers; "
                            "`resume=True` continues, `force=True` starts over"
                        )
                        raise OutputError(msg)
                    self._forget()
                if not note.exists():
                    _write_text(note, text)
                elif note.read_text(encoding="utf-8") != text:
                    msg = (
                        f"{self.path}: {self._difference(request)}; "
                        "repeat them with `resume=True`, or start over with `force=True`"
                    )
                    raise OutputError(msg)
                self._drop_damaged()
            except BaseException:
                self.close()
                raise

    @staticmethod
    def left_behind(path: str | Path) -> dict[str, Any] | None:
        """Request, ``total`` and ``block_rows`` of an interrupted run that was writing ``path``; None if there is none.

        Example:
            >>> ShowersWriter.left_behind("never-written.h5") is None
            True
        """
        try:
            left = json.loads((_parts_of(Path(path)) / "request.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return left if isinstance(left, dict) else None

    @classmethod
    def check_free(cls, path: str | Path, *, force: bool, resume: bool) -> Path:
        """Refuse an existing output before any work is done; arguments as for the writer.

        With ``resume`` the output may exist if an interrupted run left its folder: it may have been killed after its
        file was complete. Whether the request is the same is checked by the writer.

        Raises:
            OutputError: the output exists or cannot be written; see :func:`fastv.storage.output.check_free`.
        """
        return check_free(path, force=force or (resume and cls.left_behind(path) is not None))

    def _difference(self, request: Mapping[str, Any]) -> str:
        left = self.left_behind(self.path) or {}
        mine = json.loads(as_json({"total": self.total, **request}))
        if {**left, "block_rows": self.block_rows} == {**mine, "block_rows": self.block_rows}:
            return f"the interrupted run had blocks of {left['block_rows']} showers, not of {self.block_rows}"
        return "the interrupted run had other settings"

    def _forget(self, keep: Sequence[str] = ("lock",)) -> None:
        """Remove the files of an interrupted run, except those named ``keep``."""
        for left in self._parts.iterdir():
            if left.name not in keep:
                left.unlink()

    def _drop_damaged(self) -> None:
        """Remove blocks that a crash of the machine has damaged, and temporary files of a killed run."""
        for left in self._parts.glob("*.part"):
            left.unlink()
        for block in range(self.n_blocks):
            path = self._block_path(block)
            if not path.exists():
                continue
            rows = self.rows(block)
            try:
                with ShowersFile(path) as part:
                    whole = len(part) == rows.stop - rows.start
            except FastVError:
                whole = False
            if not whole:
                path.unlink()

    @property
    def n_blocks(self) -> int:
        """Number of blocks of the output."""
        return -(-self.total // self.block_rows)

    def rows(self, block: int) -> slice:
        """The showers of a block, as a slice."""
        return slice(block * self.block_rows, min((block + 1) * self.block_rows, self.total))

    def missing(self) -> list[int]:
        """Numbers of the blocks that are not written yet."""
        if self._complete:
            return []
        return [block for block in range(self.n_blocks) if not self._block_path(block).exists()]

    def _block_path(self, block: int) -> Path:
        return self._parts / f"{block:06d}.h5"

    def write_block(self, block: int, showers: Showers) -> None:
        """Write one block.

        Raises:
            OutputError: the disk is full, or a value is not physical.
            ValueError: there is no such block, or the number of showers is wrong.
        """
        rows = self.rows(block)
        if not 0 <= block < self.n_blocks or len(showers) != rows.stop - rows.start:
            wanted = f"has {rows.stop - rows.start} showers" if 0 <= block < self.n_blocks else "does not exist"
            msg = f"block {block} {wanted}, got {len(showers)} showers"
            raise ValueError(msg)
        path = self._block_path(block)
        temporary = path.with_suffix(".part")
        try:
            with readable_os_errors(self.path):
                write_showers(temporary, showers, block_rows=self.block_rows)
                temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise

    def finish(self) -> None:
        """Join the blocks into the final file and remove them.

        Raises:
            OutputError: blocks are missing or do not fit together, or the disk is full; the blocks are kept.
        """
        if missing := self.missing():
            msg = f"{self.path}: {len(missing)} blocks are missing, the first is {missing[0]}"
            raise OutputError(msg)
        if not self._complete:
            joined = self._parts / "joined.part"
            with written_whole(self.path, force=self._force, temporary=joined):
                join_blocks(
                    [self._block_path(block) for block in range(self.n_blocks)], joined, self.total, self.block_rows
                )
        with suppress(OSError):
            # The request is removed last: until then it tells the next run that everything is done.
            self._forget(keep=("lock", "request.json"))
            shutil.rmtree(self._parts)
        self.close()

    def close(self) -> None:
        """Release the output; finished blocks are kept for a later ``resume``."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __del__(self) -> None:
        self.close()


def _parts_of(path: Path) -> Path:
    """The folder with the blocks of an output."""
    path = path.resolve() if path.is_symlink() else path
    return path.with_name(f".{path.name}.parts")


def _is_left_complete(path: Path, request: str) -> bool:
    """Whether a run with this request was killed after renaming its file and before removing its blocks."""
    parts = _parts_of(path)
    try:
        if not path.is_file() or (parts / "request.json").read_text(encoding="utf-8") != request:
            return False
        # The file may be an older one that the killed run was about to replace: compare the content.
        with ShowersFile(path) as whole:
            if len(whole) != json.loads(request)["total"] or (parts / "joined.part").exists():
                return False
            left = next(parts.glob("*.h5"), None)
            if left is None:
                return True
            with ShowersFile(left) as block:
                return whole.provenance == block.provenance and whole.detector == block.detector
    except (OSError, ValueError, FastVError):
        return False


def _write_text(path: Path, text: str) -> None:
    temporary = path.with_name(path.name + f".{os.getpid()}.part")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)

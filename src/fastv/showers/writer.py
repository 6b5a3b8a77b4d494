"""Writing showers files in blocks that survive a kill."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from fastv import interruption
from fastv.errors import OutputError, SettingsError
from fastv.progress import say
from fastv.showers.layout import BLOCK_ROWS, as_json, join_blocks
from fastv.showers.record import Showers, write_showers
from fastv.storage.output import check_free, readable_os_errors, written_whole
from fastv.storage.unfinished import UnfinishedFolder, is_left, is_ours, resumable

_NOTE, _DONE = "request.json", "done.json"
"""Notes in the folder of blocks: what was asked for, and which file holds the result."""


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
        >>> from fastv.showers.file import ShowersFile
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
        self.total = total
        self.block_rows = BLOCK_ROWS if block_rows is None else block_rows
        for what, number in {"showers": total, "showers per block": self.block_rows}.items():
            if number < 1:
                msg = f"the number of {what} must be at least 1, got {number}"
                raise SettingsError(msg)
        self._text = as_json({"total": total, "block_rows": self.block_rows, **request}, sort_keys=True)
        self._force = force
        self._continued = False
        self._complete = False
        self._blocks: dict[int, Path] = {}
        self.path, self._folder = self._opened(Path(path), force=force, resume=resume)
        try:
            with readable_os_errors(self.path):
                self._continue(force=force, resume=resume)
        except BaseException:
            self.close()
            raise

    @staticmethod
    def _opened(path: Path, *, force: bool, resume: bool) -> tuple[Path, UnfinishedFolder]:
        # A run that was killed after its file was complete has both its file and its folder.
        finished = resume and is_ours(resumable(path, "parts"))
        path = check_free(path, force=force or finished, kind="showers")
        with readable_os_errors(path):
            return path, UnfinishedFolder(resumable(path, "parts"), path)

    def _continue(self, *, force: bool, resume: bool) -> None:
        """Start over, or find what an interrupted run has finished."""
        note, left = self._folder.path / _NOTE, self._folder.files()
        finished = any(path.suffix == ".h5" for path in left)
        told = _noted(note)
        if left and not resume:
            if not force and (finished or note.exists()):
                msg = (
                    f"{self.path}: an interrupted run left finished showers; "
                    "`resume=True` continues, `force=True` starts over"
                )
                raise OutputError(msg)
            self._folder.empty()
            told = None
        elif told is not None and told != self._text:
            msg = f"{self.path}: {self._difference()}; repeat them with `resume=True`, or start over with `force=True`"
            raise OutputError(msg)
        elif finished:
            self._find_blocks()
            if told is None and not self._blocks:
                msg = (
                    f"{self.path}: {note} of the interrupted run is damaged, and none of its showers are those of this "
                    "one; `force=True` starts over"
                )
                raise OutputError(msg)
        self._complete = resume and not force and told is not None and self._is_complete()
        check_free(self.path, force=force or self._complete, kind="showers")
        if told is None:
            _write_whole(note, f"{self._text}\n{_digest(self._text.encode())}\n")
        for path in left:
            if path.exists() and path.name not in (_NOTE, _DONE) and path not in self._blocks.values():
                path.unlink()
        self._continued = True

    def _find_blocks(self) -> None:
        """Find the finished blocks whose checksum is right."""
        for path in self._folder.path.glob("*.h5"):
            number, _, digest = path.stem.partition("-")
            if not number.isdecimal() or not 0 <= int(number) < self.n_blocks:
                continue
            if self._checksum(int(number), path) == digest:
                self._blocks[int(number)] = path
            else:
                say(f"{self.path}: block {int(number)} of the interrupted run is damaged and is made again")

    def _is_complete(self) -> bool:
        """Whether the interrupted run was killed after its file got its name and before its blocks were removed."""
        return self.path.is_file() and _noted(self._folder.path / _DONE) == _identity(self.path)

    @staticmethod
    def left_behind(path: str | Path) -> dict[str, Any] | None:
        """Request, ``total`` and ``block_rows`` of an interrupted run that was writing ``path``; None if there is none.

        Example:
            >>> ShowersWriter.left_behind("never-written.h5") is None
            True
        """
        folder = resumable(path, "parts")
        text = _noted(folder / _NOTE) if is_ours(folder) else None
        left = None if text is None else json.loads(text)
        return left if isinstance(left, dict) else None

    @classmethod
    def check_free(cls, path: str | Path, *, force: bool, resume: bool) -> Path:
        """Refuse an existing output before any work is done; arguments as for the writer.

        With ``resume`` the output may exist if an interrupted run left its folder: it may have been killed after its
        file was complete. Whether the request is the same is checked by the writer.

        Raises:
            OutputError: the output exists or cannot be written; see :func:`fastv.storage.output.check_free`.
        """
        return check_free(path, force=force or (resume and is_left(path)), kind="showers")

    def _difference(self) -> str:
        left = self.left_behind(self.path) or {}
        mine = json.loads(self._text)
        if {**left, "block_rows": self.block_rows} == mine:
            return f"the interrupted run had blocks of {left['block_rows']} showers, not of {self.block_rows}"
        return "the interrupted run had other settings"

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
        return [block for block in range(self.n_blocks) if block not in self._blocks]

    def _checksum(self, block: int, path: Path) -> str:
        """Checksum of a file that holds this block of this request; it is part of the name of the file."""
        with path.open("rb") as file:
            content = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16))
        return _digest(f"{block} {content.hexdigest()} {self._text}".encode())

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
        temporary = self._folder.path / f"{block:06d}.part"
        try:
            with readable_os_errors(self.path):
                write_showers(temporary, showers, block_rows=self.block_rows)
                self._blocks[block] = temporary.replace(
                    temporary.with_name(f"{block:06d}-{self._checksum(block, temporary)}.h5")
                )
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        interruption.check()

    def finish(self) -> None:
        """Join the blocks into the final file and remove them.

        Raises:
            OutputError: blocks are missing or do not fit together, or the disk is full; the blocks are kept.
        """
        if missing := self.missing():
            msg = f"{self.path}: {len(missing)} blocks are missing, the first is {missing[0]}"
            raise OutputError(msg)
        interruption.check()
        if not self._complete:
            joined = self._folder.path / "joined.part"
            with written_whole(self.path, force=self._force, kind="showers", temporary=joined):
                blocks = [self._blocks[block] for block in range(self.n_blocks)]
                join_blocks(blocks, joined, self.total, self.block_rows)
                text = _identity(joined)
                _write_whole(self._folder.path / _DONE, f"{text}\n{_digest(text.encode())}\n")
        with suppress(OSError):
            # The notes are removed last: until then they tell the next run that everything is done.
            self._folder.remove(last=(_NOTE, _DONE))
        self.close()

    def close(self) -> None:
        """Release the output; finished blocks are kept for a later ``resume``."""
        with suppress(OSError):
            if self._continued and not self._blocks and not self._complete:
                self._folder.empty()
        self._continued = False
        self._folder.close()


@contextmanager
def written_in_blocks(path: Path, total: int, *, force: bool) -> Iterator[ShowersWriter]:
    """A writer of work that is repeated rather than resumed: its blocks are removed however it ends.

    Raises:
        OutputError: the output exists, a value is not physical, or the disk is full.
    """
    with written_whole(path, force=force, kind="showers") as whole:
        try:
            with closing(ShowersWriter(whole, total, {})) as writer:
                yield writer
                writer.finish()
        except OutputError as error:
            # FastV's temporary names would not help the user.
            raise OutputError(str(error).replace(str(whole), str(path))) from error


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _noted(path: Path) -> str | None:
    """The text of a note, which is followed by its checksum; None if it is missing or damaged."""
    try:
        text, checksum = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return None
    return text if _digest(text.encode()) == checksum else None


def _identity(path: Path) -> str:
    """What tells a file from an older one of the same name, and stays when it is renamed."""
    status = path.stat()
    return json.dumps({"bytes": status.st_size, "mtime_ns": status.st_mtime_ns})


def _write_whole(path: Path, text: str) -> None:
    temporary = path.with_name(f"{path.name}.part")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)

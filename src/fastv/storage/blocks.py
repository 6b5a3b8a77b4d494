"""Blocks of an unfinished output: kept beside it, each with a checksum, until they are joined into the output."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from fastv import interruption
from fastv.errors import OutputError
from fastv.progress import say
from fastv.storage.output import Kind, check_free, readable_os_errors, written_whole
from fastv.storage.unfinished import UnfinishedFolder, is_left, is_ours, resumable
from fastv.wording import counted

_NOTE, _DONE = "request.json", "done.json"
"""Notes in the folder of blocks: what was asked for, and which file holds the result."""


class Blocks:
    """The blocks of an output, so that a kill at any moment loses no finished block.

    Finished blocks are kept in the folder ``.<name>.parts`` next to the output, in any order, until they are joined.
    Only one program at a time can use an output.

    Args:
        path: the final file.
        count: number of blocks.
        request: what identifies their content, as JSON text; a run with another request cannot continue them.
        kind: kind of output.
        resume: continue an interrupted run. If it was killed after its file was complete, no block is missing.
        force: replace an existing output and, unless ``resume``, discard the blocks of an interrupted run.
        ending: of the files of finished blocks.

    Raises:
        OutputError: the output exists; or an interrupted run left blocks, and neither ``resume`` nor ``force`` is given
            or its request differs; or another program is writing this output.

    Attributes:
        path: the final file, with a symbolic link resolved.
        complete: whether the interrupted run was killed after its file was complete.

    Example:
        >>> import tempfile
        >>> blocks = Blocks(Path(tempfile.mkdtemp()) / "a.txt", 2, "{}", kind="view")
        >>> for number in blocks.missing():
        ...     with blocks.written(number) as temporary:
        ...         _ = temporary.write_text(f"part {number} ")
        >>> with blocks.joined() as (parts, temporary):
        ...     _ = temporary.write_text("".join(part.read_text() for part in parts))
        >>> blocks.remove()
        >>> blocks.path.read_text()
        'part 0 part 1 '
    """

    def __init__(
        self,
        path: str | Path,
        count: int,
        request: str,
        *,
        kind: Kind,
        resume: bool = False,
        force: bool = False,
        ending: str = ".h5",
    ) -> None:
        self.count = count
        self.complete = False
        self._text, self._kind, self._force, self._ending = request, kind, force, ending
        self._continued = False
        self._files: dict[int, Path] = {}
        self.path, self._folder = self._opened(Path(path), kind, force=force, resume=resume)
        try:
            with readable_os_errors(self.path):
                self._continue(force=force, resume=resume)
        except BaseException:
            self.close()
            raise

    @staticmethod
    def _opened(path: Path, kind: Kind, *, force: bool, resume: bool) -> tuple[Path, UnfinishedFolder]:
        # A run that was killed after its file was complete has both its file and its folder.
        finished = resume and is_ours(resumable(path, "parts"))
        path = check_free(path, force=force or finished, kind=kind)
        with readable_os_errors(path):
            return path, UnfinishedFolder(resumable(path, "parts"), path)

    def _continue(self, *, force: bool, resume: bool) -> None:
        """Start over, or find what an interrupted run has finished."""
        note, left = self._folder.path / _NOTE, self._folder.files()
        finished = any(path.suffix == self._ending for path in left)
        told = _noted(note)
        if left and not resume:
            if not force and (finished or note.exists()):
                msg = (
                    f"{self.path}: an interrupted run left finished {self._kind}; "
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
            if told is None and not self._files:
                msg = (
                    f"{self.path}: {note} of the interrupted run is damaged, and none of its {self._kind} are those of "
                    "this one; `force=True` starts over"
                )
                raise OutputError(msg)
        self.complete = resume and not force and told is not None and self._is_complete()
        check_free(self.path, force=force or self.complete, kind=self._kind)
        if told is None:
            _write_whole(note, f"{self._text}\n{_digest(self._text.encode())}\n")
        for path in left:
            if path.exists() and path.name not in (_NOTE, _DONE) and path not in self._files.values():
                path.unlink()
        self._continued = True

    def _find_blocks(self) -> None:
        """Find the finished blocks whose checksum is right."""
        for path in self._folder.path.glob(f"*{self._ending}"):
            number, _, digest = path.stem.partition("-")
            if not number.isdecimal() or not 0 <= int(number) < self.count:
                continue
            if self._checksum(int(number), path) == digest:
                self._files[int(number)] = path
            else:
                say(f"{self.path}: block {int(number)} of the interrupted run is damaged and is made again")

    def _is_complete(self) -> bool:
        """Whether the interrupted run was killed after its file got its name and before its blocks were removed."""
        return self.path.is_file() and _noted(self._folder.path / _DONE) == _identity(self.path)

    @staticmethod
    def left_behind(path: str | Path) -> dict[str, Any] | None:
        """The request of an interrupted run that was writing ``path``; None if there is none."""
        folder = resumable(path, "parts")
        text = _noted(folder / _NOTE) if is_ours(folder) else None
        left = None if text is None else json.loads(text)
        return left if isinstance(left, dict) else None

    @staticmethod
    def check_free(path: str | Path, *, kind: Kind, force: bool, resume: bool) -> Path:
        """Refuse an existing output before any work is done; arguments as for the class.

        With ``resume`` the output may exist if an interrupted run left its folder: it may have been killed after its
        file was complete. Whether the request is the same is checked later.

        Raises:
            OutputError: the output exists or cannot be written; see :func:`fastv.storage.output.check_free`.
        """
        return check_free(path, force=force or (resume and is_left(path)), kind=kind)

    def _difference(self) -> str:
        left, mine = self.left_behind(self.path) or {}, json.loads(self._text)
        if {**left, "block_rows": mine.get("block_rows")} == mine:
            rows = left.get("block_rows")
            return f"the interrupted run had blocks of {rows} {self._kind}, not of {mine['block_rows']}"
        return "the interrupted run had other settings"

    def missing(self) -> list[int]:
        """Numbers of the blocks that are not written yet."""
        if self.complete:
            return []
        return [block for block in range(self.count) if block not in self._files]

    def _checksum(self, block: int, path: Path) -> str:
        """Checksum of a file that holds this block of this request; it is part of the name of the file."""
        with path.open("rb") as file:
            content = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16))
        return _digest(f"{block} {content.hexdigest()} {self._text}".encode())

    @contextmanager
    def written(self, block: int) -> Iterator[Path]:
        """Yield a temporary path, whose file becomes the block when the code ends without error.

        Raises:
            OutputError: the disk is full.
        """
        temporary = self._folder.path / f"{block:06d}.part"
        try:
            with readable_os_errors(self.path):
                yield temporary
                self._files[block] = temporary.replace(
                    temporary.with_name(f"{block:06d}-{self._checksum(block, temporary)}{self._ending}")
                )
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        interruption.check()

    @contextmanager
    def joined(self) -> Iterator[tuple[list[Path], Path]]:
        """Yield the files of all blocks in order and a temporary path, whose file becomes the output; not if that is
        :attr:`complete` already.

        Raises:
            OutputError: blocks are missing, or the disk is full; the blocks are kept.
        """
        if missing := self.missing():
            msg = f"{self.path}: missing: {counted(len(missing), 'block')}, the first is {missing[0]}"
            raise OutputError(msg)
        interruption.check()
        temporary = self._folder.path / "joined.part"
        with written_whole(self.path, force=self._force, kind=self._kind, temporary=temporary):
            yield [self._files[block] for block in range(self.count)], temporary
            text = _identity(temporary)
            _write_whole(self._folder.path / _DONE, f"{text}\n{_digest(text.encode())}\n")

    def remove(self) -> None:
        """Remove the blocks of a complete output, and release it."""
        with suppress(OSError):
            # The notes are removed last: until then they tell the next run that everything is done.
            self._folder.remove(last=(_NOTE, _DONE))
        self.close()

    def close(self) -> None:
        """Release the output; finished blocks are kept for a later ``resume``."""
        with suppress(OSError):
            if self._continued and not self._files and not self.complete:
                self._folder.empty()
        self._continued = False
        self._folder.close()


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

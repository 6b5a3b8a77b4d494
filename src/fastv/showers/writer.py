"""Writing showers files in blocks that survive a kill."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from fastv.errors import OutputError, SettingsError
from fastv.showers.layout import BLOCK_ROWS, as_json, join_blocks
from fastv.showers.record import Showers, write_showers
from fastv.storage.blocks import Blocks
from fastv.storage.output import written_whole
from fastv.wording import counted


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
        text = as_json({"total": total, "block_rows": self.block_rows, **request}, sort_keys=True)
        self._blocks = Blocks(path, self.n_blocks, text, kind="showers", resume=resume, force=force)
        self.path = self._blocks.path

    @staticmethod
    def left_behind(path: str | Path) -> dict[str, Any] | None:
        """Request, ``total`` and ``block_rows`` of an interrupted run that was writing ``path``; None if there is none.

        Example:
            >>> ShowersWriter.left_behind("never-written.h5") is None
            True
        """
        return Blocks.left_behind(path)

    @classmethod
    def check_free(cls, path: str | Path, *, force: bool, resume: bool) -> Path:
        """Refuse an existing output before any work is done; arguments as for the writer.

        With ``resume`` the output may exist if an interrupted run left its folder: it may have been killed after its
        file was complete. Whether the request is the same is checked by the writer.

        Raises:
            OutputError: the output exists or cannot be written; see :func:`fastv.storage.output.check_free`.
        """
        return Blocks.check_free(path, kind="showers", force=force, resume=resume)

    @property
    def n_blocks(self) -> int:
        """Number of blocks of the output."""
        return -(-self.total // self.block_rows)

    def rows(self, block: int) -> slice:
        """The showers of a block, as a slice."""
        return slice(block * self.block_rows, min((block + 1) * self.block_rows, self.total))

    def missing(self) -> list[int]:
        """Numbers of the blocks that are not written yet."""
        return self._blocks.missing()

    def write_block(self, block: int, showers: Showers) -> None:
        """Write one block.

        Raises:
            OutputError: the disk is full, or a value is not physical.
            ValueError: there is no such block, or the number of showers is wrong.
        """
        rows = self.rows(block)
        if not 0 <= block < self.n_blocks or len(showers) != rows.stop - rows.start:
            wanted = (
                f"has {counted(rows.stop - rows.start, 'shower')}" if 0 <= block < self.n_blocks else "does not exist"
            )
            msg = f"block {block} {wanted}, got {counted(len(showers), 'shower')}"
            raise ValueError(msg)
        with self._blocks.written(block) as temporary:
            write_showers(temporary, showers, block_rows=self.block_rows)

    def finish(self) -> None:
        """Join the blocks into the final file and remove them.

        Raises:
            OutputError: blocks are missing or do not fit together, or the disk is full; the blocks are kept.
        """
        if not self._blocks.complete:
            with self._blocks.joined() as (blocks, temporary):
                join_blocks(blocks, temporary, self.total, self.block_rows)
        self._blocks.remove()

    def close(self) -> None:
        """Release the output; finished blocks are kept for a later ``resume``."""
        self._blocks.close()


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

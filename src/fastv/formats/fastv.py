"""FastV's own showers file, read and written by :mod:`fastv.showers`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastv.errors import SettingsError
from fastv.formats.contract import Asked, Layout, Plan, Reader, Writer
from fastv.showers import Showers, ShowersFile, ShowersWriter, joined
from fastv.showers.writer import written_in_blocks


def recognises(layout: Layout) -> bool:
    """Whether a file has the attribute ``fastv``."""
    return "fastv" in layout.attributes


class NativeReader(Reader):
    """Reader of a showers file, or of a plain CaloChallenge file whose detector the user names."""

    def __init__(self, path: Path, file: ShowersFile, *, energy_scale: float | None = None) -> None:
        super().__init__(path)
        self._file = file
        self.detector = file.detector
        self.energy_scale = energy_scale or file.detector.energy_scale
        self.described = True
        self.provenance = file.provenance

    def __len__(self) -> int:
        return len(self._file)

    def batches(self, size: int) -> Iterator[Showers]:
        """All showers in order."""
        return self._file.batches(size)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read(path: Path, asked: Asked) -> Reader:
    """Open a showers file.

    Raises:
        FileFormatError: the file is missing, damaged or not a showers file.
        GeometryError: the user names a detector with another mesh than that of the file.
        SettingsError: the user gives an energy scale, although the file contains it.
    """
    if asked.energy_scale is not None:
        msg = f"{path} contains its energy scale; leave `input_scale` out"
        raise SettingsError(msg)
    return NativeReader(path, ShowersFile(path, asked.mesh, parameter="mesh"))


class _BlockWriter:
    """Collects the showers of a block before they are written."""

    not_kept: tuple[str, ...] = ()

    def __init__(self, writer: ShowersWriter) -> None:
        self._writer = writer
        self._held: list[Showers] = []
        self._block = 0

    def __call__(self, showers: Showers) -> None:
        while len(showers):
            rows = self._writer.rows(self._block)
            room = rows.stop - rows.start - sum(map(len, self._held))
            self._held.append(showers[:room])
            showers = showers[room:]
            if len(self._held[-1]) == room:
                self._writer.write_block(self._block, joined(self._held))
                self._held.clear()
                self._block += 1


@contextmanager
def written(path: Path, plan: Plan) -> Iterator[Writer]:
    """Write a showers file, block by block.

    Raises:
        OutputError: the output exists, a value is not physical, or the disk is full.
    """
    with written_in_blocks(path, plan.total, force=plan.force) as writer:
        yield _BlockWriter(writer)

"""HDF5 files: one clear line whatever is wrong with them, chunks copied as they are packed, rows appended."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from fastv.errors import FileFormatError, GeometryError
from fastv.storage import hdf5
from fastv.storage.hdf5 import copy_packed, create_packed, damage_named, growing, open_hdf5, spans


def test_opening_says_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "text.h5").write_text("no HDF5")
    (tmp_path / "folder.h5").mkdir()
    (tmp_path / "empty.h5").touch()
    (tmp_path / "ntuple.h5").write_bytes(b"root\0\0\xf6\0")
    for name, words in {
        "text": "truncated or not an HDF5",
        "folder": "is a folder",
        "none": "no such file",
        "empty": "it is empty",
        "ntuple": "it is a ROOT file; ROOT files of Par04 are read by `fastv.convert`",
    }.items():
        with pytest.raises(FileFormatError, match=rf"{name}\.h5.* {words}"):
            open_hdf5(tmp_path / f"{name}.h5")


def test_damage_is_one_line_and_our_own_errors_pass(tmp_path: Path) -> None:
    path, told, ours = tmp_path / "a.h5", "\n first\nsecond", "ours"
    with pytest.raises(FileFormatError, match=r"a\.h5: .* damaged or truncated \(first\)$"), damage_named(path):
        raise OSError(told)
    with pytest.raises(ZeroDivisionError), damage_named(path):
        raise ZeroDivisionError
    with pytest.raises(FileFormatError, match="damaged"), damage_named(path, (Exception,)):
        raise ZeroDivisionError
    with pytest.raises(GeometryError, match="^ours$"), damage_named(path, (Exception,)):
        raise GeometryError(ours)


@pytest.mark.parametrize(
    ("chunk", "size", "whole_batches", "memory", "rows"),
    [
        (4, 3, False, 2**28, 4),  # a chunk at a time
        (4, 3, True, 2**28, 6),  # whole batches that hold a chunk
        (20, 3, False, 10 * 16, 10),  # what memory allows of a chunk
        (20, 3, True, 10 * 16, 12),
        (2, 8, True, 2**28, 8),  # a batch holds several chunks
        (None, 8, True, 2**28, 8),
    ],
)
def test_rows_are_read_in_spans_that_hold_a_chunk(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    chunk: int | None,
    size: int,
    whole_batches: bool,
    memory: int,
    rows: int,
) -> None:
    monkeypatch.setattr(hdf5, "SPAN_BYTES", memory)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        data = file.create_dataset("a", (50, 4), np.float32, chunks=chunk and (chunk, 4))
        found = list(spans(data, size, whole_batches=whole_batches))
        assert found[0] == slice(0, rows)
        assert [row for span in found for row in range(50)[span]] == list(range(50))
        part = list(spans(data, size, whole_batches=whole_batches, start=7, stop=41))
        assert [row for span in part for row in range(50)[span]] == list(range(7, 41))
        with pytest.raises(ValueError, match="at least one shower, got 0"):
            next(spans(data, 0))


def test_packed_chunks_are_copied_to_their_rows(tmp_path: Path) -> None:
    rows = np.random.default_rng(1).random((30, 4), dtype=np.float32)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        parts = [create_packed(file, name, (15, 4), rows.dtype, 5) for name in ("a", "b")]
        for part, first in zip(parts, (0, 15), strict=True):
            part[...] = rows[first : first + 15]
        whole = create_packed(file, "whole", (30, 4), rows.dtype, 5)
        for part, first in zip(parts, (0, 15), strict=True):
            copy_packed(part, whole, first)
        np.testing.assert_array_equal(whole[...], rows)
        assert whole.id.get_storage_size() == sum(part.id.get_storage_size() for part in parts)


def test_growing_in_any_pieces(tmp_path: Path) -> None:
    column, grid = np.arange(2500, dtype=np.int32), np.random.default_rng(2).random((2500, 3, 4)).astype(np.float32)
    with growing(tmp_path / "a.h5", {"note": "a text"}) as file:
        first = 0
        for last in (1, 900, 901, 2200, 2500):
            file.append("column", column[first:last])
            file.append("grid", grid[first:last])
            first = last
    with h5py.File(tmp_path / "a.h5") as read:
        np.testing.assert_array_equal(read["column"][...], column)
        np.testing.assert_array_equal(read["grid"][...], grid)
        assert read.attrs["note"] == b"a text"
    # What was taken from the disk and not used is given back.
    assert (tmp_path / "a.h5").stat().st_size < grid.nbytes + column.nbytes

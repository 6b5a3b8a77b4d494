"""Files of unknown origin: none is followed into another file, waited for, or believed more than it holds."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from fastv.conditions.spectra import parse_spectrum
from fastv.detector.detector import Detector
from fastv.detector.mesh import ReadoutMesh
from fastv.errors import FileFormatError
from fastv.formats.conversion import convert
from fastv.showers import Showers, ShowersFile
from fastv.simulation.tracks import read_tracks
from fastv.storage.guard import check_regular, check_stored
from fastv.storage.hdf5 import open_hdf5
from fastv.summary import summarise

READERS: dict[str, Callable[[Path], object]] = {
    "info": summarise,
    "convert": lambda path: convert(path, path.with_name("out.h5"), to_format="calochallenge"),
    "spectrum": lambda path: parse_spectrum(str(path)),
    "tracks": read_tracks,
    "showers": ShowersFile,
}

SECRET = "the words of another file"


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """A showers file of 8 showers, which every reader of showers accepts."""
    mesh = ReadoutMesh.cylinder(layers=2, alpha_cells=2, r_cells=2, layer_thickness=1.0, r_size=1.0)
    energies = np.arange(64, dtype=np.float32).reshape(8, 8)
    Showers(np.full(8, 1e3), energies, Detector(name="tiny", mesh=mesh)).write(tmp_path / "good.h5")
    (tmp_path / "secret.txt").write_text(SECRET * 20)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["showers"], file["flat"] = energies, np.ones(8)
    return tmp_path / "good.h5"


def _external_link(file: h5py.File) -> None:
    file["showers"] = h5py.ExternalLink("other.h5", "/showers")


def _soft_link_through_another_file(file: h5py.File) -> None:
    file["elsewhere"] = h5py.ExternalLink("other.h5", "/")
    file["showers"] = h5py.SoftLink("/elsewhere/showers")


def _soft_link_to_nothing(file: h5py.File) -> None:
    file["showers"] = h5py.SoftLink("/none")


def _soft_link_to_itself(file: h5py.File) -> None:
    file["showers"] = h5py.SoftLink("/showers")


def _external_storage(file: h5py.File) -> None:
    where = Path(file.filename).with_name("secret.txt")
    file.create_dataset("showers", (8, 8), "f4", external=[(str(where), 0, 256)])


def _external_column(file: h5py.File) -> None:
    file["showers"] = np.ones((8, 8), "f4")
    where = Path(file.filename).with_name("secret.txt")
    file.create_dataset("seconds", (8,), "f4", external=[(str(where), 0, 32)])


def _virtual(file: h5py.File, name: str, source: str) -> None:
    layout = h5py.VirtualLayout((8, 8), "f4")
    layout[:] = h5py.VirtualSource(source, name, shape=(8, 8))
    file.create_virtual_dataset("showers", layout)


def _name_that_is_no_text(file: h5py.File) -> None:
    file["showers"] = np.ones((8, 8), "f4")
    h5py.h5d.create(file.id, b"i\xfd", h5py.h5t.NATIVE_INT32, h5py.h5s.create_simple((8,)))


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_external_link, "'showers' is a link into another file"),
        (_soft_link_through_another_file, "is a link into another file"),
        (_soft_link_to_nothing, "'showers' is a link to something that is not in the file"),
        (_soft_link_to_itself, "'showers' is a link to something that is not in the file"),
        (_external_storage, "the data of 'showers' lie in another file"),
        (_external_column, "the data of 'seconds' lie in another file"),
        (lambda file: _virtual(file, "showers", "other.h5"), "'showers' is a virtual data set"),
        (lambda file: _virtual(file, "showers", "gone.h5"), "'showers' is a virtual data set"),
        # HDF5 itself may crash when it reads this one.
        (lambda file: _virtual(file, "flat", "other.h5"), "'showers' is a virtual data set"),
        (_name_that_is_no_text, "is not UTF-8"),
    ],
)
def test_no_reader_follows_a_file_elsewhere(
    good: Path, reader: str, change: Callable[[h5py.File], None], words: str
) -> None:
    with h5py.File(good, "r+") as file:
        del file["showers"]
        change(file)
    before = sorted(good.parent.iterdir())
    with pytest.raises(FileFormatError, match=words) as error:
        READERS[reader](good)
    assert "good.h5" in str(error.value)
    assert "\n" not in str(error.value)
    assert SECRET not in str(error.value)
    assert sorted(good.parent.iterdir()) == before


def test_links_within_a_file_are_followed(good: Path) -> None:
    with h5py.File(good, "r+") as file:
        file.move("showers", "inside/deep")
        file["inside/near"] = h5py.SoftLink("deep")
        file["showers"] = h5py.SoftLink("/inside/./near")
    with ShowersFile(good) as read:
        np.testing.assert_array_equal(read[:].energies, np.arange(64).reshape(8, 8))


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("suffix", [".h5", ".txt"])
def test_nothing_is_waited_for(tmp_path: Path, reader: str, suffix: str) -> None:
    pipe = tmp_path / f"pipe{suffix}"
    os.mkfifo(pipe)
    if reader != "spectrum" or suffix == ".txt":
        with pytest.raises(FileFormatError, match=r"pipe\..* is a pipe, not a "):
            READERS[reader](pipe)


def test_only_files_are_files(tmp_path: Path) -> None:
    (tmp_path / "link.h5").symlink_to("none.h5")
    for path, words in {
        tmp_path: "is a folder, not a showers file",
        Path("/dev/null"): "is a device, not a showers file",
        tmp_path / "link.h5": r"no such file \(it links to none.h5\)",
        tmp_path / ("x" * 300): "cannot open: File name too long",
        tmp_path / "a\0b": "cannot open: embedded null byte",
    }.items():
        with pytest.raises(FileFormatError, match=words):
            check_regular(path)


class TestTextsOfVariableLength:
    """HDF5 never leaves a heap whose free space has the size zero."""

    @pytest.fixture
    def damaged(self, good: Path) -> Path:
        with h5py.File(good, "r+") as file:
            file.attrs["author"] = "N. N."
        content = bytearray(good.read_bytes())
        heap = content.index(b"GCOL")
        # Object 1 has its header and five letters; then comes the free space, object 0.
        assert struct.unpack_from("<HHIQ", content, heap + 40) == (0, 0, 0, 4096 - 40)
        struct.pack_into("<Q", content, heap + 48, 0)
        good.write_bytes(content)
        return good

    @pytest.mark.parametrize("reader", ["info", "convert", "tracks"])
    def test_a_damaged_heap_is_told(self, damaged: Path, reader: str) -> None:
        with pytest.raises(FileFormatError, match="good.h5: the file is damaged: its heap of texts or lists, at byte"):
            READERS[reader](damaged)

    def test_without_the_check_it_would_not_end(self, damaged: Path) -> None:
        code = f"import h5py; print(dict(h5py.File({str(damaged)!r}).attrs))"
        with pytest.raises(subprocess.TimeoutExpired):
            subprocess.run([sys.executable, "-c", code], timeout=2, check=True)

    def test_of_lists(self, damaged: Path) -> None:
        with h5py.File(damaged, "r+") as file:
            del file.attrs["author"]
            names = file.create_dataset("names", (8,), h5py.string_dtype())
            assert not names.id.get_storage_size()
        # The broken heap is in the file, and a data set of texts might point to it.
        with pytest.raises(FileFormatError, match="its heap of texts or lists"):
            open_hdf5(damaged)

    @pytest.mark.parametrize("number", [1, 7, 40, 199])
    def test_sound_heaps_of_many_texts_pass(self, good: Path, number: int) -> None:
        with h5py.File(good, "r+") as file:
            for index in range(number):
                file.attrs[f"text {index}"] = "x" * (index * 37 % 600)
        with open_hdf5(good) as file:
            assert len(file.attrs) == number + 1
            assert all(file.attrs[f"text {index}"] == "x" * (index * 37 % 600) for index in range(number))

    def test_our_own_texts_have_a_fixed_length(self, good: Path) -> None:
        with h5py.File(good) as file:
            assert h5py.h5a.open(file.id, b"fastv").dtype.kind == "S"
        assert b"GCOL" not in good.read_bytes()


class TestWhatAShapeClaims:
    def test_written_data_pass(self, tmp_path: Path) -> None:
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file["contiguous"] = np.zeros((100, 3))
            file["single"] = 3.0
            file["empty"] = np.zeros((0, 5))
            file["nothing"] = h5py.Empty("f4")
            file.create_dataset("zeros", data=np.zeros((2000, 1000), "f4"), chunks=(100, 999), compression="gzip")
            file.create_dataset("early", (100,), "f8", chunks=(7,)).write_direct(np.zeros(100))
        with open_hdf5(tmp_path / "a.h5") as file:
            for name in file:
                check_stored(tmp_path / "a.h5", file[name])

    @pytest.mark.parametrize(
        ("shape", "options", "written", "words"),
        [
            ((100, 3), {}, 0, "but nothing of it was ever written: the program that wrote it was stopped"),
            ((100, 3), {"chunks": (10, 3)}, 0, "but nothing of it was ever written"),
            ((100, 3), {"chunks": (10, 2)}, 31, "but only 8 of 20 chunks of it was ever written"),
            ((2**40, 8), {"chunks": (10, 8), "compression": "gzip"}, 10, "but only 1 of 109951162778 chunks"),
        ],
    )
    def test_what_nobody_wrote(
        self, tmp_path: Path, shape: tuple[int, ...], options: dict[str, object], written: int, words: str
    ) -> None:
        with h5py.File(tmp_path / "a.h5", "w") as file:
            data = file.create_dataset("a", shape, "f4", **options)
            if written:
                data[:written] = 1.0
        with open_hdf5(tmp_path / "a.h5") as file, pytest.raises(FileFormatError, match=words):
            check_stored(tmp_path / "a.h5", file["a"])

    def test_a_chunk_that_cannot_hold_so_much(self, tmp_path: Path) -> None:
        with h5py.File(tmp_path / "a.h5", "w") as file:
            data = file.create_dataset("a", (2**28,), "f4", chunks=(2**28,), compression="gzip")
            data.id.write_direct_chunk((0,), b"few bytes")
        with open_hdf5(tmp_path / "a.h5") as file, pytest.raises(FileFormatError, match="but only 9 bytes of data"):
            check_stored(tmp_path / "a.h5", file["a"])

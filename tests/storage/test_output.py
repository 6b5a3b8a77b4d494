"""Outputs appear whole or not at all, and nothing of the user's is replaced."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import h5py
import pytest

from fastv.errors import OutputError
from fastv.storage import output
from fastv.storage.output import MARKER, check_free, hdf5_written, readable_os_errors, reserve, written_whole


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


class TestCheckFree:
    def test_a_new_name_is_free(self, tmp_path: Path) -> None:
        assert check_free(tmp_path / "a", force=False) == tmp_path / "a"

    def test_an_existing_file_needs_force(self, tmp_path: Path) -> None:
        (tmp_path / "a").touch()
        with pytest.raises(OutputError, match="exists already; choose another name or pass `force=True`"):
            check_free(tmp_path / "a", force=False)
        check_free(tmp_path / "a", force=True)

    def test_the_folder_must_exist(self, tmp_path: Path) -> None:
        with pytest.raises(OutputError, match="the folder .*none does not exist"):
            check_free(tmp_path / "none" / "a", force=True)
        (tmp_path / "file").touch()
        with pytest.raises(OutputError, match="is not a folder"):
            check_free(tmp_path / "file" / "a", force=True)

    def test_a_folder_of_the_user_is_never_replaced(self, tmp_path: Path) -> None:
        (tmp_path / "results").mkdir()
        (tmp_path / "results" / "thesis.tex").touch()
        with pytest.raises(OutputError, match="FastV did not write it"):
            check_free(tmp_path / "results", force=True)

    def test_an_empty_folder_may_be(self, tmp_path: Path) -> None:
        (tmp_path / "new").mkdir()
        check_free(tmp_path / "new", force=True)
        with pytest.raises(OutputError, match="exists already"):
            check_free(tmp_path / "new", force=False)

    @pytest.mark.parametrize("name", [".", "..", "/"])
    def test_folders_in_use(self, name: str) -> None:
        with pytest.raises(OutputError, match="choose a name"):
            check_free(name, force=True)

    def test_the_current_folder_is_not_pulled_away(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / MARKER).touch()
        monkeypatch.chdir(tmp_path / "out")
        with pytest.raises(OutputError, match="the current folder is inside it"):
            check_free(tmp_path / "out", force=True)

    def test_a_device_is_no_output(self) -> None:
        with pytest.raises(OutputError, match="not a regular file"):
            check_free(os.devnull, force=True)

    def test_a_name_too_long_is_one_line(self, tmp_path: Path) -> None:
        with pytest.raises(OutputError, match="too long"):
            check_free(tmp_path / ("a" * 300), force=False)


class TestWrittenWhole:
    def test_a_file(self, tmp_path: Path) -> None:
        with written_whole(tmp_path / "a") as temporary:
            temporary.write_text("new")
            assert names(tmp_path) == {temporary.parent.name}
        assert names(tmp_path) == {"a"}

    def test_a_failed_block_leaves_the_old_file(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_text("old")
        with pytest.raises(KeyboardInterrupt), written_whole(tmp_path / "a", force=True) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt
        assert (tmp_path / "a").read_text() == "old"
        assert names(tmp_path) == {"a"}

    def test_a_folder_is_replaced_as_one(self, tmp_path: Path) -> None:
        for content in ("first", "second"):
            with written_whole(tmp_path / "out", force=True) as temporary:
                temporary.mkdir()
                (temporary / content).touch()
        assert names(tmp_path) == {"out"}
        assert names(tmp_path / "out") == {"second", MARKER}

    def test_a_failed_rename_brings_the_old_folder_back(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with written_whole(tmp_path / "out") as temporary:
            temporary.mkdir()
            (temporary / "first").touch()
        rename = Path.rename

        def failing(path: Path, target: Path) -> Path:
            if path.name == "new":
                raise OSError(errno.EIO, "Input/output error")
            return rename(path, target)

        monkeypatch.setattr(Path, "rename", failing)
        monkeypatch.setattr(output, "_exchanged", lambda *_: False)
        with (
            pytest.raises(OutputError, match="Input/output error"),
            written_whole(tmp_path / "out", force=True) as temporary,
        ):
            temporary.mkdir()
        assert names(tmp_path / "out") == {"first", MARKER}
        assert names(tmp_path) == {"out"}

    def test_a_file_that_came_in_between_is_not_overwritten(self, tmp_path: Path) -> None:
        with pytest.raises(OutputError, match="exists already"), written_whole(tmp_path / "a") as temporary:
            temporary.write_text("slower")
            (tmp_path / "a").write_text("faster")
        assert (tmp_path / "a").read_text() == "faster"
        assert names(tmp_path) == {"a"}

    @pytest.mark.skipif(sys.platform == "win32", reason="symbolic links need a privilege there")
    def test_a_symbolic_link_stands_for_its_target(self, tmp_path: Path) -> None:
        (tmp_path / "disk").mkdir()
        (tmp_path / "disk" / "a").write_text("old")
        (tmp_path / "link").symlink_to(tmp_path / "disk" / "a")
        with written_whole(tmp_path / "link", force=True) as temporary:
            temporary.write_text("new")
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "disk" / "a").read_text() == "new"
        assert names(tmp_path / "disk") == {"a"}


class TestErrors:
    @pytest.mark.parametrize(
        ("error", "message"),
        [
            (OSError(errno.ENOSPC, "No space left on device"), "cannot write out: no space left on the disk"),
            (OSError(errno.EDQUOT, "Quota exceeded"), "cannot write out: no space left on the disk"),
            (OSError("Can't write data (errno = 28, error message = 'No space left on device')"), "no space left"),
            (RuntimeError("Can't flush (errno = 27, error message = 'File too large', buf = 0)"), "File too large"),
            (PermissionError(errno.EACCES, "Permission denied", ".out.12.part"), "write out: Permission denied$"),
            (FileNotFoundError(errno.ENOENT, "No such file", "in.h5"), "cannot write out: No such file: in.h5"),
        ],
    )
    def test_one_clear_line(self, error: Exception, message: str) -> None:
        with pytest.raises(OutputError, match=message), readable_os_errors(Path("out")):
            raise error

    @pytest.mark.parametrize("error", [BrokenPipeError(), RuntimeError("a bug"), ValueError("a bug")])
    def test_what_is_no_refusal_of_the_disk_passes(self, error: Exception) -> None:
        with pytest.raises(type(error)), readable_os_errors(Path("out")):
            raise error


class TestHdf5:
    def test_round_trip(self, tmp_path: Path) -> None:
        with hdf5_written(tmp_path / "a.h5") as file:
            file["x"] = [1.0, 2.0]
            assert not (tmp_path / "a.h5").exists()
        with h5py.File(tmp_path / "a.h5") as file:
            assert file["x"][:].tolist() == [1.0, 2.0]

    def test_an_error_leaves_nothing(self, tmp_path: Path) -> None:
        with pytest.raises(KeyError), hdf5_written(tmp_path / "a.h5"):
            raise KeyError
        assert names(tmp_path) == set()

    def test_reserve_grows_a_file_and_keeps_its_content(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_bytes(b"content")
        reserve(tmp_path / "a", 5000)
        assert (tmp_path / "a").read_bytes().startswith(b"content")
        assert (tmp_path / "a").stat().st_size in (7, 5000)  # macOS cannot

    def test_reserve_tells_of_a_full_disk(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(output.os, "posix_fallocate", full, raising=False)
        (tmp_path / "a").touch()
        with pytest.raises(OutputError, match="no space left"), readable_os_errors(tmp_path / "a"):
            reserve(tmp_path / "a", 10)


class TestKinds:
    """``force`` replaces an output by one of its kind only."""

    def test_the_marker_tells_the_kind_of_a_folder(self, tmp_path: Path) -> None:
        with written_whole(tmp_path / "a", kind="model") as temporary:
            temporary.mkdir()
        line = r"a is a model and is not replaced by a report, even with `force=True`; choose another name"
        with pytest.raises(OutputError, match=line):
            check_free(tmp_path / "a", force=True, kind="report")
        assert check_free(tmp_path / "a", force=True, kind="model") == tmp_path / "a"

    @pytest.mark.parametrize(("name", "kind"), [("model.json", "model"), ("report.json", "report")])
    def test_an_older_marker_is_empty_and_the_content_tells(self, name: str, kind: str, tmp_path: Path) -> None:
        (tmp_path / "a").mkdir()
        for each in (MARKER, name):
            (tmp_path / "a" / each).touch()
        check_free(tmp_path / "a", force=True, kind=kind)  # type: ignore[arg-type]
        with pytest.raises(OutputError, match=f"a is a {kind} and is not replaced by a demonstration"):
            check_free(tmp_path / "a", force=True, kind="demonstration")

    @pytest.mark.parametrize(
        ("name", "start", "found", "mine", "other"),
        [
            ("a.h5", b"\x89HDF\r\n\x1a\n", "an HDF5 file", "showers", "an ONNX graph"),
            ("a.h5", b"\x89HDF\r\n\x1a\n", "an HDF5 file", "showers", "a model"),
            ("a.root", b"root", "a ROOT file", "showers", "a view"),
            ("a.onnx", b"\x08\x07", "an ONNX graph", "ONNX graph", "a file of showers"),
            ("a.png", b"\x89PNG", "a PNG picture", "view", "a file of showers"),
            ("a.html", b"<!DOCTYPE html>", "a web page", "view", "an ONNX graph"),
        ],
    )
    def test_the_first_bytes_tell_the_kind_of_a_file(
        self, name: str, start: bytes, found: str, mine: str, other: str, tmp_path: Path
    ) -> None:
        (tmp_path / name).write_bytes(start + bytes(20))
        check_free(tmp_path / name, force=True, kind=mine)  # type: ignore[arg-type]
        kind = other.removeprefix("a file of ").removeprefix("an ").removeprefix("a ")
        with pytest.raises(OutputError, match=f"is {found} and is not replaced by {other}, even"):
            check_free(tmp_path / name, force=True, kind=kind)  # type: ignore[arg-type]

    def test_tracks_are_no_showers(self, tmp_path: Path) -> None:
        for name, data in {"tracks": "first", "showers": "showers"}.items():
            with h5py.File(tmp_path / f"{name}.h5", "w") as file:
                file[data] = [1]
                file.attrs["fastv"] = "{}"
            check_free(tmp_path / f"{name}.h5", force=True, kind=name)  # type: ignore[arg-type]
        with pytest.raises(OutputError, match="is a file of tracks and is not replaced by a file of showers"):
            check_free(tmp_path / "tracks.h5", force=True, kind="showers")
        with pytest.raises(OutputError, match="is a file of showers and is not replaced by a file of tracks"):
            check_free(tmp_path / "showers.h5", force=True, kind="tracks")

    def test_a_folder_of_the_output_takes_the_place_of_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_text("unknown")
        with written_whole(tmp_path / "a", force=True, kind="model") as temporary:
            temporary.mkdir()
        assert (tmp_path / "a" / MARKER).read_text() == "model"
        assert names(tmp_path) == {"a"}

"""Folders of unfinished work: only ours are emptied, those in use stay, and what a kill left is cleared."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fastv.errors import OutputError
from fastv.storage import output
from fastv.storage.output import check_free, written_whole
from fastv.storage.unfinished import MARK, UnfinishedFolder, clear_left_over, is_left

posix = pytest.mark.skipif(sys.platform == "win32", reason="needs locks of files and links")


def names(folder: Path) -> set[str]:
    return {each.name for each in folder.iterdir()}


class TestOnlyOurs:
    def test_a_folder_of_somebody_else_is_left_alone(self, tmp_path: Path) -> None:
        (tmp_path / ".a.parts").mkdir()
        (tmp_path / ".a.parts" / "thesis.h5").touch()
        with pytest.raises(OutputError, match=r"\.a\.parts is in the way of a and is not of FastV"):
            UnfinishedFolder(tmp_path / ".a.parts", tmp_path / "a")
        assert names(tmp_path / ".a.parts") == {"thesis.h5"}

    @posix
    @pytest.mark.parametrize("linked", ["folder", "mark"])
    def test_a_link_is_not_followed(self, linked: str, tmp_path: Path) -> None:
        (tmp_path / "mine").mkdir()
        for name in (MARK, "thesis.h5"):
            (tmp_path / "mine" / name).touch()
        folder = tmp_path / ".a.parts"
        if linked == "folder":
            folder.symlink_to(tmp_path / "mine")
        else:
            folder.mkdir()
            (folder / MARK).symlink_to(tmp_path / "mine" / MARK)
            (folder / "more.h5").touch()
        with pytest.raises(OutputError, match="is not of FastV"):
            UnfinishedFolder(folder, tmp_path / "a")
        assert names(tmp_path / "mine") == {MARK, "thesis.h5"}
        assert linked == "folder" or names(folder) == {MARK, "more.h5"}

    def test_a_file_in_its_place(self, tmp_path: Path) -> None:
        (tmp_path / ".a.parts").write_text("mine")
        with pytest.raises(OutputError, match="in the way"):
            UnfinishedFolder(tmp_path / ".a.parts", tmp_path / "a")
        assert (tmp_path / ".a.parts").read_text() == "mine"

    def test_left_work_is_that_of_ours(self, tmp_path: Path) -> None:
        (tmp_path / ".a.parts").mkdir()
        assert not is_left(tmp_path / "a")
        (tmp_path / ".a.parts" / "0.h5").touch()
        assert not is_left(tmp_path / "a")
        (tmp_path / ".a.parts" / MARK).touch()
        assert is_left(tmp_path / "a")


@posix
class TestInUse:
    def test_a_second_user_is_refused_until_the_first_has_ended(self, tmp_path: Path) -> None:
        folder, out = tmp_path / ".a.parts", tmp_path / "a"
        with UnfinishedFolder(folder, out) as mine:
            (folder / "0.h5").touch()
            with pytest.raises(OutputError, match="a: another program is writing it"):
                UnfinishedFolder(folder, out)
            mine.close()
            with UnfinishedFolder(folder, out) as second:
                assert second.files() == [folder / "0.h5"]
                second.empty()
        assert names(tmp_path) == set()

    def test_a_lock_ends_with_its_process(self, tmp_path: Path) -> None:
        code = (
            "import os, sys; from pathlib import Path; from fastv.storage.unfinished import UnfinishedFolder\n"
            "folder = UnfinishedFolder(Path(sys.argv[1]), Path('a')); (folder.path / '0.h5').touch()\n"
            "os.kill(os.getpid(), 9)"
        )
        subprocess.run([sys.executable, "-c", code, str(tmp_path / ".a.parts")], check=False)
        with UnfinishedFolder(tmp_path / ".a.parts", tmp_path / "a") as folder:
            assert [path.name for path in folder.files()] == ["0.h5"]


@posix
class TestLeftOver:
    def left(self, folder: Path, name: str = "a") -> Path:
        left = folder / f".{name}.abcd1234.part"
        left.mkdir()
        (left / MARK).touch()
        (left / "new").touch()
        return left

    def test_what_a_kill_left_is_cleared_by_the_next_run(self, tmp_path: Path) -> None:
        self.left(tmp_path)
        (tmp_path / ".a.wxyz5678.part").mkdir()  # killed before its mark was there
        check_free(tmp_path / "a", force=False)
        assert names(tmp_path) == set()

    def test_nothing_else_is(self, tmp_path: Path) -> None:
        self.left(tmp_path, name="a.h5")
        (self.left(tmp_path, name="b") / MARK).unlink()
        (tmp_path / ".a.1234.part").touch()
        clear_left_over(tmp_path / "a")
        clear_left_over(tmp_path / "b")
        assert names(tmp_path) == {".a.h5.abcd1234.part", ".b.abcd1234.part", ".a.1234.part"}

    def test_what_somebody_is_writing_stays(self, tmp_path: Path) -> None:
        with written_whole(tmp_path / "a") as first:
            first.touch()
            with written_whole(tmp_path / "a", force=True) as second:
                second.write_text("second")
            assert first.exists()
            (tmp_path / "a").unlink()
        assert names(tmp_path) == {"a"}

    def test_an_old_folder_gets_its_name_back(self, tmp_path: Path) -> None:
        old = self.left(tmp_path) / "old"
        old.mkdir()
        (old / "model.json").touch()
        with pytest.raises(OutputError, match="exists already"):
            check_free(tmp_path / "a", force=False)
        assert names(tmp_path / "a") == {"model.json"}
        assert names(tmp_path) == {"a"}

    def test_names_of_an_earlier_process_are_in_nobodys_way(self, tmp_path: Path) -> None:
        """In a container the process number is always the same."""
        for _ in range(2):
            with written_whole(tmp_path / "a", force=True) as temporary:
                temporary.mkdir()
            (tmp_path / f".a.{os.getpid()}.old").mkdir(exist_ok=True)
        assert (tmp_path / "a").exists()

    @pytest.mark.skipif(sys.platform != "linux", reason="only Linux exchanges two names")
    def test_a_folder_is_exchanged_in_one_step(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with written_whole(tmp_path / "a") as temporary:
            temporary.mkdir()
        seen: list[bool] = []
        exchanged = output._exchanged

        def watched(first: Path, second: Path) -> bool:
            seen.append(exchanged(first, second))
            return seen[-1]

        monkeypatch.setattr(output, "_exchanged", watched)
        with written_whole(tmp_path / "a", force=True) as temporary:
            temporary.mkdir()
            (temporary / "new.txt").touch()
        if not seen[0]:
            pytest.skip("this file system cannot exchange two names")
        assert "new.txt" in names(tmp_path / "a")
        assert names(tmp_path) == {"a"}

"""Writing blocks that survive a kill and a full disk."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fastv.errors import OutputError, SettingsError
from fastv.showers import BLOCK_ROWS, Showers, ShowersFile, ShowersWriter
from fastv.storage.unfinished import UnfinishedFolder
from helpers import assert_same

Make = Callable[..., Showers]


def write_all(writer: ShowersWriter, showers: Showers, stop_before: int | None = None) -> None:
    for block in writer.missing():
        if block == stop_before:
            return
        writer.write_block(block, showers[writer.rows(block)])
    writer.finish()


@pytest.fixture(scope="module")
def many(make_showers: Make) -> Showers:
    """Two full blocks and the beginning of a third."""
    n = 2 * BLOCK_ROWS + 137
    return make_showers(n, extra={"cpu_seconds": np.arange(float(n))})


class TestWriter:
    REQUEST = {"seed": 1}

    @pytest.mark.parametrize("total", [1, 999, 1000, 1001, 2137])
    def test_blocks_join_to_the_whole(self, tmp_path: Path, many: Showers, total: int) -> None:
        write_all(ShowersWriter(tmp_path / "a.h5", total, self.REQUEST), many[:total])
        with ShowersFile(tmp_path / "a.h5") as file:
            assert_same(file[:], many[:total])
        assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]

    def test_joining_does_not_pack_again_and_leaves_no_gap(self, tmp_path: Path, many: Showers) -> None:
        write_all(ShowersWriter(tmp_path / "a.h5", len(many), self.REQUEST), many)
        many.write(tmp_path / "b.h5")
        sizes = [(tmp_path / name).stat().st_size for name in ("a.h5", "b.h5")]
        assert sizes[0] == pytest.approx(sizes[1], rel=0.05)

    def test_resume_continues_and_gives_the_same_file(self, tmp_path: Path, many: Showers) -> None:
        write_all(ShowersWriter(tmp_path / "whole.h5", len(many), self.REQUEST), many)
        write_all(ShowersWriter(tmp_path / "a.h5", len(many), self.REQUEST), many, stop_before=2)
        assert not (tmp_path / "a.h5").exists()
        with pytest.raises(OutputError, match="`resume=True` continues, `force=True` starts over"):
            ShowersWriter(tmp_path / "a.h5", len(many), self.REQUEST)
        again = ShowersWriter(tmp_path / "a.h5", len(many), self.REQUEST, resume=True)
        assert again.missing() == [2]
        write_all(again, many)
        assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "whole.h5").read_bytes()

    def test_blocks_of_another_request_are_not_mixed_in(self, tmp_path: Path, many: Showers) -> None:
        write_all(ShowersWriter(tmp_path / "a.h5", len(many), self.REQUEST), many, stop_before=1)
        for total, request in ((len(many), {"seed": 2}), (len(many) - 1, self.REQUEST)):
            with pytest.raises(OutputError, match="other settings"):
                ShowersWriter(tmp_path / "a.h5", total, request, resume=True)
        assert ShowersWriter(tmp_path / "a.h5", len(many), {"seed": 2}, force=True).missing() == [0, 1, 2]

    def test_resume_without_a_past_is_a_start(self, tmp_path: Path) -> None:
        assert ShowersWriter(tmp_path / "a.h5", 10, self.REQUEST, resume=True).missing() == [0]

    def test_a_damaged_block_is_made_again(self, tmp_path: Path, many: Showers) -> None:
        write_all(ShowersWriter(tmp_path / "a.h5", len(many), self.REQUEST), many, stop_before=2)
        block = next(tmp_path.glob(".a.h5.parts/000001-*.h5"))
        block.write_bytes(block.read_bytes()[:-500])
        assert ShowersWriter(tmp_path / "a.h5", len(many), self.REQUEST, resume=True).missing() == [1, 2]

    def test_wrong_blocks(self, tmp_path: Path, many: Showers) -> None:
        writer = ShowersWriter(tmp_path / "a.h5", 1500, self.REQUEST)
        with pytest.raises(ValueError, match="block 1 has 500 showers, got 499"):
            writer.write_block(1, many[:499])
        for block in (-1, 2):
            with pytest.raises(ValueError, match="does not exist"):
                writer.write_block(block, many[:500])
        with pytest.raises(OutputError, match="missing: 2 blocks, the first is"):
            writer.finish()

    def test_blocks_of_different_columns_do_not_join(self, tmp_path: Path, many: Showers, make_showers: Make) -> None:
        writer = ShowersWriter(tmp_path / "a.h5", 2000, self.REQUEST)
        writer.write_block(0, many[:1000])
        writer.write_block(1, make_showers(1000))
        with pytest.raises(OutputError, match="block 1 has other columns than block 0"):
            writer.finish()
        assert not (tmp_path / "a.h5").exists()
        assert writer.missing() == []

    @pytest.mark.parametrize("total", [0, -5])
    def test_nothing_is_no_request(self, tmp_path: Path, total: int) -> None:
        with pytest.raises(SettingsError, match=f"at least 1, got {total}"):
            ShowersWriter(tmp_path / "a.h5", total, self.REQUEST)

    @pytest.mark.parametrize(
        ("field", "value"),
        [("energies", np.nan), ("energies", -1.0), ("incident_energies", 0.0), ("theta", 90.0)],
    )
    def test_what_no_reader_accepts_is_not_written(
        self, tmp_path: Path, make_showers: Make, field: str, value: float
    ) -> None:
        showers = make_showers(5, theta=np.ones(5))
        getattr(showers, field)[3] = value
        with pytest.raises(OutputError, match="refused to write"):
            showers.write(tmp_path / "a.h5")
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("block_rows", [1, 7, 30, 300, 2000, 5000])
    def test_blocks_of_any_size_in_any_order(self, tmp_path: Path, many: Showers, block_rows: int) -> None:
        some = many[: 1237 if block_rows > 100 else 40 * block_rows]
        for name, order in {"a.h5": 1, "b.h5": -1}.items():
            writer = ShowersWriter(tmp_path / name, len(some), self.REQUEST, block_rows=block_rows)
            for block in writer.missing()[::order]:
                writer.write_block(block, some[writer.rows(block)])
            writer.finish()
        with ShowersFile(tmp_path / "a.h5") as file:
            assert_same(file[:], some)
        assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()

    def test_small_blocks_give_the_file_of_large_ones(self, tmp_path: Path, many: Showers) -> None:
        """Where blocks are multiples of the usual chunk, nothing in the file tells how large they were."""
        for rows in (100, 200, 1000):
            write_all(ShowersWriter(tmp_path / f"{rows}.h5", len(many), self.REQUEST, block_rows=rows), many)
        whole = (tmp_path / "1000.h5").read_bytes()
        assert (tmp_path / "200.h5").read_bytes() == (tmp_path / "100.h5").read_bytes() == whole

    def test_a_resumed_run_needs_the_blocks_of_the_first(self, tmp_path: Path, many: Showers) -> None:
        path = tmp_path / "a.h5"
        assert ShowersWriter.left_behind(path) is None
        write_all(ShowersWriter(path, len(many), self.REQUEST, block_rows=500), many, stop_before=3)
        assert ShowersWriter.left_behind(path) == {"total": len(many), "block_rows": 500, **self.REQUEST}
        with pytest.raises(OutputError, match="had blocks of 500 showers, not of 1000"):
            ShowersWriter(path, len(many), self.REQUEST, resume=True)
        with pytest.raises(OutputError, match="had other settings"):
            ShowersWriter(path, len(many), {"seed": 2}, resume=True)
        again = ShowersWriter(path, len(many), self.REQUEST, block_rows=500, resume=True)
        assert again.missing() == [3, 4]
        write_all(again, many)
        write_all(ShowersWriter(tmp_path / "whole.h5", len(many), self.REQUEST, block_rows=500), many)
        assert path.read_bytes() == (tmp_path / "whole.h5").read_bytes()

    def test_blocks_have_showers(self, tmp_path: Path) -> None:
        with pytest.raises(SettingsError, match="per block must be at least 1, got 0"):
            ShowersWriter(tmp_path / "a.h5", 10, self.REQUEST, block_rows=0)

    def test_resuming_what_was_killed_while_cleaning_up(
        self, tmp_path: Path, many: Showers, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path, parts = tmp_path / "a.h5", tmp_path / ".a.h5.parts"
        writer = ShowersWriter(path, len(many), self.REQUEST)
        with monkeypatch.context() as patch:
            patch.setattr(UnfinishedFolder, "remove", lambda *_, **__: (_ for _ in ()).throw(OSError))
            write_all(writer, many)
        whole = path.read_bytes()
        assert len(list(parts.glob("*.h5"))) == 3
        with pytest.raises(OutputError, match="exists already"):
            ShowersWriter(path, len(many), self.REQUEST)
        with pytest.raises(OutputError, match="had other settings"):
            ShowersWriter(path, len(many), {"seed": 2}, resume=True)
        again = ShowersWriter(path, len(many), self.REQUEST, resume=True)
        assert again.missing() == []
        again.finish()
        assert [left.name for left in tmp_path.iterdir()] == ["a.h5"]
        assert path.read_bytes() == whole

    def test_an_older_file_is_not_taken_for_a_finished_one(
        self, tmp_path: Path, many: Showers, make_showers: Make
    ) -> None:
        path = tmp_path / "a.h5"
        make_showers(len(many), provenance={"engine": "another"}).write(path)
        write_all(ShowersWriter(path, len(many), self.REQUEST, force=True), many, stop_before=1)
        with pytest.raises(OutputError, match="exists already"):
            ShowersWriter(path, len(many), self.REQUEST, resume=True)
        again = ShowersWriter(path, len(many), self.REQUEST, resume=True, force=True)
        assert again.missing() == [1, 2]
        write_all(again, many)
        assert_same(ShowersFile(path)[:], many)

    def test_a_second_writer_in_another_process_is_refused(self, tmp_path: Path, many: Showers) -> None:
        writer = ShowersWriter(tmp_path / "a.h5", len(many), self.REQUEST)
        writer.write_block(0, many[:1000])
        code = (
            "import sys; from fastv.showers import ShowersWriter; from fastv.errors import OutputError\n"
            "for options in ({}, {'resume': True}, {'force': True}):\n"
            "    try: ShowersWriter(sys.argv[1], int(sys.argv[2]), {'seed': 1}, **options)\n"
            "    except OutputError as error: print(error)\n"
        )
        command = [sys.executable, "-c", code, str(tmp_path / "a.h5"), str(len(many))]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout.count("another program is writing it") == 3
        assert writer.missing() == [1, 2]
        write_all(writer, many)


WORK = """
import faulthandler, json, os, resource, signal, sys
from pathlib import Path
import numpy as np
from fastv import showers, storage
from fastv.errors import OutputError
from fastv.detector.detector import Detector
from fastv.detector.mesh import ReadoutMesh
from fastv.showers import Showers, ShowersFile, ShowersWriter

mesh = ReadoutMesh.cylinder(layers=3, alpha_cells=4, r_cells=2, layer_thickness=3.4, r_size=4.65)
tiny = Detector(name="tiny", mesh=mesh)

def block_of(writer, block):
    rng = np.random.default_rng(block)
    n = writer.rows(block).stop - writer.rows(block).start
    return Showers(rng.uniform(1e3, 1e5, n), rng.random((n, 24), dtype=np.float32), tiny)

def work(path, total=2100, **options):
    writer = ShowersWriter(path, total, {"seed": 1}, **options)
    for block in writer.missing():
        writer.write_block(block, block_of(writer, block))
    writer.finish()
"""


def run_script(code: str, *arguments: object) -> str:
    command = [sys.executable, "-c", WORK + code, *map(str, arguments)]
    # Without a measurement of coverage, which would write a file of its own where the disk is full.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals and limits")
class TestInterruption:
    def test_kill_at_any_moment(self, tmp_path: Path) -> None:
        """Kill a writing process at places spread over all its work; the final name holds all or nothing."""
        code = """
folder, places = Path(sys.argv[1]), int(sys.argv[2])
ours = {str(path) for room in (showers, storage) for path in Path(room.__file__).parent.glob("*.py")}

def at_line(n):
    # Die, without any cleaning up, when the n-th line of our code is reached.
    left = [n]
    def trace(frame, event, _):
        if frame.f_code.co_filename not in ours:
            return None
        if event == "line":
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace
    sys.settrace(trace)
    return left

left = at_line(10**9)
work(folder / "whole.h5")
sys.settrace(None)
lines = 10**9 - left[0]
whole = (folder / "whole.h5").read_bytes()
(folder / "whole.h5").unlink()

path, resumed = folder / "a.h5", 0
for n in np.linspace(2, lines - 1, places).astype(int):
    child = os.fork()
    if child == 0:
        at_line(n)
        work(path)
        os._exit(1)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, status
    if not path.exists():
        work(path, resume=True)
        assert [left.name for left in folder.iterdir()] == ["a.h5"], list(folder.iterdir())
        resumed += 1
    assert path.read_bytes() == whole, n
    work(path, force=True)  # forgets what a kill after the renaming has left
    path.unlink()
print(resumed)
"""
        assert int(run_script(code, tmp_path, 18)) >= 14

    def test_ctrl_c_at_any_moment(self, tmp_path: Path) -> None:
        code = """
folder, places = Path(sys.argv[1]), int(sys.argv[2])
path = folder / "a.h5"
ours = {str(path) for room in (showers, storage) for path in Path(room.__file__).parent.glob("*.py")}

def at_line(n):
    left = [n]
    def trace(frame, event, _):
        if frame.f_code.co_filename not in ours or frame.f_code.co_name in ("__del__", "close"):
            return None
        if event == "line":
            left[0] -= 1
            if left[0] == 0:
                sys.settrace(None)
                raise KeyboardInterrupt
        return trace
    sys.settrace(trace)
    return left

left = at_line(10**9)
work(path)
sys.settrace(None)
lines = 10**9 - left[0]
whole = path.read_bytes()
path.unlink()
for n in np.linspace(2, lines - 1, places).astype(int):
    at_line(n)
    try:
        work(path)
    except KeyboardInterrupt:
        pass
    sys.settrace(None)
    if not path.exists():
        work(path, resume=True)
    assert path.read_bytes() == whole, n
    work(path, force=True)
    path.unlink()
assert not list(folder.iterdir()), list(folder.iterdir())
"""
        run_script(code, tmp_path, 18)

    def test_a_full_disk_is_one_line_and_finished_blocks_stay(self, tmp_path: Path) -> None:
        """A limit on file sizes stands for the full disk: the system refuses in the same places.

        HDF5 brings the process down when a write fails under it, so that the exit code is part of the test.
        """
        code = """
path = Path(sys.argv[1]) / "a.h5"

def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

def attempt(**options):
    try:
        work(path, **options)
    except OutputError as error:
        print(error)
    assert not path.exists()
    return len(list(path.parent.glob(".a.h5.parts/0*.h5")))

limit(50_000)  # less than a block
assert attempt() == 0
limit(150_000)  # less than three blocks together
assert attempt(resume=True) == 3
assert attempt(resume=True) == 3
limit(resource.RLIM_INFINITY)
work(path, resume=True)
assert len(ShowersFile(path)) == 2100
limit(50_000)
try:
    ShowersFile(path)[:1000].write(path.with_name("b.h5"))
except OutputError as error:
    print(error)
assert [left.name for left in path.parent.iterdir()] == ["a.h5"]
"""
        lines = run_script(code, tmp_path).splitlines()
        assert len(lines) == 4
        assert all(line.startswith(f"cannot write {tmp_path}") and line.endswith("File too large") for line in lines)
        assert ".parts" not in "".join(lines)

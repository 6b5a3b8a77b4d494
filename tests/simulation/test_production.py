"""Production: the same file from any number of workers and after any kill, and refusals in one line."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastv import cli
from fastv.errors import FastVError, MissingExtraError, OutputError, SettingsError, SimulationError
from fastv.showers import ShowersFile, writer
from fastv.simulation import production
from fastv.simulation.data_sets import VARIABLE
from fastv.simulation.production import default_block_rows, simulate
from fastv.simulation.tracks import read_tracks
from fastv.storage.unfinished import UnfinishedFolder
from killed import killed_after_rename

Fake = Callable[..., None]

N = 24
REQUEST: dict[str, Any] = {"energy": "1-1000GeV", "seed": 3, "theta": "60-90deg", "particle": "e-,gamma"}


def make(output: Path, **options: Any) -> production.Production:
    return simulate("par04-siw", output, **{"n": N, "workers": 1, "block_rows": 3, **REQUEST, **options})


@pytest.fixture(scope="module")
def made() -> dict[str, bytes]:
    """Files that were made once for all tests."""
    return {}


@pytest.fixture
def expected(fake_geant4: Fake, made: dict[str, bytes], tmp_path: Path) -> bytes:
    """The file that an uninterrupted run writes."""
    fake_geant4()
    if "whole" not in made:
        make(tmp_path / "whole.h5")
        made["whole"] = (tmp_path / "whole.h5").read_bytes()
        (tmp_path / "whole.h5").unlink()
    return made["whole"]


def processes_of(parent: int) -> list[int]:
    """Living children of a process that run Geant4."""
    children = Path(f"/proc/{parent}/task").glob("*/children")
    pids = [int(pid) for file in children for pid in file.read_text().split()]
    return [pid for pid in pids if b"fastv.simulation.worker" in command_of(pid)]


def command_of(pid: int) -> bytes:
    with suppress(OSError):  # it may end at any moment
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def none_of(pids: list[int]) -> bool:
    """Whether none of these processes lives."""
    return not any(Path(f"/proc/{pid}/exe").exists() for pid in pids)


def wait_for(condition: Callable[[], Any], seconds: float = 60.0) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if result := condition():
            return result
        time.sleep(0.02)
    pytest.fail("waited in vain")


class TestTheFile:
    def test_neither_workers_nor_order_matter(self, tmp_path: Path, expected: bytes) -> None:
        result = make(tmp_path / "two.h5", workers=2)
        assert (tmp_path / "two.h5").read_bytes() == expected
        assert (result.showers, result.simulated) == (N, N)
        assert [left.name for left in tmp_path.iterdir() if "two" in left.name] == ["two.h5"]

    def test_showers_do_not_depend_on_the_blocks(self, tmp_path: Path, expected: bytes) -> None:
        make(tmp_path / "large.h5", block_rows=None)
        small, large = ShowersFile(io_of(tmp_path, expected))[:], ShowersFile(tmp_path / "large.h5")[:]
        for name in ("energies", "incident_energies", "theta", "phi", "pdg"):
            np.testing.assert_array_equal(getattr(small, name), getattr(large, name), err_msg=name)
        np.testing.assert_array_equal(large.extra["event"], np.arange(N))
        assert small.provenance == large.provenance
        assert large.provenance["data_sets"] == {"G4EMLOW": "8.8 (partial)", "G4PARTICLEXS": "4.2 (partial)"}

    @pytest.mark.usefixtures("fake_geant4")
    def test_processor_times_are_kept_when_asked_for(self, tmp_path: Path) -> None:
        make(tmp_path / "a.h5", n=2, cpu_seconds=True)
        with ShowersFile(tmp_path / "a.h5") as file:
            assert (file.column("cpu_seconds") > 0).all()

    def test_one_event_again(self, tmp_path: Path, expected: bytes) -> None:
        result = make(tmp_path / "one.h5", n=None, workers=None, block_rows=None, event=17, tracks=tmp_path / "t.h5")
        one, all_ = ShowersFile(tmp_path / "one.h5")[:], ShowersFile(io_of(tmp_path, expected))[:]
        assert result.showers == len(one) == 1
        assert one.extra["event"].tolist() == [17]
        np.testing.assert_array_equal(one.energies[0], all_.energies[17])
        tracks, note = read_tracks(tmp_path / "t.h5")
        assert note["event"] == 17
        assert note["provenance"] == one.provenance
        assert len(tracks) == 5
        assert [len(tracks.corners(i)) for i in range(5)] == [2, 3, 4, 5, 6]
        assert tracks.columns["parent"].tolist() == [0, 1, 2, 3, 4]

    @pytest.mark.usefixtures("fake_geant4")
    def test_only_tracks_of_some_energy(self, tmp_path: Path) -> None:
        event = {"n": None, "workers": None, "block_rows": None, "event": 3}
        make(tmp_path / "a.h5", **event, tracks=tmp_path / "t.h5", tracks_above=1.0)
        tracks, _ = read_tracks(tmp_path / "t.h5")
        assert 0 < len(tracks) < 5
        assert tracks.columns["energy"].min() >= 1

    def test_tracks_that_are_none(self, tmp_path: Path, expected: bytes) -> None:
        with pytest.raises(FastVError, match="not a file of tracks: it has no 'pdg'"):
            read_tracks(io_of(tmp_path, expected))
        with pytest.raises(FastVError, match="no such file"):
            read_tracks(tmp_path / "missing.h5")


def io_of(folder: Path, content: bytes) -> Path:
    path = folder / "expected.h5"
    path.write_bytes(content)
    return path


class TestBlocks:
    @given(st.integers(1, 10**6), st.floats(1.0, 1e8))
    def test_blocks_are_half_a_minute_or_a_32nd(self, n: int, energy: float) -> None:
        rows = default_block_rows(np.full(n, energy))
        assert rows in production._BLOCK_SIZES
        assert rows == 1 or -(-n // rows) >= 32
        assert rows == 1 or rows * energy <= 2e6 or rows <= n / 20_000
        assert -(-n // rows) <= 50_000

    def test_the_most_expensive_come_first(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expected: bytes
    ) -> None:
        asked: list[int] = []
        original = production.LocalPool.showers

        def showers(self: Any, events: range) -> Any:
            asked.append(events.start)
            return original(self, events)

        monkeypatch.setattr(production.LocalPool, "showers", showers)
        make(tmp_path / "a.h5")
        energies = ShowersFile(tmp_path / "a.h5").incident_energies.reshape(-1, 3).sum(axis=1)
        assert asked == (3 * np.argsort(-energies)).tolist()
        assert (tmp_path / "a.h5").read_bytes() == expected


class TestFailures:
    def test_what_fails_once_is_tried_again(self, tmp_path: Path, expected: bytes, fake_geant4: Fake) -> None:
        fake_geant4(kind="abort", events=[11], once=str(tmp_path / "marker"))
        make(tmp_path / "a.h5")
        assert (tmp_path / "marker").exists()
        assert (tmp_path / "a.h5").read_bytes() == expected

    def test_what_fails_always_is_named_and_the_rest_is_kept(
        self, tmp_path: Path, expected: bytes, fake_geant4: Fake
    ) -> None:
        cheapest = int(np.argmin(ShowersFile(io_of(tmp_path, expected)).incident_energies.reshape(-1, 3).sum(axis=1)))
        event = 3 * cheapest + 1
        fake_geant4(kind="abort", events=[event])
        message = (
            rf"^events {event - 1} to {event + 1}: event {event}: it was ended by SIGABRT: G4Something.* is not opened"
            r"! \(tried 3 times\); all other showers are kept, the same command tries these again$"
        )
        with pytest.raises(SimulationError, match=message):
            make(tmp_path / "a.h5")
        assert len(list((tmp_path / ".a.h5.parts").glob("0*.h5"))) == N // 3 - 1
        fake_geant4()
        result = make(tmp_path / "a.h5")
        assert (result.showers, result.simulated) == (N, 3)
        assert (tmp_path / "a.h5").read_bytes() == expected

    def test_what_fails_everywhere_is_given_up_at_once(self, tmp_path: Path, fake_geant4: Fake) -> None:
        fake_geant4(kind="raise", events=list(range(N)))
        with pytest.raises(SimulationError, match=r"event \d+: RuntimeError: no such luck \(tried 3 times\)"):
            make(tmp_path / "a.h5")

    def test_what_cannot_be_simulated_is_not_tried_again(self, tmp_path: Path, fake_geant4: Fake) -> None:
        fake_geant4(refuse="overlapping volumes")
        with pytest.raises(SettingsError, match="^overlapping volumes$"):
            make(tmp_path / "a.h5")

    def test_a_system_without_room_for_processes(
        self, tmp_path: Path, fake_geant4: Fake, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def popen(*_: Any, **__: Any) -> None:
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

        fake_geant4()
        monkeypatch.setattr(subprocess, "Popen", popen)
        with pytest.raises(SimulationError, match="cannot start a process for Geant4: Cannot allocate memory"):
            make(tmp_path / "a.h5", workers=2)

    def test_a_full_disk_keeps_what_is_finished(
        self, tmp_path: Path, expected: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        written = []
        original = writer.write_showers

        def write(*arguments: Any, **options: Any) -> None:
            if len(written) == 3:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            original(*arguments, **options)
            written.append(arguments[0])

        with monkeypatch.context() as patch:
            patch.setattr(writer, "write_showers", write)
            with pytest.raises(OutputError, match=r"cannot write .*a\.h5: no space left on the disk"):
                make(tmp_path / "a.h5", workers=2)
        assert sys.platform != "linux" or not processes_of(os.getpid())
        assert make(tmp_path / "a.h5").simulated == N - 9
        assert (tmp_path / "a.h5").read_bytes() == expected


COMMAND = [
    *(sys.executable, "-m", "fastv", "simulate", "par04-siw", "-n", str(N), "--energy", "1-1000GeV", "--seed", "3"),
    *("--theta", "60-90deg", "--particle", "e-,gamma", "--block", "3", "--json", "-o"),
]


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
class TestKills:
    def test_kill_of_the_command(self, tmp_path: Path, expected: bytes, fake_geant4: Fake) -> None:
        path, parts = tmp_path / "a.h5", tmp_path / ".a.h5.parts"
        fake_geant4(seconds=0.06)
        for blocks in (1, 4):
            with subprocess.Popen([*COMMAND, str(path), "--workers", "2"]) as command:
                wait_for(lambda wanted=blocks: len(list(parts.glob("0*.h5"))) >= wanted)
                workers = processes_of(command.pid)
                assert len(workers) == 2
                command.kill()
            wait_for(partial(none_of, workers), 10)
            assert not path.exists()
        fake_geant4()
        done = subprocess.run([*COMMAND, str(path), "--workers", "1"], capture_output=True, text=True, check=True)
        result = json.loads(done.stdout)
        assert result["showers"] == N
        assert 0 < result["simulated"] <= N - 12
        assert path.read_bytes() == expected
        assert not parts.exists()

    def test_kill_of_workers(self, tmp_path: Path, expected: bytes, fake_geant4: Fake) -> None:
        path, parts = tmp_path / "a.h5", tmp_path / ".a.h5.parts"
        fake_geant4(seconds=0.06)
        with subprocess.Popen([*COMMAND, str(path), "--workers", "2"]) as command:
            for blocks in (1, 3):
                wait_for(lambda wanted=blocks: len(list(parts.glob("0*.h5"))) >= wanted)
                for worker in processes_of(command.pid):
                    os.kill(worker, signal.SIGKILL)
            assert command.wait(60) == 0
        assert path.read_bytes() == expected

    def test_ctrl_c(self, tmp_path: Path, expected: bytes, fake_geant4: Fake) -> None:
        path, parts = tmp_path / "a.h5", tmp_path / ".a.h5.parts"
        fake_geant4(seconds=0.06)
        command = subprocess.Popen(
            [*COMMAND, str(path), "--workers", "2"], stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        with command:
            wait_for(lambda: len(list(parts.glob("0*.h5"))) >= 2)
            workers = processes_of(command.pid)
            os.killpg(command.pid, signal.SIGINT)
            _, err = command.communicate(timeout=20)
        assert command.returncode == 130
        told = err.strip().splitlines()[-1]
        assert told.startswith(
            "fastv simulate: interrupted; finished work is kept, continue with: fastv simulate par04"
        )
        assert told.endswith(" --resume")
        assert "Traceback" not in err
        assert none_of(workers)
        fake_geant4()
        make(path)
        assert path.read_bytes() == expected

    def test_two_commands_and_one_output(self, tmp_path: Path, expected: bytes, fake_geant4: Fake) -> None:
        path, parts = tmp_path / "a.h5", tmp_path / ".a.h5.parts"
        fake_geant4(seconds=0.06)
        with subprocess.Popen([*COMMAND, str(path), "--workers", "1"]) as command:
            wait_for((parts / "request.json").exists)
            for options in ({}, {"force": True}):
                with pytest.raises(OutputError, match=r"a\.h5: another program is writing it"):
                    make(path, **options)
            assert command.wait(60) == 0
        assert path.read_bytes() == expected


@pytest.mark.geant4
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_kills_with_geant4_itself(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "fastv", "simulate", "par04-siw", "-n", "24", "--energy", "1-3GeV", "--block", "1"]
    path, parts = tmp_path / "a.h5", tmp_path / ".a.h5.parts"
    subprocess.run([*words, "--workers", "1", "-o", str(tmp_path / "whole.h5")], check=True, capture_output=True)
    with subprocess.Popen([*words, "--workers", "2", "-o", str(path)], stdout=subprocess.DEVNULL) as command:
        wait_for(lambda: len(list(parts.glob("0*.h5"))) >= 3)
        workers = processes_of(command.pid)
        os.kill(workers[0], signal.SIGKILL)
        wait_for(lambda: len(list(parts.glob("0*.h5"))) >= 6)
        command.kill()
    wait_for(partial(none_of, workers), 10)
    done = subprocess.run([*words, "--workers", "2", "--json", "-o", str(path)], check=True, capture_output=True)
    assert json.loads(done.stdout)["simulated"] <= 18
    assert path.read_bytes() == (tmp_path / "whole.h5").read_bytes()


@pytest.mark.usefixtures("fake_geant4")
class TestResume:
    @pytest.fixture
    def half(self, tmp_path: Path, fake_geant4: Fake, made: dict[str, bytes]) -> Path:
        """An output of which some blocks are there."""
        parts = tmp_path / ".a.h5.parts"
        if "request.json" not in made:
            # The cheapest block comes last.
            energies = (
                production.SimulationRequest.model_validate({"detector": "par04-siw", **REQUEST})
                .conditions(np.arange(N))
                .energy
            )
            fake_geant4(refuse_event=3 * int(np.argmin(energies.reshape(-1, 3).sum(axis=1))))
            with pytest.raises(SettingsError, match="no more"):
                make(tmp_path / "a.h5")
            made.update({file.name: file.read_bytes() for file in parts.iterdir() if file.name != "lock"})
            fake_geant4()
        parts.mkdir(exist_ok=True)
        for name, content in made.items():
            if name != "whole":
                (parts / name).write_bytes(content)
        return tmp_path / "a.h5"

    def test_another_request_is_refused(self, half: Path) -> None:
        for options in ({"seed": 4}, {"n": N + 1}, {"theta": None}, {"cpu_seconds": True}):
            with pytest.raises(OutputError, match="the interrupted run had other settings; .*`force=True`"):
                make(half, **options)

    def test_force_starts_over(self, half: Path) -> None:
        assert make(half, seed=4, force=True).simulated == N

    def test_force_again_continues_what_force_began(self, half: Path, expected: bytes) -> None:
        half.write_bytes(b"something older")
        with pytest.raises(OutputError, match="exists already"):
            make(half)
        assert make(half, force=True).simulated < N
        assert half.read_bytes() == expected

    def test_blocks_of_another_size(self, half: Path, expected: bytes) -> None:
        with pytest.raises(OutputError, match="had blocks of 3 showers, not of 5"):
            make(half, block_rows=5)
        assert make(half, block_rows=None, resume=True).simulated < N
        assert half.read_bytes() == expected

    def test_resume_needs_something_to_resume(self, tmp_path: Path) -> None:
        with pytest.raises(OutputError, match="there is no interrupted run to continue; leave `resume` out"):
            make(tmp_path / "new.h5", resume=True)

    def test_a_finished_file_is_not_made_again(self, tmp_path: Path) -> None:
        make(tmp_path / "a.h5", n=3)
        with pytest.raises(OutputError, match="exists already"):
            make(tmp_path / "a.h5", n=3)

    def test_killed_between_renaming_and_cleaning_up(self, half: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def killed(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(UnfinishedFolder, "remove", killed)
            with pytest.raises(KeyboardInterrupt):
                make(half)
        content = half.read_bytes()
        assert make(half).simulated == 0
        assert half.read_bytes() == content
        assert not half.with_name(".a.h5.parts").exists()

    @pytest.mark.parametrize("damage", ["flip", "swap", "request", "request of another", "everything"])
    def test_damaged_blocks_are_simulated_again(self, damage: str, half: Path, expected: bytes) -> None:
        parts = half.with_name(".a.h5.parts")
        first, second, *_ = sorted(parts.glob("0*.h5"))
        held = first.read_bytes()
        if damage == "flip":
            first.write_bytes(held[:3000] + bytes([held[3000] ^ 1]) + held[3001:])
        elif damage == "swap":
            first.write_bytes(second.read_bytes())
            second.write_bytes(held)
        elif damage == "request":
            (parts / "request.json").write_text('{"total": 24')
        elif damage == "request of another":
            (parts / "request.json").write_text('{"total": 24}\nbeef\n')
        else:
            for path in parts.iterdir():
                path.write_bytes(b"[]")
            # Whose showers these were, nobody knows.
            with pytest.raises(OutputError, match=r"request\.json of the interrupted run is damaged, and none of its"):
                make(half)
            make(half, force=True)
            assert half.read_bytes() == expected
            return
        made = make(half, resume=True)
        assert half.read_bytes() == expected
        assert made.simulated < N

    @pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
    def test_a_real_kill_between_renaming_and_cleaning_up(self, tmp_path: Path, expected: bytes) -> None:
        command = [*COMMAND[3:], str(tmp_path / "a.h5"), "--workers", "1"]
        assert killed_after_rename(command, tmp_path / "a.h5") == -signal.SIGKILL
        assert len(list(tmp_path.iterdir())) == 2
        assert cli.main([*command, "--resume"]) == 0
        assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]
        assert (tmp_path / "a.h5").read_bytes() == expected


SANDWICH = """
mesh: {layers: 5, alpha_cells: 4, r_cells: 3, layer_thickness: 6, r_size: 5}
stack:
  shape: planar
  distance: 1000
  groups:
    - {repeat: 5, slabs: [{material: G4_Pb, thickness: 2}, {material: %s, thickness: %s, active: true}]}
"""


@pytest.mark.usefixtures("fake_geant4")
class TestRefusals:
    @pytest.mark.parametrize(
        ("options", "error", "message"),
        [
            ({"n": None}, SettingsError, "how many showers"),
            ({"n": 0}, SettingsError, "at least 1, got 0"),
            ({"workers": 0}, SettingsError, "the number of workers must be at least 1, got 0"),
            ({"block_rows": 0}, SettingsError, "the number of showers per block must be at least 1"),
            ({"scheduler": "tcp://a:1"}, SettingsError, "`workers` is for this machine, `scheduler` for a cluster"),
            ({"event": 3}, SettingsError, "`event` simulates a single event; leave out `workers`, `block_rows`"),
            ({"n": 10**9}, SettingsError, "the number of showers must be at most 100000000"),
            ({"workers": 10**6}, SettingsError, "the number of workers must be at most 1000"),
            ({"event": -1, "n": None}, SettingsError, "numbered from 0 to .*, got -1"),
            ({"event": 10**20, "n": None}, SettingsError, "numbered from 0 to .*, got 1000"),
            ({"tracks": "t.h5"}, SettingsError, "choose it with `event=...`"),
            ({"tracks_above": 3.0}, SettingsError, "`tracks_above` must be at least 0 and needs `tracks=...`"),
            ({"energy": "5GeV-2GeV"}, SettingsError, "of a range must be below the second"),
            ({"energy": "1PeV"}, SettingsError, "unknown unit 'PeV'"),
            ({"energy": "1000TeV"}, SettingsError, "outside the range of Geant4's physics"),
            ({"energy": "no-such.txt"}, FastVError, "no-such.txt: no such file"),
            ({"particle": "quark"}, SettingsError, "unknown particle 'quark'"),
            ({"particle": "17,e-,9999999"}, SettingsError, "Geant4 knows no particle 17, 9999999 that flies; allowed"),
            (
                {"particle": "pi-"},
                SettingsError,
                r"pi-: without a hadronic model .*`physics`, as in standard\+FTFP_BERT",
            ),
            ({"theta": "0deg"}, SettingsError, "is outside the acceptance of the barrel stack"),
            ({"seed": -1}, SettingsError, "seed"),
        ],
    )
    def test_arguments(self, tmp_path: Path, options: dict[str, Any], error: type[FastVError], message: str) -> None:
        with pytest.raises(error, match=message):
            make(tmp_path / "a.h5", **options)
        assert not [left for left in tmp_path.iterdir() if "a.h5" in left.name]

    def test_hadrons_without_their_data_sets(self, tmp_path: Path) -> None:
        physics = production.PhysicsSettings(had_model="FTFP_BERT")
        with pytest.raises(SimulationError, match=r"physics standard \+ FTFP_BERT: .*calzone download --force"):
            make(tmp_path / "a.h5", particle="pi-", physics=physics)

    @pytest.mark.parametrize(
        ("material", "thickness", "message"),
        [
            ("G4_Unobtainium", 4, r"unknown material 'G4_Unobtainium'"),
            ("G4_POLYSTYRENE", -4, r"stack\.groups\.0\.slabs\.1\.thickness: must be greater than 0"),
        ],
    )
    def test_detectors_of_ones_own(self, tmp_path: Path, material: str, thickness: float, message: str) -> None:
        path = tmp_path / "sandwich.yaml"
        path.write_text(SANDWICH % (material, thickness))
        with pytest.raises(FastVError, match=rf"sandwich\.yaml: .*{message}"):
            simulate(str(path), tmp_path / "a.h5", energy="1GeV", n=1)

    def test_without_calzone(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "calzone", None)
        with pytest.raises(MissingExtraError, match=r"pip install 'calzone>="):
            make(tmp_path / "a.h5")

    def test_without_data_sets(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(VARIABLE, str(tmp_path / "none"))
        with pytest.raises(
            SimulationError, match="no Geant4 data sets in .*none, where GEANT4_DATA_DIR points; get them"
        ):
            make(tmp_path / "a.h5")

    def test_an_output_in_the_way(self, tmp_path: Path) -> None:
        (tmp_path / "a.h5").write_text("mine")
        (tmp_path / "t.h5").write_text("mine")
        event = {"n": None, "workers": None, "block_rows": None, "event": 1}
        for options in ({}, event, {**event, "tracks": tmp_path / "t.h5", "output": tmp_path / "b.h5"}):
            with pytest.raises(OutputError, match=r"(a|t)\.h5 exists already"):
                make(**{"output": tmp_path / "a.h5", **options})
        assert (tmp_path / "a.h5").read_text() == (tmp_path / "t.h5").read_text() == "mine"
        with pytest.raises(OutputError, match="showers and tracks cannot both be written"):
            make(tmp_path / "b.h5", **{**event, "tracks": tmp_path / "b.h5"})


class TestCommand:
    def test_table_and_json(self, tmp_path: Path, fake_geant4: Fake, capsys: pytest.CaptureFixture[str]) -> None:
        fake_geant4()
        words = ["simulate", "par04-siw", "-n", "3", "--energy", "1GeV", "--workers", "1", "-o"]
        assert cli.main([*words, str(tmp_path / "a.h5"), "--json"]) == 0
        result = json.loads(capsys.readouterr().out)
        assert (result["showers"], result["simulated"], result["energy"]) == (3, 3, 3000.0)
        extra = ["--position-spread", "5mm", "--production-cut", "0.5mm", "--physics", "option2", "--phi", "10deg"]
        assert cli.main([*words, str(tmp_path / "b.h5"), *extra]) == 0
        assert re.match(
            r"3 showers in .*b\.h5\n3 simulated in .* [MG]eV/s, Geant4 .* ms CPU/GeV\n", capsys.readouterr().out
        )
        provenance = ShowersFile(tmp_path / "b.h5").provenance
        assert provenance["physics"] == {"em_model": "option2", "had_model": None, "cut": 0.5}
        assert provenance["position_spread_mm"] == 5.0

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["-n", "3", "--position-spread", "5"], "length '5' has no unit"),
            (["-n", "3", "--production-cut", "0mm"], "the production cut must be above zero"),
            (["-n", "3", "--physics", "standard+FTFP"], "unknown hadronic model 'FTFP'; known: FTFP_BERT"),
            (["-n", "3", "--particle", "211"], "pi+: without a hadronic model"),
            ([], "how many showers? give -n N, or --event K for a single one"),
        ],
    )
    def test_errors_are_one_line(
        self,
        tmp_path: Path,
        fake_geant4: Fake,
        capsys: pytest.CaptureFixture[str],
        words: list[str],
        message: str,
    ) -> None:
        fake_geant4()
        assert cli.main(["simulate", "par04-siw", "--energy", "1GeV", "-o", str(tmp_path / "a.h5"), *words]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith(f"fastv simulate: {message}")
        assert err.count("\n") == 1

"""Geant4 in a process of its own: what it answers, and what becomes of a crash."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fastv.errors import SettingsError
from fastv.simulation import process as module
from fastv.simulation.messages import receive
from fastv.simulation.process import GeantProcess, ShowerError
from fastv.simulation.request import SimulationRequest

Fake = Callable[..., None]


@pytest.fixture
def request_(fake_geant4: Fake) -> SimulationRequest:  # noqa: ARG001, its processes are started later
    return SimulationRequest.model_validate({"detector": "par04-siw", "energy": "1-10GeV", "seed": 4})


def gone(pid: int, seconds: float = 10.0) -> bool:
    """Whether a process ends within some seconds."""
    for _ in range(int(seconds / 0.05)):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        if Path(f"/proc/{pid}/stat").exists() and Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z":
            return True
        time.sleep(0.05)
    return False


def test_showers_come_in_the_order_of_the_request(request_: SimulationRequest) -> None:
    told: list[int] = []
    with GeantProcess(request_) as process:
        showers = process.showers([7, 3, 5], told.append)
        again = process.showers([3])
    assert told == showers.extra["event"].tolist() == [7, 3, 5]
    np.testing.assert_array_equal(showers.incident_energies, request_.conditions(np.array([7, 3, 5])).energy)
    np.testing.assert_array_equal(again.energies[0], showers.energies[1])
    assert not process.alive


def test_tracks(request_: SimulationRequest) -> None:
    with GeantProcess(request_) as process:
        tracks = process.tracks(3)
        assert len(tracks) == 5
        assert tracks.columns["process"].tolist() == [b"Primary"] + 4 * [b"eBrem"]
        assert len(process.tracks(3, above=1.0)) < 5


def test_what_is_no_message_is_refused_and_not_executed(
    request_: SimulationRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    pickled = b"cos\nsystem\n(S'true'\ntR.\n"
    monkeypatch.setattr(module, "receive", lambda _: receive(io.BytesIO(pickled)))
    with GeantProcess(request_) as process:
        with pytest.raises(ShowerError, match="does not start: the answer of its process cannot be read"):
            process.showers([0])
        assert not process.alive


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("abort", r"it was ended by SIGABRT: G4Something\(had014\): Data file </a/b> is not opened!$"),
        ("kill", "it was killed, perhaps because memory ran out$"),
        ("raise", "RuntimeError: no such luck$"),
        ("fail", "Geant4 fails: stuck$"),
    ],
)
def test_a_crash_names_the_event(request_: SimulationRequest, fake_geant4: Fake, kind: str, reason: str) -> None:
    fake_geant4(kind=kind, events=[12])
    told: list[int] = []
    with GeantProcess(request_) as process:
        with pytest.raises(ShowerError, match=f"^event 12: {reason}"):
            process.showers(range(10, 14), told.append)
        assert not process.alive
    assert told == [10, 11]


def test_what_cannot_be_simulated_is_refused(request_: SimulationRequest, fake_geant4: Fake) -> None:
    fake_geant4(refuse="a pion needs hadronic physics")
    with GeantProcess(request_) as process, pytest.raises(SettingsError, match="^a pion needs hadronic physics$"):
        process.showers([0])


def test_a_python_without_fastv_says_so(
    request_: SimulationRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken" / "fastv"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise ImportError('half installed')")
    monkeypatch.setenv("PYTHONPATH", str(broken.parent))
    with GeantProcess(request_) as process, pytest.raises(ShowerError, match=r"does not start: .*half installed"):
        process.showers([0])


def test_a_module_of_the_user_is_not_taken_for_pythons(
    request_: SimulationRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "random.py").write_text("raise ImportError('not this one')")
    monkeypatch.chdir(tmp_path)
    with GeantProcess(request_) as process:
        assert len(process.showers([0])) == 1


def test_data_sets_of_other_variables_are_not_used(
    request_: SimulationRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        Path(os.environ["PYTHONPATH"], "sitecustomize.py").read_text()
        + "\nprint(os.environ['GEANT4_DATA_DIR'], 'G4LEDATA' in os.environ, file=sys.stderr)\nsys.stderr.flush()"
        + "\nos.abort()\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(site))
    monkeypatch.setenv("G4LEDATA", "/elsewhere")
    folder = os.environ["GEANT4_DATA_DIR"]
    with GeantProcess(request_) as process, pytest.raises(ShowerError, match=f": {folder} False$"):
        process.showers([0])


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
@pytest.mark.parametrize("busy", [False, True])
def test_it_ends_with_its_parent(request_: SimulationRequest, fake_geant4: Fake, busy: bool) -> None:
    fake_geant4(seconds=30 if busy else 0)
    code = (
        "import sys\nfrom fastv.simulation.process import GeantProcess\n"
        "from fastv.simulation.request import SimulationRequest\n"
        "process = GeantProcess(SimulationRequest.model_validate_json(sys.argv[1]))\n"
        "print(process._process.pid, flush=True)\nprocess.showers([0])\nprint('idle', flush=True)\nsys.stdin.read()"
    )
    command = [sys.executable, "-c", code, request_.model_dump_json()]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        if busy:
            time.sleep(0.5)
        else:
            assert parent.stdout.readline() == "idle\n"
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        assert gone(child)


def test_one_without_work_ends(request_: SimulationRequest) -> None:
    with GeantProcess(request_, idle_seconds=0.2) as process:
        assert len(process.showers([0])) == 1
        assert process._process.wait(timeout=20) == 0
        assert not process.alive

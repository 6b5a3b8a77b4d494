"""A cluster makes the same file as one machine, and what fails on it is told in one line."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastv import cluster as clusters
from fastv.errors import ClusterError, MissingExtraError, SettingsError, SimulationError
from fastv.showers import ShowersFile
from fastv.simulation import pools
from fastv.simulation.production import simulate
from fastv.simulation.request import SimulationRequest

distributed = pytest.importorskip("distributed", reason="needs the extra [cluster]")

Fake = Callable[..., None]


def make(output: Path, **options: Any) -> Any:
    given = {"n": 12, "energy": "1-1000GeV", "seed": 3, "block_rows": 3, **options}
    return simulate("par04-siw", output, **given)


@pytest.fixture
def address(fake_geant4: Fake) -> Iterator[str]:
    """A scheduler with one worker of two threads, in this process."""
    fake_geant4()
    options = {"n_workers": 1, "threads_per_worker": 2, "processes": False, "dashboard_address": None}
    with distributed.LocalCluster(**options, protocol="tcp", host="127.0.0.1") as cluster:
        yield cluster.scheduler_address


def test_the_file_is_that_of_one_machine(address: str, tmp_path: Path) -> None:
    result = make(tmp_path / "cluster.h5", scheduler=address)
    make(tmp_path / "machine.h5", workers=1)
    assert result.simulated == 12
    assert (tmp_path / "cluster.h5").read_bytes() == (tmp_path / "machine.h5").read_bytes()
    make(tmp_path / "one.h5", n=None, block_rows=None, event=5, tracks=tmp_path / "t.h5", scheduler=address)
    with ShowersFile(tmp_path / "one.h5") as one, ShowersFile(tmp_path / "machine.h5") as all_:
        np.testing.assert_array_equal(one[:].energies[0], all_[5:6].energies[0])
    assert (tmp_path / "t.h5").exists()


def test_failures(address: str, tmp_path: Path, fake_geant4: Fake) -> None:
    path = tmp_path / "a.h5"
    fake_geant4(kind="abort", events=[7], once=str(tmp_path / "marker"))
    make(path, scheduler=address, n=9)
    assert (tmp_path / "marker").exists()
    fake_geant4(kind="abort", events=list(range(12)))
    with pytest.raises(
        SimulationError, match=r"event \d+: it was ended by SIGABRT: .* \(on .*, tried 3 times\); all other"
    ):
        make(tmp_path / "b.h5", scheduler=address, seed=4, n=3)
    fake_geant4(refuse="no such physics")
    with pytest.raises(SettingsError, match="^no such physics$"):
        make(tmp_path / "c.h5", scheduler=address, seed=5, n=3)


def test_another_version_of_fastv_on_the_workers(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def showers(version: str, *_: Any) -> None:
        clusters.check_version(f"{version}.1")

    monkeypatch.setattr(pools, "_showers", showers)
    with pytest.raises(ClusterError, match=r"has FastV .*, this is FastV .*\.1; install the same on both"):
        make(tmp_path / "a.h5", scheduler=address)


def test_other_data_sets_on_a_worker(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def provenance(_: str, request: str) -> str:
        told = SimulationRequest.model_validate_json(request).provenance()
        return json.dumps({**told, "data_sets": {"G4EMLOW": "8.7"}})

    monkeypatch.setattr(pools, "_provenance", provenance)
    with pytest.raises(
        SimulationError, match=r"a worker has data_sets .*8\.8.*, the run started with .*8\.7.*same versions"
    ):
        make(tmp_path / "a.h5", scheduler=address, n=3)


def test_what_dask_itself_raises(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class KilledWorker(Exception):  # noqa: N818, called as Dask's
        pass

    def showers(*_: Any) -> None:
        msg = "Attempted to run on 4 workers"
        raise KilledWorker(msg)

    monkeypatch.setattr(pools, "_showers", showers)
    with pytest.raises(SimulationError, match="events .*: the workers of these showers died one after another"):
        make(tmp_path / "a.h5", scheduler=address, n=3)

    def broken(*_: Any) -> None:
        msg = "No module named 'fastv'"
        raise ModuleNotFoundError(msg)

    monkeypatch.setattr(pools, "_showers", broken)
    with pytest.raises(ClusterError, match=rf"a worker of {address} failed: ModuleNotFoundError: No module named"):
        make(tmp_path / "b.h5", scheduler=address, n=3)


def test_a_scheduler_that_goes_away(fake_geant4: Fake) -> None:
    fake_geant4(seconds=0.5)
    options = {"n_workers": 1, "threads_per_worker": 1, "processes": False, "dashboard_address": None}
    request = SimulationRequest.model_validate({"detector": "par04-siw", "energy": "1GeV"})
    cluster = distributed.LocalCluster(**options, protocol="tcp", host="127.0.0.1")
    try:
        pool = pools.ClusterPool(request, cluster.scheduler_address)
        future = pool.showers(range(100))
    finally:
        cluster.close()
    try:
        with pytest.raises(ClusterError, match="the scheduler tcp://.* was lost; finished showers are kept"):
            future.result(timeout=60)
    finally:
        pool.close()


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nonsense://x", "tcp://no-such-host.invalid:8786"])
def test_an_unreachable_scheduler(
    address: str, tmp_path: Path, fake_geant4: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_geant4()
    monkeypatch.setattr(clusters, "CONNECT_SECONDS", 0.5)
    with pytest.raises(ClusterError, match=f"no Dask scheduler answers at {address} .*leave `scheduler` out"):
        make(tmp_path / "a.h5", scheduler=address)
    assert list(tmp_path.iterdir()) == []


def test_without_dask(tmp_path: Path, fake_geant4: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_geant4()
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingExtraError, match=r"`scheduler` needs Dask; pip install 'dask-jobqueue>="):
        make(tmp_path / "a.h5", scheduler="tcp://127.0.0.1:1")


@pytest.mark.parametrize("batch_system", ["SLURM", "HTCondor"])
def test_the_worked_examples(batch_system: str, tmp_path: Path) -> None:
    """Each script of docs/cluster.md describes its jobs as dask-jobqueue understands it; none is submitted."""
    pytest.importorskip("dask_jobqueue", reason="needs the extra [cluster]")
    page = Path(__file__).parents[2].joinpath("docs", "cluster.md").read_text(encoding="utf-8")
    scripts = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    script = next(each for each in scripts if f"{batch_system}Cluster(" in each)
    (tmp_path / "cluster.py").write_text(script.replace('"port": 8786', '"port": 0, "dashboard_address": None'))
    code = (
        "import builtins, runpy\nfrom dask_jobqueue.core import JobQueueCluster\n"
        "JobQueueCluster.scale = lambda *_, **words: print('scale', words)\nbuiltins.input = print\n"
        "runpy.run_path('cluster.py', run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True
    )
    assert "fastv/bin/activate" in done.stdout
    assert "export GEANT4_DATA_DIR=/shared/geant4-data" in done.stdout
    assert "--nthreads 1 " in done.stdout
    assert "--lifetime 7h30m" in done.stdout
    assert re.search(r"^scale \{'jobs': 100\}\ntcp://", done.stdout, re.MULTILINE)


def test_a_scheduler_that_asks_for_a_certificate() -> None:
    request = SimulationRequest.model_validate({"detector": "par04-siw", "energy": "1GeV"})
    with pytest.raises(ClusterError, match="asks for a certificate, and none is set: set DASK"):
        pools.ClusterPool(request, "tls://127.0.0.1:1")

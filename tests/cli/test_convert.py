"""``fastv convert``: what it prints, and what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pytest

from fastv import cli
from fastv.formats import FORMATS
from fastv.formats.conversion import convert
from fastv.sample import sample_path
from fastv.showers import Showers, ShowersFile

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(run: Run) -> Run:
    """Run the verb; its exit code, standard output and standard error."""

    return partial(run, "convert")


@pytest.fixture
def par04(tmp_path: Path) -> Path:
    """A file of Par04 without a word on its detector: 8 showers, a voxel of each below the threshold."""
    grid = np.full((8, 9, 16, 45), 0.0)
    grid[:, 0, 0, 0], grid[:, 1, 2, 3] = 2e-4, 10.0
    with h5py.File(tmp_path / "par04.h5", "w") as file:
        file["incident_energy"], file["showers"] = np.full(8, 1e4), grid
    return tmp_path / "par04.h5"


def test_it_says_what_it_found_and_did(run: Run, par04: Path, tmp_path: Path) -> None:
    code, out, err = run(par04, tmp_path / "ours.h5", "--mesh", "par04-siw")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith(
        f"{par04} (par04-h5, recognised from its content) -> {tmp_path}/ours.h5 (fastv): 8 showers of"
    )
    assert lines[1] == "energies: visible energy in the input, visible energy / 0.033 in the output"
    assert lines[2].startswith("threshold 0.5 keV of visible energy: 8 voxels below it set to zero, 2.00e-05")
    with ShowersFile(tmp_path / "ours.h5") as file:
        assert file[:].energies.sum(axis=1) == pytest.approx(10 / 0.033)
    code, out, _ = run(
        tmp_path / "ours.h5", tmp_path / "back.h5", "--from", "fastv", "--to", "calochallenge", "--theta", "1rad"
    )
    assert code == 0
    assert "recognised from its content" not in out
    assert "filled in: theta 1" in out
    assert "not kept, because calochallenge cannot store it: incident_theta" in out


def test_info_of_a_plain_file_of_ours(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    convert(sample_path("train"), tmp_path / "plain.h5", to_format="calochallenge")
    assert cli.main(["info", str(tmp_path / "plain.h5"), "--mesh", "par04-siw"]) == 0
    out = capsys.readouterr().out
    assert "CaloChallenge" in out
    assert "fastv_conversion" not in out


def test_json_is_all_of_standard_output(run: Run, par04: Path, tmp_path: Path) -> None:
    options = ["--mesh", "par04-siw", "--threshold", "none", "--output-scale", 0.5, "--particle", "gamma", "--json"]
    code, out, err = run(par04, tmp_path / "ours.h5", *options)
    assert (code, err) == (0, "")
    result = json.loads(out)
    assert result["source"] == "par04-h5"
    assert result["target"] == "fastv"
    assert result["detected"] is True
    assert (result["input_scale"], result["output_scale"], result["threshold"]) == (1.0, 0.5, 0.0)
    assert result["filled"] == {"pdg": 22}
    assert result["bytes"] == (tmp_path / "ours.h5").stat().st_size


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["none.h5", "y.h5"], ["none.h5: no such file"]),
        (["par04.h5", "y.h5"], ["--mesh", "9 x 16 x 45 cells: par04-siw"]),
        (["par04.h5", "y.h5", "--mesh", "par04-siw-fine"], ["18 x 50 x 45"]),
        (["par04.h5", "y.h5", "--mesh", "par04-siw", "--from", "csv"], ["unknown format 'csv'", "par04-h5"]),
        (["par04.h5", "y", "--mesh", "par04-siw"], ["--to"]),
        (["par04.h5", "y.h5", "--mesh", "par04-siw", "--to", "lemurs"], ["--theta"]),
        (["par04.h5", "y.h5", "--mesh", "par04-siw", "--threshold", "0.5"], ["unit"]),
        (["par04.h5", "y.h5", "--mesh", "par04-siw", "--input-scale", "-1"], ["--input-scale"]),
        (["par04.h5", "par04.h5", "--mesh", "par04-siw"], ["exists already", "--force"]),
        (["text.h5", "y.h5"], ["neither HDF5 nor ROOT"]),
    ],
)
def test_refusals_are_one_line(
    run: Run,
    par04: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    words: list[str],
) -> None:
    (tmp_path / "text.h5").write_text("text")
    monkeypatch.chdir(tmp_path)
    before = par04.read_bytes()
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert err.startswith("fastv convert: ")
    for word in words:
        assert word in err
    assert {path.name for path in tmp_path.iterdir()} == {"par04.h5", "text.h5"}
    assert par04.read_bytes() == before


def test_names_in_a_file_do_not_steer_the_terminal(run: Run, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["\x1b[2J\nnothing wrong here"] = np.zeros(3)
    code, _, err = run(tmp_path / "x.h5", tmp_path / "y.h5")
    assert code == 2
    assert err.count("\n") == 1
    assert "\x1b" not in err


def test_help_lists_every_format(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["convert", "--help"])
    out = " ".join(capsys.readouterr().out.split())
    assert all(f"{name}: " in out for name in FORMATS)


def test_the_shipped_sample_as_users_do_it(tmp_path: Path) -> None:
    """In a process of its own, to Par04's ROOT and back."""
    pytest.importorskip("uproot")
    command = [sys.executable, "-m", "fastv", "convert"]
    for source, output in ((sample_path("train"), tmp_path / "a.root"), (tmp_path / "a.root", tmp_path / "b.h5")):
        done = subprocess.run([*command, source, output], capture_output=True, text=True, timeout=120, check=True)
        assert done.stderr == ""
    with ShowersFile(tmp_path / "b.h5") as back, ShowersFile(sample_path("train")) as sample:
        first: Showers = sample[:]
        second: Showers = back[:]
        assert back.detector == sample.detector
        assert back.provenance["engine"] == sample.provenance["engine"]
    np.testing.assert_allclose(second.energies, first.energies, rtol=2.5e-7, atol=0)
    np.testing.assert_array_equal(second.extra["cpu_seconds"], first.extra["cpu_seconds"])

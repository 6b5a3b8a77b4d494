"""``fastv info FILE``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import h5py
import pytest

from fastv.cli import main
from fastv.sample import sample_path
from fastv.showers import Showers


@pytest.mark.parametrize(("part", "showers"), [("train", 600), ("test", 1400)])
def test_the_shipped_sample(part: str, showers: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(sample_path(part))]) == 0  # type: ignore[arg-type]
    out, err = capsys.readouterr()
    assert err == ""
    assert f"showers                {showers}\n" in out
    assert "Geant4 11.4.1" in out


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(sample_path("train")), "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["detector"] == "par04-siw"
    assert content["sampling_fraction"] == pytest.approx(0.0315, abs=0.0005)


def test_a_plain_file_with_its_mesh(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with h5py.File(sample_path("train")) as sample, h5py.File(tmp_path / "plain.h5", "w") as file:
        for name in ("incident_energies", "showers"):
            file[name] = sample[name][:20]
    assert main(["info", str(tmp_path / "plain.h5"), "--mesh", "par04-siw"]) == 0
    assert "CaloChallenge" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.h5"], "none.h5: no such file"),
        (["plain.h5"], "does not name its detector; name it with --mesh (no preset has 24 voxels; a detector"),
        (["plain.h5", "--mesh", "par05"], "known: par04-siw, par04-siw-fine"),
        (["plain.h5", "--mesh", "par04-siw"], "a shower has 24 voxels; the mesh of par04-siw has 6480 voxels"),
        (["plain.h5", "--mesh", "none.xml"], "none.xml: cannot read the binning: No such file"),
        (["text.h5"], "truncated or not an HDF5 file"),
    ],
)
def test_errors(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    make_showers: Callable[..., Showers],
    arguments: list[str],
    message: str,
) -> None:
    showers = make_showers(5)
    with h5py.File(tmp_path / "plain.h5", "w") as file:
        file["incident_energies"], file["showers"] = showers.incident_energies, showers.energies
    (tmp_path / "text.h5").write_text("no HDF5")
    monkeypatch.chdir(tmp_path)
    assert main(["info", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("fastv info: ")
    assert message in err
    assert err.count("\n") == 1

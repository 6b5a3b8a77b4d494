"""``fastv view``: pages and pictures, and what it refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pytest

from fastv.showers import Showers

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(run: Run) -> Run:
    """Run ``fastv view``; its exit code, standard output and standard error."""

    return partial(run, "view")


@pytest.fixture(scope="module")
def data(make_showers: Callable[..., Showers], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "showers.h5"
    make_showers(30).write(path)
    return path


@pytest.mark.parametrize(
    ("arguments", "events"),
    [
        ([], list(range(20))),
        (["--event", 3], [3]),
        (["--event", "7, 3,29"], [7, 3, 29]),
        (["--event", "2-4,3"], [2, 3, 4]),
        (["--camera", "side", "--event", 0], [0]),
    ],
)
def test_pages(run: Run, data: Path, tmp_path: Path, arguments: list[object], events: list[int]) -> None:
    page = tmp_path / "page.html"
    code, out, err = run(data, "-o", page, "--json", *arguments)
    assert (code, err) == (0, "")
    assert json.loads(out) == {"output": str(page), "bytes": page.stat().st_size, "events": events}
    text = page.read_text()
    assert [f'"name":"shower {event}"' in text for event in range(30)] == [event in events for event in range(30)]
    assert list(tmp_path.iterdir()) == [page]


@pytest.mark.parametrize(("many", "count"), [("all", 30), ("7", 7)])
def test_mean(run: Run, data: Path, tmp_path: Path, many: str, count: int) -> None:
    code, out, _ = run(data, "--many", many, "-o", tmp_path / "mean.html")
    assert code == 0
    assert f"mean of {count} showers" in out
    assert f"mean of {count} showers" in (tmp_path / "mean.html").read_text()


def test_picture(run: Run, data: Path, tmp_path: Path) -> None:
    for name, arguments in {"one.PNG": ["--event", 5], "first.png": [], "mean.png": ["--many", "all"]}.items():
        assert run(data, "-o", tmp_path / name, *arguments)[0] == 0
        assert (tmp_path / name).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
        assert (tmp_path / name).stat().st_size > 20_000
    assert (tmp_path / "one.PNG").read_bytes() != (tmp_path / "first.png").read_bytes()


def test_default_name_is_in_the_current_folder(
    run: Run, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, _ = run(data)
    assert code == 0
    assert "20 showers in showers-view.html" in out
    assert (tmp_path / "showers-view.html").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--event", 30], ["no shower 30", "0 to 29"]),
        (["--event", "-1"], ["--event"]),
        (["--event", "x"], ["'x'", "0-19"]),
        (["--event", "5-3"], ["'5-3'"]),
        (["--event", "0-29"], ["1 to 20"]),
        (["--many", 31], ["31", "30"]),
        (["--many", "some"], ["'some'", "all"]),
        (["--many", 3, "--event", 1], ["--many", "--event"]),
        (["--camera", "top"], ["'top'", "3D, side, front"]),
        (["--mesh", "par04-siw"], ["par04-siw"]),
        (["--mesh", "nothing"], ["nothing", "known"]),
        (["--tracks", "nowhere.h5"], ["nowhere.h5"]),
    ],
)
def test_refusals(run: Run, data: Path, tmp_path: Path, arguments: list[object], words: list[str]) -> None:
    code, out, err = run(data, "-o", tmp_path / "page.html", *arguments)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    for word in words:
        assert word in err
    assert not list(tmp_path.iterdir())


def test_refused_outputs(run: Run, data: Path, tmp_path: Path) -> None:
    taken = tmp_path / "taken.html"
    taken.write_text("mine")
    assert run(data, "-o", taken)[0] == 2
    assert taken.read_text() == "mine"
    assert run(data, "-o", taken, "--force")[0] == 0
    assert taken.read_text().startswith("<!DOCTYPE html>")
    for name, words in {
        "page.gif": "FILE.html, or as a picture to FILE.png, FILE.pdf, FILE.svg",
        "none/page.html": "does not exist",
    }.items():
        code, _, err = run(data, "-o", tmp_path / name)
        assert code == 2
        assert words in err
    code, _, err = run(data, "-o", tmp_path / "many.png", "--event", "1,2")
    assert code == 2
    assert "one shower, 2 were selected" in err


def test_files_that_cannot_be_shown(run: Run, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "plain.h5", "w") as file:
        file["incident_energies"] = np.full((2, 1), 1e3)
        file["showers"] = np.ones((2, 6480), dtype=np.float32)
    with h5py.File(tmp_path / "none.h5", "w") as file:
        file["incident_energies"] = np.empty((0, 1))
        file["showers"] = np.empty((0, 6480), dtype=np.float32)
    out = tmp_path / "page.html"
    code, _, err = run(tmp_path / "plain.h5", "-o", out)
    assert code == 2
    assert "name it with --mesh (6480 voxels: par04-siw or" in err
    assert run(tmp_path / "plain.h5", "--mesh", "par04-siw", "-o", out)[0] == 0
    code, _, err = run(tmp_path / "none.h5", "--mesh", "par04-siw", "-o", tmp_path / "none.html")
    assert code == 2
    assert "no showers" in err
    code, _, err = run(tmp_path / "nowhere.h5", "-o", tmp_path / "none.html")
    assert code == 2
    assert "no such file" in err


@pytest.mark.parametrize(("name", "start"), [("a.pdf", b"%PDF"), ("a.SVG", b"<?xml"), ("a.png", b"\x89PNG")])
def test_picture_in_the_format_of_its_name(run: Run, data: Path, tmp_path: Path, name: str, start: bytes) -> None:
    code, out, _ = run(data, "-o", tmp_path / name, "--event", 2, "--json")
    assert code == 0
    assert json.loads(out)["events"] == [2]
    content = (tmp_path / name).read_bytes()
    assert content.startswith(start)
    assert len(content) < 10_000_000
    if name == "a.SVG":
        assert content.count(b"<path") > 100  # cells, as shapes that can be edited


def test_backend_of_a_notebook_is_no_concern(data: Path, tmp_path: Path) -> None:
    """A shell inside of a notebook inherits its backend, which need not be installed."""
    users = {**os.environ, "MPLBACKEND": "backend_of_a_notebook"}
    command = [sys.executable, "-m", "fastv", "view", str(data), "-o", str(tmp_path / "a.png")]
    done = subprocess.run(command, env=users, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "a.png").exists()

"""``fastv index`` and ``fastv search``, as a user runs them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from fastv.showers import Showers, ShowersFile

Run = Callable[..., tuple[int, str, str]]
SMALL = ["--set", "training.epochs=1", "--set", "model.hidden=[16]"]


@pytest.fixture
def data(make_showers: Callable[..., Showers], tmp_path: Path) -> Path:
    make_showers(120).write(tmp_path / "showers.h5")
    return tmp_path / "showers.h5"


def test_train_index_search(run: Run, data: Path, tmp_path: Path) -> None:
    model, index, found = (tmp_path / name for name in ("model", "index", "found.h5"))
    assert run("train", "hashing", "--data", data, "-o", model, *SMALL)[0] == 0
    code, out, _ = run("index", model, data, "-o", index)
    assert code == 0
    assert "120 showers of 1 file in" in out
    assert json.loads(run("index", model, data, "-o", index, "--add", "--json")[1])["known"] == [str(data)]
    code, out, _ = run("search", index, data, "--event", 5, "-k", 3, "-o", found)
    assert code == 0
    assert out.splitlines()[0].startswith("shower 5 of")
    assert out.splitlines()[3].split()[:2] == ["0.000", "0"]
    assert out.splitlines()[-1] == f"these 3 showers are in {found}"
    with ShowersFile(found) as file:
        assert len(file) == 3
    told = json.loads(run("search", index, data, "--event", 5, "-k", 3, "--json")[1])
    assert next(match["row"] for match in told["matches"]) == 5
    assert {"file": str(data), "row": 5, "bits": 0} in told["same_code"]


def test_mistakes_are_one_line(run: Run, data: Path, tmp_path: Path) -> None:
    model, index = tmp_path / "model", tmp_path / "index"
    assert run("train", "hashing", "--data", data, "-o", model, *SMALL)[0] == 0
    assert run("index", model, data, "-o", index)[0] == 0
    for arguments, told in (
        (("search", index, data), "choose one with --event I, 0 to 119"),
        (("search", tmp_path, data), "an index is a folder that fastv index writes"),
        (("index", "par04-siw", data, "-o", tmp_path / "new"), "families whose code is: hashing"),
        (("index", model, data, "-o", index), "--force"),
    ):
        code, out, err = run(*arguments)
        assert (code, out, err.count("\n")) == (2, "", 1), err
        assert told in err

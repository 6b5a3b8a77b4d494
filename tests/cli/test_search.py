"""``fastv index`` and ``fastv search``, as a user runs them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
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
    assert out.splitlines()[-1] == f"3 showers in {found}"
    with ShowersFile(found) as file:
        assert len(file) == 3
    told = json.loads(run("search", index, data, "--event", 5, "-k", 3, "--json")[1])
    assert next(match["row"] for match in told["matches"]) == 5
    assert {"file": str(data), "row": 5, "bits": 0} in told["same_code"]


def test_duplicates_drawing_and_mistakes(run: Run, data: Path, tmp_path: Path) -> None:
    model, index, copies = (tmp_path / name for name in ("model", "index", "copies.h5"))
    assert run("train", "hashing", "--data", data, "-o", model, *SMALL)[0] == 0
    assert run("index", model, data, "-o", index)[0] == 0
    with ShowersFile(data) as file:
        some = file[:120]
    some = some[np.count_nonzero(some.energies, axis=1) >= 10][:30]
    some.energies[10:] *= 1.001
    some.write(copies)
    code, out, _ = run("duplicates", index, copies, "--distance", 0.01)
    assert code == 0
    lines = out.splitlines()
    assert lines[0].startswith(f"repeats of one of the 120 in {index}: 10 exact and 20 near ones")
    assert sum(line.split()[0] == "exact" for line in lines) == 10
    assert lines[-1] == "and 10 more pairs; --json prints all"
    told = json.loads(run("duplicates", index, copies, "--distance", 0.01, "--json")[1])
    assert (told["exact"], told["near"], len(told["pairs"])) == (10, 20, 30)
    code, out, _ = run("duplicates", index, "--distance", 0)
    assert out.splitlines()[0].startswith("repeats of an earlier one: 0 exact and 0 near ones")
    drawn = ("search", index, data, "--event", 5, "--radius", 64, "--sample", 12, "-o", tmp_path / "drawn.h5")
    code, out, _ = run(*drawn, "--seed", 2)
    assert code == 0
    assert out.splitlines()[-2:] == [
        "and 2 more; --json prints all",
        f"12 showers, drawn with seed 2, in {tmp_path / 'drawn.h5'}",
    ]
    assert len(json.loads(run(*drawn, "--force", "--json")[1])["matches"]) == 12
    # Mistakes are one line.
    for arguments, message in (
        (("search", index, data), "choose one with --event I, 0 to 119"),
        (("search", tmp_path, data), "an index is a folder that fastv index writes"),
        (("index", "par04-siw", data, "-o", tmp_path / "new"), "families whose code is: hashing"),
        (("index", model, data, "-o", index), "--force"),
        (("search", index, data, "--event", 5, "--sample", 5), "say where with --output"),
        (("duplicates", index, data), "leave out FILE to find copies within the index"),
        (("duplicates", index, "--distance", 3), "--distance must be from 0 to below 1.414"),
        (("duplicates", tmp_path), "an index is a folder that fastv index writes"),
    ):
        code, out, err = run(*arguments)
        assert (code, out, err.count("\n")) == (2, "", 1), err
        assert message in err

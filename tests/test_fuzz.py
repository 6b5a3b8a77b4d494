"""Damaged and hostile files for every reader: read, or refused in one line. The cases of `benchmarks/fuzz.py`."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from fastv.errors import FileFormatError

CASES = 2000
SCRIPT = Path(__file__).parents[1] / "benchmarks" / "fuzz.py"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workers are forked, and measured in /proc")


@pytest.fixture(scope="module")
def fuzz() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("fuzz_benchmark", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture(scope="module")
def good(fuzz: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return fuzz.kinds(tmp_path_factory.mktemp("good"))


def test_good_files_are_read(fuzz: ModuleType, good: Any, tmp_path: Path) -> None:
    fuzz.check_good(good, tmp_path)
    assert {kind.name for kind in good} >= {
        "showers",
        "blocks",
        "checkpoint",
        "model.json",
        "weights",
        "onnx",
        "tracks",
        "hits",
    }


def test_bad_files_are_read_or_refused_in_one_line(fuzz: ModuleType, good: Any, tmp_path: Path) -> None:
    report = fuzz.run(range(CASES), seed=1, found=good, folder=tmp_path)
    assert report.failures == []
    assert [each for each in report.outcomes if each.status == "silent"] == []
    assert [each.case for each in report.outcomes] == list(range(CASES))
    by_kind = report.as_dict()["by_kind"]
    assert set(by_kind) == {kind.name for kind in good}
    for name, counts in by_kind.items():
        # Most mutations matter, and a file that nobody could make tests nothing.
        assert counts.get("refused", 0) > 0 or name == "blocks", name
        assert counts.get("not made", 0) <= 0.1 * counts["cases"], name


def test_a_case_is_a_function_of_its_number(fuzz: ModuleType, good: Any, tmp_path: Path) -> None:
    made = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        kind, rng = fuzz.kind_of(3, 1, [each for each in good if each.name == "model.json"])
        fuzz.run_case(3, kind, rng, tmp_path / folder)
        (description,) = (tmp_path / folder).rglob("model.json")
        made.append(description.read_bytes())
    assert made[0] == made[1]


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("raise FileFormatError('one line')", "refused"),
        ("error = FileFormatError(); error.args = ('two\\nlines',); raise error", "two lines"),
        ("{}['key']", "exception"),
        ("bytearray(3 * 10**9)", "memory"),
        ("np.ones(130_000_000)", "memory"),
        ("import os; os.abort()", "crash"),
        ("import time; time.sleep(60)", "time"),
        ("pass", "read"),
    ],
)
def test_every_failure_is_noticed(
    code: str, status: str, fuzz: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(_: Path) -> None:
        exec(code, {"FileFormatError": FileFormatError, "np": np})

    if status == "time":
        monkeypatch.setattr(fuzz, "MOST_SECONDS", 0.4)
    (tmp_path / "source").write_text("x")
    (tmp_path / "work").mkdir()
    kind = fuzz.Kind("planted", [tmp_path / "source"], lambda *_: None, read, 1)
    report = fuzz.run([5, 6], seed=1, found=[kind], folder=tmp_path / "work", keep=tmp_path / "kept")
    assert [(each.case, each.status) for each in report.outcomes] == [(5, status), (6, status)]
    assert len(report.failures) == (0 if status in ("read", "refused") else 2)
    assert (tmp_path / "kept" / "6" / "source").exists() == bool(report.failures)
    json.dumps(report.as_dict())

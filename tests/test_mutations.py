"""The faults that `benchmarks/mutations.py` plants can still be planted."""

from __future__ import annotations

import importlib.util
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def benchmark() -> Any:
    spec = importlib.util.spec_from_file_location("mutations", ROOT / "benchmarks" / "mutations.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["mutations"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_every_text_is_there_once_and_its_fault_compiles(benchmark: Any) -> None:
    stale = [(each.file, each.old, each.found) for each in benchmark.MUTATIONS if each.found != 1]
    assert not stale, "take the texts as they are now, or other faults of the same kind"
    for each in benchmark.MUTATIONS:
        assert each.old != each.new
        compile(each.mutated(), each.file, "exec")


def test_faults_are_many_and_everywhere(benchmark: Any) -> None:
    assert len(set(benchmark.MUTATIONS)) == len(benchmark.MUTATIONS) >= 60
    rooms = Counter(each.file.split("/")[0] for each in benchmark.MUTATIONS)
    assert {"models", "training", "generation.py", "evaluation"} <= set(rooms)


def test_the_tests_that_should_notice_are_there(benchmark: Any) -> None:
    for each in benchmark.MUTATIONS:
        named = [part for part in benchmark.arguments(each.tests) if part.startswith("tests/")]
        assert named
        for part in named:
            assert (ROOT / part).is_file(), part

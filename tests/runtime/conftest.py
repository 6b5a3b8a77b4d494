"""A graph of contract ``fastv`` written by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fastv.detector.detector import Detector
from graphs import write_graph_by_hand


@pytest.fixture
def write_graph(tiny_detector: Detector, tmp_path: Path) -> Callable[..., Path]:
    """``write_graph(**changes)``: the graph by hand of the tiny detector."""

    def write(**changes: Any) -> Path:
        return write_graph_by_hand(tmp_path / "model.onnx", tiny_detector, **changes)

    return write

"""The line that names the files of a new folder."""

from __future__ import annotations

from pathlib import Path

from fastv.cli.written import written


def test_files_in_their_order_without_hidden_ones(tmp_path: Path) -> None:
    for name in ("b.png", "a.json", ".fastv-output"):
        (tmp_path / name).touch()
    assert written(tmp_path) == f"in {tmp_path}: a.json, b.png"

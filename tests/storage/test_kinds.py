"""Files and folders say what they are."""

from __future__ import annotations

from pathlib import Path

import h5py
import pytest

from fastv.storage.kinds import KINDS, MARKER, FileKind, is_root, kind_of, kind_of_folder


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
def test_a_file_is_of_the_kind_that_it_says(tmp_path: Path, kind: FileKind) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.attrs[kind.attribute] = "{}"
        assert kind.item == "" or kind_of(file) is None
        if kind.item:
            file.create_group(kind.item)
        assert kind_of(file) is kind


def test_files_of_others_are_of_no_kind(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["showers"] = [[1.0]]
        file.create_group("hits")
        assert kind_of(file) is None
    (tmp_path / "a.root").write_bytes(b"root" + bytes(9))
    assert is_root(tmp_path / "a.root")
    assert not is_root(tmp_path / "a.h5")
    assert not is_root(tmp_path / "missing")


def test_a_folder_is_named_by_its_marker_or_its_description(tmp_path: Path) -> None:
    assert kind_of_folder(tmp_path) is None
    (tmp_path / "index.json").touch()
    assert kind_of_folder(tmp_path) == "index"
    (tmp_path / MARKER).write_text("analysis")
    assert kind_of_folder(tmp_path) == "analysis"

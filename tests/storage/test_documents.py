"""JSON, YAML and XML of strangers: read within bounds, or refused in one line with the reason."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fastv.storage.documents import (
    MOST_DEPTH,
    MOST_YAML_BYTES,
    DocumentError,
    parse_json,
    parse_yaml,
    read_bytes,
    read_text,
    read_xml,
)


def reason(call: Callable[..., Any], *arguments: Any) -> str:
    with pytest.raises(DocumentError) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400
    return str(caught.value)


class TestFiles:
    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
    def test_a_pipe_is_not_waited_for(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        assert "not a regular file" in reason(read_text, tmp_path / "pipe")

    def test_size_is_known_before_reading(self, tmp_path: Path) -> None:
        with (tmp_path / "large").open("wb") as file:
            file.truncate(2**40)  # a hole: it takes no space on the disk
        assert f"it has {2**40} bytes; at most 16777216 are read" in reason(read_bytes, tmp_path / "large")

    def test_what_is_no_text_file(self, tmp_path: Path) -> None:
        (tmp_path / "bytes").write_bytes(b"ab\xff")
        assert "no text in UTF-8 (invalid start byte at byte 2)" in reason(read_text, tmp_path / "bytes")
        assert reason(read_text, tmp_path) == "it is a folder, not a regular file"
        assert "No such file" in reason(read_text, tmp_path / "none")
        assert "too long" in reason(read_text, tmp_path / ("n" * 300)).lower()


class TestJson:
    def test_depth(self) -> None:
        parse_json("[" * MOST_DEPTH + "]" * MOST_DEPTH)
        for depth in (MOST_DEPTH + 1, 100_000):
            assert "nested more than 64 levels" in reason(parse_json, "[" * depth + "]" * depth)

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("{", "not valid JSON"),
            (b"\xff", "not valid JSON"),
            ("9" * 200, "more than 100 digits"),
            ("9" * 10_000, "not valid JSON"),
            (r'{"a": "\ud800"}', "cannot be encoded"),
        ],
    )
    def test_what_breaks_python_later(self, text: str | bytes, problem: str) -> None:
        assert problem in reason(parse_json, text)


class TestYaml:
    def test_aliases_are_refused_before_they_grow(self) -> None:
        lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
        lines += [f"a{i}: &a{i} [{', '.join(9 * [f'*a{i - 1}'])}]" for i in range(1, 12)]  # 9^12 texts
        started = time.process_time()
        assert "aliases such as *a0 are not allowed" in reason(parse_yaml, "\n".join(lines))
        assert time.process_time() - started < 5

    @pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? "])
    def test_depth_is_refused_at_once(self, opening: str) -> None:
        started = time.process_time()
        assert "nested more than 64 levels" in reason(parse_yaml, opening * 20_000)
        assert time.process_time() - started < 5

    @pytest.mark.parametrize(
        "text",
        ["a: 2020-13-45", "a: !!int ''", "a: !!float abc", "a: !!timestamp x", "a: [", "a: !!python/name:os.system"],
    )
    def test_every_error_of_the_parser_is_one_line(self, text: str) -> None:
        assert "not valid YAML" in reason(parse_yaml, text)

    def test_a_key_that_occurs_twice(self) -> None:
        assert reason(parse_yaml, "epochs: 1\nepochs: 2") == "the key 'epochs' occurs twice"

    def test_length(self) -> None:
        assert "characters; at most" in reason(parse_yaml, "#" * (MOST_YAML_BYTES + 1))
        assert "more than 100 digits" in reason(parse_yaml, "a: 0x" + "f" * 1000)


class TestXml:
    def test_entities_are_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "bomb.xml"
        path.write_text('<!DOCTYPE a [<!ENTITY b "bb"><!ENTITY c SYSTEM "file:///etc/passwd">]><a>&b;&c;</a>')
        assert "declares a document type" in reason(read_xml, path)

    def test_depth(self, tmp_path: Path) -> None:
        path = tmp_path / "deep.xml"
        path.write_text("<a>" * 10_000 + "</a>" * 10_000)
        assert "nested more than 64 levels" in reason(read_xml, path)

    def test_a_good_one(self, tmp_path: Path) -> None:
        path = tmp_path / "good.xml"
        path.write_text("<a><b c='1'/></a>")
        assert [each.get("c") for each in read_xml(path).iter("b")] == ["1"]


def test_recursion_limit_is_left_alone() -> None:
    before = sys.getrecursionlimit()
    reason(parse_json, "[" * 100_000)
    assert sys.getrecursionlimit() == before

"""JSON, YAML and XML from anywhere: one way in, bounded in size and depth, with every fault as a reason in one line.

A file may come from a stranger, or be damaged. Nothing in it is executed, and its size is known before it is read. What
would grow on reading (aliases of YAML, entities of XML) is refused, and so is what breaks Python later: deep nesting,
numbers of thousands of digits, text that cannot be encoded.
"""

from __future__ import annotations

import json
import os
import stat
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any
from xml.parsers import expat

import yaml

from fastv.wording import counted, one_line

MOST_BYTES = 2**24
"""Largest document that is read, 16 MiB."""
MOST_YAML_BYTES = 2**17
"""Largest YAML text, 128 KiB: it is written by hand, and its parser takes seconds for a megabyte."""
MOST_DEPTH = 64
_LARGEST_INTEGER = 10**100


class DocumentError(ValueError):
    """A document cannot be read; the text is the reason, in one line and without the name of the file."""


_KINDS = {
    stat.S_ISDIR: "a folder",
    stat.S_ISFIFO: "a pipe",
    stat.S_ISSOCK: "a socket",
    stat.S_ISCHR: "a device",
    stat.S_ISBLK: "a device",
}


def other_than_regular(status: os.stat_result) -> str | None:
    """What a path is, such as ``a folder``; None for a regular file, which can be read from its start to its end."""
    if stat.S_ISREG(status.st_mode):
        return None
    return next((kind for test, kind in _KINDS.items() if test(status.st_mode)), "something else")


def check_regular(path: Path) -> int:
    """The size in bytes of a regular file. A named pipe or a device could be read without end.

    Raises:
        DocumentError: there is no such file, or it is a folder, a pipe or a device.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise DocumentError(error.strerror or str(error)) from error
    except ValueError as error:  # a null character in the name
        raise DocumentError(one_line(error)) from error
    if (other := other_than_regular(status)) is not None:
        msg = f"it is {other}, not a regular file"
        raise DocumentError(msg)
    return status.st_size


def is_folder(path: str | Path) -> bool:
    """Whether a path is a folder; a name that no file can have, such as one that is too long, is none.

    Example:
        >>> is_folder("."), is_folder("n" * 1000)
        (True, False)
    """
    try:
        return Path(path).is_dir()
    except OSError:
        return False


def read_bytes(path: Path, most: int = MOST_BYTES) -> bytes:
    """The content of a regular file of at most ``most`` bytes.

    Raises:
        DocumentError: the file cannot be read or is larger.
    """
    size = check_regular(path)
    if size > most:
        msg = f"it has {counted(size, 'byte')}; at most {most} are read"
        raise DocumentError(msg)
    try:
        return path.read_bytes()
    except OSError as error:
        raise DocumentError(error.strerror or str(error)) from error


def read_text(path: Path, most: int = MOST_BYTES) -> str:
    """The content of a text file in UTF-8; otherwise as :func:`read_bytes`.

    Raises:
        DocumentError: the file cannot be read, is larger than ``most`` bytes, or is no text.
    """
    try:
        return read_bytes(path, most).decode("utf-8")
    except UnicodeDecodeError as error:
        msg = f"it is no text in UTF-8 ({error.reason} at byte {error.start})"
        raise DocumentError(msg) from error


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text.

    Raises:
        DocumentError: it is not valid JSON, or nested too deeply.

    Example:
        >>> parse_json('{"layers": [1, 2]}')
        {'layers': [1, 2]}
        >>> parse_json("[" * 1000)
        Traceback (most recent call last):
        fastv.storage.documents.DocumentError: it is nested more than 64 levels deep
    """
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise _too_deep() from error
    except (ValueError, TypeError) as error:
        msg = f"not valid JSON: {one_line(error)}"
        raise DocumentError(msg) from error
    _check(value)
    return value


def parse_yaml(text: str) -> Any:
    """The value of a YAML text, of plain mappings, lists, numbers and texts.

    Raises:
        DocumentError: it is not valid YAML, too long, nested too deeply, or has aliases or a key that occurs twice.

    Example:
        >>> parse_yaml("epochs: 3")
        {'epochs': 3}
        >>> parse_yaml("{a: &x [1], b: *x}")
        Traceback (most recent call last):
        fastv.storage.documents.DocumentError: aliases such as *x are not allowed; write the value out
    """
    if len(text) > MOST_YAML_BYTES:
        msg = f"it has {len(text)} characters; at most {MOST_YAML_BYTES} are read"
        raise DocumentError(msg)
    try:
        loader = _Loader(text)
        value = loader.get_single_data()
    except DocumentError:
        raise
    except RecursionError as error:
        raise _too_deep() from error
    except Exception as error:  # besides its own errors, PyYAML lets those of int, float, datetime and base64 through
        msg = f"not valid YAML: {one_line(error)}"
        raise DocumentError(msg) from error
    _check(value)
    return value


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader without aliases, which can stand for more data than fit into memory."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            name = self.peek_event().anchor  # type: ignore[no-untyped-call]
            msg = f"aliases such as *{name} are not allowed; write the value out"
            raise DocumentError(msg)
        self.depth += 1
        if self.depth > MOST_DEPTH:
            raise _too_deep()
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        mapping = super().construct_mapping(node, deep=deep)
        if len(mapping) < len(node.value):
            keys = [key.value for key, _ in node.value]
            twice = next((key for key in keys if keys.count(key) > 1), keys[0])
            msg = f"the key {twice!r} occurs twice"
            raise DocumentError(msg)
        return mapping


def read_xml(path: Path) -> ET.Element:
    """The root of an XML file.

    Raises:
        DocumentError: the file cannot be read, is not valid XML, is nested too deeply, or declares a document type.
    """
    content = read_bytes(path)
    try:
        guard = expat.ParserCreate()
        depth = 0

        def start(_name: str, _attributes: dict[str, str]) -> None:
            nonlocal depth
            depth += 1
            if depth > MOST_DEPTH:
                raise _too_deep()

        def end(_name: str) -> None:
            nonlocal depth
            depth -= 1

        def doctype(*_: Any) -> None:
            msg = "it declares a document type, whose entities could grow without end"
            raise DocumentError(msg)

        guard.StartElementHandler, guard.EndElementHandler = start, end
        guard.StartDoctypeDeclHandler = doctype
        guard.Parse(content, True)
        return ET.fromstring(content)
    except DocumentError:
        raise
    except (ET.ParseError, expat.ExpatError, ValueError, LookupError) as error:  # the last two: an unknown encoding
        msg = f"no valid XML: {one_line(error)}"
        raise DocumentError(msg) from error


def _too_deep() -> DocumentError:
    return DocumentError(f"it is nested more than {MOST_DEPTH} levels deep")


def _check(value: Any) -> None:
    """Refuse what Python reads and then fails on: depth, numbers of thousands of digits, half of a surrogate pair."""
    level = [[value]]
    for _ in range(MOST_DEPTH + 1):
        inner: list[Any] = []
        for each in level:
            for item in (*each.keys(), *each.values()) if isinstance(each, dict) else each:
                if isinstance(item, dict | list | tuple | set):
                    inner.append(item)
                elif isinstance(item, str):
                    _check_text(item)
                elif isinstance(item, int) and abs(item) > _LARGEST_INTEGER:
                    msg = "a number in it has more than 100 digits"
                    raise DocumentError(msg)
        if not inner:
            return
        level = inner
    raise _too_deep()


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        msg = "a text in it cannot be encoded (half of a surrogate pair)"
        raise DocumentError(msg) from error

"""What is refused in an HDF5 file of unknown origin, before any of its data are read.

A file can point to other files (external links, external storage, virtual data sets), claim sizes that it does not
hold, and contain a heap of texts that keeps the HDF5 library busy forever. Only the top level of a file is looked at,
because nothing else is read.
"""

from __future__ import annotations

import io
import math
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import h5py

from fastv.errors import FileFormatError
from fastv.records import one_line
from fastv.storage.documents import other_than_regular

_MOST_PACKED = 2000
"""A compression factor that gzip does not reach even for zeros."""
_SLACK = 2**16
_MOST_ATTRIBUTE_BYTES = 2**24
_MOST_STEPS = 32
"""Soft links and groups on the way to a data set; HDF5 itself follows 16 links."""
_HEAP = b"GCOL\x01\x00\x00\x00"
"""Start of a collection of the global heap, which holds texts and lists of variable length."""
_HEAP_HEADER, _HEAP_SMALLEST = 16, 4096
_PIECE = 2**24


def check_regular(path: Path, what: str = "a showers file") -> None:
    """Check that a path is a file that can be read from its start to its end.

    Args:
        path: the file.
        what: what it should be, for the message.

    Raises:
        FileFormatError: there is no such file, or it is a folder, a pipe, a socket or a device.
    """
    try:
        other = other_than_regular(path.stat())
    except FileNotFoundError as error:
        msg = f"{path}: no such file" + (f" (it links to {path.readlink()})" if path.is_symlink() else "")
        raise FileFormatError(msg) from error
    except (OSError, ValueError) as error:
        msg = f"{path}: cannot open: {getattr(error, 'strerror', None) or error}"
        raise FileFormatError(msg) from error
    if other is not None:
        msg = f"{path} is {other}, not {what}"
        raise FileFormatError(msg)


def check_contents(path: Path, file: h5py.File) -> None:
    """Check that a file holds its data itself, and that its texts and lists can be read.

    Raises:
        FileFormatError: a link or a data set points to another file or nowhere, a data set is virtual, a name is not
            UTF-8, or a heap is damaged.
    """
    lists = False
    root = h5py.h5g.open(file.id, b"/")
    for name in _names(path, root):
        item = _resolve(path, root, name)
        if isinstance(item, h5py.h5d.DatasetID):
            _check_own(path, name, item)
            lists = lists or _has_lists(item)
    if lists:
        with path.open("rb") as raw:
            _check_heaps(path, raw.fileno(), 0, path.stat().st_size)
    if _check_attributes(path, root):
        # HDF5 finds the texts itself; this handle sees every byte that it reads before it does.
        with _Watched(path) as bytes_read, h5py.File(bytes_read, "r") as watched:
            for name in watched.attrs:
                try:
                    watched.attrs[name]
                except FileFormatError:
                    raise
                except Exception as error:
                    msg = f"{path}: the attribute {name!r} cannot be read ({one_line(error)})"
                    raise FileFormatError(msg) from error


def _names(path: Path, root: h5py.h5g.GroupID) -> Iterator[str]:
    for name in list(root):
        try:
            yield name.decode("utf-8")
        except UnicodeDecodeError:
            msg = f"{path}: damaged: the name {name!r} of a data set is not UTF-8"
            raise FileFormatError(msg) from None


def _resolve(path: Path, root: h5py.h5g.GroupID, name: str) -> h5py.h5g.GroupID | h5py.h5d.DatasetID | h5py.h5t.TypeID:
    """Open an item at the top level; soft links are followed within the file only, one step at a time."""
    here, rest, steps = root, [name.encode()], 0
    while rest:
        part, *rest = rest
        steps += 1
        if part in (b"", b"."):
            continue
        if steps > _MOST_STEPS or not isinstance(here, h5py.h5g.GroupID) or part not in set(here):
            msg = f"{path}: {name!r} is a link to something that is not in the file; remove the link or add its data"
            raise FileFormatError(msg)
        kind = here.links.get_info(part).type
        if kind == h5py.h5l.TYPE_SOFT:
            target = here.links.get_val(part)
            if target.startswith(b"/"):
                here = root
            rest = [*target.split(b"/"), *rest]
        elif kind == h5py.h5l.TYPE_HARD:
            here = h5py.h5o.open(here, part)
        else:
            msg = f"{path}: {name!r} is a link into another file, which is not followed; copy its data into this file"
            raise FileFormatError(msg)
    return here


def _check_own(path: Path, name: str, dataset: h5py.h5d.DatasetID) -> None:
    """Check that the data of a data set lie in the file itself."""
    plist = dataset.get_create_plist()
    if plist.get_layout() == h5py.h5d.VIRTUAL:
        msg = f"{path}: {name!r} is a virtual data set, made of data in other files; copy the data into one file"
    elif plist.get_external_count():
        where = os.fsdecode(plist.get_external(0)[0])
        msg = f"{path}: the data of {name!r} lie in another file ({where!r}), which is not read; copy them here"
    else:
        return
    raise FileFormatError(msg)


def _has_lists(item: h5py.h5d.DatasetID | h5py.h5a.AttrID) -> bool:
    try:
        return bool(item.get_type().dtype.hasobject)
    except Exception:  # a type that numpy lacks may hold anything
        return True


def _check_attributes(path: Path, root: h5py.h5g.GroupID) -> bool:
    """Check sizes and names of the attributes; whether one is of variable length."""
    lists = False
    for index in range(h5py.h5a.get_num_attrs(root)):
        attribute = h5py.h5a.open(root, index=index)
        raw = attribute.name
        name = raw.decode(errors="replace") if isinstance(raw, bytes) else raw
        try:
            name.encode()
        except UnicodeEncodeError:
            name = "\ufffd"
        if "\ufffd" in name:
            msg = f"{path}: damaged: the name of an attribute, {name!r}, is not UTF-8"
            raise FileFormatError(msg)
        if attribute.get_space().get_simple_extent_type() == h5py.h5s.NULL:
            continue
        size = attribute.get_storage_size()
        if size > min(_MOST_ATTRIBUTE_BYTES, path.stat().st_size):
            msg = f"{path}: damaged: the attribute {name!r} claims {size} bytes"
            raise FileFormatError(msg)
        lists = lists or _has_lists(attribute)
    return lists


class _Watched(io.FileIO):
    """A file whose heaps are checked before HDF5 gets them: a damaged one would keep the library busy forever."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "r")
        self._path = path

    def readinto(self, buffer: memoryview) -> int | None:  # type: ignore[override]
        start = self.tell()
        _check_heaps(self._path, self.fileno(), start, start + len(buffer))
        return super().readinto(buffer)


def _check_heaps(path: Path, descriptor: int, start: int, stop: int) -> None:
    """Check every collection of the global heap that starts between two positions of a file."""
    length = os.fstat(descriptor).st_size
    # A collection is seen even if only its first or last byte was asked for.
    start, stop = max(0, start - len(_HEAP)), min(length, stop + len(_HEAP))
    while start < stop:
        piece = os.pread(descriptor, min(_PIECE, stop - start) + len(_HEAP), start)
        if not piece:
            return
        found = piece.find(_HEAP)
        while found >= 0:
            if not _sound(descriptor, start + found, length):
                msg = f"{path}: the file is damaged: its heap of texts or lists, at byte {start + found}, is broken"
                raise FileFormatError(msg)
            found = piece.find(_HEAP, found + 1)
        start += _PIECE


def _sound(descriptor: int, address: int, length: int) -> bool:
    """Whether the objects of a collection fill it exactly, as in the HDF5 file format specification, III.E."""
    head = os.pread(descriptor, _HEAP_HEADER, address)
    size = int.from_bytes(head[8:], "little")
    if len(head) < _HEAP_HEADER or size < _HEAP_SMALLEST or address + size > length:
        return False
    heap = os.pread(descriptor, size, address)
    place = _HEAP_HEADER
    while place + _HEAP_HEADER <= size:
        index, bytes_ = struct.unpack_from("<H6xQ", heap, place)
        # The free space, object 0, counts its own header. Of size zero, HDF5 1.14 and 2.0 would never get beyond it.
        step = bytes_ if index == 0 else _HEAP_HEADER + -(-bytes_ // 8) * 8
        if step < _HEAP_HEADER or place + step > size:
            return False
        place += step
    return True


def check_stored(path: Path, dataset: h5py.Dataset) -> None:
    """Check that a data set holds what its shape claims, before memory is taken for it.

    A program that sets the size of a file first and is stopped leaves parts that were never written; HDF5 reads them
    as zeros.

    Raises:
        FileFormatError: a part was never written, or the shape claims more than the file can hold.
    """
    if dataset.shape is None:
        return
    name, shape = str(dataset.name).lstrip("/"), tuple(dataset.shape)
    size = dataset.dtype.itemsize * math.prod(shape)
    if not size:
        return
    stored = dataset.id.get_storage_size()
    never = "the program that wrote it was stopped, or is still writing; write the file again"
    if dataset.chunks:
        chunks = math.prod(-(-rows // chunk) for rows, chunk in zip(shape, dataset.chunks, strict=True))
        written = dataset.id.get_num_chunks()
        if written < chunks:
            part = f"only {written} of {chunks} chunks" if written else "nothing"
            msg = f"{path}: {name!r} claims the shape {shape}, but {part} of it was ever written: {never}"
            raise FileFormatError(msg)
        size = max(size, dataset.dtype.itemsize * math.prod(dataset.chunks))
        fits = size <= _MOST_PACKED * (stored + _SLACK)
    elif not stored:
        msg = f"{path}: {name!r} claims the shape {shape}, but nothing of it was ever written: {never}"
        raise FileFormatError(msg)
    else:
        fits = size <= stored
    if not fits or stored > path.stat().st_size:
        msg = f"{path}: damaged: {name!r} has the shape {shape}, but only {stored} bytes of data"
        raise FileFormatError(msg)

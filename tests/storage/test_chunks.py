"""Rows of HDF5 data sets: bit for bit those of h5py, however they are stored and asked for."""

from __future__ import annotations

import os
import threading
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fastv.storage import chunks
from fastv.storage.chunks import by_calling_threads, read_rows


@pytest.fixture(params=["zlib", "isal"])
def everything_decompressed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small data sets are decompressed outside HDF5 too, in three threads."""
    if request.param == "zlib":
        monkeypatch.setattr(chunks, "_igzip", None)
    elif chunks._igzip is None:
        pytest.skip("isal is not installed")
    monkeypatch.setattr(chunks, "_CACHED_BYTES", 0)
    monkeypatch.setattr(chunks, "_threads", lambda: 3)


def same_bits(a: NDArray[Any], b: NDArray[Any]) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def without_hdf5(monkeypatch: pytest.MonkeyPatch, dataset: h5py.Dataset, rows: Any) -> NDArray[Any]:
    """Rows that must be read without HDF5's own decompression."""
    with monkeypatch.context() as patch:
        patch.setattr(h5py.Dataset, "__getitem__", lambda *_: pytest.fail("left to HDF5"))
        return read_rows(dataset, rows)


@st.composite
def stored(draw: st.DrawFn) -> dict[str, Any]:
    """A data set, how it is stored, and rows of it."""
    shape = tuple(draw(st.lists(st.integers(1, 9), min_size=1, max_size=3)))
    shape = (draw(st.integers(0, 40)), *shape[1:])
    kind = draw(st.sampled_from(["f4", ">f4", "f8", "f2", "i4", ">i8", "u1", "u2", "i8"]))
    size = np.dtype(kind).itemsize * int(np.prod(shape))
    how: dict[str, Any] = {"compression": draw(st.sampled_from(["gzip", "gzip", "gzip", "lzf", None]))}
    if how["compression"] == "gzip":
        how["compression_opts"] = draw(st.integers(0, 9))
    how["shuffle"] = draw(st.booleans())
    how["fletcher32"] = draw(st.sampled_from([False, False, True]))
    how["chunks"] = tuple(draw(st.integers(1, max(1, side) + 2)) for side in shape)
    how["maxshape"] = (None,) * len(shape)
    if draw(st.booleans()):
        start, stop = draw(st.integers(-45, 45)), draw(st.integers(-45, 45))
        rows: Any = slice(start, stop, draw(st.sampled_from([None, 1, 1, 3])))
    else:
        rows = np.array(draw(st.lists(st.integers(0, shape[0] - 1), max_size=30)) if shape[0] else [], np.int64)
    content = draw(st.binary(min_size=size, max_size=size)) if size < 200 else None
    return {"shape": shape, "kind": kind, "how": how, "rows": rows, "content": content, "left": draw(st.booleans())}


@pytest.mark.usefixtures("everything_decompressed")
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=stored())
def test_rows_are_those_of_h5py(tmp_path: Path, case: dict[str, Any]) -> None:
    shape, kind, rows = case["shape"], np.dtype(case["kind"]), case["rows"]
    rng = np.random.default_rng(1)
    random = np.where(rng.random(shape) < 0.3, rng.integers(0, 250, shape), 0).astype(kind)
    data = random if case["content"] is None else np.frombuffer(case["content"], kind).reshape(shape)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        dataset = file.create_dataset("a", shape, kind, fillvalue=7, **case["how"])
        # Some chunks are never written: their rows are the fill value.
        written = slice(0, shape[0] // 2) if case["left"] else slice(None)
        dataset[written] = data[written]
        expected = dataset[...][rows]
        assert same_bits(read_rows(dataset, rows), expected)


@pytest.mark.usefixtures("everything_decompressed")
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("kind", ["f4", "f8", ">f4", "u2", "u1"])
@pytest.mark.parametrize("chunk", [(10, 6), (7, 4), (64, 1)])
def test_what_is_understood_is_not_left_to_hdf5(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shuffle: bool, kind: str, chunk: tuple[int, int]
) -> None:
    data = np.random.default_rng(2).integers(0, 200, (45, 6)).astype(kind)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        dataset = file.create_dataset(
            "a", data=data, chunks=chunk, maxshape=(None, None), compression=4, shuffle=shuffle
        )
        for rows in (slice(None), slice(3, 41), slice(-9, None), np.array([44, 0, 13, 13, 20]), np.arange(45)[::-1]):
            assert same_bits(without_hdf5(monkeypatch, dataset, rows), data[rows])


@pytest.mark.usefixtures("everything_decompressed")
def test_chunks_that_were_stored_without_some_filters_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = np.arange(60, dtype=np.float32).reshape(20, 3)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        dataset = file.create_dataset("a", data=data, chunks=(5, 3), compression="gzip", shuffle=True)
        # Bits of the mask: shuffle, then gzip.
        dataset.id.write_direct_chunk((5, 0), data[5:10].tobytes(), filter_mask=0b11)
        _, packed = dataset.id.read_direct_chunk((0, 0))
        shuffled = data[10:15].reshape(-1).view(np.uint8).reshape(-1, 4).T.tobytes()
        dataset.id.write_direct_chunk((10, 0), shuffled, filter_mask=0b10)
        dataset.id.write_direct_chunk((15, 0), packed, filter_mask=0)
        found = without_hdf5(monkeypatch, dataset, slice(None))
        assert same_bits(found, dataset[...])
        assert same_bits(found[:15], data[:15])


def damaged(path: Path, change: Callable[[bytes], bytes], data: NDArray[np.float32]) -> h5py.File:
    """A file whose second chunk is changed."""
    file = h5py.File(path, "w")
    dataset = file.create_dataset("a", data=data, chunks=(10, *data.shape[1:]), compression="gzip", shuffle=True)
    dataset.id.write_direct_chunk((10, 0), change(dataset.id.read_direct_chunk((10, 0))[1]))
    return file


def outcome(read: Callable[[], NDArray[Any]]) -> tuple[object, ...]:
    """What is read, or the error."""
    try:
        data = read()
    except Exception as error:
        return type(error), str(error)
    return data.dtype, data.shape, data.tobytes()


@pytest.mark.usefixtures("everything_decompressed")
@pytest.mark.parametrize(
    "change",
    [
        lambda packed: packed[:-1] + bytes([packed[-1] ^ 1]),  # the checksum
        lambda packed: packed[: len(packed) // 2],
        lambda packed: b"\xff" * len(packed),
        lambda packed: packed + packed,
    ],
)
def test_damage_gives_the_error_of_hdf5(tmp_path: Path, change: Callable[[bytes], bytes]) -> None:
    data = np.random.default_rng(3).random((30, 4), dtype=np.float32)
    with damaged(tmp_path / "a.h5", change, data) as file:
        expected = outcome(lambda: file["a"][...])
        assert outcome(lambda: read_rows(file["a"], slice(None))) == expected
        assert same_bits(read_rows(file["a"], np.arange(20, 30)), data[20:])


@pytest.mark.usefixtures("everything_decompressed")
def test_a_chunk_of_another_size_is_as_hdf5_takes_it(tmp_path: Path) -> None:
    data = np.random.default_rng(3).random((30, 4), dtype=np.float32)
    with damaged(tmp_path / "a.h5", lambda _: zlib.compress(b"\x01" * 16 * 11), data) as file:
        expected = outcome(lambda: file["a"][:20])
        assert outcome(lambda: read_rows(file["a"], slice(20))) == expected


@pytest.mark.usefixtures("everything_decompressed")
def test_a_small_chunk_does_not_become_large_in_memory() -> None:
    bomb = zlib.compress(bytes(2**26))
    with pytest.raises(chunks._NotUnderstoodError):
        chunks._inflated(bomb, 100)
    assert chunks._inflated(zlib.compress(b"x" * 100), 100) == b"x" * 100


@pytest.mark.parametrize("threads", [1, 4])
def test_only_a_few_chunks_are_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    monkeypatch.setattr(chunks, "_threads", lambda: threads)
    monkeypatch.setattr(chunks, "_CACHED_BYTES", 0)
    monkeypatch.setattr(chunks, "SPAN_BYTES", 4 * 40)
    lock, held, most = threading.Lock(), [0], [0]
    place, tasks = chunks._Packed._place, chunks._Packed._tasks

    def counted(self: Any, pieces: Any) -> Any:
        for task in tasks(self, pieces):
            with lock:
                held[0] += 1
                most[0] = max(most[0], held[0])
            yield task

    def done(self: Any, *task: Any) -> None:
        place(self, *task)
        with lock:
            held[0] -= 1

    monkeypatch.setattr(chunks._Packed, "_tasks", counted)
    monkeypatch.setattr(chunks._Packed, "_place", done)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        dataset = file.create_dataset("a", data=np.arange(1000, dtype=np.float32), chunks=(10,), compression="gzip")
        read_rows(dataset, slice(None))
    assert 1 <= most[0] <= 3


def test_what_hdf5_keeps_decompressed_is_left_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks._Packed, "read", lambda *_: pytest.fail("read chunk by chunk"))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        dataset = file.create_dataset("a", data=np.arange(1000.0), chunks=(100,), compression="gzip")
        assert read_rows(dataset, slice(5, 7)).tolist() == [5, 6]


def test_threads_are_those_that_the_user_grants(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)), raising=False)
    for asked, threads in {"2": 2, "100": 6, "": 6, "no": 6, "0": 1}.items():
        monkeypatch.setenv("OMP_NUM_THREADS", asked)
        assert chunks._threads() == threads
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert chunks._threads() == 1


def test_threads_that_share_their_work_already_decompress_by_themselves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = np.random.default_rng(2).random((40, 3))
    inside: set[str] = set()
    place = chunks._Packed._place

    def watched(*arguments: Any) -> None:
        inside.add(threading.current_thread().name)
        place(*arguments)

    monkeypatch.setattr(chunks, "_CACHED_BYTES", 0)
    monkeypatch.setattr(chunks, "usable_processors", lambda: 3)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(chunks._Packed, "_place", watched)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        dataset = file.create_dataset("a", data=values, chunks=(5, 3), compression="gzip")
        here = threading.current_thread().name
        with by_calling_threads():
            with by_calling_threads():
                read_rows(dataset, slice(0, 20))
            assert same_bits(read_rows(dataset, slice(0, 40)), values)
            assert inside == {here}
            # Another thread has not asked for it.
            other = threading.Thread(target=read_rows, args=(dataset, slice(0, 40)), name="other")
            other.start()
            other.join()
            assert not inside & {"other"}
            assert len(inside) > 1
        inside.clear()
        read_rows(dataset, slice(0, 40))
        assert here not in inside


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here")
def test_a_process_that_was_forked_has_threads_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    first = chunks._pool()
    assert chunks._pool() is first
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert chunks._pool() is not first

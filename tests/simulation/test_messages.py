"""What processes tell each other: it arrives as it was sent, and holds nothing that runs."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest

from fastv.errors import FastVError, GeometryError, SimulationError
from fastv.showers import Showers
from fastv.simulation.messages import (
    packed_error,
    packed_showers,
    packed_tracks,
    receive,
    send,
    unpacked_error,
    unpacked_showers,
    unpacked_tracks,
)
from fastv.simulation.tracks import Tracks


def test_showers_arrive_bit_for_bit(make_showers: Callable[..., Showers]) -> None:
    extra = {"cpu_seconds": np.arange(7.0), "file": np.zeros((7, 2), np.float32), "late/er": np.arange(7) % 2 == 0}
    sent = make_showers(7, theta=np.linspace(0, 1, 7), pdg=np.full(7, 11, np.int32), extra=extra)
    came = unpacked_showers(packed_showers(sent), sent.detector)
    assert came.phi is None
    assert came.provenance == sent.provenance
    assert list(came.extra) == list(sent.extra)
    for name in ("incident_energies", "energies", "theta", "pdg"):
        assert getattr(came, name).dtype == getattr(sent, name).dtype
        np.testing.assert_array_equal(getattr(came, name), getattr(sent, name))
    for name, column in extra.items():
        assert came.extra[name].dtype == column.dtype
        np.testing.assert_array_equal(came.extra[name], column)


def test_tracks_arrive_bit_for_bit() -> None:
    sent = Tracks({"pdg": np.array([11, 22], np.int32), "process": np.array([b"eBrem", b"x"]), "first": np.arange(3)})
    came = unpacked_tracks(packed_tracks(sent))
    assert list(came.columns) == list(sent.columns)
    for name, column in sent.columns.items():
        assert came.columns[name].dtype == column.dtype
        np.testing.assert_array_equal(came.columns[name], column)


def test_objects_are_neither_sent_nor_received(make_showers: Callable[..., Showers]) -> None:
    sent = make_showers(1, extra={"object": np.array([{"a": 1}], dtype=object)})
    with pytest.raises(ValueError, match="Object arrays cannot be saved"):
        packed_showers(sent)
    pickled = io.BytesIO()
    np.save(pickled, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="allow_pickle=False"):
        unpacked_tracks(b'{"arrays": ["pdg"], "words": {}}\n' + pickled.getvalue())


@pytest.mark.parametrize("error", [GeometryError("no mesh"), SimulationError("Geant4 fails:\nstuck")])
def test_errors_keep_their_class_and_message(error: FastVError) -> None:
    again = unpacked_error(packed_error(error))
    assert type(again) is type(error)
    assert str(again) == str(error)


@pytest.mark.parametrize("name", ["SystemExit", "annotations", "no_such_class", "__builtins__"])
def test_only_our_errors_are_made(name: str) -> None:
    assert type(unpacked_error([name, "x"])) is FastVError


def test_messages_that_were_cut_off() -> None:
    pipe = io.BytesIO()
    send(pipe, "event", 3)
    send(pipe, "showers", data=b"12345")
    whole = pipe.getvalue()
    for end in range(len(whole)):
        pipe = io.BytesIO(whole[:end])
        with pytest.raises(EOFError):
            for _ in range(2):
                receive(pipe)

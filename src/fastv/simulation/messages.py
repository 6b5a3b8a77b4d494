"""Messages between processes and workers of a cluster: JSON for text, ``.npy`` for arrays, nothing executable.

A message on a pipe is one line of JSON, ``[kind, content, n]``, followed by n bytes. The bytes of showers or tracks are
one line of JSON, ``{"arrays": [name, ...], "words": {...}}``, followed by these arrays as ``numpy.save`` writes them,
without pickle. The words of showers are their provenance. Their detector is not sent, as the receiver knows it from the
request.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastv import errors
from fastv.errors import FastVError
from fastv.showers import Showers
from fastv.showers.layout import as_json
from fastv.simulation.tracks import Tracks

if TYPE_CHECKING:
    from fastv.detector.detector import Detector

_EXTRA = "extra/"


def send(pipe: IO[bytes], kind: str, content: Any = None, data: bytes = b"") -> None:
    """Write one message: its kind, JSON content, and bytes."""
    pipe.write(json.dumps([kind, content, len(data)]).encode() + b"\n")
    pipe.write(data)
    pipe.flush()


def receive(pipe: IO[bytes]) -> tuple[str, Any, bytes]:
    """Read one message.

    Raises:
        EOFError: the pipe ended before the message was complete.
        ValueError: the message is not valid JSON.

    Example:
        >>> pipe = io.BytesIO()
        >>> send(pipe, "event", 7, b"abc")
        >>> _ = pipe.seek(0)
        >>> receive(pipe)
        ('event', 7, b'abc')
    """
    line = pipe.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    kind, content, size = json.loads(line)
    data = pipe.read(size)
    if len(data) != size:
        raise EOFError
    return kind, content, data


def _packed(arrays: Mapping[str, NDArray[Any] | None], words: Mapping[str, Any]) -> bytes:
    present = {name: array for name, array in arrays.items() if array is not None}
    buffer = io.BytesIO()
    buffer.write(as_json({"arrays": list(present), "words": words}).encode() + b"\n")
    for array in present.values():
        np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _unpacked(data: bytes) -> tuple[dict[str, NDArray[Any]], Any]:
    buffer = io.BytesIO(data)
    head = json.loads(buffer.readline())
    return {name: np.load(buffer, allow_pickle=False) for name in head["arrays"]}, head["words"]


def packed_arrays(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Encode arrays by name as bytes."""
    return _packed(arrays, {})


def unpacked_arrays(data: bytes) -> dict[str, NDArray[Any]]:
    """Decode arrays.

    Example:
        >>> unpacked_arrays(packed_arrays({"energy": np.array([1.0, 2.0])}))["energy"].tolist()
        [1.0, 2.0]
    """
    return _unpacked(data)[0]


def packed_showers(showers: Showers) -> bytes:
    """Encode showers as bytes, without their detector."""
    columns = {name: getattr(showers, name) for name in ("incident_energies", "energies", "theta", "phi", "pdg")}
    extra = {f"{_EXTRA}{name}": np.asarray(column) for name, column in showers.extra.items()}
    return _packed({**columns, **extra}, dict(showers.provenance))


def unpacked_showers(data: bytes, detector: Detector) -> Showers:
    """Decode showers."""
    arrays, provenance = _unpacked(data)
    extra = {name.removeprefix(_EXTRA): arrays.pop(name) for name in list(arrays) if name.startswith(_EXTRA)}
    return Showers(**arrays, detector=detector, extra=extra, provenance=provenance)


def packed_tracks(tracks: Tracks) -> bytes:
    """Encode tracks as bytes."""
    return _packed(tracks.columns, {})


def unpacked_tracks(data: bytes) -> Tracks:
    """Decode tracks."""
    return Tracks(_unpacked(data)[0])


def packed_error(error: FastVError) -> list[str]:
    """Encode an error of FastV as JSON data: the name of its class, and its message."""
    return [type(error).__name__, str(error)]


def unpacked_error(content: Sequence[str]) -> FastVError:
    """Decode an error.

    Example:
        >>> unpacked_error(["SettingsError", "no such particle"])
        SettingsError('no such particle')
    """
    name, message = content
    kind = getattr(errors, name, None)
    return kind(message) if isinstance(kind, type) and issubclass(kind, FastVError) else FastVError(message)

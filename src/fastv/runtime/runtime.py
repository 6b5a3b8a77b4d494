"""Showers of given conditions and event numbers from an exported graph."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastv.errors import DomainError, GeometryError, ModelError, SettingsError
from fastv.noise import noise_stream
from fastv.runtime.calls import Call, Calls
from fastv.runtime.description import GraphDescription
from fastv.runtime.guard import Checked, Guard
from fastv.runtime.session import MOST_BYTES, Device, described_session, named, open_session
from fastv.storage.documents import DocumentError, read_bytes

if TYPE_CHECKING:
    from fastv.detector.detector import Detector

Outside = Literal["refuse", "clamp", "hand back"]
_ANSWERS = ("refuse", "clamp", "hand back")
_LARGEST = 2**32 - 1
_INFINITY = int(np.float32(np.inf).view(np.uint32))


@dataclass(frozen=True, eq=False)
class Generated:
    """Showers from a graph.

    Attributes:
        energies: voxel energies (N, V) in MeV, (layer, alpha, r) with r fastest. Showers that are handed back are NaN,
            so that nobody takes them for empty ones.
        handed_back: why, for each shower that needs full simulation: it is outside the domain, or the model gave it an
            energy that is negative or not finite.
        clamped: why, for each shower whose conditions were moved to the nearest end of the domain.
    """

    energies: NDArray[np.float32]
    handed_back: dict[int, str] = field(default_factory=dict)
    clamped: dict[int, str] = field(default_factory=dict)


class _Graph:
    """A graph that was read from a file, and how it is run."""

    def __init__(self, path: Path, seed: int, device: Device) -> None:
        try:
            content = read_bytes(path, MOST_BYTES)
        except DocumentError as error:
            msg = f"{path}: cannot read the graph ({error})"
            raise ModelError(msg) from error
        self.path, self.seed = path, seed
        self.sha256 = hashlib.sha256(content).hexdigest()
        self.session = open_session(path, content, device=device)
        self.description: GraphDescription = described_session(path, self.session)
        self.guard = Guard(self.description.condition_names, self.description.domain)

    def _noise(self, event: Sequence[int]) -> NDArray[np.float32]:
        return self.description.noise.draw_from(noise_stream((self.seed, 1, *event)), 1)

    def run(
        self, conditions: NDArray[np.float32], events: Sequence[Sequence[int]], energies: NDArray[np.float32]
    ) -> None:
        """Generate showers in one run of the graph, each with the noise of its event."""
        noise = np.concatenate([self._noise(event) for event in events])
        with named(self.path):
            binding = self.session.io_binding()
            binding.bind_cpu_input("noise", noise)
            binding.bind_cpu_input("conditions", conditions)
            # The output is bound to its place in the result, which avoids a copy.
            binding.bind_output("energies", "cpu", 0, np.float32, energies.shape, energies.ctypes.data)
            self.session.run_with_iobinding(binding)

    def shower(self, conditions: NDArray[np.float32], event: Sequence[int]) -> NDArray[np.float32]:
        """Energies (1, V) of one shower, in the memory of onnxruntime: a binding takes longer than to copy them."""
        noise = self._noise(event)
        with named(self.path):
            (energies,) = self.session.run(["energies"], {"noise": noise, "conditions": conditions})
        if energies.shape != (1, self.description.voxels):
            msg = f"{self.path}: the graph gives energies of shape {energies.shape} for one shower"
            raise ModelError(msg)
        return np.asarray(energies)


class Runtime:
    """Showers from a graph of contract ``fastv``, in onnxruntime with one thread for each run; without PyTorch.

    A shower is a function of the seed, the numbers of its event and its conditions. With ``batch=1`` that holds bit for
    bit, whatever else a call asks for and in whatever thread: each shower is a run of its own, and calls of several
    threads run at a time. With a larger ``batch``, as a GPU needs, up to so many showers of all threads that wait are
    run together. Their noise is the same, but matrix products of other sizes round otherwise (in ``cascade`` and
    ``copula``, a choice may then come out differently).

    The file is read once. If it is replaced, nothing changes until :meth:`reload`.

    Args:
        path: the ONNX file.
        seed: seed of all noise, from 0 to 2^32 - 1.
        detector: the detector in which the showers are put; refused if its mesh is not the one of the graph.
        outside: what to do with conditions outside the domain of the model: ``refuse`` them with an error, ``clamp``
            numbers to the nearest end and hand back what has none, or ``hand back`` the shower to full simulation.
        batch: the most showers in one run of the graph.
        device: ``cpu``, ``gpu`` (onnxruntime-gpu), or ``auto``: a GPU if onnxruntime has one.

    Attributes:
        path: the ONNX file.
        seed, outside, batch, device: as given.

    Raises:
        ModelError: the file is missing or damaged, or not of this contract, or its metadata do not fit the graph.
        GeometryError: the graph generates showers of another mesh.
        SettingsError: an argument is not allowed, or there is no GPU.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        seed: int = 0,
        detector: Detector | None = None,
        outside: Outside = "refuse",
        batch: int = 1,
        device: Device = "cpu",
    ) -> None:
        if outside not in _ANSWERS:
            msg = f"`outside` must be one of {', '.join(map(repr, _ANSWERS))}, got {outside!r}"
            raise SettingsError(msg)
        if device not in ("cpu", "gpu", "auto"):
            msg = f"`device` must be 'cpu', 'gpu' or 'auto', got {device!r}"
            raise SettingsError(msg)
        if batch < 1:
            msg = f"`batch` must be at least 1, got {batch}"
            raise SettingsError(msg)
        if not 0 <= seed <= _LARGEST:
            msg = f"`seed` must be from 0 to {_LARGEST}, got {seed}"
            raise SettingsError(msg)
        self.path, self.seed, self.batch, self.device = Path(path), seed, batch, device
        self.outside: Outside = outside
        self._calls = Calls(batch)
        self._reloading = threading.Lock()
        self._graph: _Graph | None = self._read(detector)

    def _read(self, detector: Detector | None) -> _Graph:
        graph = _Graph(self.path, self.seed, self.device)
        if detector is not None and graph.description.detector.mesh != detector.mesh:
            msg = (
                f"{self.path}: the graph generates showers of {graph.description.detector.mesh.describe()}, but the "
                f"detector {detector.name!r} has {detector.mesh.describe()}; export a model of this mesh"
            )
            raise GeometryError(msg)
        return graph

    @property
    def _open(self) -> _Graph:
        graph = self._graph
        if graph is None:
            msg = f"{self.path}: the runtime is closed; open the file again"
            raise ModelError(msg)
        return graph

    @property
    def sha256(self) -> str:
        """SHA-256 of the file that was read."""
        return self._open.sha256

    @property
    def description(self) -> GraphDescription:
        """What the graph tells of itself: domain, names of conditions, number of voxels, detector, all metadata."""
        return self._open.description

    @property
    def detector(self) -> Detector:
        """The detector whose showers the graph generates, with its mesh, energy scale and threshold.

        Raises:
            ModelError: its description in the file is damaged.
        """
        return self._open.description.detector

    def generate(self, events: ArrayLike, **conditions: ArrayLike) -> Generated:
        """Generate a shower for each event. Several threads may call at a time.

        Args:
            events: the number of the event of each shower (N,), or a single one; (N, K) for several numbers each, such
                as event and track. Numbers are from 0 to 2^32 - 1. Event 0 of a seed is the shower of
                ``Model.generate(n=1)`` with that seed.
            conditions: by name, one value for all or (N,): ``energy`` in MeV, ``theta`` and ``phi`` in rad,
                ``particle`` as name or PDG code, ``detector`` as name. Those that the model does not take may be given
                too, and are compared with its domain.

        Raises:
            DomainError: a condition is outside the domain, and ``outside`` is ``refuse``.
            SettingsError: an event or a condition is not allowed.
            ModelError: onnxruntime cannot run the graph, or the runtime is closed.
        """
        graph, numbers = self._open, _event_numbers(events)
        checked = graph.guard.check(len(numbers), conditions)
        handed_back, clamped = self._answer(checked)
        if not handed_back:
            energies = self._energies(graph, checked.columns, numbers)
        else:
            energies = np.full((len(numbers), graph.description.voxels), np.nan, dtype=np.float32)
            if kept := [row for row in range(len(numbers)) if row not in handed_back]:
                energies[kept] = self._energies(graph, checked.columns[kept], [numbers[row] for row in kept])
        if not _valid(energies):
            for row in (row for row in range(len(numbers)) if not _valid(energies[row])):
                handed_back.setdefault(row, "the model gave it a voxel energy that is negative or not finite")
                energies[row] = np.nan
            handed_back = dict(sorted(handed_back.items()))
        return Generated(energies, handed_back, clamped)

    def _answer(self, checked: Checked) -> tuple[dict[int, str], dict[int, str]]:
        """The showers to hand back, and those that were clamped."""
        outside = checked.outside
        if not outside:
            return {}, {}
        if self.outside == "refuse":
            msg = f"{next(iter(outside.values()))}; stay inside it, or pass `outside='hand back'` or `outside='clamp'`"
            raise DomainError(msg)
        if self.outside == "hand back":
            return outside, {}
        return (
            {row: why for row, why in outside.items() if row in checked.beyond},
            {row: why for row, why in outside.items() if row not in checked.beyond},
        )

    def _energies(
        self, graph: _Graph, conditions: NDArray[np.float32], events: Sequence[Sequence[int]]
    ) -> NDArray[np.float32]:
        if self.batch == 1 and len(events) == 1:
            return graph.shower(conditions, events[0])
        energies = np.empty((len(events), graph.description.voxels), dtype=np.float32)
        if self.batch == 1:
            for row, event in enumerate(events):
                energies[row] = graph.shower(conditions[row : row + 1], event)[0]
        else:
            self._calls.fill(Call(graph.run, conditions, events, energies))
        return energies

    def reload(self) -> bool:
        """Read the file again, for example after it was replaced; calls under way end with the graph they began with.

        Returns:
            Whether it is another file than before.

        Raises:
            ModelError: as for opening it, or it has another mesh or other conditions; the graph stays as it was.
        """
        with self._reloading:
            old = self._open
            new = self._read(None)
            if new.description.condition_names != old.description.condition_names or (
                new.sha256 != old.sha256 and new.description.detector.mesh != old.description.detector.mesh
            ):
                msg = f"{self.path}: the new graph has another mesh or other conditions; open it as a new runtime"
                raise ModelError(msg)
            self._graph = new
            return new.sha256 != old.sha256

    def close(self) -> None:
        """Give the memory of the graph back when the calls under way are done; later ones are refused."""
        with self._reloading:
            self._graph = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


def _valid(energies: NDArray[np.float32]) -> bool:
    """Whether all are finite and not negative."""
    if not energies.size:
        return True
    # The bits of such numbers, read as whole numbers, are below those of infinity: one pass. Above are those of all
    # others, and of -0, for which there are two passes: extremes are no numbers if one energy is not.
    if np.maximum.reduce(energies.view(np.uint32), axis=None) < _INFINITY:
        return True
    return bool(np.minimum.reduce(energies, axis=None) >= 0 and np.maximum.reduce(energies, axis=None) < np.inf)


def _event_numbers(events: ArrayLike) -> list[list[int]]:
    """The numbers of each event.

    Raises:
        SettingsError: they are no whole numbers, too large, or of another shape.
    """
    if type(events) is int and 0 <= events <= _LARGEST:  # the case of an event loop
        return [[events]]
    array = np.asarray(events)
    if array.dtype.kind not in "iu" or array.ndim > 2:
        msg = f"`events` must be whole numbers (N,) or (N, K), got {array.dtype} of shape {array.shape}"
        raise SettingsError(msg)
    if array.size and (array.min() < 0 or array.max() > _LARGEST):
        msg = f"`events` must be from 0 to {_LARGEST}, got {array.min()} to {array.max()}; divide larger ones into two"
        raise SettingsError(msg)
    numbers: list[list[int]] = (array if array.ndim == 2 else np.atleast_1d(array)[:, None]).tolist()
    return numbers

"""What the programs that run graphs feed and read, and how a model is exported for one of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastv.conditions.table import CONDITIONS
from fastv.conditions.words import in_words
from fastv.detector.detector import Detector
from fastv.domain import Domain
from fastv.errors import SettingsError
from fastv.mirror import Mirror
from fastv.model import Model
from fastv.noise import NoiseSpec
from fastv.suggestions import unknown
from fastv.wording import shortened

PAR04_ENERGY = 1_024_000.0
"""Incident energies of Par04's autoencoder are divided by it, in MeV."""
SEEDS = 10
"""Normal numbers that are expanded to the noise of a shower where a contract has few."""
_MOST_SEEDS = 1000
Fixed = Mapping[str, Any]


@dataclass(frozen=True)
class Column:
    """A number that a program passes: a condition in some unit, or a constant.

    Attributes:
        condition: name of the condition, "" for a constant.
        unit: one of the column in MeV or rad.
        to_normal: whether it is the angle to the normal of the detector, in place of the polar angle.
        value: of a constant.
    """

    condition: str = ""
    unit: float = 1.0
    to_normal: bool = False
    value: float = 0.0


@dataclass(frozen=True)
class Contract:
    """Inputs and outputs that a program expects.

    Attributes:
        name: of the contract.
        consumer: the program.
        columns: numbers that it passes for each shower, after the normal ones.
        seeds: normal numbers that it passes for each shower, unless ``any_seeds``; 0 if it passes none.
        any_seeds: whether its user can set their number.
        fraction: whether it multiplies the output by the incident energy in MeV; else it takes GeV.
        from_zero: whether its first alpha cell starts at 0, not at -pi.
        cells: numbers of cells (layer, alpha, r) unless its settings change them.
        fixed_cells: whether they are always these.
        steering: ending of the file with settings that is written beside the graph.
    """

    name: str
    consumer: str = ""
    columns: tuple[Column, ...] = ()
    seeds: int = 0
    any_seeds: bool = False
    fraction: bool = False
    from_zero: bool = False
    cells: tuple[int, int, int] = (0, 0, 0)
    fixed_cells: bool = False
    steering: str = ""

    @property
    def own(self) -> bool:
        """Whether it is FastV's, with all noise and conditions as inputs."""
        return not self.consumer

    @property
    def carries(self) -> tuple[str, ...]:
        """Conditions that it passes."""
        return tuple(CONDITIONS) if self.own else tuple(each.condition for each in self.columns if each.condition)

    @property
    def to_normal(self) -> bool:
        """Whether it knows an inclined shower only by its angle to the normal of the detector."""
        return any(column.to_normal for column in self.columns)

    def encoded(
        self, conditions: Mapping[str, ArrayLike], seeds: NDArray[np.float32], right_angle: float = math.pi / 2
    ) -> NDArray[np.float32]:
        """The input that a consumer makes for showers, as its C++ does.

        Args:
            conditions: incident energies (N,) in MeV; ``theta`` and ``phi`` in rad, by default normal incidence and 0.
            seeds: the normal numbers (N, S).
            right_angle: polar angle of normal incidence on the detector.
        """
        energy = np.atleast_1d(np.asarray(conditions["energy"], np.float64))
        given = {"theta": right_angle, "phi": 0.0} | dict(conditions)
        columns = []
        for column in self.columns:
            values = np.asarray(given[column.condition] if column.condition else column.value, np.float64)
            if column.condition == "phi":
                values = (values + np.pi) % (2 * np.pi) - np.pi
            if column.to_normal:
                values = np.abs(values - right_angle)
            columns.append(np.broadcast_to(values / column.unit, energy.shape))
        return np.concatenate([seeds, np.stack(columns, axis=1)], axis=1, dtype=np.float32, casting="same_kind")


def _one_hot(n: int, chosen: int) -> tuple[Column, ...]:
    return tuple(Column(value=float(i == chosen)) for i in range(n))


CONTRACTS: dict[str, Contract] = {
    contract.name: contract
    for contract in (
        Contract("fastv"),
        Contract(
            "par04-vae",
            consumer="the Geant4 example Par04 with an autoencoder",
            columns=(Column("energy", PAR04_ENERGY), Column("theta", math.pi / 2), *_one_hot(2, 1)),
            seeds=SEEDS,
            any_seeds=True,
            fraction=True,
            cells=(45, 50, 18),
            steering=".mac",
        ),
        Contract(
            "par04-calodit2",
            consumer="the Geant4 example Par04 with CaloDiT-2",
            columns=(Column("energy", 1000.0), Column("phi"), Column("theta"), *_one_hot(5, 0)),
            cells=(45, 16, 9),
            fixed_cells=True,
            steering=".mac",
        ),
        Contract(
            "ddml",
            consumer="DDML, class Par04ExampleVAE",
            columns=(Column("energy", PAR04_ENERGY), Column("theta", math.pi / 2, to_normal=True), *_one_hot(2, 1)),
            seeds=SEEDS,
            fraction=True,
            from_zero=True,
            cells=(45, 50, 18),
            steering=".py",
        ),
    )
}
"""Contracts by name."""


@dataclass(frozen=True)
class Plan:
    """How one model is exported for a contract; see :func:`planned`.

    Attributes:
        contract: the contract.
        noise: the noise of the model.
        names: the conditions of the model.
        mirror: the mirror images of showers that the graph generates too; none where theta is not passed.
        detector: the detector whose showers the graph gives.
        seeds: number of normal numbers that are passed, or 0.
        visible: whether the output is visible energy, not divided by the energy scale.
        fixed: values of conditions of the model that are not passed, in its units; for a choice, the index.
    """

    contract: Contract
    noise: NoiseSpec
    names: tuple[str, ...]
    mirror: Mirror
    detector: Detector
    seeds: int = 0
    visible: bool = False
    fixed: dict[str, float] = field(default_factory=dict)

    @property
    def domain(self) -> Domain:
        """The domain of the graph, with the mirror images."""
        return self.mirror.domain

    @property
    def scale(self) -> float:
        """Factor from the model's voxel energies to those of the output, both in MeV."""
        return self.detector.energy_scale if self.visible else 1.0

    @property
    def hashed(self) -> bool:
        """Whether the noise is expanded inside the graph."""
        return not self.contract.own and self.seeds != self.noise.size

    @property
    def ignored(self) -> tuple[str, ...]:
        """Conditions that the consumer passes and the model does not take, or that are fixed."""
        if self.contract.own:
            return ()
        return tuple(name for name in self.contract.carries if name not in self.names or name in self.fixed)

    @property
    def right_angle(self) -> float:
        """Polar angle of normal incidence on the detector, in rad."""
        if self.domain.right_angle is not None:
            return self.domain.right_angle
        return self.detector.stack.right_angle if self.detector.stack else math.pi / 2

    @property
    def side(self) -> float:
        """The sign by which an angle to the normal of the detector is added to the polar angle of normal incidence."""
        low, high = self.domain.bounds("theta") or (0.0, 0.0)
        return 1.0 if high - self.right_angle > self.right_angle - low + 1e-6 else -1.0

    def bounds(self, name: str) -> tuple[float, float]:
        """What a condition is limited to in the graph; for a choice, its indices."""
        if CONDITIONS[name].choices:
            return 0.0, float(len(self.domain.choices(name)) - 1)
        return self.domain.bounds(name) or (0.0, 0.0)

    def encoded(self, conditions: Mapping[str, ArrayLike], seeds: NDArray[np.float32]) -> NDArray[np.float32]:
        """The input that a consumer makes for showers, see :meth:`Contract.encoded`."""
        return self.contract.encoded(conditions, seeds, self.right_angle)

    def decoded(self, output: NDArray[np.float32], energy: ArrayLike) -> NDArray[np.float64]:
        """Voxel energies (N, V) in MeV, as FastV orders them, from the output (N, r, alpha, layer)."""
        layers, alphas, rs = self.detector.mesh.shape
        cells = output.astype(np.float64).reshape(-1, rs, alphas, layers)
        if self.contract.from_zero:
            cells = np.roll(cells, alphas // 2, axis=2)
        factor = np.asarray(energy, np.float64).reshape(-1, 1) if self.contract.fraction else 1000.0
        return cells.transpose(0, 3, 2, 1).reshape(len(cells), -1) * factor


def planned(
    model: Model, contract: str, *, latent: int | None = None, energies: str | None = None, fixed: Fixed | None = None
) -> Plan:
    """Decide how a model is exported for a contract.

    Args:
        model: the model.
        contract: name of the contract.
        latent, energies, fixed: as for :func:`fastv.export.export`.

    Raises:
        SettingsError: there is no such contract, the contract does not have what is asked for, it does not carry a
            condition of the model that is not fixed, or the mesh is not one that the program has.
        ModelError: the family of the model draws no showers.
    """
    model.generator.check_draws()
    if contract not in CONTRACTS:
        raise SettingsError(unknown("contract", contract, CONTRACTS))
    chosen, generator = CONTRACTS[contract], model.generator
    names, noise = generator.condition_names, generator.noise
    values = _fixed_values(model, chosen, dict(fixed or {}))
    detector = model.detectors[int(values.get("detector", 0))]
    # An angle to the normal does not tell on which side of it a particle comes in.
    passed = () if chosen.to_normal or "theta" in values else names
    mirror = Mirror.of(model.domain, passed, detector.mesh)
    if chosen.own:
        for name, value in {"latent": latent, "energies": energies}.items():
            if value is not None:
                msg = f"`{name}={value!r}` is for the contracts of other programs; 'fastv' takes all noise, gives MeV"
                raise SettingsError(msg)
        return Plan(chosen, noise, names, mirror, detector)
    if energies not in (None, "visible", "scaled"):
        raise SettingsError(unknown("kind of energies", str(energies), ("visible", "scaled")))
    check_mesh(chosen, detector)
    seeds = _seeds(chosen, noise, latent)
    return Plan(chosen, noise, names, mirror, detector, seeds, energies != "scaled", values)


def _seeds(contract: Contract, noise: NoiseSpec, latent: int | None) -> int:
    if latent is None or latent == contract.seeds:
        return contract.seeds
    if not contract.any_seeds:
        held = f"passes {contract.seeds} normal numbers" if contract.seeds else "passes no noise"
        msg = f"`latent={latent}` is not possible: {contract.consumer} {held}; leave it out"
        raise SettingsError(msg)
    if not (latent == noise.size or SEEDS <= latent <= _MOST_SEEDS):
        msg = (
            f"`latent` must be {SEEDS} to {_MOST_SEEDS} normal numbers, which are expanded inside the graph, or the "
            f"{noise.size} columns of noise of this model, got {latent}"
        )
        raise SettingsError(msg)
    return latent


def _fixed_values(model: Model, contract: Contract, asked: dict[str, Any]) -> dict[str, float]:
    """Values of the conditions that the graph does not take from its input."""
    domain, names = model.domain, model.generator.condition_names
    if contract.own and asked:
        msg = f"`fixed` names {', '.join(asked)}, but the contract 'fastv' carries all conditions; leave it out"
        raise SettingsError(msg)
    values: dict[str, float] = {}
    for name in asked:
        if name not in names or name == "energy":
            able = [each for each in names if each != "energy"]
            can = f"can be fixed: {', '.join(able)}" if able else "it takes the energy only"
            msg = f"`fixed` names {shortened(name)}, which is no condition of the model that can be fixed; {can}"
            raise SettingsError(msg)
    for name in () if contract.own else names:
        if name in asked:
            values[name] = _fixed_value(domain, name, asked[name])
            continue
        if name in contract.carries:
            continue
        bounds = domain.bounds(name)
        only = bounds[0] if bounds and bounds[0] == bounds[1] else None
        if CONDITIONS[name].choices and len(domain.choices(name)) == 1:
            only = 0.0
        if only is None:
            known = in_words(name, *bounds) if bounds else "one of "
            known += "" if bounds else ", ".join(getattr(domain, CONDITIONS[name].choices))
            msg = (
                f"the contract {contract.name!r} does not carry the condition {name!r} of the model ({known}); "
                "fix it with `fixed=...`"
            )
            raise SettingsError(msg)
        values[name] = only
    return values


def _fixed_value(domain: Domain, name: str, value: Any) -> float:
    condition = CONDITIONS[name]
    if isinstance(value, str) and condition.parse is not None:
        parsed = condition.parse(value)
        listed = list(parsed) if isinstance(parsed, tuple) else list(parsed.values)
        if len(listed) != 1:
            msg = f"`fixed` takes one value of {name}, got {shortened(value)}"
            raise SettingsError(msg)
        value = listed[0]
    domain.check(name, np.asarray([value]))
    return float(domain.choices(name).index(value)) if condition.choices else float(value)


def check_mesh(contract: Contract, detector: Detector) -> None:
    """Check that a program can have the mesh of a detector.

    Raises:
        SettingsError: it cannot; the message says what it has.
    """
    mesh = detector.mesh
    blocks = mesh.blocks
    edges = np.asarray(blocks[0].r_edges)
    equal = np.allclose(np.diff(edges), edges[1] - edges[0]) and edges[0] == 0
    if (
        not mesh.is_regular
        or len({block.thickness for block in blocks}) > 1
        or blocks[0].thickness is None
        or not equal
    ):
        msg = (
            f"{contract.consumer} has cells of one size in r from the axis on and layers of one known thickness; "
            f"the mesh of {detector.name} is another: {mesh.describe()}"
        )
        raise SettingsError(msg)
    if contract.fixed_cells and mesh.shape != contract.cells:
        has, is_ = (" x ".join(map(str, shape[::-1])) for shape in (contract.cells, mesh.shape))
        msg = f"{contract.consumer} has {has} cells (r, alpha, z); the mesh of {detector.name} has {is_}"
        raise SettingsError(msg)
    if contract.from_zero and mesh.shape[1] % 2:
        msg = (
            f"{contract.consumer} has its first alpha cell at 0, FastV at -pi: the number of alpha cells must be "
            f"even, and {detector.name} has {mesh.shape[1]}"
        )
        raise SettingsError(msg)

"""Geometries for Geant4: slabs where they should be, as much of a calorimeter as its showers need."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest

from fastv.detector.detector import PRESETS, Detector
from fastv.detector.stack import Slab, SlabGroup, Stack
from fastv.simulation.construction import HALL, geometry, half_opening, margin, slab_number
from fastv.simulation.request import SimulationRequest

LEAD, PLASTIC = Slab(material="G4_Pb", thickness=2.0), Slab(material="G4_POLYSTYRENE", thickness=4.0, active=True)
PLANES = Detector(
    name="planes",
    mesh=PRESETS["par04-siw"].mesh,
    stack=Stack(
        shape="planar",
        distance=1000.0,
        groups=(SlabGroup(slabs=(LEAD, PLASTIC), repeat=25), SlabGroup(slabs=(LEAD,)), SlabGroup(slabs=(PLASTIC,))),
    ),
)


def request_of(detector: Detector | str = "par04-siw", **fields: object) -> SimulationRequest:
    return SimulationRequest(**{"detector": detector, "energy": "1GeV", **fields})  # type: ignore[arg-type]


def volumes(
    content: dict[str, Any], name: str = "", offset: float = 0.0
) -> Iterator[tuple[str, dict[str, Any], float]]:
    """Every volume with its path and the z of its middle in cm."""
    for key, value in content.items():
        if key[0].isupper() and isinstance(value, dict):
            middle = offset + value.get("position", [0, 0, 0])[2]
            yield f"{name}.{key}", value, middle
            yield from volumes(value, f"{name}.{key}", middle)


def slabs(content: dict[str, Any]) -> dict[int, tuple[dict[str, Any], float]]:
    return {slab_number(name): (value, z) for name, value, z in volumes(content) if name.rpartition(".")[2][0] == "S"}


@pytest.mark.parametrize("detector", [*PRESETS.values(), PLANES], ids=lambda detector: detector.name)
def test_every_slab_is_in_its_place(detector: Detector) -> None:
    stack = detector.stack
    assert stack is not None
    built = slabs(geometry(request_of(detector)))
    assert sorted(built) == list(range(len(stack.slabs)))
    for i, slab in enumerate(stack.slabs):
        value, z = built[i]
        assert value["material"] == slab.material
        assert value.get("role") == ("record_deposits" if slab.active else None)
        front = (stack.front + stack.boundaries[i]) / 10
        if stack.shape == "barrel":
            assert value["cylinder"]["radius"] - value["cylinder"]["thickness"] == pytest.approx(front, abs=1e-9)
        else:
            assert z - value["box"][2] / 2 == pytest.approx(front, abs=1e-9)
        # What is nested in a slab begins where it ends.
        nested = [key for key in value if key[0] == "S"]
        end = front + slab.thickness / 10
        if nested:
            inner, inner_z = built[i + 1]
            if stack.shape == "barrel":
                assert inner["cylinder"]["radius"] == value["cylinder"]["radius"]
            else:
                assert inner_z + inner["box"][2] / 2 == pytest.approx(z + value["box"][2] / 2, abs=1e-9)
        elif stack.shape == "barrel":
            assert value["cylinder"]["radius"] == pytest.approx(end, abs=1e-9)
        else:
            assert z + value["box"][2] / 2 == pytest.approx(end, abs=1e-9)


def test_containers_are_filled_completely() -> None:
    for _, value, z in volumes(geometry(request_of(PLANES))):
        parts = [(key, part) for key, part in value.items() if key[0] in "CS" and isinstance(part, dict)]
        if value["material"] != "G4_Galactic" or len(parts) < 2:
            continue
        thickness = [part["box"][2] for _, part in parts]
        assert sum(thickness) == pytest.approx(value["box"][2], abs=1e-9)
        low = z - value["box"][2] / 2
        for (_, part), size in zip(parts, thickness, strict=True):
            assert z + part["position"][2] - size / 2 == pytest.approx(low, abs=1e-9)
            low += size


class TestExtent:
    @pytest.mark.parametrize("name", PRESETS)
    def test_the_sides_of_a_sector_are_far_from_the_shower(self, name: str) -> None:
        request = request_of(name)
        opening = half_opening(request)
        assert opening is not None
        assert request.stack.front * math.sin(opening) == pytest.approx(margin(request.detector))
        assert (
            margin(request.detector) > request.detector.mesh.blocks[0].r_edges[-1] + 10 * request.stack.moliere_radius
        )

    @pytest.mark.parametrize("theta", ["90deg", "50-90deg", "40,140deg"])
    def test_all_showers_are_inside_along_z(self, theta: str) -> None:
        request = request_of(theta=theta)
        ((_, shell, middle),) = [each for each in volumes(geometry(request)) if each[0].count(".") == 2]
        half = shell["cylinder"]["length"] / 2
        assert request.stack.front == 800
        for angle in (request.theta_spec.low, request.theta_spec.high):
            for radius in (80.0, 95.3):
                across = margin(request.detector) / 10 / math.sin(angle)
                assert middle - half <= radius / math.tan(angle) - across + 1e-9
                assert middle + half >= radius / math.tan(angle) + across - 1e-9

    def test_limits_of_the_detector(self) -> None:
        siw = PRESETS["par04-siw"]
        assert siw.stack is not None
        short = siw.model_copy(update={"stack": siw.stack.model_copy(update={"half_length": 30.0})})
        ((_, shell, middle),) = [v for v in volumes(geometry(request_of(short))) if v[0].count(".") == 2]
        assert (shell["cylinder"]["length"], middle) == (pytest.approx(6.0), pytest.approx(0.0))
        assert PLANES.stack is not None
        narrow = PLANES.model_copy(update={"stack": PLANES.stack.model_copy(update={"half_width": 30.0})})
        assert all(value["box"][0] == 6.0 for value, _ in slabs(geometry(request_of(narrow))).values())

    def test_a_wider_beam_needs_more(self) -> None:
        narrow, wide = half_opening(request_of()), half_opening(request_of(position_spread=10))
        assert narrow is not None
        assert wide is not None
        assert 800 * (math.sin(wide) - math.sin(narrow)) == pytest.approx(60)

    def test_full_cylinders(self) -> None:
        def sections(content: dict[str, Any]) -> list[bool]:
            return ["section" in value["cylinder"] for _, value, _ in volumes(content) if "cylinder" in value]

        assert all(sections(geometry(request_of())))
        assert not any(sections(geometry(request_of(), full=True)))
        # A barrel around a thin beam pipe has no room for a sector.
        siw = PRESETS["par04-siw"]
        assert siw.stack is not None
        thin = siw.model_copy(update={"stack": siw.stack.model_copy(update={"inner_radius": 50.0})})
        assert half_opening(request_of(thin)) is None
        assert not any(sections(geometry(request_of(thin))))


def test_to_see_all_energy() -> None:
    content = geometry(request_of(), all_active=True)
    assert content["Outside"]["role"] == "catch_ingoing"
    assert HALL in content["Outside"]
    assert all(value["role"] == "record_deposits" for value, _ in slabs(content).values())


@pytest.mark.geant4
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("detector", [PRESETS["par04-siw"], PLANES], ids=lambda detector: detector.name)
def test_geant4_finds_no_overlap(detector: Detector, full: bool) -> None:
    import calzone

    theta = "50-90deg" if detector is not PLANES else "0-40deg"
    calzone.Geometry(geometry(request_of(detector, theta=theta), full=full)).check(100)

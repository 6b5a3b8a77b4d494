"""The settings of the programs that run graphs of a contract: a macro of Par04, or a steering file of DD4hep."""

from __future__ import annotations

import math

from fastv._version import __version__
from fastv.detector.detector import Detector
from fastv.export.contracts import Plan


def steering(plan: Plan, graph: str, notes: tuple[str, ...]) -> str:
    """The text of the file that is written beside a graph.

    Args:
        plan: how the model was exported.
        graph: name of the graph's file.
        notes: what the user must know.
    """
    head = [f"written by FastV {__version__} for {graph}, contract {plan.contract.name}"]
    low, high = plan.bounds("energy")
    head.append(f"energies of the model: {low / 1000:g} to {high / 1000:g} GeV; angles: {_angles(plan)}")
    head += notes
    comments = "".join(f"# {line}\n" for line in head)
    return comments + (_macro(plan, graph) if plan.contract.steering == ".mac" else _ddml(plan, graph))


def _angles(plan: Plan) -> str:
    bounds = plan.domain.bounds("theta")
    if bounds is None or "theta" not in plan.names:
        return "normal incidence" if bounds is None or not plan.domain.inclined else "all of its training data"
    return "theta " + " to ".join(f"{math.degrees(each):.4g}" for each in bounds) + " deg"


def _macro(plan: Plan, graph: str) -> str:
    block = plan.detector.mesh.blocks[0]
    layers, alphas, rs = plan.detector.mesh.shape
    sizes = [
        f"setSizeOfRhoCells {block.r_edges[1]:g} mm",
        f"setSizeOfZCells {block.thickness:g} mm",
        f"setNbOfRhoCells {rs}",
        f"setNbOfPhiCells {alphas}",
        f"setNbOfZCells {layers}",
    ]
    readout = "".join(f"/Par04/mesh/{each}\n" for each in sizes)
    inference = "".join(f"/Par04/inference/{each}\n" for each in sizes)
    if plan.seeds:
        vector = f"/Par04/inference/setSizeLatentVector {plan.seeds}\n/Par04/inference/setSizeConditionVector 4\n"
    else:
        vector = (
            "# Select CaloDiT-2 here as the example's own macro for it does: that command differs between versions of\n"
            "# Geant4 and is not known to FastV.\n"
        )
    particle = next(iter(plan.domain.particles), "e-")
    return f"""
# Detector
{_detector(plan.detector)}# Readout mesh; it is that of the model
{readout}
/run/numberOfThreads 1
/run/initialize

/gun/particle {particle}
/gun/energy 10 GeV
/gun/position 0 0 0
/gun/direction 0 1 0

# Model
{vector}/Par04/inference/setModelPathName ./{graph}
/Par04/inference/setProfileFlag 0
/Par04/inference/setOptimizationFlag 0
/Par04/inference/setInferenceLibrary ONNX
{inference}
# Fast simulation: the mesh has to be the first model
/param/ActivateModel defineMesh
/param/ActivateModel inferenceModel
/run/beamOn 100
"""


def _detector(detector: Detector) -> str:
    stack = detector.stack
    groups = stack.groups if stack is not None else ()
    radius = getattr(stack, "inner_radius", None)
    if len(groups) != 1 or len(groups[0].slabs) > 2 or not radius:
        return "# Describe the detector here: FastV does not know one that Par04 can build.\n"
    lines = [
        f"setDetectorInnerRadius {radius:g} mm",
        "setDetectorLength 2 m",
        f"setNbOfLayers {groups[0].repeat}",
        *(
            f"setAbsorber {i} {slab.material} {slab.thickness:g} mm {str(slab.active).lower()}"
            for i, slab in enumerate(groups[0].slabs)
        ),
    ]
    return "".join(f"/Par04/detector/{line}\n" for line in lines)


def _ddml(plan: Plan, graph: str) -> str:
    block = plan.detector.mesh.blocks[0]
    layers, alphas, rs = plan.detector.mesh.shape
    low = plan.bounds("energy")[0] / 1000
    particles = tuple(name for name in plan.domain.particles if name in ("e-", "e+", "gamma")) or ("e-", "e+", "gamma")
    return f"""
# Hand fast_simulation to ddsim: SIM.physics.setupUserPhysics(fast_simulation), or call it where your steering file
# sets up DDML. Detector, RegionName and Symmetry are those of your detector; here of ILD.
from g4units import GeV

PARTICLES = {set(particles)!r}
COMMON = {{
    "ModelPath": "./{graph}",
    "OptimizeFlag": 1,
    "IntraOpNumThreads": 1,
    "NCellsRho": {rs},
    "NCellsPhi": {alphas},
    "NCellsZ": {layers},
    "CellSizeRho": {block.r_edges[1]:g},
    "CellSizeZ": {block.thickness:g},
    # LatentVectorSize must stay at its default, 10: another size does not resize the input of the graph, and
    # the incident energy is cut off silently.
    "ApplicableParticles": PARTICLES,
    "Etrigger": {{name: {low:g} * GeV for name in PARTICLES}},
    "CorrectForAngles": True,
    "Enable": True,
}}


def fast_simulation(kernel):
    from DDG4 import DetectorConstruction, Geant4, PhysicsList

    sequence = Geant4(kernel).detectorConstruction()
    for name, settings in {{
        "Par04ExampleVAEPolyhedraBarrelONNXModel/BarrelModel": {{
            "RegionName": "EcalBarrelRegion",
            "Detector": "EcalBarrel",
            "Symmetry": 8,
        }},
        "Par04ExampleVAEEndcapONNXModel/EndcapModel": {{"RegionName": "EcalEndcapRegion", "Detector": "EcalEndcap"}},
    }}.items():
        model = DetectorConstruction(kernel, name)
        for key, value in (COMMON | settings).items():
            setattr(model, key, value)
        model.enableUI()
        sequence.adopt(model)
    physics = PhysicsList(kernel, "Geant4FastPhysics/FastPhysicsList")
    physics.EnabledParticles = list(PARTICLES)
    physics.BeVerbose = True
    physics.enableUI()
    kernel.physicsList().adopt(physics)
"""

"""Depth in radiation lengths, for detectors whose materials are known."""

from __future__ import annotations

from fastv.geometry import Detector

RADIATION_LENGTH = {
    "G4_Al": 88.97,
    "G4_Cu": 14.36,
    "G4_Fe": 17.57,
    "G4_Pb": 5.612,
    "G4_POLYSTYRENE": 413.1,
    "G4_PLASTIC_SC_VINYLTOLUENE": 425.4,
    "G4_Si": 93.70,
    "G4_U": 3.166,
    "G4_W": 3.504,
    "G4_lAr": 140.0,
}
"""Radiation length X0 in mm by Geant4's NIST name. Source: Particle Data Group, Atomic and Nuclear Properties."""


def radiation_lengths_per_mm(detector: Detector) -> float | None:
    """Radiation lengths per mm of a sampling stack, sum t_i/X0_i / sum t_i; None where a material is unknown.

    Example:
        >>> round(radiation_lengths_per_mm(Detector.preset("par04-siw")) * 3.4, 3)
        0.805
    """
    if detector.absorber is None or detector.sensitive is None:
        return None
    plates = (detector.absorber, detector.sensitive)
    if any(material not in RADIATION_LENGTH for material, _ in plates):
        return None
    lengths = sum(thickness / RADIATION_LENGTH[material] for material, thickness in plates)
    return lengths / sum(thickness for _, thickness in plates)

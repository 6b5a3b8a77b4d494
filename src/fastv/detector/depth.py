"""Depth in radiation lengths, for detectors whose materials are known."""

from __future__ import annotations

from fastv.detector.detector import Detector


def radiation_lengths_per_mm(detector: Detector) -> float | None:
    """Radiation lengths per mm of a stack, sum t_i/X0_i / sum t_i; None where it is unknown or changes with the depth.

    Example:
        >>> round(radiation_lengths_per_mm(Detector.preset("par04-siw")) * 3.4, 3)
        0.805
    """
    stack = detector.stack
    if stack is None or len(stack.groups) > 1:
        return None
    return stack.radiation_lengths / stack.depth

"""Conversion of depth from mm to radiation lengths, for detectors whose materials are known."""

from __future__ import annotations

from fastv.detector.detector import Detector


def radiation_lengths_per_mm(detector: Detector) -> float | None:
    """Radiation lengths per mm of depth, averaged over the stack: (sum_i t_i / X0_i) / (sum_i t_i).

    t_i is the thickness of slab i and X0_i the radiation length of its material.

    Returns:
        The ratio in 1/mm; None if the detector has no stack, or a stack of several groups, whose ratio changes with
        depth.

    Example:
        >>> round(radiation_lengths_per_mm(Detector.preset("par04-siw")) * 3.4, 3)
        0.805
    """
    stack = detector.stack
    if stack is None or len(stack.groups) > 1:
        return None
    return stack.radiation_lengths / stack.depth

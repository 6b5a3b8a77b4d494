"""Calorimeters: materials, slabs, readout meshes, and detectors with their presets."""

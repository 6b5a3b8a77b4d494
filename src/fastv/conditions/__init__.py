"""Conditions of showers: units and particles, the table of conditions, their record, and spectra."""

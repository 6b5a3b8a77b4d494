"""Observables of each shower, computed while a sample is read batch by batch."""

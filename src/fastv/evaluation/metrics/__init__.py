"""Metrics by which generators are compared in the field."""

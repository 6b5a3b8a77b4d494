"""Estimates with their errors, what chance alone gives, and the record of a comparison."""

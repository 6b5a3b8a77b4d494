"""Estimates with errors, expectations under chance, and the record of a comparison."""

"""Showers as numbers that are about standard normal, and back: what families share below their networks."""

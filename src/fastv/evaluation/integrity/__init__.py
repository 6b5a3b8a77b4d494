"""Integrity checks: are the energies of a sample physical, are its showers new, and are all kinds of showers there?"""

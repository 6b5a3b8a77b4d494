"""The physics of one sample compared with that of another, every quantity measured once."""

"""The physics of one sample compared with that of another: one measurement a quantity."""

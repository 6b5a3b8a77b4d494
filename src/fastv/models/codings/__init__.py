"""Invertible codings of showers as approximately standard normal numbers, shared by the model families."""

"""The figures that the field compares generators by."""

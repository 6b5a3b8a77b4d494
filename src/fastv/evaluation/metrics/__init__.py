"""The metrics that the field compares generators by."""

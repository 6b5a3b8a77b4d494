"""Files on disk: outputs that appear when complete."""

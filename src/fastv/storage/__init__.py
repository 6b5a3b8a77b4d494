"""Files on disk: outputs that appear only when complete, HDF5 files, and locks."""

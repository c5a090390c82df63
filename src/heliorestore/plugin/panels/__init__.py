"""The panels that are docked in napari, one file each."""

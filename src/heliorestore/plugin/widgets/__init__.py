"""The panels that are docked in napari."""

"""The napari side: readers, writers, layers, workers, widgets. Only this folder uses Qt and napari."""

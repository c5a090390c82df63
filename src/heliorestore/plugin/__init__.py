"""The napari side: readers, writers, layers, the worker and the widgets. Only this folder uses Qt and
napari.
"""

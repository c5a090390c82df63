"""The napari side: readers, writers, layers, the worker and the widgets; the only place with Qt and napari in
it.
"""

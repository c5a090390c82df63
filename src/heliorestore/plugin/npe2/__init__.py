"""The targets of the manifest: readers, writers, sample data and menu commands."""

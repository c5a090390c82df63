"""What the manifest names: readers, writers, sample data and menu commands."""

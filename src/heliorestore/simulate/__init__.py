"""A simulated Sun and the atmosphere above it, with the truth behind every image."""

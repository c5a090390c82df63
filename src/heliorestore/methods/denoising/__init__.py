"""Shared by the denoisers: pairs of noisy images, and the properties of polarised light."""

"""What the denoisers share: pairs of noisy images, and what polarised light is made of."""

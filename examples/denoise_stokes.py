"""Noise2Noise on Stokes V, and what it took away.

What was taken away must look like noise: structure in the last panel would be signal that is lost.
"""

import matplotlib.pyplot as plt

import heliorestore
from heliorestore.samples import sample_path

burst = heliorestore.read(sample_path("stokes_series.fits")).select(objects=[10], frames=slice(0, 2))
print(burst.labels[0])
restored = heliorestore.restore(burst, heliorestore.DenoiseSettings()).images[0]
observed = burst.image(0, 0)
print(f"rms {observed.std():.5f} observed, {(observed - restored).std():.5f} taken away")

images = {"observed": observed, "denoised": restored, "taken away": observed - restored}
figure, axes = plt.subplots(1, 3, figsize=(12, 3.8), layout="constrained")
for ax, (title, image) in zip(axes, images.items(), strict=True):
    shown = ax.imshow(image, cmap="RdBu_r", origin="lower", vmin=-0.008, vmax=0.008)
    ax.set_title(title)
figure.colorbar(shown, ax=axes)
figure.savefig("denoise_stokes.png")

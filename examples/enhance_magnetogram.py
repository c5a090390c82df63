"""A magnetogram enhanced, pixel by pixel against its input.

A pixel of HMI against the mean of its four finer ones: strong fields, which the PSF weakened, grow.
"""

import matplotlib.pyplot as plt
import numpy as np

import heliorestore
from heliorestore.samples import sample_path

observed = heliorestore.read(sample_path("hmi_magnetogram.fits")).middle(120)
enhanced = heliorestore.restore(observed, heliorestore.EnhanceSettings()).images[0]
before = observed.image(0, 0)
after = enhanced.reshape(120, 2, 120, 2).mean((1, 3))
flux = np.abs(after).sum() / np.abs(before).sum()
print(f"strongest field {np.abs(before).max():.0f} G before, {np.abs(after).max():.0f} G after")
print(f"unsigned flux times {flux:.3f}, net field {before.mean():.1f} G before, {after.mean():.1f} G after")

figure, axes = plt.subplots(1, 3, figsize=(12, 3.8), layout="constrained")
for ax, image, title in zip(axes, (before, enhanced), ("HMI", "enhanced"), strict=False):
    ax.imshow(image, cmap="gray", origin="lower", vmin=-1000, vmax=1000)
    ax.set_title(title)
axes[2].plot(before.ravel(), after.ravel(), ",")
axes[2].axline((0, 0), slope=1, color="black", linewidth=0.8)
axes[2].set(xlabel="HMI [G]", ylabel="enhanced [G]", aspect="equal")
figure.savefig("enhance_magnetogram.png")

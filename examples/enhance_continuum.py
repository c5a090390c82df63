"""HMI's continuum at twice the resolution, and a check of it.

Blurred again as HMI sees, the result must give the input: the last panel is what is left, in per cent.
"""

import matplotlib.pyplot as plt

import heliorestore
from heliorestore.samples import sample_path

burst = heliorestore.read(sample_path("hmi_continuum.fits")).middle(120)
snapshot = heliorestore.restore(burst, heliorestore.EnhanceSettings())
print(f"{burst.image(0, 0).shape} pixels became {snapshot.images[0].shape}")
print(f"rms of what is left: {snapshot.losses['reconvolution']:.1%} of the input's structure")

figure, axes = plt.subplots(1, 3, figsize=(12, 3.8), layout="constrained")
for ax, image, title in zip(axes, (burst.image(0, 0), snapshot.images[0]), ("HMI", "enhanced"), strict=False):
    ax.imshow(image, cmap="gray", origin="lower", vmin=0.2, vmax=1.2)
    ax.set_title(title)
left = axes[2].imshow(100 * snapshot.maps["residual"][0], cmap="RdBu_r", origin="lower", vmin=-3, vmax=3)
axes[2].set_title("HMI minus enhanced, seen again [%]")
figure.colorbar(left, ax=axes[2])
figure.savefig("enhance_continuum.png")

"""The sharpest frames alone.

The sharpness of every frame does not take noise for detail; a restoration may use the sharpest third alone.
"""

import matplotlib.pyplot as plt
import numpy as np

import heliorestore
from heliorestore.prepare.sharpness import select_best, sharpness
from heliorestore.samples import sample_path

burst = heliorestore.read(sample_path("sunspot_burst.fits")).select(objects=[0]).middle(160)
values, best = sharpness(burst), select_best(burst, "33%")
print(best.messages[-1])

figure, axes = plt.subplots(1, 3, figsize=(12, 3.8), layout="constrained")
axes[0].plot(values, "o-", fillstyle="none")
axes[0].plot(best.frame_numbers, values[list(best.frame_numbers)], "o")
axes[0].set(xlabel="frame", title="sharpness")
for ax, frame in zip(axes[1:], (np.argmin(values), np.argmax(values)), strict=True):
    ax.imshow(burst.image(0, frame), cmap="gray", origin="lower", vmin=0.2, vmax=1.2)
    ax.set_title(f"frame {frame}, {values[frame]:.4f}")
figure.savefig("sharpest_frames.png")

"""MOMFBD on patches, and wavefronts that it found.

Every patch has a wavefront per frame: here those of three frames in the last patch, without tilts.
"""

import matplotlib.pyplot as plt
import numpy as np

import heliorestore
from heliorestore.diagnose.fitted_air import fitted_wavefronts
from heliorestore.samples import sample_path

burst = heliorestore.read(sample_path("small_burst.fits")).select(objects=[0]).middle(96)
settings = heliorestore.MomfbdSettings(modes=20, iterations=10)
for snapshot in heliorestore.stream(burst, settings):
    print(f"{snapshot.step:2d}  residual {snapshot.losses['residual']:.3f}")
basis = fitted_wavefronts(snapshot, settings).basis
y, x = np.mgrid[-1:1:96j, -1:1:96j]
waves = np.tensordot(snapshot.maps["modes"][:3, 2:, -1, -1], basis.sample(y, x)[2:], 1)

figure, axes = plt.subplots(1, 5, figsize=(15, 3.2), layout="constrained")
axes[0].imshow(burst.image(0, 0), cmap="gray", origin="lower", vmin=0, vmax=1.6)
axes[1].imshow(snapshot.images[0], cmap="gray", origin="lower", vmin=0, vmax=1.6)
for ax, wave in zip(axes[2:], np.where(basis.aperture.covers(y, x), waves, np.nan), strict=True):
    shown = ax.imshow(wave, cmap="RdBu_r", origin="lower", vmin=-2, vmax=2)
figure.colorbar(shown, ax=axes, label="radian")
figure.savefig("momfbd_wavefronts.png")

"""Restore the HMI-like sample on a twice finer grid, watching residual and contrast; stop manually when it no
longer improves.
"""

from contextlib import closing

import heliorestore
from heliorestore import RichardsonLucySettings
from heliorestore.quality import contrast
from heliorestore.samples import sample_path

burst = heliorestore.read(sample_path("hmi_continuum.fits"))
print(f"{burst.labels[0]}: {burst.instruments[0].name}, contrast {contrast(burst.image(0, 0)):.4f}")

before = float("inf")
with closing(heliorestore.stream(burst, RichardsonLucySettings(iterations=50, upsampling=2))) as snapshots:
    for snapshot in snapshots:
        residual = snapshot.losses["residual"]
        print(f"{snapshot.step:3d}  residual {residual:.5f}  contrast {contrast(snapshot.images[0]):.4f}")
        if residual > 0.97 * before:
            break
        before = residual

print("written:", heliorestore.write(snapshot, "hmi_restored.fits", overwrite=True))

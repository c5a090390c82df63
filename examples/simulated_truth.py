"""A simulated burst, restored and scored by its truth.

Granulation seen through CRISP and turbulent air; the truth is what the telescope would show without air.
"""

import matplotlib.pyplot as plt

import heliorestore
from heliorestore.instrument import KNOWN
from heliorestore.quality import likeness
from heliorestore.simulate.burst import simulate_burst
from heliorestore.simulate.view import SimulationSettings

air = SimulationSettings(scene="granulation", size=80, frames=7, objects=1, ao=True, r0_cm=12.0, step=32)
made = simulate_burst(air, KNOWN["crisp-6302"], seed=1)
restored = heliorestore.restore(made.burst, heliorestore.MfbdSettings(committee=4)).images[0]
images = {"first frame": made.burst.image(0, 0), "restored": restored, "truth": made.truth[0]}
figure, axes = plt.subplots(1, 3, figsize=(12, 4), layout="constrained")
for ax, (title, image) in zip(axes, images.items(), strict=True):
    score = likeness(image / image.mean(), made.truth[0])
    print(f"{title:12} NMSE {score.nmse:.3f}  contrast {score.contrast_ratio:.2f}  SSIM {score.ssim:.3f}")
    ax.imshow(image / image.mean(), cmap="gray", origin="lower", vmin=0.6, vmax=1.4)
    ax.set_title(f"{title}, NMSE {score.nmse:.3f}")
figure.savefig("simulated_truth.png")

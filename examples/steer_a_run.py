"""Steer a run: change lambda while it works.

SV-MOMFBD begins with far too smooth an object; at iteration 9 it is sent less smoothing and goes on.
"""

import matplotlib.pyplot as plt

import heliorestore
from heliorestore.samples import sample_path

burst = heliorestore.read(sample_path("small_burst.fits")).select(objects=[0], frames=slice(0, 4)).middle(96)
settings = heliorestore.SvMomfbdSettings(modes=20, patch_iterations=6, iterations=12, lambda_object=1.0)
run, images = heliorestore.stream(burst, settings), {}
for snapshot in run:
    print(f"{snapshot.step:2d}  residual {snapshot.losses['residual']:.4f}")
    if snapshot.step == 9:
        images["lambda object 1"] = snapshot.images[0]
        run.send(settings.replace(lambda_object=0.02))
images["lambda object 0.02"] = snapshot.images[0]

figure, axes = plt.subplots(1, 3, figsize=(12, 3.8), layout="constrained")
for ax, (title, image) in zip(axes, images.items(), strict=False):
    ax.imshow(image, cmap="gray", origin="lower", vmin=0.1, vmax=1.2)
    ax.set_title(title)
axes[2].plot(snapshot.history["step"], snapshot.history["residual"], "o-")
axes[2].set(xlabel="iteration", title="residual")
figure.savefig("steer_a_run.png")

"""A burst through the network, with power spectra.

MFBD restores a sunspot in about a second; at all scales its power is nearer to the truth's than a frame's is.
"""

import matplotlib.pyplot as plt

import heliorestore
from heliorestore.quality import likeness, power_spectrum
from heliorestore.samples import sample_path

burst = heliorestore.read(sample_path("sunspot_burst.fits")).select(objects=[0])
truth = heliorestore.read(sample_path("sunspot_truth.fits")).image(0, 0)
restored = heliorestore.restore(burst, heliorestore.MfbdSettings(committee=1)).images[0]
images = {"first frame": burst.image(0, 0), "restored": restored, "truth": truth}
figure, axes = plt.subplots(1, 4, figsize=(14, 3.6), layout="constrained")
for ax, (name, image) in zip(axes, images.items(), strict=False):
    ax.imshow(image, cmap="gray", origin="lower", vmin=0.2, vmax=1.2)
    ax.set_title(name)
    spectrum = power_spectrum(image, pixel=burst.instruments[0].pixel_arcsec)
    axes[3].loglog(spectrum.frequency, spectrum.power, label=name)
    print(f"{name:12} NMSE {likeness(image, truth).nmse:.4f}")
axes[3].set(xlabel="cycles per arcsec", title="power")
axes[3].legend()
figure.savefig("mfbd_network.png")

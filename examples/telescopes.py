"""PSF and modulation transfer of telescopes.

What each telescope does to an image without any air: this is what Richardson-Lucy takes off.
"""

from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np

from heliorestore.instrument import KNOWN
from heliorestore.optics.psf import telescope_psf

figure, (profile, transfer) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
for name in ("hmi-6173", "bfi-4305", "crisp-8542", "hifi-6563", "vbi-4305"):
    pixel = KNOWN[name].resolution_arcsec / 10
    psf = telescope_psf(replace(KNOWN[name], pixel_arcsec=pixel), (512, 512)).numpy()
    profile.loglog(pixel * np.arange(1, 100), psf[0, 1:100] / psf[0, 0], label=KNOWN[name].name)
    mtf = np.abs(np.fft.rfft2(psf)[0])
    transfer.semilogx(np.fft.rfftfreq(512, pixel)[1:], mtf[1:] / mtf[0])
    print(f"{KNOWN[name].name:20} resolves {10 * pixel:.3f} arcsec")
profile.set(xlabel="arcsec", ylabel="PSF over its peak", ylim=(1e-6, 2))
transfer.set(xlabel="cycles per arcsec", ylabel="modulation transfer", xlim=(0.03, 60))
profile.legend(fontsize="small")
figure.savefig("telescopes.png")

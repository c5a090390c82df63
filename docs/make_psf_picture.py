"""Draw HMI's PSFs, their modulation transfer and encircled energy, and write the table of richardson-lucy.md.

python docs/make_psf_picture.py
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import torch

from heliorestore.instrument import KNOWN, PSF_FORMS
from heliorestore.optics.psf import telescope_psf

DOCS = Path(__file__).parent
PIXEL_ARCSEC = 0.0662  # of the scenes with which the published network was trained
SIZE = 3072  # a field of 203 arcsec: the wings need room
RADII_ARCSEC = (0.5, 1.0, 2.0, 4.4, 10.0, 30.0)
WORDS = {
    "airy": "Airy",
    "wachter": "Wachter, changed",
    "wachter-short": "the same, ends at ±4.40″",
    "wachter-2012": "Wachter, original",
    "yeo-2014": "Yeo, Venus transit",
}


def profile(form: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Radii in arcsec, the light within, and along one row of pixels the PSF per square arcsec and the
    transfer at `np.fft.rfftfreq(SIZE, PIXEL_ARCSEC)`.
    """
    hmi = dataclasses.replace(KNOWN["hmi-6173"], psf=form, pixel_arcsec=PIXEL_ARCSEC)
    psf = telescope_psf(hmi, (SIZE, SIZE), dtype=torch.float64)
    place = np.fft.fftfreq(SIZE, 1 / SIZE) * PIXEL_ARCSEC
    radius = np.hypot(place[:, None], place[None]).ravel()
    order = np.argsort(radius)
    return (
        radius[order],
        np.cumsum(psf.numpy().ravel()[order]),
        psf[0, : SIZE // 2].numpy() / PIXEL_ARCSEC**2,
        torch.fft.rfft2(psf)[0].real.numpy(),
    )


def main() -> None:
    """Draw, and put the table where the page has a mark for it."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (shape, transfer, energy) = plt.subplots(1, 3, figsize=(15, 4.2), layout="constrained")
    rows = ["| `psf` | " + " | ".join(f"{r:g}″" for r in RADII_ARCSEC) + " |", "| --- " * 7 + "|"]
    for form in PSF_FORMS:
        radius, within, along, mtf = profile(form)
        line = np.interp(RADII_ARCSEC, radius, within)
        rows.append(f"| `{form}` | " + " | ".join(f"{value:.3f}" for value in line) + " |")
        shape.loglog(np.arange(1, SIZE // 2) * PIXEL_ARCSEC, along[1:], label=WORDS[form])
        transfer.plot(np.fft.rfftfreq(SIZE, PIXEL_ARCSEC), mtf)
        rings = np.geomspace(0.3, 60, 50)
        energy.semilogx(rings, np.interp(rings, radius, within))
    shape.set(
        xlabel="radius [arcsec]",
        ylabel="light per square arcsec",
        title="PSF",
        xlim=(0.06, 60),
        ylim=(1e-7, 2),
    )
    transfer.set(xlabel="cycles per arcsec", title="modulation transfer", xlim=(0, 1.2), ylim=(0, 1.02))
    transfer.axvline(1 / (2 * 0.504), color="grey", ls=":")
    energy.set(xlabel="radius [arcsec]", title="light within", xlim=(0.3, 60), ylim=(0, 1.02))
    energy.axvline(66.5 * PIXEL_ARCSEC, color="grey", ls=":")
    shape.legend()
    figure.savefig(DOCS / "pictures" / "psf.png", dpi=70)
    page = DOCS / "richardson-lucy.md"
    text, content = page.read_text(encoding="utf-8"), "\n".join(rows)
    text = re.sub(r"(<!-- psf -->\n).*?(<!-- end -->)", rf"\1\n{content}\n\n\2", text, flags=re.DOTALL)
    page.write_text(text, encoding="utf-8")
    print(content)


if __name__ == "__main__":
    main()

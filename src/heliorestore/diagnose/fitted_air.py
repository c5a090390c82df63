"""The wavefronts of a result in the air that its fit found."""

from __future__ import annotations

from dataclasses import replace

import torch

from heliorestore.instrument import RADIAN_ARCSEC
from heliorestore.methods.blind.settings import BlindSettings
from heliorestore.methods.blind.wavefronts import Wavefronts
from heliorestore.optics.mode_names import mode_names
from heliorestore.snapshot import Snapshot


def fitted_wavefronts(snapshot: Snapshot, settings: BlindSettings) -> Wavefronts:
    """The wavefronts that these settings look for, with the strengths and the unknown rest that the result
    has; what an earlier version did not write down is as the settings say.
    """
    assert snapshot.run is not None
    wavefronts = settings.wavefronts(snapshot.run.instruments, torch.device("cpu"))
    if "mode_sigmas" not in snapshot.maps or len(snapshot.maps["mode_sigmas"]) != wavefronts.count:
        return wavefronts
    sigmas, unknown = (
        torch.from_numpy(snapshot.maps[name].array.copy()) for name in ("mode_sigmas", "mode_variances")
    )
    # The last mode is as strong as turbulence with the fitted r0 makes it.
    strength = float(sigmas[-1]) ** 2 / float(wavefronts.basis.variances[-1])
    return replace(wavefronts, sigmas=sigmas, unknown=unknown, d_over_r0=strength ** (3 / 5))


def names_of_modes(snapshot: Snapshot, settings: BlindSettings) -> tuple[str, ...]:
    """What the modes of a result are called, in the order of its maps."""
    return mode_names(fitted_wavefronts(snapshot, settings).basis)


def air_in_words(snapshot: Snapshot, settings: BlindSettings) -> str:
    """The air and the noise of the data as this result has them, noise relative to the mean; empty as long as
    it does not know them.

    The seeing is the long-exposure width 0.98 lambda/r0; Fried (1966), doi:10.1364/JOSA.56.001372.
    """
    words = []
    if snapshot.run is not None and "mode_sigmas" in snapshot.maps:
        first = snapshot.run.instruments[0].require()
        r0_m = first.diameter_m / fitted_wavefronts(snapshot, settings).d_over_r0
        seeing = 0.98 * first.wavelength_nm * 1e-9 / r0_m * RADIAN_ARCSEC
        words.append(f"r0 {100 * r0_m:.1f} cm, seeing {seeing:.2g}″ ({first.wavelength_nm:.0f} nm)")
    if (noise := snapshot.losses.get("noise", 0.0)) > 0:
        words.append(f"noise {100 * noise:.2g} %")
    return ", ".join(words)

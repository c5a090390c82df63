"""The wavefronts of a result in the air that its fit found."""

from __future__ import annotations

from dataclasses import replace

import torch

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

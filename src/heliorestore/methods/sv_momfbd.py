"""SV-MOMFBD: blind deconvolution with PSFs that vary from place to place, objects and a grid of modes sought
together.

Asensio Ramos (2024), the loss of eq. 17 with the filter of eq. 16; the forward model is filter flow. By
default the patches of `momfbd` give the modes, conjugate gradients the objects, and both are then refined in
turns on the space-variant model; the paper's recipe, both at once by AdamW from the average, is there too.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace

import torch

from heliorestore.burst import Burst
from heliorestore.methods.blind.field_fit import FieldFit
from heliorestore.methods.blind.field_settings import SvMomfbdSettings
from heliorestore.methods.checkpoint import Saver, resume
from heliorestore.snapshot import Snapshot

__all__ = ["METHOD", "SvMomfbd", "SvMomfbdSettings"]


class SvMomfbd:
    """The method as `methods.base` loads it."""

    name = SvMomfbdSettings.method
    settings = SvMomfbdSettings

    def stream(
        self,
        burst: Burst,
        settings: SvMomfbdSettings,
        *,
        device: torch.device,
        seed: int,
        start: Snapshot | None = None,
    ) -> Generator[Snapshot, SvMomfbdSettings | None, None]:
        """Yield a snapshot per iteration; nothing is random. `start` is an earlier result, as
        `settings.start` names in a file.

        Whoever sends settings after the last snapshot gets further iterations from there. A generator that is
        closed leaves its state in the checkpoint, also after the last snapshot; one that is exhausted leaves
        none.
        """
        saver = Saver(settings.checkpoint, burst, settings, start)
        fit = FieldFit(burst, settings, device, start)
        state = resume(saver, fit.initial())
        messages = fit.messages
        try:
            while True:
                state, snapshot = fit.iterate(state, settings, messages)
                if snapshot.stop is not None:  # resuming resets the stall counter
                    state = replace(state, flow=replace(state.flow, stalled=0))
                sent = yield saver.noted(snapshot, settings)
                if snapshot.stop is not None and sent is None:
                    break
                settings, messages = sent or settings, ()
                saver.save(state)
        except GeneratorExit:
            saver.write(state)
            raise
        saver.done()


METHOD = SvMomfbd()

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
from heliorestore.methods.watch import Interrupted, News, Watch
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
        news: News | None = None,
    ) -> Generator[Snapshot, SvMomfbdSettings | None, None]:
        """Yield a snapshot per iteration; nothing is random. `start` is an earlier result, as
        `settings.start` names in a file.

        Whoever sends settings after the last snapshot gets further iterations from there. A generator that is
        closed leaves its state in the checkpoint, also after the last snapshot; one that is exhausted leaves
        none.

        With `news` settings that arrive in the middle of an iteration end it without a result, and the next
        one, which goes to its end, has them. The last image then comes twice: at once, as after any
        iteration, and with its standard error if no settings have arrived until that is known.
        """
        saver = Saver(settings.checkpoint, burst, settings, start)
        watch = Watch(news)
        fit = FieldFit(burst, settings, device, start, watch.look if watch.watched else None)
        state = resume(saver, fit.initial())
        messages = fit.messages
        try:
            while True:
                try:
                    state, snapshot = fit.iterate(state, settings, messages)
                    messages, sent = (), None
                    snapshot = saver.noted(snapshot, settings)
                    ends = snapshot.stop is not None
                    if ends:  # resuming resets the stall counter
                        state = replace(state, flow=replace(state.flow, stalled=0))
                    if watch.watched or not ends:
                        watch.open = True
                        sent = yield _awaiting_its_end(snapshot) if ends else snapshot
                    if ends and sent is None:
                        sent = yield saver.timed(fit.ended(state, settings, snapshot))
                        if sent is None:
                            break
                except Interrupted as interrupted:
                    sent = interrupted.settings
                settings, watch.open = sent or settings, sent is None
                saver.save(state)
        except GeneratorExit:
            saver.leave(state)
            raise
        saver.done()


def _awaiting_its_end(snapshot: Snapshot) -> Snapshot:
    """The last image: no iteration follows, but its standard error does."""
    *before, (last, _) = snapshot.stages
    return replace(snapshot, stop=None, stages=(*before, (last, snapshot.step)))


METHOD = SvMomfbd()

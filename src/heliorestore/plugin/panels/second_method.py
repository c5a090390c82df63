"""Another method on the input of a panel, to compare with."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from heliorestore.errors import HeliorestoreError
from heliorestore.methods import METHODS
from heliorestore.plugin.viewer.failure import explain
from heliorestore.settings import Settings

if TYPE_CHECKING:
    from heliorestore.plugin.panels.restore import RestoreWidget


def start_beside(panel: RestoreWidget, settings: Settings) -> None:
    """Run a second method on the panel's input, into layers of its own; the panel says what is wrong."""
    if panel.run_panel.busy:
        return
    try:
        job = dataclasses.replace(panel.job(), settings=settings)
        if METHODS[settings.method].needs_instrument:
            panel.instrument.require(job.burst)
    except HeliorestoreError as error:
        panel.run_panel.say(explain(error))
        return
    panel.run_panel.start(job, panel.make_layers(job))

"""The true PSFs of a simulated file, computed anew from what its header says."""

from __future__ import annotations

import argparse

from astropy.io.fits import Header

from heliorestore.errors import SettingsError
from heliorestore.instrument import Instrument
from heliorestore.settings import add_settings, from_arguments
from heliorestore.simulate.view import SimulationSettings, View, make_view

_COMMAND = "heliorestore simulate "


def view_of(header: Header) -> View:
    """The telescope and air of a burst or truth that `heliorestore simulate` wrote: its PSFs at any place."""
    # a card ends where its 72 characters do, and files keep no blanks at its end
    history = "".join(str(line).ljust(72) for line in header.get("HISTORY", []))
    begins = history.find(_COMMAND)
    if begins < 0:
        raise SettingsError(
            "The header's HISTORY has no command `heliorestore simulate`: only simulated files know their "
            "PSFs."
        )
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False)
    parser.add_argument("--instrument")
    parser.add_argument("--seed", type=int)
    add_settings(parser, SimulationSettings)
    parsed, _ = parser.parse_known_args(history[begins + len(_COMMAND) :].split())
    settings = from_arguments(SimulationSettings, parsed)
    assert isinstance(settings, SimulationSettings)  # which class is made is the caller's choice
    return make_view(settings, Instrument.recorded(parsed.instrument), parsed.seed)

"""The sentences of the window."""

import pytest

from heliorestore.errors import SettingsError
from window import HAS_DISPLAY

pytestmark = pytest.mark.skipif(not HAS_DISPLAY, reason="the plugin needs Qt and a display")


def test_an_error_names_settings_and_not_flags():
    from heliorestore.plugin.runs.failure import explain

    error = SettingsError("The state cannot be written; choose --forward filter-flow or another --r0-cm.")
    assert explain(error) == "The state cannot be written; choose forward filter-flow or another r0 cm."
    assert explain(SettingsError("a--b - c -- d")) == "a--b - c -- d"

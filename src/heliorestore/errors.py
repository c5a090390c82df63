"""The errors that a user can meet, each one helpful sentence.

None is a RuntimeError: torch and Qt raise those, and a caller must be able to distinguish them.
"""

import difflib
from collections.abc import Iterable


class HeliorestoreError(Exception):
    """Base of everything this package raises on purpose."""


class BurstError(HeliorestoreError):
    """The data cannot be read or used: the sentence names the file, what was found and what is possible."""


class SettingsError(HeliorestoreError):
    """A setting is unknown, out of range, or contradicts another one or the data."""


class WeightsError(HeliorestoreError):
    """Network weights are missing, damaged, or do not belong to the network or the data."""


class RestorationError(HeliorestoreError):
    """A restoration could not continue or could not be saved."""


def guess(name: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown name: the known one that it resembles, or nothing."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""

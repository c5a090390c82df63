"""The errors that a user can meet, each one helpful sentence.

None is a RuntimeError: torch and Qt raise those, and a caller must be able to distinguish them.
"""

import difflib
import re
from collections.abc import Iterable

_FULL = re.compile(r"out of memory|not enough memory|can(?:not|'t) allocate memory", re.IGNORECASE)
_ASKED = re.compile(r"allocate (?P<size>\d[\d.]*) ?(?P<unit>bytes|[KMGT]iB)", re.IGNORECASE)


class HeliorestoreError(Exception):
    """Base of everything this package raises on purpose."""


class BurstError(HeliorestoreError):
    """The data cannot be read or used: the sentence names the file, what was found and what is possible."""


class SettingsError(HeliorestoreError):
    """A setting is unknown, out of range, or contradicts another one or the data."""


class WeightsError(HeliorestoreError):
    """Network weights are missing, damaged, or do not belong to the network or the data."""


class CheckpointError(SettingsError):
    """The saved state of a run is damaged, or of another run."""


class RestorationError(HeliorestoreError):
    """A restoration could not continue or could not be saved."""


def memory_is_full(error: BaseException) -> bool:
    """Whether memory could not be had: Python's and numpy's error, and the RuntimeErrors of torch."""
    # by name, so that torch need not be loaded for this
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and _FULL.search(str(error)) is not None


def memory_asked(error: BaseException) -> str:
    """The memory that could not be had, in brackets, or nothing where the error does not say it."""
    found = _ASKED.search(str(error))
    if not found:
        return ""
    factor = 1024 ** (" KMGT".find(found["unit"][0].upper()) if found["unit"] != "bytes" else 0)
    return f" ({float(found['size']) * factor / 1e6:,.0f} MB at once could not be had)"


def pickle_trouble(error: BaseException) -> str:
    """What is wrong with a file of tensors; torch's advice to load it all the same is left out."""
    found = re.search(r"GLOBAL (?P<name>[\w.]+)", str(error))
    return f"it names {found['name']}" if found else "it is damaged, or no file of tensors alone"


def guess(name: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown name: the known one that it resembles, or nothing."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""

"""The methods by name; a module is loaded when its method is used."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """Where a method lives, and the line that `heliorestore --help` shows for it."""

    target: str
    summary: str


METHODS = {
    "richardson-lucy": Entry(
        "heliorestore.methods.richardson_lucy:METHOD", "Deconvolve with the instrument's PSF (damped Richardson-Lucy)."
    ),
}

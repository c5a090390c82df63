"""What is done to frames before a method sees them: the record from which flags, table and rerun come."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from heliorestore.settings import Settings, file_option, option, options
from heliorestore.storage import at_home


@dataclass(frozen=True, kw_only=True)
class Preparation(Settings):
    """How frames are read: their axes, the camera's calibration, and the map onto another camera's pixels.

    Empty is: as the file says, or not at all. `prepare.opening` does what stands here, in this order.
    """

    method: ClassVar[str] = "preparation"

    axes: str = option(
        "", help="names of the file's axes, slowest first, where its header has none: wavelength,frame,y,x"
    )
    dark: str = file_option(help="FITS file with the dark frame of each camera, taken off every frame")
    flat: str = file_option(help="FITS file with the flat field of each camera; with a dark it is taken off")
    gain: str = file_option(help="FITS file with the gain of each camera, which multiplies every frame")
    bad_pixels: str = file_option(help="FITS file that is not 0 where a pixel of the camera is bad")
    register: str = file_option(help="map onto another camera's pixels, a file of `heliorestore register`")

    def files(self) -> dict[str, Path]:
        """The files by what they are."""
        named = [o.name for o in options(type(self)) if o.file]
        return {name: at_home(text) for name in named if (text := getattr(self, name))}

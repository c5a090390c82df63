"""The observation: a burst of short exposures, ordered object, frame, y, x."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from heliorestore.coordinates import Coordinates
from heliorestore.errors import BurstError, SettingsError
from heliorestore.instrument import Instrument, doubts
from heliorestore.preparation import Preparation
from heliorestore.selection import Chosen, Frames, Numbers, Part, choose, evenly, pick, pick_images

if TYPE_CHECKING:
    from astropy.io.fits import Header

FloatArray = npt.NDArray[np.float32]

# of the largest value: beyond, sums and products of single precision end, or few digits are left
_SMALLEST, _LARGEST = 1e-33, 1e33


@dataclass(frozen=True, kw_only=True)
class Source:
    """A file from which pixels came, as it was when opened; its checksum is known after the export."""

    path: Path
    size: int
    mtime_ns: int
    sha256: str = ""

    @classmethod
    def of(cls, path: Path) -> Source:
        stat = path.stat()
        return cls(path=path.absolute(), size=stat.st_size, mtime_ns=stat.st_mtime_ns)


def _real(images: npt.ArrayLike) -> npt.NDArray[Any]:
    """An array of real numbers, NaN where one is masked."""
    try:
        array: npt.NDArray[Any] = np.asanyarray(images)
        if array.dtype.kind == "O":
            array = array.astype(np.float64)
    except (TypeError, ValueError, RuntimeError) as error:  # the last one of tensors with a gradient
        raise BurstError(f"An image is an array of real numbers; this is none: {error}") from error
    if array.dtype.kind not in "biuf":
        raise BurstError(f"An image is an array of real numbers; these are {array.dtype}.")
    if isinstance(array, np.ma.MaskedArray) and np.ma.is_masked(array):
        array = np.where(np.ma.getmaskarray(array), np.float32(np.nan), np.ma.getdata(array))
    return np.asarray(array)


@dataclass(frozen=True, kw_only=True, eq=False)
class Burst:
    """Frames (object, frame, y, x) with what is known about them; NaN marks a bad pixel.

    `instruments`, `labels` and `headers` have one entry per object. `times` has one per frame (UTC, NaT where
    unknown), that of the first object; `image_times` (object, frame) is the time of every image, if objects
    differ in it, as the wavelengths of a scan do. `pointing` (object, frame, 2, 3) is the place of every
    image, if the file gives it for each: longitude and latitude in arcsec at the field's centre, their change
    per pixel along x, and along y; NaN where unknown. `coordinates` has one entry per object, if they are
    known. `present` (object, frame) is False where an object has no image in a frame, None where all have:
    behind a filter a camera shows one state or tuning at a time, beside the wide band that all frames have. A
    missing image holds NaN and is no bad data. `object_numbers` and `frame_numbers` are those of the
    file that this is, and `preparation` what was done to its frames; `messages` are sentences about that for
    the record of a run. `layout` is a key of `fits.layouts.LAYOUTS`. `scale_from_file`: the pixel scale is
    the header's, and nobody has confirmed it.
    """

    frames: Frames
    instruments: tuple[Instrument, ...] = ()
    labels: tuple[str, ...] = ()
    headers: tuple[Header, ...] = ()
    times: npt.NDArray[np.datetime64] | None = None
    image_times: npt.NDArray[np.datetime64] | None = None
    pointing: npt.NDArray[np.float64] | None = None
    coordinates: tuple[Coordinates, ...] = ()
    present: npt.NDArray[np.bool_] | None = None
    unit: str = ""
    sources: tuple[Source, ...] = ()
    layout: str = "array"
    scale_from_file: bool = False
    object_numbers: Numbers = range(0)
    frame_numbers: Numbers = range(0)
    preparation: Preparation = field(default_factory=Preparation)
    messages: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        shape = tuple(self.frames.shape)
        if len(shape) != 4 or 0 in shape:
            raise BurstError(
                "A burst has four axes (object, frame, y, x), none of them empty; this array "
                f"has the shape {shape}."
            )
        objects, frames = shape[:2]
        fill: dict[str, Any] = {
            "instruments": self.instruments or (Instrument(),) * objects,
            "labels": self.labels or tuple(f"object {i}" for i in range(objects)),
            "object_numbers": self.object_numbers or range(objects),
            "frame_numbers": self.frame_numbers or range(frames),
        }
        # The record is frozen: this is the way to fill in defaults that depend on the shape.
        for name, value in fill.items():
            object.__setattr__(self, name, value)
        for name, wanted in (
            ("instruments", objects), ("labels", objects), ("object_numbers", objects),
            ("frame_numbers", frames), ("headers", objects if self.headers else 0), ("times", frames),
            ("coordinates", objects if self.coordinates else 0),
        ):  # fmt: skip
            value = getattr(self, name)
            if value is not None and len(value) != wanted:
                raise BurstError(
                    f"The burst has shape {shape} but {len(value)} {name}; there must be {wanted}."
                )
        for name in ("image_times", "present"):
            value = getattr(self, name)
            if value is not None and value.shape != (objects, frames):
                raise BurstError(
                    f"The burst has shape {shape} but its {name} {value.shape}; they must be "
                    f"{(objects, frames)}."
                )
        if wrong := [each for each in self.instruments if not isinstance(each, Instrument)]:
            raise BurstError(
                f"The burst has {wrong[0]!r} as an instrument: make one, as with "
                'Instrument.parse("crisp-8542,pixel_arcsec=0.05").'
            )
        if self.present is not None and self.present.all():
            object.__setattr__(self, "present", None)
        if self.pointing is not None and self.pointing.shape != (objects, frames, 2, 3):
            raise BurstError(
                f"The burst has shape {shape} but its pointing {self.pointing.shape}; it must "
                f"be {(objects, frames, 2, 3)}."
            )

    @classmethod
    def from_array(cls, images: npt.ArrayLike, instrument: Instrument | None = None, **known: Any) -> Burst:
        """Make a burst of an array (y, x), (frame, y, x) or (object, frame, y, x); masked pixels are bad."""
        array = _real(images)
        if not 2 <= array.ndim <= 4:
            raise BurstError(
                f"An image has 2 to 4 axes, (object, frame, y, x) at most; this array has {array.ndim}."
            )
        array = array.reshape((1,) * (4 - array.ndim) + array.shape)
        instruments = (instrument or Instrument(),) * array.shape[0]
        return cls(**{"frames": array, "instruments": instruments} | known)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Numbers of objects, frames, rows and columns."""
        objects, frames, rows, columns = self.frames.shape
        return objects, frames, rows, columns

    @property
    def doubts(self) -> list[str]:
        """Sentences about a pixel scale of the header that cannot be the instrument's."""
        return doubts(self.instruments) if self.scale_from_file else []

    def check_scale(self) -> None:
        """Raise a SettingsError if the scale is in doubt: with a wrong one every blur is wrong."""
        if self.doubts:
            raise SettingsError(" ".join(self.doubts))

    def image(self, object_: int, frame: int) -> FloatArray:
        """One frame as native float32, NaN where the pixel is bad: infinite ones are."""
        image = np.ascontiguousarray(self.frames[object_, frame], dtype=np.float32)
        infinite = np.isinf(image)
        return np.where(infinite, np.float32(np.nan), image) if infinite.any() else image

    def frames_of(self, object_: int) -> list[int]:
        """The numbers of the frames in which an object has an image."""
        return (
            list(range(self.shape[1]))
            if self.present is None
            else np.flatnonzero(self.present[object_]).tolist()
        )

    def first_image(self, object_: int) -> FloatArray:
        """The first image of an object that is not missing."""
        return self.image(object_, (self.frames_of(object_) or [0])[0])

    def check_values(self) -> None:
        """Refuse an object without any image, or whose values, by its first one, single precision cannot add
        up or resolve.
        """
        for number, label in enumerate(self.labels):
            shown = self.frames_of(number)
            if not shown:
                raise BurstError(
                    f"{label} has no image in these frames: choose more frames, or leave it out (--objects)."
                )
            size = np.abs(self.image(number, shown[0]))
            largest = float(np.max(size, where=size > 0, initial=0.0))
            if largest and not _SMALLEST < largest < _LARGEST:
                raise BurstError(
                    f"The values of {label} reach {largest:.3g}; those between {_SMALLEST:.0e} and "
                    f"{_LARGEST:.0e} can be restored: give them in another unit."
                )

    def images(self) -> Iterator[tuple[int, int, FloatArray]]:
        """Every image with its object and frame number, one at a time, without the missing ones."""
        for object_ in range(self.shape[0]):
            for frame in self.frames_of(object_):
                yield object_, frame, self.image(object_, frame)

    def count_bad_pixels(self) -> int:
        """Pixels that are NaN, infinite or BLANK in the file; reads every frame, one at a time."""
        return sum(int(np.count_nonzero(~np.isfinite(image))) for _, _, image in self.images())

    def select(self, objects: Chosen = slice(None), frames: Chosen = slice(None)) -> Burst:
        """The chosen objects and frames, by slices, numbers or a text as `0:12,15`; nothing is read."""
        of_objects = choose(objects, self.shape[0], "objects")
        of_frames = choose(frames, self.shape[1], "frames")
        # The whole needs no wrapper.
        if (of_objects, of_frames) == (range(self.shape[0]), range(self.shape[1])):
            return self
        times = None if self.times is None else pick(self.times, of_frames)
        image_times = pick_images(self.image_times, of_objects, of_frames)
        # The times of frames are those of the first object.
        if image_times is not None:
            times = image_times[0]
        return dataclasses.replace(
            self,
            frames=Part(self.frames, of_objects, of_frames),
            instruments=pick(self.instruments, of_objects),
            labels=pick(self.labels, of_objects),
            headers=pick(self.headers, of_objects) if self.headers else (),
            times=times,
            image_times=image_times,
            pointing=pick_images(self.pointing, of_objects, of_frames),
            coordinates=pick(self.coordinates, of_objects) if self.coordinates else (),
            present=pick_images(self.present, of_objects, of_frames),
            object_numbers=evenly(pick(self.object_numbers, of_objects)),
            frame_numbers=evenly(pick(self.frame_numbers, of_frames)),
        )

    def window(self, rows: slice, columns: slice) -> Burst:
        """Return a rectangle of the field; nothing is read, and the headers stay those of the whole field."""
        chosen = range(self.shape[2])[rows], range(self.shape[3])[columns]
        if not (chosen[0] and chosen[1]):
            raise SettingsError(
                f"The rectangle lies outside the field of {self.shape[3]} x {self.shape[2]} pixels."
            )
        return dataclasses.replace(
            self, frames=Part(self.frames, range(self.shape[0]), range(self.shape[1]), *chosen)
        )

    def middle(self, size: int) -> Burst:
        """Return the middle of the field, at most `size` pixels each way; nothing is read."""
        first = [max(0, (n - size) // 2) for n in self.shape[2:]]
        return self.window(slice(first[0], first[0] + size), slice(first[1], first[1] + size))

    def with_instrument(self, text: str) -> Burst:
        """The burst with every object's instrument changed as `Instrument.parse` reads `text`.

        A scale that is given there is believed, whatever the instrument's own is.
        """
        return dataclasses.replace(
            self,
            instruments=tuple(Instrument.parse(text, known) for known in self.instruments),
            scale_from_file=self.scale_from_file and "pixel_arcsec=" not in text.replace(" ", ""),
        )

"""The meaning of files: from their headers to objects and frames, by pure functions that read no pixel."""

from __future__ import annotations

import itertools
import math
import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from heliorestore.errors import BurstError
from heliorestore.fits.axes import Axes, Coordinates, axes_of, object_labels, seconds_along
from heliorestore.fits.files import silent_astropy
from heliorestore.fits.given_axes import with_axes
from heliorestore.fits.hdus import FOREIGN, Image

LAYOUTS = {
    "image": "one 2-D image: one object, one frame",
    "frames": "a 3-D cube (frame, y, x): one object",
    "objects": "a 4-D cube (object, frame, y, x)",
    "named-axes": "a cube whose CTYPEs name WAVE, STOKES or TIME, in any order: TIME is the frame, WAVE x "
    "STOKES the objects; or one whose axes you name",
    "extensions": "several image extensions of one shape: frames, or objects where EXTNAME or a camera "
    "keyword alternates",
    "files": "a folder or a list of files: frames in the order of time, objects by instrument, camera and "
    "wavelength",
    "ana": "an ANA file (.f0, .fz): an image or (frame, y, x)",
    "lapalma": "a cube of CRISPEX (.icube, .fcube): (frame, y, x), or by the spectral cube beside it",
    "restored": "a file that heliorestore wrote: the restored images (object, y, x)",
}
"""The words that `heliorestore info` prints as layout, and what each means; "array" is a burst that no file
holds."""

OWN_FORMAT = "HELIOFMT"  # the card that marks a restored file
DATE_KEYS = ("DATE-OBS", "DATE-BEG", "DATE_OBS", "DATE-AVG", "T_OBS")
_NUMBER_KEYS = ("FRAMENUM", "FRAMENO", "FRAME_NO", "FRAME", "IMGNUM")
_CAMERA_KEYS = (
    "INSTRUME",
    "WAVELNTH",
    "CAMERA",
    "DETECTOR",
    "CAM",
    "CHANNEL",
    "BAND",
    "ARM",
    "FILTER",
    "FILTER1",
)
_CHANNELS = re.compile(
    r"(WB|NB|BB|CONT\w*|BROAD\W?BAND|WIDE\W?BAND|NARROW\W?BAND|BLUE|RED|FOCUS|DEFOCUS|[IQUV]|(STOKES|IMAGE)\W?[IQUV])\Z"
)
_COMPANIONS = re.compile(
    r"(ERR|UNCERT|MASK|DQ|VAR|WEIGHT|WHT|COVERAGE|RESIDUAL|BADPIX|FLAG|MODES|QUALITY|DARK|FLAT|WCSDVARR)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Piece:
    """An image with the meaning of its axes: a block (object, frame, y, x) of a burst."""

    image: Image
    axes: Axes

    @property
    def shape(self) -> tuple[int, int, int, int]:
        shape, axes = self.image.shape, self.axes
        frames = 1 if axes.frame is None else shape[axes.frame]
        return math.prod(shape[axis] for axis in axes.objects), frames, shape[axes.y], shape[axes.x]

    def key(self, object_: int, frame: int, rows: slice, columns: slice) -> tuple[int | slice, ...]:
        """The index of a frame's part along the image's own axes."""
        key: list[int | slice] = [0] * len(self.image.shape)
        key[self.axes.y], key[self.axes.x] = rows, columns
        if self.axes.frame is not None:
            key[self.axes.frame] = frame
        # The last axis runs fastest, as in numpy.
        for axis in reversed(self.axes.objects):
            object_, key[axis] = divmod(object_, self.image.shape[axis])
        return tuple(key)


@dataclass(frozen=True)
class Plan:
    """A burst made of images: the pieces of a group follow each other as frames, the groups as objects."""

    layout: str
    groups: tuple[tuple[Piece, ...], ...]
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        counts = {sum(piece.shape[1] for piece in group) for group in self.groups}
        planes = {piece.shape[2:] for piece in self.pieces}
        if len(planes) > 1:
            first, other = (
                next(p for p in self.pieces if p.shape[2:] == plane) for plane in sorted(planes)[:2]
            )
            raise BurstError(
                f"The images differ in shape: {_where(first)} has {first.shape[2:]} and {_where(other)} "
                f"{other.shape[2:]} pixels (y, x); a burst has one shape, so read them separately, or "
                "bring two cameras onto the same pixels with --register."
            )
        if len({piece.shape[0] for group in self.groups for piece in group}) > 1 and any(
            len(group) > 1 for group in self.groups
        ):
            raise BurstError(
                f"{self.pieces[0].image.path.parent}: the files hold different numbers of "
                "objects; read them separately."
            )
        if len(counts) > 1:
            counted = ", ".join(
                f"{sum(p.shape[1] for p in group)} of {label}"
                for group, label in zip(self.groups, self.labels, strict=True)
            )
            raise BurstError(
                f"{_where(self.pieces[0])}: the objects have different numbers of frames "
                f"({counted}); read them separately."
            )

    @cached_property
    def pieces(self) -> tuple[Piece, ...]:
        return tuple(itertools.chain.from_iterable(self.groups))

    @cached_property
    def shape(self) -> tuple[int, int, int, int]:
        first = self.groups[0]
        return (
            sum(group[0].shape[0] for group in self.groups),
            sum(p.shape[1] for p in first),
            *first[0].shape[2:],
        )

    @cached_property
    def _ends(self) -> tuple[list[int], list[list[int]]]:
        """Where the objects of each group end, and where the frames of each piece end."""
        objects = list(itertools.accumulate(group[0].shape[0] for group in self.groups))
        return objects, [
            list(itertools.accumulate(piece.shape[1] for piece in group)) for group in self.groups
        ]

    def ordered(self, files: Sequence[Path]) -> Plan:
        """The same with its objects in the order in which their first files stand in a list."""
        first = [min(files.index(piece.image.path) for piece in group) for group in self.groups]
        order = sorted(range(len(first)), key=first.__getitem__)
        return Plan(self.layout, tuple(self.groups[n] for n in order), tuple(self.labels[n] for n in order))

    def group_of(self, object_: int) -> tuple[int, int]:
        """The number of the object's group, and of the object within it."""
        ends = self._ends[0]
        group = bisect_right(ends, object_)
        return group, object_ - (ends[group - 1] if group else 0)

    def find(self, object_: int, frame: int) -> tuple[Piece, int, int]:
        """The piece that holds a frame, and the frame's object and frame number within it."""
        group, inner = self.group_of(object_)
        ends = self._ends[1][group]
        at = bisect_right(ends, frame)
        return self.groups[group][at], inner, frame - (ends[at - 1] if at else 0)


def _where(piece: Piece) -> str:
    return f"{piece.image.path}" + (f"[{piece.image.number}]" if piece.image.number else "")


# -- one file ------------------------------------------------------------------------------------------------


def plan_file(images: Sequence[Image], names: str = "") -> Plan:
    """The plan for the images of one file; `images` are all images of the file, in order.

    `names` are those of the axes if a user gives them; a file that heliorestore wrote needs none.
    """
    useful = [image for image in images if len(image.shape) >= 2 and 0 not in image.shape]
    if not useful:
        raise _no_image(images)
    if OWN_FORMAT in images[0].cards and len(images[0].shape) == 3:
        return Plan("restored", ((Piece(images[0], Axes(1, 2, None, (0,))),),), ("",))
    first, *others = [i for i in useful if not _COMPANIONS.match(str(i.cards.get("EXTNAME") or ""))] or useful
    alike = [image for image in others if image.shape == first.shape]
    if len(alike) < len(others) and first.number > 0:
        other = next(image for image in others if image.shape != first.shape)
        raise BurstError(
            f"{first.path}: the image extensions differ in shape, {first.shape} in HDU {first.number} and "
            f"{other.shape} in HDU "
            f"{other.number}; frames have one shape, so write each kind to a separate file."
        )
    piece = _piece(first, names)
    if not alike:
        return Plan(_single_layout(piece.image, piece.axes), ((piece,),), ("",))
    groups = _by_channel([first, *alike])
    return Plan(
        "extensions",
        tuple(tuple(_piece(image, names) for image in group) for group in groups.values()),
        tuple(groups),
    )


def _piece(image: Image, names: str) -> Piece:
    return Piece(*with_axes(image, names)) if names.strip() else Piece(image, axes_of(image))


def _no_image(images: Sequence[Image]) -> BurstError:
    path = images[0].path
    found = ", ".join(f"HDU {image.number} of shape {image.shape}" for image in images[:5])
    return BurstError(f"{path} has no image of at least two axes with pixels in it, only {found}.")


def _single_layout(image: Image, axes: Axes) -> str:
    if image.code in FOREIGN:
        return image.code
    if axes.named:
        return "named-axes"
    return (
        "objects"
        if axes.objects
        else "frames"
        if axes.frame is not None and image.shape[axes.frame] > 1
        else "image"
    )


def _by_channel(images: Sequence[Image]) -> dict[str, list[Image]]:
    """The images by EXTNAME (without its number) or a camera keyword, where groups are of equal size."""
    # SCI1 and SCI2, or WB_01 and WB_02, are frames of one channel.
    names = [re.sub(r"[\W\d_]+\Z", "", str(image.cards.get("EXTNAME") or "").upper()) for image in images]
    spoken = len(set(names)) > 1 and all(_CHANNELS.match(name) for name in names)
    if spoken or _splits_evenly(names):
        return _grouped(images, names)
    for key in _CAMERA_KEYS:
        values = [_word(image.cards.get(key)) for image in images]
        if _splits_evenly(values):
            return _grouped(images, values)
    return {"": list(images)}


def _splits_evenly(names: Sequence[str]) -> bool:
    counts = {names.count(name) for name in set(names)} if len(set(names)) < 100 else {0}
    return len(set(names)) > 1 and "" not in names and len(counts) == 1 and counts.pop() > 1


def _grouped(images: Sequence[Image], names: Sequence[str]) -> dict[str, list[Image]]:
    groups: dict[str, list[Image]] = {}
    for image, name in zip(images, names, strict=True):
        groups.setdefault(name, []).append(image)
    return groups


def _word(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return "" if value is None else str(value).strip()


# -- several files -------------------------------------------------------------------------------------------


def plan_files(plans: Sequence[Plan]) -> Plan:
    """Join what the files are: frames of one camera in their order of time, others as further objects."""
    if len(plans) == 1:
        return plans[0]
    groups: dict[tuple[str, ...], list[tuple[Piece, ...]]] = {}
    # By name first: sorting by time later keeps this order where times are equal or missing.
    for plan in sorted(plans, key=lambda plan: natural(plan.pieces[0].image.path.name)):
        for group, label in zip(plan.groups, plan.labels, strict=True):
            groups.setdefault((*camera(group[0].image.cards), label), []).append(group)
    joined = tuple(tuple(itertools.chain.from_iterable(in_order(groups[name]))) for name in groups)
    return Plan("files", joined, _labels(list(groups)))


def camera(cards: Mapping[str, Any]) -> tuple[str, ...]:
    """What distinguishes the cameras of one observation."""
    return tuple(_word(cards.get(key)) for key in _CAMERA_KEYS)


def _labels(names: list[tuple[str, ...]]) -> tuple[str, ...]:
    """The parts of each group's name that differ between the groups."""
    differing = [i for i, words in enumerate(zip(*names, strict=True)) if len(set(words)) > 1]
    return tuple(" ".join(name[i] for i in differing if name[i]) for name in names)


def in_order(groups: list[tuple[Piece, ...]]) -> list[tuple[Piece, ...]]:
    """Sort by the time of observation, else the frame number, else leave the natural order of the names."""
    cards = [group[0].image.cards for group in groups]
    times = [date_of(c) for c in cards]
    numbers = [
        next((c[key] for key in _NUMBER_KEYS if isinstance(c.get(key), (int, float))), None) for c in cards
    ]
    ranks: list[list[Any]] = [[] for _ in groups]
    if all(time is not None for time in times):
        ranks = [[time] for time in times]
    if all(number is not None and math.isfinite(number) for number in numbers):
        ranks = [[*rank, number] for rank, number in zip(ranks, numbers, strict=True)]
    return [groups[i] for i in sorted(range(len(groups)), key=lambda i: ranks[i])]


def natural(name: str) -> list[tuple[int, str]]:
    """Sorting key of file names in which frame10 follows frame9."""
    return [
        (int(part), "") if part[0] in "0123456789" else (-1, part)
        for part in re.findall(r"[0-9]+|[^0-9]+", name.casefold())
    ]


# -- times and labels ----------------------------------------------------------------------------------------


def date_of(cards: Mapping[str, Any]) -> datetime | None:
    """The (UTC) time of observation from the first card that has one, or None."""
    key, time = _first_time(cards, DATE_KEYS)
    if key == "DATE-OBS" and "TIME-OBS" in cards:  # where the other card is a date alone
        _, together = _first_time({**cards, key: f"{cards[key]}T{cards['TIME-OBS']}"}, (key,))
        return together or time
    return time


def _first_time(cards: Mapping[str, Any], keys: Sequence[str]) -> tuple[str, datetime | None]:
    """The first of the cards that has a time, and that time, from the header's time system to UTC."""
    for key in keys:
        if (time := parse_time(cards.get(key), str(cards.get("TIMESYS") or "UTC"))) is not None:
            return key, time
    return "", None


def parse_time(value: Any, system: str = "UTC") -> datetime | None:
    """Read 2022-02-25T19:58:59.000[Z] or SDO's 2014.03.01_00:01:25_TAI; UTC without a time zone."""
    if not isinstance(value, str):
        return None
    text = value.strip().upper()
    for ending in ("_TAI", "_UTC", "_TT"):
        if text.endswith(ending):
            text, system = text.removesuffix(ending), ending[1:]
    if re.match(r"\d{4}\.\d\d\.\d\d_", text):
        text = text[:11].replace(".", "-").replace("_", "T") + text[11:]
    text = re.sub(r"^(\d{4})/(\d\d)/(\d\d)", r"\1-\2-\3", text)
    # datetime knows microseconds and nothing finer.
    text = re.sub(r"(\.\d{6})\d+", r"\1", text)
    try:
        time = datetime.fromisoformat(text)
        if time.tzinfo is not None:
            time = time.astimezone(UTC).replace(tzinfo=None)
        if system.strip().upper() in ("TAI", "TT"):
            time = _utc(time, system.strip().lower())
    except (ValueError, OverflowError):
        return None
    return time


def _utc(time: datetime, scale: str) -> datetime:
    """A time in TAI or TT as UTC; a leap second, which datetime lacks, is the second after it."""
    from astropy.time import Time

    with silent_astropy():  # years beyond the table of leap seconds are dubious, and common in simulations
        text = str(Time(time, scale=scale, precision=6).utc.isot)
    leap = text[17:19] == "60"
    return datetime.fromisoformat(f"{text[:17]}59{text[19:]}" if leap else text) + timedelta(seconds=leap)


def frame_times(
    piece: Piece, coordinates: Coordinates, seconds: npt.NDArray[np.float64] | None = None
) -> npt.NDArray[np.datetime64]:
    """The time of each frame of a piece, NaT where the header does not give it.

    `seconds` (object, frame), if a table has them, take the place of the time axis: then this is the time of
    each image.
    """
    cards, axes = piece.image.cards, piece.axes
    times = np.full(piece.shape[1], np.datetime64("NaT"), "datetime64[us]")
    began = date_of(cards)
    if began is not None:
        times[0] = np.datetime64(began, "us")
    if seconds is None and axes.frame is not None:
        seconds = seconds_along(piece.image, axes.frame, coordinates)
    if seconds is None:
        return times
    _, reference = _first_time(cards, ("DATEREF", "DATE-REF"))
    # the origin of the axis is unknown, so the first frame gets the start time of the header
    if reference is None:
        reference, seconds = began, seconds - seconds.flat[0]
    # Beyond three hundred years it is no time in seconds.
    if reference is None or float(np.abs(seconds).max()) >= 1e10:
        return times
    return np.datetime64(reference, "us") + np.round(seconds * 1e6).astype("timedelta64[us]")


def labels_of(plan: Plan, coordinates: Sequence[Coordinates]) -> list[tuple[str, float | None]]:
    """Label and, where an axis gives it, wavelength in nm of every object; `coordinates` of each group."""
    found: list[tuple[str, float | None]] = []
    for group, name, tabulated in zip(plan.groups, plan.labels, coordinates, strict=True):
        for label, wave_nm in object_labels(group[0].image, group[0].axes, tabulated):
            found.append((" ".join(filter(None, (name, label))) or f"object {len(found)}", wave_nm))
    return found

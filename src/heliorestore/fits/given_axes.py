"""The axes of an image by the names that a user gives them, where the header does not."""

from __future__ import annotations

import math
from dataclasses import replace

from heliorestore.errors import BurstError
from heliorestore.fits.axes import Axes
from heliorestore.fits.hdus import Image

OBJECT_AXES = ("wavelength", "stokes", "modulation", "state", "tuning", "object")
FRAME_AXES = ("frame", "time")


def with_axes(image: Image, text: str) -> tuple[Image, Axes]:
    """The image with the axes that a user names, the slowest first: wavelength,stokes,frame,y,x.

    More names than the image has axes split its slowest one: in frame,stokes=4,wavelength=21,y,x the size of
    one of them follows from the others.
    """
    names, sizes = _names_and_sizes(image, text)
    shape = _split(image, names, sizes, text)
    if shape != image.shape:
        # CTYPE numbers the axes of the file, not these.
        cards = {k: v for k, v in image.cards.items() if k[:5] != "CTYPE" or k in ("CTYPE1", "CTYPE2")}
        image = replace(image, shape=shape, cards=cards)
    objects = tuple(axis for axis, name in enumerate(names) if name in OBJECT_AXES)
    return image, Axes(
        y=names.index("y"),
        x=names.index("x"),
        frame=next((axis for axis, name in enumerate(names) if name in FRAME_AXES), None),
        objects=objects,
        named=True,
        names=tuple(names[axis] for axis in objects),
    )


def _names_and_sizes(image: Image, text: str) -> tuple[list[str], list[int]]:
    """The names, and the sizes that are given, 0 for the others."""
    names, sizes = [], []
    for part in text.split(","):
        name, equals, size = (word.strip().lower() for word in part.partition("="))
        known = name in (*OBJECT_AXES, *FRAME_AXES, "y", "x")
        if not known or (equals and not (size.isdecimal() and int(size))):
            raise _refused(image, text, f"{part.strip()!r} is unknown")
        names.append(name)
        sizes.append(int(size) if equals else 0)
    if names.count("y") != 1 or names.count("x") != 1:
        raise _refused(image, text, "y and x must each be there once")
    if sum(name in FRAME_AXES for name in names) > 1:
        raise _refused(image, text, "only one axis can be the frames")
    return names, sizes


def _split(image: Image, names: list[str], sizes: list[int], text: str) -> tuple[int, ...]:
    """The shape of the image with its slowest axis split into as many as there are names for."""
    slowest, *rest = image.shape
    many = len(names) - len(rest)
    if many < 1 or (many > 1 and {"y", "x"} & set(names[:many])):
        raise _refused(image, text, f"they are {len(names)}")
    if many > 1 and not image.plain:
        raise _refused(image, text, "the axes of a compressed image cannot be split")
    first = sizes[:many]
    if first.count(0) == 1:
        first[first.index(0)] = slowest // math.prod(size or 1 for size in first)
    if 0 in first:
        raise _refused(image, text, "sizes are missing")
    shape = (*first, *rest)
    if math.prod(first) != slowest or any(given not in (0, n) for given, n in zip(sizes, shape, strict=True)):
        raise _refused(image, text, "the sizes do not fit")
    return shape


def _refused(image: Image, text: str, why: str) -> BurstError:
    return BurstError(
        f"{image.path}: the axes {text!r} do not describe HDU {image.number} of the shape {image.shape}: "
        f"{why}; name every axis, the slowest first, of {', '.join(OBJECT_AXES)} (objects), "
        f"{' or '.join(FRAME_AXES)}, y and x, where frame,stokes=4,wavelength=21,y,x splits the slowest one."
    )

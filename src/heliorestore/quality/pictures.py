"""Pictures of images for a talk or a paper: frames of a movie, and figures with axes in arcsec.

Images are (y, x) with the first row below, as on the sky; matplotlib is imported with the first picture.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from heliorestore.errors import SettingsError
from heliorestore.quality.charts import check_suffix, style
from heliorestore.storage import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Image = npt.NDArray[np.float32]

_PERCENT = (0.2, 99.8)  # of the pixels between the cut levels
_SAMPLED = 4  # every n-th pixel along an axis decides about the cut levels
_ROUND = (1, 2, 5)  # times a power of ten: lengths of a scale bar
_BAR = 0.25  # of the field's width: the longest bar
_PANEL_IN = 4.2  # height of a panel in a figure
_PAPER_DPI = 300


@dataclass(frozen=True, kw_only=True)
class Look:
    """How images are shown: colour map, cut levels (None: from the images), size of a pixel in arcsec."""

    cmap: str = "gray"
    limits: tuple[float, float] | None = None
    pixel_arcsec: float | None = None
    scale_bar: bool = True

    def __post_init__(self) -> None:
        import matplotlib

        if self.cmap not in matplotlib.colormaps:
            raise SettingsError(f"There is no colour map {self.cmap!r}; some are gray, inferno, RdBu_r.")
        if self.limits is not None and not self.limits[0] < self.limits[1]:
            raise SettingsError(
                f"The cut levels are {self.limits[0]:g} and {self.limits[1]:g}; the first must be lower."
            )


def cut_levels(images: Sequence[Image]) -> tuple[float, float]:
    """Cut levels that serve all images; around zero where images have both signs about equally."""
    every = np.concatenate([image[::_SAMPLED, ::_SAMPLED].ravel() for image in images])
    good = every[np.isfinite(every)]
    if not len(good):
        raise SettingsError("No pixel of the images is valid: there is nothing to show.")
    low, high = (float(level) for level in np.percentile(good, _PERCENT))
    if low < 0 < high and min(-low, high) > 0.2 * max(-low, high):
        low, high = -max(-low, high), max(-low, high)
    return (low, high) if low < high else (low - 0.5, high + 0.5)


def painted(image: Image, look: Look, time: str = "") -> npt.NDArray[np.uint8]:
    """One frame of a movie (row from above, column, RGB), of the image's own pixels, with an even number of
    rows and columns as coders need.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    assert look.limits is not None
    rows, columns = (n - n % 2 for n in image.shape)
    # Small images are enlarged by whole pixels, so that the text on them can be read.
    zoom = max(1, math.ceil(320 / columns))
    dpi = 100.0
    with style(ink="white", paper="black", size=max(9.0, columns * zoom / 45)):
        figure = Figure((columns * zoom / dpi, rows * zoom / dpi), dpi=dpi)
        canvas: Any = FigureCanvasAgg(figure)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        show(axes, image[:rows, :columns], look)
        if time:
            text(axes, 0.02, 0.97, time, va="top")
        if look.scale_bar and look.pixel_arcsec:
            draw_scale_bar(axes, look.pixel_arcsec, (rows, columns))
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def show(
    axes: Axes, image: Image, look: Look, extent: tuple[float, float, float, float] | None = None
) -> Any:
    """An image between the cut levels, first row below, each pixel a square."""
    low, high = look.limits or cut_levels([image])
    return axes.imshow(
        np.ma.masked_invalid(image), cmap=look.cmap, vmin=low, vmax=high,
        origin="lower", extent=extent, interpolation="nearest",
    )  # fmt: skip


def text(axes: Axes, x: float, y: float, words: str, **where: Any) -> None:
    """Words on an image, readable on bright and on dark, at a place in fractions of the axes."""
    from matplotlib.patheffects import withStroke

    axes.text(
        x, y, words, transform=axes.transAxes, color="white", parse_math=False,
        path_effects=[withStroke(linewidth=1.5, foreground="black")], **where,
    )  # fmt: skip


def bar_arcsec(field_arcsec: float) -> float:
    """The length of a scale bar for a field of that width: a round number of arcsec."""
    longest = _BAR * field_arcsec
    power = 10.0 ** math.floor(math.log10(longest))
    return max(n * power for n in _ROUND if n * power <= longest)


def draw_scale_bar(axes: Axes, pixel_arcsec: float, shape: tuple[int, int]) -> None:
    """A bar of a round length in the lower left of an image (y, x) in pixels, with its length above."""
    from matplotlib.patheffects import withStroke

    length = bar_arcsec(shape[1] * pixel_arcsec)
    wide = length / pixel_arcsec / shape[1]
    axes.plot(
        [0.03, 0.03 + wide], [0.04, 0.04], color="white", linewidth=2.5, transform=axes.transAxes,
        solid_capstyle="butt", path_effects=[withStroke(linewidth=4.5, foreground="black")],
    )  # fmt: skip
    text(axes, 0.03, 0.055, f'{length:g}"', va="bottom")


@dataclass(frozen=True, kw_only=True, eq=False)
class Panel:
    """An image of a figure, its title, and where its edges are: left, right, bottom, top in arcsec, None
    where the scale is unknown.
    """

    image: Image
    title: str
    extent: tuple[float, float, float, float] | None
    unit: str = ""


def save_figure(panels: Sequence[Panel], path: Path, look: Look) -> None:
    """Write panels side by side on a white page, all with the same cut levels and one colour bar."""
    check_suffix(path)
    from matplotlib.figure import Figure

    look = Look(cmap=look.cmap, limits=look.limits or cut_levels([panel.image for panel in panels]))
    rows, columns = panels[0].image.shape
    width = _PANEL_IN * max(0.5, min(2.5, columns / rows)) * len(panels) + 1.2
    with style(size=9):
        figure = Figure((width, _PANEL_IN + 0.6), layout="constrained")
        every = figure.subplots(1, len(panels), squeeze=False, sharex=True, sharey=True)[0]
        for axes, panel in zip(every, panels, strict=True):
            shown = show(axes, panel.image, look, panel.extent)
            axes.set_title(panel.title, parse_math=False)
            unit = "pixel" if panel.extent is None else "arcsec"
            axes.set_xlabel(f"x [{unit}]")
        every[0].set_ylabel(f"y [{unit}]")
        bar = figure.colorbar(shown, ax=list(every), pad=0.01, aspect=30)
        bar.set_label(f"intensity [{panels[0].unit}]" if panels[0].unit else "intensity", parse_math=False)
        try:
            with atomic_write(path) as file:
                figure.savefig(file, format=path.suffix[1:].lower(), dpi=_PAPER_DPI)
        except OSError as error:
            raise SettingsError(
                f"The figure {path} cannot be written ({error}): choose another name or folder."
            ) from error

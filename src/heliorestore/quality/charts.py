"""Charts on matplotlib's axes: the panels, the command and scripts draw them with the same functions.

matplotlib is imported with the first chart, and pyplot, which keeps figures in a global list, never.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from heliorestore.errors import SettingsError
from heliorestore.quality.metrics import Array, Spectrum
from heliorestore.quality.report import Measured
from heliorestore.storage import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.lines import Line2D

COLOURS = ("#0f68fc", "#c05001", "#719a5b", "#5e99bd", "#b8860b", "#8c8c8c", "#b565a7")
"""Of lines: told apart by colour-blind eyes too, and seen on white as on a dark window."""

Drawing = Callable[["Axes"], None]
"""Fills empty axes with a chart."""

_SUFFIXES = (".png", ".pdf", ".svg")
_PAGE_IN = (9.0, 5.6)  # width and height of one chart in a file
_FEW_DECADES = 2.5  # on which a logarithmic axis has labels at 2 and 5 too
_LEGEND_WIDTH = 48  # characters that fit above a chart on a panel of 300 pixels
_NO_COMMON_AXIS = (
    "The pixel size of {}\nis unknown in arcsec, that of others is known:\n"
    "their spectra have no axis in common."
)
_NO_COMMON_UNIT = (
    "{} is around zero and has no mean,\nto which others are related: their spectra have no unit in common."
)
_LINES = {"equal": (1.0, "-"), "x 2": (2.0, "--"), "x 1/2": (0.5, "--")}


def draw_power_spectra(axes: Axes, images: Sequence[Measured]) -> None:
    """Azimuthal power spectra of images on logarithmic axes, with every diffraction limit among them, and as
    broken lines of the same colours what white noise as strong as theirs would have.

    Images around zero have no mean: all that are shown must be, and amplitudes are drawn in their unit.
    Images with and without a pixel size in arcsec have no axis in common and are refused in a sentence.
    """
    shown = [(image, image.spectrum) for image in images if image.spectrum is not None]
    scales = {image.name: image.instrument.pixel_arcsec for image, _ in shown}
    sky, empty = all(scales.values()), "no power in at least 8 x 8 valid pixels"
    if not sky and any(scales.values()):
        unknown = next(name for name, scale in scales.items() if not scale)
        shown, empty = [], _NO_COMMON_AXIS.format(unknown)
    signed = all(image.signed for image, _ in shown)
    if not signed and any(image.signed for image, _ in shown):
        around = next(image.name for image, _ in shown if image.signed)
        shown, empty = [], _NO_COMMON_UNIT.format(around)
    limits: dict[float, str] = {}
    for image, spectrum in shown:
        draw_curve(axes, spectrum.frequency, spectrum.amplitude if signed else spectrum.power, image.name)
        _draw_white_noise(axes, image, spectrum, axes.lines[-1])
        if sky and (resolution := image.instrument.resolution_arcsec):
            limits.setdefault(round(1 / resolution, 6), f"diffraction limit, {resolution:.3g} arcsec")
    unit = "arcsec" if sky else "pixel"
    power = f"amplitude [unit of the image x {unit}]" if signed and shown else f"power of I/<I> [{unit}^2]"
    titles = f"spatial frequency [cycles/{unit}]", power
    finish(
        axes,
        *titles,
        title=f"azimuthally averaged {'amplitude' if signed and shown else 'power'} spectra",
        empty=empty,
        marks=limits,
    )


def _draw_white_noise(axes: Axes, image: Measured, spectrum: Spectrum, like: Line2D) -> None:
    """What white noise as strong as an image's has at every frequency, if that is known."""
    pixel = image.instrument.pixel_arcsec or 1.0
    level = image.noise * pixel / (1.0 if image.signed else abs(image.mean) or 1.0)
    if level > 0 and not image.filtered:
        # No line of its own: it needs no legend, and is no point of a spectrum.
        axes.hlines(
            level if image.signed else level**2,
            spectrum.frequency[0],
            spectrum.frequency[-1],
            colors=like.get_color(),
            linestyles=(0, (4, 3)),
            linewidth=0.8,
        )


def draw_photometry(
    axes: Axes,
    intensities: Array,
    names: tuple[str, str],
    unit: str = "",
    empty: str = "no pixel where both are positive",
) -> None:
    """Intensities (pixel, [reference, image]) over one another on logarithmic axes, with lines of equality
    and of a factor of two; of values of both signs on axes that are linear around zero.

    `names` are those of the image and of the reference.
    """
    if len(intensities) and (intensities < 0).any():
        _draw_signed(axes, intensities, names, unit)
        return
    if len(intensities):
        draw_curve(
            axes, intensities[:, 0], intensities[:, 1], "pixels", linestyle="none", marker=".", markersize=2
        )
        ends = np.array([intensities.min(), intensities.max()])
        for name, (factor, style) in _LINES.items():
            draw_curve(
                axes,
                ends,
                factor * ends,
                name,
                linestyle=style,
                color=axes.xaxis.label.get_color(),
                linewidth=1.0,
            )
        if ends[0] < ends[1]:
            axes.set(xlim=ends, ylim=ends)
    suffix = f" [{unit}]" if unit else ""
    finish(axes, names[1] + suffix, names[0] + suffix, title="photometry", empty=empty)


def _draw_signed(axes: Axes, values: Array, names: tuple[str, str], unit: str) -> None:
    """Values of both signs over one another, with the same lines on either side of zero."""
    reach = float(np.abs(values).max())
    linear = float(np.median(np.abs(values))) or reach
    axes.plot(values[:, 0], values[:, 1], linestyle="none", marker=".", markersize=2, label="pixels")
    ends = np.concatenate([-np.geomspace(reach, linear / 30, 40), np.geomspace(linear / 30, reach, 40)])
    for name, (factor, style) in _LINES.items():
        axes.plot(
            ends,
            factor * ends,
            label=name,
            linestyle=style,
            color=axes.xaxis.label.get_color(),
            linewidth=1.0,
        )
    axes.set_xscale("symlog", linthresh=linear)
    axes.set_yscale("symlog", linthresh=linear)
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach))
    suffix = f" [{unit}]" if unit else ""
    axes.set_xlabel(names[1] + suffix, parse_math=False)
    axes.set_ylabel(names[0] + suffix, parse_math=False)
    legend_above(axes, "photometry")


def draw_sharpness(axes: Axes, values: Array, name: str, used: Collection[int] | None = None) -> None:
    """The sharpness of every frame; those that are not used are hollow."""
    frames = np.arange(len(values))
    (line,) = axes.plot(frames, values, linewidth=0.8, label=name)
    taken = np.isin(frames, frames if used is None else list(used))
    for part, filled in ((taken, "full"), (~taken, "none")):
        axes.plot(
            frames[part], values[part], "o", markersize=5, fillstyle=filled, color=line.get_color(), label="_"
        )
    highest = np.nanmax(values) if np.isfinite(values).any() else 0.0
    axes.set(xlabel="frame", ylabel="sharpness", ylim=(0, 1.1 * highest or 1.0))
    axes.set_title(f"sharpness of {name}", fontsize="medium")


def draw_curve(axes: Axes, x: Array, y: Array, name: str, **style: Any) -> None:
    """A curve on axes that will be logarithmic: what is not finite and positive leaves a gap."""
    good = (x > 0) & (y > 0) & np.isfinite(x) & np.isfinite(y)
    (line,) = axes.plot(np.where(good, x, np.nan), np.where(good, y, np.nan), label=name, **style)
    mark_single_points(line)


def mark_single_points(line: Line2D) -> None:
    """Put a dot where a line has a point without neighbours, through which nothing would be drawn."""
    known = np.pad(np.isfinite(np.asarray(line.get_xydata())).all(1), 1)
    single = known[1:-1] & ~known[:-2] & ~known[2:]
    if line.get_linestyle() != "None":
        line.set(marker="." if single.any() else "None", markevery=single)


def finish(
    axes: Axes, x: str, y: str, *, title: str = "", empty: str = "", marks: Mapping[float, str] | None = None
) -> None:
    """Finish logarithmic axes, the legend above, `marks` by place; `empty` is shown without a curve."""
    # A $ in a name is no formula.
    axes.set_xlabel(x, parse_math=False)
    axes.set_ylabel(y, parse_math=False)
    if not np.isfinite(axes.dataLim.get_points()).all():
        axes.set_axis_off()  # an empty frame says nothing
        axes.text(0.5, 0.5, empty, transform=axes.transAxes, ha="center", va="center", parse_math=False)
        axes.set(xlim=(0.1, 1), ylim=(0.1, 1))
        marks = None
    marks = marks or {}
    axes.vlines(
        [*marks], 0, 1, axes.xaxis.label.get_color(), ":", linewidth=1.0, transform=axes.get_xaxis_transform()
    )
    axes.set(xscale="log", yscale="log")
    for row, (place, name) in enumerate(marks.items()):
        # on the side with more room
        right = axes.transLimits.transform(axes.transScale.transform((place, 1.0)))[0] < 0.5
        # a spectrum falls: beside the line there is room above on the right, and below on the left
        away = (3.0, -2.0 - 10.0 * row) if right else (-3.0, 2.0 + 10.0 * row)
        axes.annotate(
            name, (place, float(right)), away, xycoords=axes.get_xaxis_transform(),
            textcoords="offset points", ha="left" if right else "right", va="top" if right else "bottom",
            size="small",
        )  # fmt: skip
    label_decades(axes.xaxis)
    label_decades(axes.yaxis)
    legend_above(axes, title)


def legend_above(axes: Axes, title: str = "", lines: Sequence[Line2D] = ()) -> int:
    """Put a legend of these lines, by default all, above in as few rows as fit a panel, names literally;
    returns the number of rows.
    """
    lines = lines or axes.lines
    names = [str(line.get_label()) for line in lines]
    rows = next((n for n in range(1, len(names)) if _legend_width(names, n) <= _LEGEND_WIDTH), len(names))
    columns = math.ceil(len(names) / max(rows, 1))
    legend = axes.legend(
        lines, ["name"] * len(lines), title=title, alignment="left", loc="lower left",
        bbox_to_anchor=(0, 1), borderaxespad=0.2, ncols=columns, handlelength=1.5, columnspacing=1.0,
    )  # fmt: skip
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set_parse_math(False)
        text.set_text(name)  # which matplotlib 3.9 would have left out if it began with an underscore
    return rows


def shortened(text: str, most: int) -> str:
    """A text of at most so many characters, without its middle where it is longer."""
    kept = max(most - 1, 2)
    return text if len(text) <= most else f"{text[: kept - kept // 2]}…{text[-(kept // 2) :]}"


def _legend_width(names: Sequence[str], rows: int) -> int:
    """Characters of a legend that is filled column by column."""
    return sum(5 + max(map(len, names[n : n + rows])) for n in range(0, len(names), rows))


def label_decades(axis: Axis) -> None:
    """Labels such as 0.01 at powers of ten and, on short axes, at 2 and 5 times these."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if math.log10(high / low) < _FEW_DECADES else (1,)))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())


def style(ink: str = "black", paper: str = "white", size: float = 10.0) -> AbstractContextManager[None]:
    """The look of charts in this context, whatever the user's matplotlibrc; in files text stays text."""
    from cycler import cycler
    from matplotlib import rc_context

    look: dict[Any, Any] = {
        **dict.fromkeys(
            ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), ink
        ),
        **dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor"), paper),
        "axes.prop_cycle": cycler(color=COLOURS),
        "legend.frameon": False,
        "legend.fontsize": "small",
        "legend.title_fontsize": "medium",
        "lines.linewidth": 1.5,
        "text.usetex": False,
        "font.family": "DejaVu Sans",
        "font.size": size,
        "pdf.fonttype": 42,
        "svg.fonttype": "none",
    }
    return rc_context(look)


def check_suffix(path: Path) -> None:
    """Refuse a file name without the suffix of a format for charts."""
    if path.suffix.lower() not in _SUFFIXES:
        raise SettingsError(
            f"{path} cannot name a chart: its name must end in {', '.join(_SUFFIXES[:-1])} or "
            f"{_SUFFIXES[-1]}."
        )


def save(drawings: Sequence[Drawing], path: Path) -> None:
    """Write charts one below the other on a white page; the suffix gives the format."""
    check_suffix(path)
    from matplotlib.figure import Figure

    width, height = _PAGE_IN
    with style():
        figure = Figure((width, height * len(drawings)), dpi=150, layout="constrained")
        for draw, axes in zip(drawings, figure.subplots(len(drawings), squeeze=False).flat, strict=True):
            draw(axes)
        try:
            with atomic_write(path) as file:
                figure.savefig(file, format=path.suffix[1:].lower())
        except OSError as error:
            raise SettingsError(
                f"The chart {path} cannot be written ({error}): choose another name or folder."
            ) from error


def to_csv(draw: Drawing) -> str:
    """The points of all curves of a chart as comma-separated values: curve, x, y."""
    from matplotlib.figure import Figure

    axes = Figure().add_subplot()
    draw(axes)
    lines = [f'"curve","{axes.get_xlabel()}","{axes.get_ylabel()}"']
    for line in axes.lines:
        name = str(line.get_label()).replace('"', '""')
        lines += [f'"{name}",{x!r},{y!r}' for x, y in np.asarray(line.get_xydata()).tolist()]
    return "\n".join(lines) + "\n"

"""Commands of the palette that are neither readers, writers nor widgets."""

from __future__ import annotations

from heliorestore.fits.reader import SUFFIXES
from heliorestore.plugin.viewer.cut_levels import apply_cuts, is_lower_left, set_origin

FITS_PATTERNS = tuple(f"*{suffix}" for suffix in SUFFIXES if suffix.startswith((".fit", ".fts")))


def use_for_fits() -> None:
    """Make this plugin open FITS files, dropped ones too: napari's own shows only the first plane."""
    from napari.settings import get_settings
    from napari.utils.notifications import show_info

    plugins = get_settings().plugins
    plugins.extension2reader = {**plugins.extension2reader, **dict.fromkeys(FITS_PATTERNS, "heliorestore")}
    show_info(
        f"heliorestore now opens {', '.join(FITS_PATTERNS)} files; to change that, see Plugins, file "
        "extension readers, in the preferences."
    )


def cut_min_max() -> None:
    """Show every value of the selected images."""
    _cut("min-max")


def cut_zscale() -> None:
    """Show the selected images in the limits of IRAF's zscale."""
    _cut("zscale")


def cut_99_5() -> None:
    """Show 99.5 % of the pixels of the selected images."""
    _cut(99.5)


def cut_99() -> None:
    """Show 99 % of the pixels of the selected images."""
    _cut(99.0)


def cut_98() -> None:
    """Show 98 % of the pixels of the selected images."""
    _cut(98.0)


def cut_95() -> None:
    """Show 95 % of the pixels of the selected images."""
    _cut(95.0)


def turn_origin() -> None:
    """Put the origin at the lower left, or back at the upper left."""
    from napari.viewer import current_viewer

    if (viewer := current_viewer()) is not None:
        set_origin(viewer, lower_left=not is_lower_left(viewer))


def _cut(how: float | str) -> None:
    from napari.utils.notifications import show_info
    from napari.viewer import current_viewer

    viewer = current_viewer()
    if viewer is None or not apply_cuts(viewer, how):
        show_info("There is no image layer whose contrast can be set: open an image first.")

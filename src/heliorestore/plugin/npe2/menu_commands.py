"""Commands of the palette that are neither readers, writers nor widgets."""

from __future__ import annotations

from functools import partial

from heliorestore.fits.reader import SUFFIXES
from heliorestore.plugin.viewer.cut_levels import apply_cuts, is_lower_left, set_origin
from heliorestore.plugin.viewer.sky import turn_north_up

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


def turn_origin() -> None:
    """Put the origin at the lower left, or back at the upper left."""
    from napari.viewer import current_viewer

    if (viewer := current_viewer()) is not None:
        set_origin(viewer, lower_left=not is_lower_left(viewer))


def north_up() -> None:
    """Show images with north up and west right, or back on the detector's axes."""
    from napari.utils.notifications import show_info
    from napari.viewer import current_viewer

    viewer = current_viewer()
    if viewer is None or not turn_north_up(viewer):
        show_info("No layer has coordinates on the Sun in its header: open a file that does.")


def _cut(how: float | str) -> None:
    """Set the contrast limits of the selected images, or of all visible ones."""
    from napari.utils.notifications import show_info
    from napari.viewer import current_viewer

    viewer = current_viewer()
    if viewer is None or not apply_cuts(viewer, how):
        show_info("There is no image layer whose contrast can be set: open an image first.")


# As the manifest names them; the numbers are percentages of the pixels.
cut_min_max = partial(_cut, "min-max")
cut_zscale = partial(_cut, "zscale")
cut_99_5 = partial(_cut, 99.5)
cut_99 = partial(_cut, 99.0)
cut_98 = partial(_cut, 98.0)
cut_95 = partial(_cut, 95.0)

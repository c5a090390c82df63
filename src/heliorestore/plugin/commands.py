"""Commands of the palette that are neither readers, writers nor widgets."""

from __future__ import annotations

from heliorestore.fits.reader import SUFFIXES

FITS_PATTERNS = tuple(f"*{suffix}" for suffix in SUFFIXES if suffix.startswith((".fit", ".fts")))


def use_for_fits() -> None:
    """Make this plugin the one that opens FITS files, by drag and drop too; napari's own shows only the first plane."""
    from napari.settings import get_settings
    from napari.utils.notifications import show_info

    plugins = get_settings().plugins
    plugins.extension2reader = {**plugins.extension2reader, **dict.fromkeys(FITS_PATTERNS, "heliorestore")}
    show_info(
        f"heliorestore now opens {', '.join(FITS_PATTERNS)} files; the preferences change that under Plugins, file extension readers."
    )

"""Where on the Sun the cursor is, where north is, and north up: read from the headers of our layers."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from heliorestore.burst import Burst
from heliorestore.fits.sky import is_celestial
from heliorestore.plugin.viewer.layers import TAG
from heliorestore.plugin.viewer.layout_fit import fit_with_layout
from heliorestore.snapshot import Snapshot

_AXES = ("CTYPE", "CUNIT", "CRVAL", "CRPIX", "CDELT", "CROTA", "PC", "CD", "PV", "LONPOLE", "LATPOLE")
_NORTH = "north"  # the overlay's key
_ARROWS = "→↗↑↖←↙↓↘"
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Sky:
    """The celestial coordinates of an observed image whose pixels are `pixel` units of the world apart."""

    wcs: Any
    pixel: float
    centre: tuple[float, float]  # of the field in the world, y and x
    in_arcsec: bool

    @classmethod
    def of(cls, metadata: Mapping[str, Any]) -> Sky | None:
        """The coordinates in a layer's metadata, None if there are none."""
        from astropy.io.fits import Header
        from astropy.wcs import WCS

        cards, record = metadata.get("header") or {}, metadata.get(TAG)
        run = record if isinstance(record, Burst) else getattr(record, "run", None)
        instruments = () if run is None else run.instruments
        if not is_celestial(cards, 1, 2) or not instruments:
            return None
        header = Header({key: value for key, value in cards.items() if key.startswith(_AXES)})
        for axis, word in ((1, "HPLN"), (2, "HPLT")):
            header.setdefault(f"CUNIT{axis}", "arcsec")
            header[f"CTYPE{axis}"] = str(header[f"CTYPE{axis}"]).replace("SOLX", word).replace("SOLY", word)
        try:
            with warnings.catch_warnings(action="ignore"):
                wcs = WCS(header, naxis=2)
                wcs.wcs_pix2world(0.0, 0.0, 0)
        except (ValueError, KeyError, TypeError, MemoryError):  # an odd header: no coordinates are shown
            return None
        arcsec = instruments[0].pixel_arcsec
        pixel = arcsec or 1.0
        if isinstance(record, Burst):
            rows, columns = record.shape[2:]
        else:
            assert isinstance(record, Snapshot)
            rows, columns = (n // record.zoom for n in record.images.shape[1:])
        centre = (pixel * (rows - 1) / 2, pixel * (columns - 1) / 2)
        return cls(wcs, pixel, centre, arcsec is not None)

    def at(self, y: float, x: float) -> Floats:
        """Longitude and latitude in arcsec at a place in the world, the longitude around zero."""
        found = self.wcs.wcs_pix2world(x / self.pixel, y / self.pixel, 0)
        units = self.wcs.wcs.cunit  # astropy's, which are degrees
        longitude, latitude = (
            float(value) * unit.to("arcsec") for value, unit in zip(found, units, strict=True)
        )
        circle = 360 * 3600.0
        return np.array([(longitude + circle / 2) % circle - circle / 2, latitude])

    def west_and_north(self) -> Floats:
        """The directions (2, 2) of west and of north at the centre in the world, as (y, x) of length 1."""
        y, x = self.centre
        here = self.at(y, x)
        # columns: change of longitude and latitude along y, and along x
        steps = np.stack([self.at(y + self.pixel, x) - here, self.at(y, x + self.pixel) - here], 1)
        steps[0] *= np.cos(np.deg2rad(here[1] / 3600))
        directions = np.linalg.inv(steps).T
        return np.asarray(directions / np.linalg.norm(directions, axis=1, keepdims=True))


def watch(viewer: Any) -> None:
    """Show coordinates, the direction of north and a scale bar for our layers, present and future ones."""
    from napari.components.overlays import TextOverlay

    overlays = viewer.canvas.overlays
    if _NORTH in overlays:
        return
    fit_with_layout(viewer)
    overlays[_NORTH] = TextOverlay(visible=False, position="top_right", font_size=12)

    def meet_layer(event: Any) -> None:
        _tell_place(event.value)
        others = [layer for layer in viewer.layers if layer is not event.value and is_turned(layer)]
        if others:
            event.value.affine = _widened(np.asarray(others[0].affine.affine_matrix), event.value.ndim)
        point(viewer)

    for layer in viewer.layers:
        _tell_place(layer)
    viewer.layers.events.inserted.connect(meet_layer)
    viewer.layers.selection.events.active.connect(lambda: point(viewer))
    viewer.scene.camera.events.orientation.connect(lambda: point(viewer))
    point(viewer)


def point(viewer: Any) -> None:
    """Say where north and west are in the chosen layer, or in the first with coordinates."""
    overlay, found = viewer.canvas.overlays.get(_NORTH), _guide(viewer)
    if overlay is None:
        return
    overlay.visible = found is not None
    if found is None:
        return
    layer, sky = found
    turn = np.asarray(layer.affine.affine_matrix)[-3:-1, -3:-1]
    # y and x of the world to the screen's up and right
    shown = [turn @ direction * [_up(viewer), 1.0] for direction in sky.west_and_north()]
    west, north = (float(np.rad2deg(np.arctan2(*direction))) for direction in shown)
    arrows = [_ARROWS[round(angle / 45) % 8] for angle in (north, west)]
    tilt = round((north - 90 + 180) % 360 - 180)
    overlay.text = f"N {arrows[0]}  W {arrows[1]}" + (f"  {tilt:+d}°" if tilt % 45 else "")
    if sky.in_arcsec:
        viewer.canvas.overlays["scale_bar"].visible = True


def turn_north_up(viewer: Any) -> bool:
    """Turn, and mirror where needed, all layers so that north is up and west right, or back to the detector's
    axes; False if no layer has coordinates.
    """
    if any(is_turned(layer) for layer in viewer.layers):
        matrix = np.eye(3)
    elif (found := _guide(viewer)) is not None:
        west, north = found[1].west_and_north()
        side = np.array([-north[1], north[0]])  # at right angles to north, whatever a header's skew
        side *= np.sign(side @ west)
        # north to the screen's up, west to its right
        turn = np.array([[_up(viewer), 0.0], [0.0, 1.0]]) @ np.linalg.inv(np.stack([north, side], 1))
        centre = np.array(found[1].centre)
        matrix = np.block([[turn, (centre - turn @ centre)[:, None]], [np.zeros((1, 2)), np.ones((1, 1))]])
    else:
        return False
    for layer in viewer.layers:
        layer.affine = _widened(matrix, layer.ndim)
    point(viewer)
    return True


def is_turned(layer: Any) -> bool:
    """Whether a layer is shown with north up."""
    return not np.allclose(np.asarray(layer.affine.affine_matrix), np.eye(layer.ndim + 1))


def _up(viewer: Any) -> float:
    """The sign of the world's y that is up on the screen."""
    return 1.0 if str(viewer.scene.camera.orientation2d[0]) == "up" else -1.0


def _guide(viewer: Any) -> tuple[Any, Sky] | None:
    """The chosen layer, or else the first one, that has coordinates."""
    active = viewer.layers.selection.active
    for layer in [*([] if active is None else [active]), *viewer.layers]:
        if (sky := Sky.of(layer.metadata)) is not None:
            return layer, sky
    return None


def _widened(matrix: Floats, ndim: int) -> Floats:
    """The affine matrix of the last two axes for a layer with `ndim` axes."""
    wide = np.eye(ndim + 1)
    wide[-3:-1, -3:-1], wide[-3:-1, -1] = matrix[-3:-1, -3:-1], matrix[-3:-1, -1]
    return wide


def _tell_place(layer: Any) -> None:
    """Add the place on the Sun to what the status bar says of this layer."""
    sky = Sky.of(layer.metadata)
    plain = layer.get_status
    if sky is None or getattr(plain, "tells_place", False):
        return

    # napari calls it in a thread of its own: it only reads
    def get_status(position: Any = None, **known: Any) -> dict[str, str]:
        status: dict[str, str] = plain(position, **known)
        if position is not None and known.get("world"):
            y, x = layer.affine.inverse(np.asarray(position, float)[-layer.ndim :])[-2:]
            longitude, latitude = sky.at(float(y), float(x))
            place = f'Solar X {longitude:.2f}", Y {latitude:.2f}"'
            status["coords"] = f"{status['coords']} {place}"
            status["coordinates"] = f"{place}  {status['coordinates']}"
        return status

    get_status.tells_place = True  # type: ignore[attr-defined] # a mark, so that it is not added twice
    layer.get_status = get_status

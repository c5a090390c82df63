"""Enhance: deconvolve HMI images and double their resolution with a trained network, tile by tile.

Diaz Baso & Asensio Ramos (2018), doi:10.1051/0004-6361/201731344. The network's continuum is in units of the
quiet Sun, its magnetogram in kilogauss.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch

from heliorestore.burst import Burst, FloatArray
from heliorestore.errors import BurstError, SettingsError, WeightsError
from heliorestore.instrument import PSF_FORMS
from heliorestore.nets import weights
from heliorestore.nets.enhance import CALIBRATION, Enhance, sigma_of
from heliorestore.nets.tile_rows import restored_rows
from heliorestore.optics.quiet_sun import limb_cosine, quiet_sun
from heliorestore.optics.reobserve import reobserved
from heliorestore.prepare.average import average_frames
from heliorestore.prepare.hmi import about_limb, as_hmi, kind_of, per_kilogauss
from heliorestore.settings import Settings, option, weights_option
from heliorestore.snapshot import DATA_UNIT, SERIES, SERIES_AXES, Map, Snapshot, StopReason

ZOOM = 2
TILE = 256  # input pixels
_MOST_FLUX = 1.029  # unsigned, relative to the input's


@dataclass(frozen=True, kw_only=True)
class EnhanceSettings(Settings):
    """Settings of Enhance."""

    method: ClassVar[str] = "enhance"

    kind: Literal["auto", "continuum", "magnetogram"] = option(
        "auto", help="The kind of image; auto decides by the header, then by the sign."
    )
    network: Literal["full", "small"] = option(
        "full", help="The published architecture, or one with a ninth of its computation."
    )
    psf: Literal["wachter", "wachter-short"] = option(
        "wachter",
        help="HMI's PSF in the training: as measured far out, or dark beyond 4.40 arcsec as in the published "
        "code.",
    )
    keep_flux: bool = option(
        False,
        help="Scale a whole magnetogram down if its unsigned flux has grown by more than 2.9 %; it then "
        "agrees less with the input.",
    )
    frame: int | None = option(
        0,
        minimum=0,
        help="The frame of a series that is shown and is the file's main image, all being restored; none "
        "restores the mean of the frames.",
    )
    uncertainty: bool = option(
        False,
        help="Add a map of the standard deviation of the shown frame, by the network's results in all "
        "orientations; 8 times the work, 16 times for a magnetogram.",
    )
    weights: str = weights_option(
        "",
        of="enhance",
        help="Name or file of weights to use instead of the bundled ones.",
    )


@dataclass(frozen=True, eq=False)
class _Input:
    """One object for the network: `image` (y, x) normalised, free of NaN; times `unit` it is as given."""

    image: FloatArray
    unit: FloatArray
    hole: npt.NDArray[np.bool_]
    kind: str
    net: Enhance
    psf: str
    calibration: tuple[float, float]  # of the uncertainty: floor and factor of the spread; 0 where unknown
    messages: tuple[str, ...]


class EnhanceMethod:
    """The method as `methods.base` loads it."""

    name = EnhanceSettings.method
    settings = EnhanceSettings

    def stream(
        self,
        burst: Burst,
        settings: EnhanceSettings,
        *,
        device: torch.device,
        seed: int,
        start: Snapshot | None = None,
    ) -> Generator[Snapshot, EnhanceSettings | None, None]:
        """Yield a snapshot per row of tiles, the shown frame's first; `start`, of the same images, is
        continued.
        """
        began = time.perf_counter() - (start.elapsed_s if start else 0.0)
        burst, messages = as_hmi(burst, settings.kind)
        order = _order(burst, settings)
        rows = -(-burst.shape[2] // TILE)
        more = int(settings.uncertainty)
        state = _State(rows * burst.shape[0] * (len(order) + more), messages)
        frames: dict[int, FloatArray] = {}
        misfits = []
        for frame in order:
            observed, about = _observed(burst, frame)
            state.say(*about)
            inputs = [prepare(burst, k, observed[k], settings, device) for k in range(len(observed))]
            state.say(*(text for prepared in inputs for text in prepared.messages))
            fine, coverage = _begin(observed, start if frame == order[0] else None)
            if frame == order[0]:
                state.images, state.coverage = fine, coverage
            for new in _tiles(inputs, fine, coverage, device):
                state.step += 1
                if new and state.step < state.total:
                    yield state.snapshot(began)
            said = _keep_flux(burst, observed, fine, inputs) if settings.keep_flux else ()
            residual, misfit = _reconvolution(burst, observed, fine, inputs)
            misfits.append(misfit)
            if frame == order[0]:
                state.say(*said)
                state.maps["residual"] = Map(residual, unit=DATA_UNIT, signed=True)
                for array in (fine, coverage):
                    array.flags.writeable = False  # so that the snapshots need not copy them
                sigma = np.full_like(fine, np.nan)
                for _ in _sigmas(inputs, sigma, device) if settings.uncertainty else ():
                    state.step += 1
                    if state.step < state.total:
                        yield state.snapshot(began)
                if settings.uncertainty:
                    state.maps["uncertainty"] = Map(sigma, unit=DATA_UNIT)
            frames[frame] = fine
        if len(order) > 1:
            series = np.stack([frames[frame] for frame in sorted(frames)], axis=1)
            series.flags.writeable = False
            state.maps[SERIES] = Map(series, SERIES_AXES, DATA_UNIT)
        state.losses = {"reconvolution": float(np.mean(misfits))}
        yield state.snapshot(began, StopReason.DONE)


@dataclass(eq=False)
class _State:
    """A run so far; `images` and `coverage` (object, y, x) are of the shown frame."""

    total: int
    messages: tuple[str, ...]
    step: int = 0
    images: FloatArray = field(default_factory=lambda: np.empty((0, 0, 0), np.float32))
    coverage: FloatArray = field(default_factory=lambda: np.empty((0, 0, 0), np.float32))
    maps: dict[str, Map] = field(default_factory=dict)
    losses: dict[str, float] = field(default_factory=dict)

    def say(self, *messages: str) -> None:
        """Add messages, each once."""
        self.messages = tuple(dict.fromkeys((*self.messages, *messages)))

    def snapshot(self, began: float, stop: StopReason | None = None) -> Snapshot:
        """The state as a snapshot."""
        return Snapshot(
            step=self.step,
            total=self.total,
            images=self.images,
            maps={"coverage": Map(self.coverage), **self.maps},
            losses=self.losses,
            messages=self.messages,
            elapsed_s=time.perf_counter() - began,
            zoom=ZOOM,
            stop=stop,
            stages=(("tile row", self.total),),
        )


METHOD = EnhanceMethod()


def _order(burst: Burst, settings: EnhanceSettings) -> tuple[int, ...]:
    """The frames to restore, that which is shown first; -1 is the mean of all."""
    frames = burst.shape[1]
    if settings.frame is None:
        return (-1,)
    if settings.frame >= frames:
        raise SettingsError(f"frame is {settings.frame}, but the burst has {frames} frames, numbered from 0.")
    return (settings.frame, *(frame for frame in range(frames) if frame != settings.frame))


def _observed(burst: Burst, frame: int) -> tuple[FloatArray, tuple[str, ...]]:
    """The images (object, y, x) of a frame, or the mean of all, and what is to be said of it."""
    if frame < 0 or burst.shape[1] == 1:
        mean = average_frames(burst)
        return mean.images, mean.messages
    images = np.stack([burst.image(k, frame) for k in range(burst.shape[0])])
    if not np.isfinite(images).any(axis=(1, 2)).all():
        raise BurstError(f"Frame {frame} has an image without any valid pixel: leave it out with --frames.")
    return images, ()


def prepare(
    burst: Burst, number: int, image: FloatArray, settings: EnhanceSettings, device: torch.device
) -> _Input:
    """Normalise one object (y, x) for its network, with messages for the user."""
    kind = settings.kind if settings.kind != "auto" else kind_of(burst, number, image)
    net, record = _network(kind, settings)
    pixel = burst.instruments[number].require().pixel_arcsec
    low, high = record.pixel_arcsec
    if not low <= pixel <= high:
        raise SettingsError(
            f"{burst.labels[number]} has pixels of {pixel:g} arcsec; the weights {record.name} are for "
            f"{low:g} to {high:g} arcsec ({record.instrument or 'their instrument'}). If the header is "
            "wrong, give --instrument hmi-6173,pixel_arcsec=..."
        )
    if min(image.shape) < 2:
        raise SettingsError(
            f"{burst.labels[number]} has {image.shape[0]} x {image.shape[1]} pixels; Enhance "
            "needs at least 2 x 2."
        )
    messages = [f"Weights {record.name}, sha256 {record.sha256}."]
    if burst.shape[1] > 1 and settings.frame is None:
        messages.append(f"Enhance restores one image: the mean of the {burst.shape[1]} frames.")
    if kind == "magnetogram":
        unit, empty = np.full(image.shape, per_kilogauss(burst, number, image), np.float32), 0.0
    else:
        header = burst.headers[number] if burst.headers else {}
        mu = limb_cosine(header, (image.shape[0], image.shape[1]))
        quiet = quiet_sun(image, mu)
        messages += about_limb(mu, quiet.lowest)
        # Off the limb there is no quiet Sun to divide by.
        image = np.where(np.isfinite(mu), image, np.nan) if mu is not None else image
        # For the network the quiet Sun is 1: limb darkening is divided out, and `unit` puts it back.
        unit, empty = quiet.brightness, 1.0
    hole = ~np.isfinite(image)
    # To the network holes look like quiet Sun, or like no field.
    normalised = np.where(hole, empty, image / unit).astype(np.float32)
    weights.place(net, device)
    # Observed again, the result has the PSF that the network has learned to remove.
    psf = str(record.recipe.get("psf", burst.instruments[number].psf))
    psf = psf if psf in PSF_FORMS else burst.instruments[number].psf
    calibration = tuple(record.quality.get(name, 0.0) for name in CALIBRATION)
    if settings.uncertainty and not all(calibration):
        raise WeightsError(
            f"The uncertainty of the weights {record.name} was never calibrated: use the bundled ones, or "
            "weights that heliorestore has trained."
        )
    return _Input(normalised, unit, hole, kind, net, psf, (calibration[0], calibration[1]), tuple(messages))


def _network(kind: str, settings: EnhanceSettings) -> tuple[Enhance, weights.WeightsRecord]:
    small = "-small" if settings.network == "small" else ""
    if small and settings.psf != "wachter" and not settings.weights:
        raise SettingsError(f"There is no small network for the PSF {settings.psf}: choose --network full.")
    name = settings.weights or f"enhance-{kind}{small}{settings.psf.removeprefix('wachter')}"
    net, record = weights.load(name)
    if not isinstance(net, Enhance):
        raise WeightsError(
            f"The weights {name} are of the network {record.architecture}; Enhance needs "
            "weights of its own networks."
        )
    if record.kind and record.kind != kind:
        raise WeightsError(
            f"The weights {name} are for a {record.kind}, but the image seems to be a {kind}: choose "
            f"others, or --kind {record.kind}."
        )
    return net, record


def _begin(observed: FloatArray, start: Snapshot | None) -> tuple[FloatArray, FloatArray]:
    """Finer images, the observed ones until a tile is done, and a map of what is done (object, y, x)."""
    coverage = np.zeros(observed.shape, np.float32)
    images = observed.repeat(ZOOM, 1).repeat(ZOOM, 2)
    if (
        start is not None
        and start.images.shape == images.shape
        and start.maps.get("coverage", images).shape == observed.shape
    ):
        return start.images.copy(), start.maps["coverage"].copy()
    return images, coverage


def _tiles(
    inputs: list[_Input], images: FloatArray, coverage: FloatArray, device: torch.device
) -> Iterator[bool]:
    """Restore the images (object, 2 y, 2 x) in place; for each row of tiles, whether it was left to do."""
    for number, prepared in enumerate(inputs):
        for top in range(0, coverage.shape[1], TILE):
            rows = slice(top, min(top + TILE, coverage.shape[1]))
            # Not those restored already by the run that is continued.
            new = not coverage[number, rows].any()  # 0 where no value is valid
            if new:
                images[number, ZOOM * rows.start : ZOOM * rows.stop] = _restored(prepared, rows, device)
                coverage[number, rows] = 1
            yield new


def _sigmas(inputs: list[_Input], sigmas: FloatArray, device: torch.device) -> Iterator[None]:
    """Fill in the standard deviations (object, 2 y, 2 x), one row of tiles after the other."""
    for number, prepared in enumerate(inputs):
        images = torch.from_numpy(prepared.image)[None, None].to(device)
        run = functools.partial(sigma_of, prepared.net, kind=prepared.kind, calibration=prepared.calibration)
        for top in range(0, prepared.image.shape[0], TILE):
            rows = slice(top, min(top + TILE, prepared.image.shape[0]))
            found = restored_rows(run, images, rows, side=TILE, reach=prepared.net.reach, zoom=ZOOM)[0, 0]
            unit, hole = (_repeated(part[rows]) for part in (prepared.unit, prepared.hole))
            sigmas[number, ZOOM * rows.start : ZOOM * rows.stop] = np.where(
                hole, np.nan, found.cpu().numpy() * unit
            )
            yield


def _restored(prepared: _Input, rows: slice, device: torch.device) -> FloatArray:
    """Restored rows (2 y, 2 x) in the burst's unit, from tiles that overlap by the network's reach."""
    images = torch.from_numpy(prepared.image)[None, None].to(device)
    result = (
        restored_rows(prepared.net, images, rows, side=TILE, reach=prepared.net.reach, zoom=ZOOM)[0, 0]
        .cpu()
        .numpy()
    )
    unit, hole = (_repeated(part[rows]) for part in (prepared.unit, prepared.hole))
    return np.where(hole, np.nan, result * unit)


def _keep_flux(
    burst: Burst, observed: FloatArray, images: FloatArray, inputs: list[_Input]
) -> tuple[str, ...]:
    """Scale magnetograms in place whose mean modulus has grown too much; the messages say what it cost."""
    said = []
    for number, prepared in enumerate(inputs):
        before = float(np.nanmean(np.abs(observed[number])))
        growth = float(np.nanmean(np.abs(images[number]))) / max(before, 1e-30)
        if prepared.kind != "magnetogram" or growth <= _MOST_FLUX:
            continue
        factor = np.float32(_MOST_FLUX / growth)
        seen = reobserved(images[number], dataclasses.replace(burst.instruments[number], psf=prepared.psf))
        free, kept = (_misfit(observed[number] - each, observed[number]) for each in (seen, factor * seen))
        images[number] *= factor
        said.append(
            f"The unsigned flux had grown by {growth - 1:.1%}: the whole field was scaled by {factor:.3f} to "
            f"keep it within {_MOST_FLUX - 1:.1%}. Observed again, it differs from the input by {kept:.1%}, "
            f"unscaled by {free:.1%} (--no-keep-flux leaves it as the network gave it)."
        )
    return tuple(said)


def _repeated(image: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return image.repeat(ZOOM, 0).repeat(ZOOM, 1)


def _reconvolution(
    burst: Burst, observed: FloatArray, images: FloatArray, inputs: list[_Input]
) -> tuple[FloatArray, float]:
    """The observed images (object, y, x) minus the restored ones as the telescope would see them, and the rms
    of that.

    The rms is relative to the standard deviation of the observed image.
    """
    residual = np.stack([
        image - reobserved(fine, dataclasses.replace(instrument, psf=prepared.psf))
        for image, fine, instrument, prepared in zip(
            observed, images, burst.instruments, inputs, strict=True
        )
    ])  # fmt: skip
    return residual, float(np.mean([_misfit(*pair) for pair in zip(residual, observed, strict=True)]))


def _misfit(left: FloatArray, observed: FloatArray) -> float:
    """The standard deviation of a residual, relative to that of the observed image."""
    return float(np.nanstd(left)) / max(float(np.nanstd(observed)), 1e-30)

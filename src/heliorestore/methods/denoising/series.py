"""A series of images and its network: reading, denoising, showing and gathering."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from heliorestore.burst import Burst, FloatArray
from heliorestore.methods.denoising.pairs import Group
from heliorestore.methods.denoising.polarisation import Light, no_light
from heliorestore.nets.denoiser import Denoiser
from heliorestore.nets.tile_rows import restored_rows
from heliorestore.nets.uncertainty import uncertain_image
from heliorestore.optics.noise import frequencies
from heliorestore.snapshot import DATA_UNIT, SERIES, SERIES_AXES, Map, Snapshot, StopReason

TILE = 256  # pixels, a multiple of the network's stride
_WIDTHS = (4.0, 3.0, 2.0, 1.5, 1.0)  # px, from which a series chooses; the first is that of a single image


@dataclass(eq=False)
class Job:
    """A burst and its network; `images`, `residual`, `coverage` (object, y, x) are of the shown frame."""

    burst: Burst
    net: Denoiser
    architecture: str
    normalisation: str
    device: torch.device
    light: tuple[Light, ...]
    groups: tuple[Group, ...]
    units: npt.NDArray[np.float64]  # the network's unit in that of the burst, per object
    levels: npt.NDArray[np.float64]
    messages: tuple[str, ...]
    # px: what was removed on scales wider than this Gaussian is given back; None: each group chooses its own
    keep_wide: float | None = 0.0
    images: FloatArray = dataclasses.field(default_factory=lambda: np.empty((0, 0, 0), np.float32))
    coverage: FloatArray = dataclasses.field(default_factory=lambda: np.empty((0, 0, 0), np.float32))
    observed: FloatArray = dataclasses.field(default_factory=lambda: np.empty((0, 0, 0), np.float32))
    frame: int = -1
    fitted: dict[str, float] = dataclasses.field(default_factory=dict)  # the last losses of the training
    no_light: dict[tuple[int, int], int] = dataclasses.field(default_factory=dict)  # values by object, frame
    widths: dict[Group, float] = dataclasses.field(default_factory=dict)  # px, that the groups have chosen

    def read(self, group: Group, frame: int) -> FloatArray:
        """Normalised image (channel, y, x) of a group, NaN where a pixel is bad."""
        planes = []
        for k in group:
            image = self.burst.image(k, frame)
            none = self.light[k].is_none(image)
            self.no_light[k, frame] = int(np.count_nonzero(none))
            plane = (image - np.float32(self.levels[k])) / np.float32(self.units[k])
            planes.append(np.where(none, np.float32(np.nan), plane))
        return np.stack(planes)

    def said(self) -> Iterator[str]:
        """What the denoised images have shown."""
        if self.widths:
            least, most = (f"{each(self.widths.values()):g}" for each in (min, max))
            listed = least if least == most else f"{least} to {most}"
            yield f"What is wider than {listed} px was not removed (keep wide)."
        yield from no_light(sum(self.no_light.values()))

    def show(self, frame: int) -> None:
        """Show the images of this frame as observed."""
        if frame != self.frame:
            self.frame = frame
            self.observed = np.stack([self.burst.image(k, frame) for k in range(self.burst.shape[0])])
            self.images = self.observed.copy()
            self.coverage = np.zeros(self.images.shape, np.float32)

    def put(self, group: Group, images: FloatArray) -> None:
        """Show these images (channel, y, x) of the group."""
        self.images[list(group)] = images
        self.coverage[list(group)] = 1

    def denoised(self, group: Group, frame: int, passes: int = 0) -> tuple[FloatArray, FloatArray]:
        """Denoised images (channel, y, x) in the burst's unit and, with `passes`, their sigmas."""
        noisy = self.read(group, frame)
        found = self._restored(noisy, passes)
        width = self._chosen_width(group) if self.keep_wide is None else self.keep_wide
        if width:
            found[: len(group)] += wide_part(noisy - found[: len(group)], width)
        unit = self.units[list(group)].astype(np.float32)[:, None, None]
        level = self.levels[list(group)].astype(np.float32)[:, None, None]
        # With `passes` the second half of the channels is the uncertainty, which has the same bad pixels.
        found = np.where(np.isfinite(np.tile(noisy, (len(found) // len(group), 1, 1))), found, np.nan)
        sigma = found[len(group) :]
        return found[: len(group)] * unit + level, sigma * unit if passes else sigma

    def _chosen_width(self, group: Group) -> float:
        """The width of `keep_wide` with which a frame comes nearest to the next; that of a single image.

        The next frame has the same Sun and another noise: the squared difference is the error and that noise,
        which is the same for all widths.
        """
        if group not in self.widths:
            self.widths[group] = _WIDTHS[0]
            if self.burst.shape[1] > 1:
                frame = (self.burst.shape[1] - 1) // 2
                noisy, following = (self.read(group, number) for number in (frame, frame + 1))
                found = self._restored(noisy)
                if np.isfinite(noisy + following).any():
                    squares = [
                        float(np.nanmean(np.square(found + wide_part(noisy - found, width) - following)))
                        for width in _WIDTHS
                    ]
                    self.widths[group] = _WIDTHS[int(np.argmin(squares))]
        return self.widths[group]

    def _restored(self, noisy: FloatArray, passes: int = 0) -> FloatArray:
        """What the network makes of an image (channel, y, x), then the sigmas if there are `passes`."""

        def run(images: torch.Tensor) -> torch.Tensor:
            return torch.cat(uncertain_image(self.net, images, passes), 1) if passes else self.net(images)

        # 0 is the mean of polarised light, and of an intensity less its median: a hole disturbs its
        # surroundings least.
        images = torch.from_numpy(np.nan_to_num(noisy, nan=0.0))[None].to(self.device)
        # A band of tiles at a time, so that memory does not grow with the image.
        bands = (slice(top, min(top + TILE, noisy.shape[1])) for top in range(0, noisy.shape[1], TILE))
        rows = [restored_rows(run, images, band, side=TILE, reach=self.net.reach) for band in bands]
        found: FloatArray = torch.cat(rows, -2)[0].cpu().numpy()
        return found

    def residual(self) -> dict[str, Map]:
        """The map of what was removed from the frame that is shown."""
        return {"residual": Map(self.observed - self.images, unit=DATA_UNIT, signed=True)}

    def snapshot(
        self,
        step: int,
        total: int,
        maps: Mapping[str, Map],
        losses: Mapping[str, float],
        stop: StopReason | None = None,
    ) -> Snapshot:
        """The state as a snapshot."""
        return Snapshot(
            step=step,
            total=total,
            images=self.images,
            maps={"coverage": Map(self.coverage), **maps},
            losses=losses,
            messages=self.messages,
            stop=stop,
        )


def wide_part(images: FloatArray, sigma_px: float) -> FloatArray:
    """Images (channel, y, x) under a Gaussian, mirrored at their borders; NaN pixels have no weight."""
    good = np.isfinite(images)
    margin = [(min(round(4 * sigma_px), n),) * 2 for n in images.shape[1:]]
    sides = np.stack([np.where(good, images, 0), good]).astype(np.float32)
    padded = np.pad(sides, [(0, 0), (0, 0), *margin], mode="symmetric")
    shape = (padded.shape[2], padded.shape[3])
    transfer = np.exp(-2 * (np.pi * sigma_px * frequencies(shape)) ** 2).astype(np.float32)
    smooth, weight = torch.fft.irfft2(
        torch.fft.rfft2(torch.from_numpy(padded)) * torch.from_numpy(transfer), s=shape
    ).numpy()[(..., *(slice(low, n - high) for (low, high), n in zip(margin, shape, strict=True)))]
    wide: FloatArray = smooth / np.maximum(weight, 1e-3)
    return wide


@dataclass(frozen=True, eq=False)
class Whole:
    """All denoised frames (object, frame, y, x) and their uncertainty, as far as they were requested."""

    series: FloatArray | None
    uncertainty: FloatArray | None
    single: bool

    @classmethod
    def of(cls, burst: Burst, many: bool, uncertain: bool) -> Whole:
        series = (
            np.stack([[burst.image(k, f) for f in range(burst.shape[1])] for k in range(burst.shape[0])])
            if many
            else None
        )
        frames = burst.shape[1] if many else 1
        return cls(
            series,
            np.zeros((burst.shape[0], frames, *burst.shape[2:]), np.float32) if uncertain else None,
            not many,
        )

    def take(self, group: Group, frame: int, images: FloatArray, sigma: FloatArray) -> None:
        if self.series is not None:
            self.series[list(group), frame] = images
        if self.uncertainty is not None:
            self.uncertainty[list(group), 0 if self.single else frame] = sigma

    def maps(self, shown: int) -> dict[str, Map]:
        """As the snapshot names them: the shown frame's uncertainty, and the series."""
        maps: dict[str, Map] = {}
        if self.uncertainty is not None:
            maps["uncertainty"] = Map(self.uncertainty[:, 0 if self.single else shown], unit=DATA_UNIT)
        for name, array in (
            (SERIES, self.series),
            (f"{SERIES}_uncertainty", None if self.single else self.uncertainty),
        ):
            if array is not None:
                array.flags.writeable = False  # so that the map need not copy it
                maps[name] = Map(array, SERIES_AXES, DATA_UNIT)
        return maps

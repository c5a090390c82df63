"""PCA: the classical way to denoise spectra, by a few principal components along wavelength.

Martinez Gonzalez et al. (2008), doi:10.1051/0004-6361:200809719; the comparison of Diaz Baso et al. (2019).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch

from heliorestore.burst import Burst, FloatArray
from heliorestore.errors import SettingsError
from heliorestore.methods.denoising.polarisation import light_of, no_light, spectra
from heliorestore.settings import Settings, option
from heliorestore.snapshot import DATA_UNIT, SERIES, SERIES_AXES, Map, Snapshot, StopReason

_STANDS_OUT = 1.25  # variance of a component in units of the noise's, above which it counts as signal


@dataclass(frozen=True, kw_only=True)
class PcaSettings(Settings):
    """Settings of PCA."""

    method: ClassVar[str] = "pca"

    components: int | None = option(
        None, minimum=1, help="Components to keep; by default those above the noise."
    )
    frame: int = option(0, minimum=0, help="The frame that is the main image; all frames are in the series.")


class Pca:
    """The method as `methods.base` loads it."""

    name = PcaSettings.method
    settings = PcaSettings

    def stream(
        self,
        burst: Burst,
        settings: PcaSettings,
        *,
        device: torch.device,
        seed: int,
        start: Snapshot | None = None,
    ) -> Iterator[Snapshot]:
        """Yield a snapshot per Stokes parameter; one basis serves all its pixels at all times."""
        began = time.perf_counter()
        groups = spectra(burst)
        objects, frames, rows, columns = burst.shape
        if settings.frame >= frames:
            raise SettingsError(
                f"frame is {settings.frame}, but the burst has {frames} frames, numbered from 0."
            )
        if settings.components is not None and settings.components > len(groups[0]):
            raise SettingsError(
                f"components is {settings.components}, but the spectra have {len(groups[0])} wavelengths."
            )
        series = np.stack([[burst.image(k, frame) for frame in range(frames)] for k in range(objects)])
        observed = series[:, settings.frame].copy()
        light = [light_of(burst, k) for k in range(objects)]
        none = np.array([each.is_none(images) for each, images in zip(light, series, strict=True)])
        series[none] = np.nan
        messages = no_light(int(np.count_nonzero(none)))
        for step, group in enumerate(groups, 1):
            noise = np.array([light[k].noise for k in group])
            # (wavelength, pixel of any frame)
            spectra_ = series[list(group)].reshape(len(group), -1)
            kept, series[list(group)] = _kept(spectra_, noise, settings.components, (frames, rows, columns))
            messages += (
                f"{burst.labels[group[0]]} and its other wavelengths: {kept} of {len(group)} components.",
            )
            last = step == len(groups)
            left = observed - series[:, settings.frame]
            maps = {"residual": Map(left, unit=DATA_UNIT, signed=True)}
            if last and frames > 1:
                maps[SERIES] = Map(series, SERIES_AXES, DATA_UNIT)
            yield Snapshot(
                step=step, total=len(groups), images=series[:, settings.frame], maps=maps, messages=messages,
                elapsed_s=time.perf_counter() - began, stop=StopReason.DONE if last else None,
                stages=(("Stokes parameter", len(groups)),),
            )  # fmt: skip


METHOD = Pca()


def _kept(
    cube: FloatArray, noise: npt.NDArray[np.float64], components: int | None, shape: tuple[int, int, int]
) -> tuple[int, FloatArray]:
    """The number of components kept, and the spectra (wavelength, pixel) made of them, as (wavelength, frame,
    y, x).

    Wavelengths are divided by their noise first, so that the noise has unit variance in every direction.
    """
    good = np.isfinite(cube).all(0)
    if good.sum() <= len(cube):  # else they have no covariance, or one that they fill by chance
        raise SettingsError(
            f"Only {good.sum()} pixels have a value at all {len(cube)} wavelengths, and the components need "
            "more of them: choose other frames or wavelengths (--frames, --objects)."
        )
    values = cube[:, good].astype(np.float64) / noise[:, None]
    mean = values.mean(1, keepdims=True)
    variances, basis = np.linalg.eigh(np.cov(values))
    # Divided by its noise, a component without signal has a variance of 1.
    count = components if components is not None else max(1, int(np.sum(variances > _STANDS_OUT)))
    # eigh sorts upwards.
    strongest = basis[:, ::-1][:, :count]
    made = np.full(cube.shape, np.nan, np.float32)
    made[:, good] = (strongest @ (strongest.T @ (values - mean)) + mean) * noise[:, None]
    return count, made.reshape(-1, *shape)

"""A telescope's view through air: the true PSF at every place and time, and frames of a scene."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from heliorestore.burst import FloatArray
from heliorestore.errors import SettingsError
from heliorestore.instrument import Instrument, KnownInstrument
from heliorestore.optics.psf import Optics, fast_length, make_optics, psf_of_phase, telescope_psf
from heliorestore.settings import Settings, option
from heliorestore.simulate.atmosphere import (
    AdaptiveOptics,
    Seeing,
    Telescope,
    daytime_layers,
    make_atmosphere,
    two_layers,
)
from heliorestore.simulate.exposure import convolve_everywhere, convolve_per_node, convolve_still
from heliorestore.simulate.scatter import make_scatter, scatter_everywhere

_LARGEST_STEP = 64  # px


@dataclass(frozen=True, kw_only=True)
class SimulationSettings(Settings):
    """Settings of a simulated burst."""

    method: ClassVar[str] = "simulate"

    scene: str = option(
        "sunspot", help="What is on the Sun: sunspot, granulation, or a FITS file with an image of it."
    )
    size: int = option(
        256, unit="px", minimum=16, maximum=8192, help="Rows and columns of a frame, an even number."
    )
    frames: int = option(12, minimum=1, maximum=10_000, help="Short exposures of the burst.")
    objects: int = option(
        2,
        minimum=1,
        maximum=2,
        help="1 is the wide band alone, 2 adds the narrow band seen through the same air.",
    )
    polarimetry: bool = option(
        False,
        help="The narrow band behind a modulator: every frame shows the wide band and one of four modulation "
        "states, in turns, each an object of its own.",
    )
    offsets_pm: str = option(
        "8",
        unit="pm",
        help="With --polarimetry, places in the line from its centre, separated by commas: all states of "
        "one, then of the next.",
    )
    r0_cm: float = option(
        10.0,
        unit="cm",
        minimum=0.0,
        maximum=1000.0,
        help="Fried's parameter at the instrument's wavelength; 0 is in space.",
    )
    high_layer_km: float = option(
        8.0,
        unit="km",
        minimum=0.0,
        maximum=30.0,
        help="Height of the high turbulence, which makes the blur differ from place to place; 0 puts all at "
        "the ground.",
    )
    high_share: float | None = option(
        None,
        minimum=0.0,
        maximum=1.0,
        help="Share of the turbulence in one layer at that height, the rest at the ground; without it a "
        "quarter is spread over three layers around the height.",
    )
    blur: Literal["gather", "scatter"] = option(
        "gather",
        help="Who owns a PSF: gather gives one to every place of the frame, scatter one to every place "
        "on the Sun, divided by what a uniform Sun gives.",
    )
    ao: bool = option(False, help="Correct partly with adaptive optics that look at the field's centre.")
    ao_modes: int = option(36, minimum=2, maximum=400, help="Modes that the adaptive optics correct.")
    ao_gain: float = option(0.85, minimum=0.0, maximum=1.0, help="How much of each mode they correct.")
    ao_isoplanatic_arcsec: float | None = option(
        None,
        unit="arcsec",
        minimum=0.1,
        maximum=1000.0,
        help="Distance from the field's centre at which the correction has fallen to 1/e, besides what the "
        "high layers do to it; without it the correction is the same everywhere.",
    )
    noise: float = option(
        2e-3,
        minimum=0.0,
        maximum=1.0,
        help="Noise sigma as a fraction of the mean intensity: photons and read-out.",
    )
    flat_rms: float = option(
        0.0, minimum=0.0, maximum=0.5, help="Errors of the flat field left in the frames, the same in each."
    )
    full_well: float = option(
        0.0,
        unit="electrons",
        minimum=0.0,
        maximum=1e8,
        help="Electrons of a full pixel, half full of the quiet Sun: Poisson noise, read-out noise and "
        "saturation take the place of --noise; 0 is off.",
    )
    read_noise: float = option(
        5.0, unit="electrons", minimum=0.0, maximum=1e4, help="Sigma of the read-out, with --full-well."
    )
    flux_rms: float = option(
        0.0,
        minimum=0.0,
        maximum=0.5,
        help="Smooth relative error of the flux, another in every frame: thin cirrus, a drifting flat field, "
        "scattered light.",
    )
    flux_scale_px: float = option(
        30.0, unit="px", minimum=2.0, maximum=1000.0, help="Correlation length of the flux error."
    )
    exposure_rms: float = option(
        0.0, minimum=0.0, maximum=0.5, help="Jitter of the exposure from frame to frame, all objects alike."
    )
    gain_table_rms: float = option(
        0.0,
        minimum=0.0,
        maximum=0.5,
        help="What the gain table leaves, the same in all frames: broad and fine structure, columns, pixels.",
    )
    fringe_amplitude: float = option(
        0.0, minimum=0.0, maximum=0.5, help="Relative amplitude of interference fringes."
    )
    fringe_period_px: float = option(
        12.0, unit="px", minimum=2.0, maximum=1000.0, help="Distance from fringe to fringe."
    )
    fringe_drift_px: float = option(
        0.0, unit="px", minimum=-100.0, maximum=100.0, help="How far the fringes move from frame to frame."
    )
    dead_frames: int = option(
        0, minimum=0, maximum=10_000, help="Frames without data, in turns all 0 and all NaN."
    )
    outlier_frames: int = option(
        0,
        minimum=0,
        maximum=10_000,
        help="Frames that do not belong: in turns blurred by bad seeing, and of another place.",
    )
    gain: float = option(
        1.0, minimum=1e-6, maximum=1e6, help="Counts for the quiet Sun's mean; 1 leaves units of that mean."
    )
    offset: float = option(0.0, unit="count", minimum=0.0, maximum=1e6, help="Counts without light.")
    cadence_s: float = option(
        0.1,
        unit="s",
        minimum=0.0,
        maximum=60.0,
        help="Time from frame to frame; the wind blows the screens on.",
    )
    outer_scale_m: float = option(
        25.0, unit="m", minimum=1.0, maximum=1e6, help="Outer scale of the turbulence."
    )
    step: int = option(
        8,
        unit="px",
        minimum=0,
        maximum=_LARGEST_STEP,
        help="Distance of the PSFs that are computed; 0 computes one for every pixel.",
    )
    psf_size: int | None = option(
        None,
        unit="px",
        minimum=16,
        maximum=1024,
        help="Grid of the PSFs; as large as the seeing needs by default.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size % 2:
            raise SettingsError(f"size is {self.size}; it must be an even number of pixels.")


@dataclass(frozen=True, eq=False)
class View:
    """What is between Sun and detector: `still` (y, x) is the telescope's PSF; no `telescope` in space."""

    settings: SimulationSettings
    instrument: KnownInstrument
    still: torch.Tensor
    telescope: Telescope | None

    @property
    def margin(self) -> int:
        """Pixels around the frame whose light reaches it."""
        return int(self.still.shape[-1]) // 2

    @property
    def seeing_px(self) -> float:
        """Full width of the seeing disc, lambda / r0, in pixels; 0 in space."""
        if self.telescope is None:
            return 0.0
        disc_m = self.instrument.resolution_arcsec * self.instrument.diameter_m
        return disc_m / (self.settings.r0_cm / 100) / self.instrument.pixel_arcsec

    def psfs(self, frame: int, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        """The true PSFs (point, y, x) of a frame at places (point) in pixels; all objects share them."""
        if self.telescope is None:
            return self.still.expand(len(rows), -1, -1)
        # Adaptive optics look at the field's centre, from which angles are counted.
        places = torch.stack([rows, columns], -1) - (self.settings.size - 1) / 2
        return self.telescope.psfs(places * self.instrument.pixel_arcsec, frame * self.settings.cadence_s)

    def psf_grid(self, step: int) -> FloatArray:
        """True PSFs (frame, gy, gx, y, x) at every `step`-th pixel, from the first cell's middle on."""
        axis = torch.arange(step / 2 - 0.5, self.settings.size, step)
        rows, columns = torch.meshgrid(axis, axis, indexing="ij")
        grids = [
            self.psfs(frame, rows.reshape(-1), columns.reshape(-1)) for frame in range(self.settings.frames)
        ]
        stacked: FloatArray = torch.stack(grids).reshape(len(grids), *rows.shape, *self.still.shape).numpy()
        return stacked

    def truth(self, scene: torch.Tensor) -> torch.Tensor:
        """The scene (object, y, x) with its margin at the diffraction limit, without the margin."""
        return convolve_still(scene, self.still, self.settings.size)

    def expose(self, scene: torch.Tensor, frame: int) -> torch.Tensor:
        """One frame (object, y, x) of a scene (object, y, x) with its margin, without noise."""
        size, step = self.settings.size, self.settings.step
        if self.telescope is None:
            return convolve_still(scene, self.still, size)
        if self.telescope.isoplanatic:  # turbulence in the pupil blurs every place alike
            middle = torch.tensor([(size - 1) / 2])
            return convolve_still(scene, self.psfs(frame, middle, middle)[0], size)

        def psfs_at(rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
            return self.psfs(frame, rows, columns)

        if self.settings.blur == "scatter":
            if step:
                return make_scatter(psfs_at, size, step)(scene)
            uniform = scatter_everywhere(torch.ones_like(scene[:1]), psfs_at, size)
            return scatter_everywhere(scene, psfs_at, size) / uniform
        if step == 0:
            return convolve_everywhere(scene, psfs_at, size)
        return convolve_per_node(scene, psfs_at, size, step)


def make_view(settings: SimulationSettings, instrument: Instrument, seed: int) -> View:
    """Set up telescope and atmosphere; an instrument with Wachter's PSF flies, and has no atmosphere."""
    known = instrument.require()
    size = _psf_size(settings, known)
    if known.psf != "airy":
        still = telescope_psf(known, (size, size)).roll((size // 2, size // 2), (0, 1))
        return View(settings, known, still, None)
    optics = make_optics(known, size, settings.ao_modes if settings.ao else 2)
    still = psf_of_phase(optics, torch.zeros((1, optics.side, optics.side), dtype=optics.modes.dtype))[0]
    return View(settings, known, still, None if settings.r0_cm == 0 else _telescope(settings, optics, seed))


def _psf_size(settings: SimulationSettings, instrument: KnownInstrument) -> int:
    """Four seeing discs lambda/r0, at least 64 pixels and 20 diffraction limits; an even number."""
    if settings.psf_size is not None:
        return settings.psf_size + settings.psf_size % 2
    pixel, limit = instrument.pixel_arcsec, instrument.resolution_arcsec
    in_space = settings.r0_cm == 0 or instrument.psf != "airy"
    # lambda/r0 in arcsec, from the diffraction limit lambda/D.
    disc = 0.0 if in_space else limit * instrument.diameter_m / (settings.r0_cm / 100)
    return 2 * fast_length(math.ceil(max(64, 4 * disc / pixel, 20 * limit / pixel) / 2))


def _telescope(settings: SimulationSettings, optics: Optics, seed: int) -> Telescope:
    instrument = optics.instrument
    diameter = instrument.diameter_m
    seeing = Seeing(
        r0_m=settings.r0_cm / 100,
        wavelength_nm=instrument.wavelength_nm,
        layers=daytime_layers(settings.high_layer_km)
        if settings.high_share is None
        else two_layers(settings.high_layer_km, settings.high_share),
        outer_scale_m=settings.outer_scale_m,
    )
    atmosphere = make_atmosphere(
        seeing,
        diameter_m=diameter,
        field_arcsec=(settings.size + 2 * _LARGEST_STEP) * instrument.pixel_arcsec,
        duration_s=settings.frames * settings.cadence_s,
        # finer than the pupil's pixels, or interpolation would smooth them
        pitch_m=0.5 * diameter / optics.diameter,
        seed=seed,
    )
    correction = None
    if settings.ao:
        reach = math.inf if settings.ao_isoplanatic_arcsec is None else settings.ao_isoplanatic_arcsec
        correction = AdaptiveOptics(modes=settings.ao_modes, gain=settings.ao_gain, isoplanatic_arcsec=reach)
    return Telescope(optics, atmosphere, correction)

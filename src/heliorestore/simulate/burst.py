"""Simulated bursts: a scene of the Sun through atmosphere and telescope, with the truth behind it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from astropy.io.fits import Header

from heliorestore.burst import Burst, FloatArray
from heliorestore.coordinates import Coordinates
from heliorestore.errors import SettingsError
from heliorestore.instrument import Instrument
from heliorestore.settings import to_flags
from heliorestore.simulate.chromosphere import chromosphere
from heliorestore.simulate.faults import Faults, draw_faults
from heliorestore.simulate.lattice import Array
from heliorestore.simulate.patch import Patch
from heliorestore.simulate.photosphere import photosphere
from heliorestore.simulate.polarimeter import Polarimeter, polarised
from heliorestore.simulate.stokes import stokes
from heliorestore.simulate.view import SimulationSettings, View, make_view

SCENES = ("sunspot", "granulation")
LABELS = ("wide band", "narrow band")
_BEGIN = np.datetime64("2026-01-01T09:00:00.000")
_PHOTON_SHARE = 0.8  # of the noise variance at the mean intensity; the rest is read noise
_QUIET_FILL = 0.5  # of the full well, by the quiet Sun's mean
_CHROMOSPHERIC_NM = (393.4, 396.8, 656.3, 854.2)
_FINEST_ARCSEC = 0.13  # coarser pixels are averages of finer ones


@dataclass(frozen=True, eq=False)
class Simulation:
    """A simulated burst and the truth behind it.

    `scene` (object, y, x) is the Sun as it is, `truth` (object, y, x) as the telescope shows it without air
    and noise, both registered with the frames, in units of the quiet Sun's mean in the band. `view` gives the
    true PSFs, `faults` what telescope and camera did besides; behind a `polarimeter` objects after the wide
    band are modulation states, in the units of the continuum.
    """

    burst: Burst
    scene: FloatArray
    truth: FloatArray
    view: View
    faults: Faults
    polarimeter: Polarimeter | None = None

    @property
    def stokes(self) -> FloatArray | None:
        """I, Q, U, V (wavelength, stokes, y, x) at the telescope's diffraction limit; None without a
        polarimeter.
        """
        return None if self.polarimeter is None else self.polarimeter.demodulated(self.truth[1:])

    def truth_burst(self) -> Burst:
        """The truth as a burst of one frame per object, ready to be written."""
        headers = tuple(header.copy() for header in self.burst.headers)
        for header in headers:
            header["BUNIT"] = "I/Ic"
            header["HISTORY"] = (
                "truth: the scene at the telescope's diffraction limit, without atmosphere and noise"
            )
        times = None if self.burst.times is None else self.burst.times[:1]
        return replace(
            self.burst,
            frames=self.truth[:, None],
            headers=headers,
            times=times,
            frame_numbers=range(1),
            present=None,
            unit="I/Ic",
        )


def simulate_burst(
    settings: SimulationSettings,
    instrument: Instrument,
    *,
    seed: int = 0,
    scene: FloatArray | None = None,
    polarimeter: Polarimeter | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Simulation:
    """Simulate a burst; the same settings and seed give the same bytes on a CPU.

    With `polarimetry` the narrow band is behind `polarimeter`, by default that of the settings.

    `scene` (object, y, x) takes the place of the simulated Sun: its centre is used, mirrored where it is
    smaller than the frames and their surroundings. `progress` is told the number of frames done and in all.
    """
    view = make_view(settings, instrument, seed)
    if settings.polarimetry:
        if scene is not None:
            raise SettingsError("A scene from a file has no polarised light: use sunspot or granulation.")
        polarimeter = polarimeter or Polarimeter.of(settings)
    elif polarimeter is not None:
        raise SettingsError("A polarimeter is given but polarimetry is off: switch it on in the settings.")
    around = (
        make_scene(settings, instrument, view.margin, seed, polarimeter)
        if scene is None
        else _around(scene, settings, view.margin)
    )
    objects = torch.from_numpy(np.ascontiguousarray(around, np.float32))
    present = None if polarimeter is None else polarimeter.present(settings.frames)
    frames = expose(view, objects, progress, present)
    return record(view, objects, frames, seed, polarimeter)


def expose(
    view: View,
    objects: torch.Tensor,
    progress: Callable[[int, int], None] | None = None,
    present: npt.NDArray[np.bool_] | None = None,
) -> torch.Tensor:
    """The light (object, frame, y, x) of a scene (object, y, x) with its margin, before any camera; 0 where
    an image is not present (object, frame).
    """
    settings = view.settings
    frames = torch.zeros((len(objects), settings.frames, settings.size, settings.size))
    for frame in range(settings.frames):
        shown = slice(None) if present is None else torch.from_numpy(present[:, frame])
        frames[shown, frame] = view.expose(objects[shown], frame)
        if progress is not None:
            progress(frame + 1, settings.frames)
    return frames


def record(
    view: View,
    objects: torch.Tensor,
    frames: torch.Tensor,
    seed: int,
    polarimeter: Polarimeter | None = None,
) -> Simulation:
    """What the camera makes of the light (object, frame, y, x), and the truth beside it."""
    settings = view.settings
    shape = (len(objects), settings.frames, settings.size, settings.size)
    faults = draw_faults(settings, shape, view.seeing_px, seed)
    present = None if polarimeter is None else polarimeter.present(settings.frames)
    counts = faults.on_counts(detect(faults.on_light(frames), settings, seed, present))
    if present is not None:
        counts[~present] = np.nan
    inner = slice(view.margin, view.margin + settings.size)
    seen = np.ascontiguousarray(objects[:, inner, inner].numpy())
    burst = _burst(view, counts, faults, seed, polarimeter)
    return Simulation(burst, seen, view.truth(objects).numpy(), view, faults, polarimeter)


def make_scene(
    settings: SimulationSettings,
    instrument: Instrument,
    margin: int,
    seed: int,
    polarimeter: Polarimeter | None = None,
) -> Array:
    """The Sun (object, y, x) in an instrument's bands, or in the wide band and modulation states, with a
    margin of pixels around the frame.
    """
    if settings.scene not in SCENES:
        raise SettingsError(
            f"The scene is {settings.scene!r}; possible are {', '.join(SCENES)}, or a FITS "
            "file with an image."
        )
    pixel = instrument.require().pixel_arcsec
    finer = math.ceil(pixel / _FINEST_ARCSEC)
    patch = Patch(
        shape=(settings.size * finer, settings.size * finer),
        pixel_arcsec=pixel / finer,
        scene="sunspot" if settings.scene == "sunspot" else "granulation",
        seed=seed,
        margin=margin * finer,
    )
    if polarimeter is not None:
        states = polarimeter.modulated(polarised(patch, instrument, polarimeter.offsets_pm))
        bands = [wide_band(patch, instrument), *states]
    else:
        bands = [wide_band(patch, instrument), narrow_band(patch, instrument)][: settings.objects]
    return np.stack([bin_pixels(band, finer) for band in bands])


def wide_band(patch: Patch, instrument: Instrument) -> Array:
    """Wide-band scene (y, x): the continuum, calmer where the band is full of a broad line's wings."""
    wavelength_nm = instrument.require().wavelength_nm
    return photosphere(patch, wavelength_nm, granular_gain=0.53 if _chromospheric(wavelength_nm) else 1.0)


def narrow_band(patch: Patch, instrument: Instrument) -> Array:
    """The narrow-band scene (y, x): the chromosphere in a strong line, else the flank of a photospheric line,
    of quiet mean 1.
    """
    if _chromospheric(instrument.require().wavelength_nm):
        return chromosphere(patch)
    return np.asarray(stokes(patch, "fe-6302", [8.0])[0, 0] / 0.80)


def bin_pixels(image: npt.NDArray[np.floating], factor: int) -> Array:
    """Means of factor x factor pixels of an image (..., y, x)."""
    *lead, rows, columns = image.shape
    means: Array = image.reshape(*lead, rows // factor, factor, columns // factor, factor).mean((-3, -1))
    return means


def detect(
    frames: torch.Tensor,
    settings: SimulationSettings,
    seed: int,
    present: npt.NDArray[np.bool_] | None = None,
) -> FloatArray:
    """Add flat-field errors, photon and read noise, gain and offset to frames (object, frame, y, x); of
    images that are not present (object, frame) nothing counts.
    """
    # Another stream than that of the atmosphere, which begins with the seed itself.
    generator = torch.Generator().manual_seed(seed + 1_000_003)
    if settings.flat_rms:
        frames = frames * (1 + settings.flat_rms * torch.randn(frames.shape[2:], generator=generator))
    if settings.full_well:
        frames = _electrons(frames, settings, generator)
    elif settings.noise:
        mean = frames.mean((1, 2, 3), keepdim=True)
        if present is not None:
            mean /= torch.from_numpy(present.mean(1)).to(mean)[:, None, None, None]
        # Photon noise grows with the light, read-out noise is the same everywhere.
        variance = _PHOTON_SHARE * (frames / mean).clamp(min=0) + 1 - _PHOTON_SHARE
        frames = frames + settings.noise * mean * variance.sqrt() * torch.randn(
            frames.shape, generator=generator
        )
    detected: FloatArray = (frames * settings.gain + settings.offset).numpy()
    return detected


def _electrons(
    frames: torch.Tensor, settings: SimulationSettings, generator: torch.Generator
) -> torch.Tensor:
    """The frames as counted in electrons: Poisson noise, a full well, read-out noise."""
    quiet = _QUIET_FILL * settings.full_well
    seen = torch.poisson((frames * quiet).clamp(min=0), generator=generator).clamp(max=settings.full_well)
    counted: torch.Tensor = (
        seen + settings.read_noise * torch.randn(seen.shape, generator=generator)
    ) / quiet
    return counted


def _chromospheric(wavelength_nm: float) -> bool:
    return any(abs(wavelength_nm - line) < 2 for line in _CHROMOSPHERIC_NM)


def _around(scene: FloatArray, settings: SimulationSettings, margin: int) -> FloatArray:
    """The centre of an image (object, y, x) with its surroundings, mirrored where they end."""
    if scene.ndim != 3 or not np.isfinite(scene).all():
        raise SettingsError(
            f"A scene has the axes (object, y, x) and no bad pixels; this one has the shape {scene.shape}."
        )
    places = []
    for length in scene.shape[1:]:
        # Mirrored with the period of two lengths, the edge pixels repeated.
        index = (np.arange(-margin, settings.size + margin) + (length - settings.size) // 2) % (2 * length)
        places.append(np.where(index < length, index, 2 * length - 1 - index))
    return np.asarray(scene[: settings.objects, places[0][:, None], places[1][None, :]], np.float32)


def _burst(
    view: View, frames: FloatArray, faults: Faults, seed: int, polarimeter: Polarimeter | None
) -> Burst:
    settings = view.settings
    instrument = Instrument(**asdict(view.instrument))  # as files give it, whose numbers may be unknown
    unit = "I/Ic" if (settings.gain, settings.offset) == (1.0, 0.0) else "count"
    times = _BEGIN + np.round(np.arange(settings.frames) * settings.cadence_s * 1000).astype(
        "timedelta64[ms]"
    )
    coordinates: tuple[Coordinates, ...] = ()
    if polarimeter is not None:
        coordinates = polarimeter.coordinates(view.instrument)
    labels = tuple(each.label for each in coordinates) or LABELS[: len(frames)]
    headers = tuple(_header(settings, instrument, label, unit, seed) for label in labels)
    for header in headers:
        header.update(_fault_cards(settings, faults))
    return Burst(
        frames=frames,
        instruments=(instrument,) * len(labels),
        labels=labels,
        headers=headers,
        times=times,
        coordinates=coordinates,
        present=None if polarimeter is None else polarimeter.present(settings.frames),
        unit=unit,
    )


def _header(settings: SimulationSettings, instrument: Instrument, label: str, unit: str, seed: int) -> Header:
    telescope, _, camera = instrument.name.partition("/")
    header = Header()
    header["TELESCOP"], header["INSTRUME"] = telescope, (camera.split() or [telescope])[0]
    header["WAVELNTH"], header["WAVEUNIT"] = (
        (instrument.wavelength_nm, "[nm]"),
        (-9, "WAVELNTH is in 10**WAVEUNIT metre"),
    )
    header["APTDIA"] = (1000 * (instrument.diameter_m or 0.0), "[mm] diameter of the aperture")
    for axis, kind in ((1, "HPLN-TAN"), (2, "HPLT-TAN")):
        header[f"CTYPE{axis}"], header[f"CUNIT{axis}"], header[f"CDELT{axis}"] = (
            kind,
            "arcsec",
            instrument.pixel_arcsec,
        )
        header[f"CRPIX{axis}"], header[f"CRVAL{axis}"] = (settings.size + 1) / 2, 0.0
    header["BUNIT"], header["OBJECT"] = unit, label
    header["DATE-OBS"] = header["DATE-BEG"] = str(_BEGIN)
    header["CADENCE"] = (settings.cadence_s, "[s] from frame to frame")
    header["ORIGIN"] = ("heliorestore", "synthetic: simulated, not an observation")
    header["SIMR0"], header["SIMSEED"] = (
        (settings.r0_cm, "[cm] Fried parameter at WAVELNTH"),
        (seed, "seed of the simulation"),
    )
    header["SIMAO"], header["SIMNOISE"] = (
        (settings.ao, "adaptive optics"),
        (settings.noise, "noise sigma / mean intensity"),
    )
    named = str(instrument).replace(" ", "_")
    if "diameter_m=" not in named:  # that of a name may change from version to version
        named += f",diameter_m={instrument.diameter_m}"
    flags = [*to_flags(settings), "--instrument", named, "--seed", str(seed)]
    header["HISTORY"] = " ".join(["heliorestore simulate", *flags])
    return header


def _fault_cards(settings: SimulationSettings, faults: Faults) -> dict[str, tuple[object, str]]:
    """Header cards of what is not as in an ideal burst; nothing where all is."""
    shown: dict[str, tuple[str, str]] = {
        "SIMBLUR": ("blur", "who owns a PSF: scatter is the place on the Sun"),
        "SIMHIGH": ("high_share", "share of the turbulence in one high layer"),
        "SIMAOISO": ("ao_isoplanatic_arcsec", "[arcsec] 1/e of the AO's correction"),
        "SIMWELL": ("full_well", "[electron] full well, in place of SIMNOISE"),
        "SIMREAD": ("read_noise", "[electron] sigma of the read-out"),
        "SIMFLUX": ("flux_rms", "rms of the smooth flux error per frame"),
        "SIMFLUXL": ("flux_scale_px", "[pixel] its correlation length"),
        "SIMEXPOS": ("exposure_rms", "rms of the exposure's jitter"),
        "SIMGAINT": ("gain_table_rms", "rms of what the gain table leaves"),
        "SIMFRNGE": ("fringe_amplitude", "relative amplitude of the fringes"),
        "SIMFRPER": ("fringe_period_px", "[pixel] their period"),
        "SIMFRDRI": ("fringe_drift_px", "[pixel] their drift per frame"),
    }
    defaults = type(settings)()
    leads = {"read_noise": "full_well", "flux_scale_px": "flux_rms"}  # says nothing where the other is off
    leads |= dict.fromkeys(("fringe_period_px", "fringe_drift_px"), "fringe_amplitude")
    cards: dict[str, tuple[object, str]] = {}
    for key, (name, comment) in shown.items():
        lead = leads.get(name, name)
        if getattr(settings, lead) != getattr(defaults, lead):
            cards[key] = (getattr(settings, name), comment)
    for key, frames, comment in (
        ("SIMDEAD", faults.dead, "frames without data, from 0"),
        ("SIMOUTL", faults.outliers, "frames that do not belong, from 0"),
    ):
        if frames:
            cards[key] = (" ".join(map(str, frames)), comment)
    return cards

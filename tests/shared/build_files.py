"""FITS files of every layout for tests, small, with a value of its own in every voxel."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from astropy.io import fits

from heliorestore.fits.reader import read_burst
from heliorestore.settings import SavedSettings
from heliorestore.snapshot import Run, Snapshot, StopReason


def voxels(*shape: int, dtype: str = "f4") -> npt.NDArray[Any]:
    """Numbers that are all different, starting with 1."""
    return np.arange(1, 1 + int(np.prod(shape)), dtype=dtype).reshape(shape)


def smooth(*shape: int, dtype: str = "f4") -> npt.NDArray[Any]:
    """A granulation-like pattern, which compresses as images do."""
    y, x = np.mgrid[: shape[-2], : shape[-1]]
    pattern = 1000 + 100 * np.sin(x / 3) * np.cos(y / 4)
    return np.broadcast_to(pattern, shape).astype(dtype) + np.arange(
        np.prod(shape[:-2]), dtype=dtype
    ).reshape(*shape[:-2], 1, 1)


def ana_bytes(image: npt.NDArray[Any], text: str = "", *, order: str = "<", flags: int = 0) -> bytes:
    """An uncompressed ANA file whose header and pixels have that order of bytes; text goes on in further
    blocks of the header."""
    kind = {"i1": 0, "u1": 0, "i2": 1, "i4": 2, "f4": 3, "f8": 4}[image.dtype.str[1:]]
    blocks = [text[at : at + 255] for at in range(0, max(len(text), 1), 255)]
    header = bytearray(512 * len(blocks))
    header[0:4] = struct.pack(f"{order}I", 0x5555AAAA)
    header[4:9] = bytes((flags, 0, len(blocks), kind, image.ndim))
    header[192 : 192 + 4 * image.ndim] = struct.pack(f"{order}{image.ndim}i", *reversed(image.shape))
    for number, part in enumerate(blocks):
        header[512 * number + 256 : 512 * number + 256 + len(part)] = part.encode("ascii")
    return bytes(header) + image.astype(image.dtype.newbyteorder(order)).tobytes()


def small_snapshot(folder: Path, zoom: int = 2) -> Snapshot:
    """A snapshot of two objects with every kind of map, as if it came from a run on a file."""
    source = folder / "observed.fits"
    header = fits.Header(
        {"TELESCOP": "SST", "INSTRUME": "CRISP", "WAVELNTH": 8542.0, "WAVEUNIT": -10, "BUNIT": "DN"}
    )
    cards = {
        "CTYPE": ("HPLN-TAN", "HPLT-TAN"),
        "CUNIT": ("arcsec",) * 2,
        "CRVAL": (12.0, -300.0),
        "CRPIX": (4.0, 3.5),
        "CDELT": (0.06, 0.06),
    }
    header.update({f"{key}{axis}": pair[axis - 1] for key, pair in cards.items() for axis in (1, 2)})
    fits.PrimaryHDU(voxels(2, 5, 8, 9), header).writeto(source, overwrite=True)
    burst = read_burst(source).with_instrument("crisp-8542").select(frames=slice(1, None, 2))
    rows = (("iterations", "3", "", "how many"), ("lambda_object", "0.1", "", "weight of the object's prior"))
    run = Run.of(burst, SavedSettings("sv-momfbd", rows), "cpu", 7)
    history = {
        "step": np.arange(1.0, 4),
        "seconds": np.arange(3.0) / 7,
        "loss": np.array([3.0, 2.0, np.pi]),
        "lambda_object": np.full(3, 0.1),
    }
    return Snapshot(
        step=3,
        total=3,
        images=voxels(2, 8 * zoom, 9 * zoom),
        maps={
            "modes": voxels(2, 4, 3, 3),
            "residual": voxels(2, 8, 9),
            "uncertainty": voxels(2, 8 * zoom, 9 * zoom),
            "coverage": voxels(2, 8 * zoom, 9 * zoom),
        },
        losses={"loss": np.pi},
        history=history,
        elapsed_s=1 / 3,
        zoom=zoom,
        stop=StopReason.CONVERGED,
        messages=("the GPU is full: \u03bb stays", 'a "quoted" \\ line'),
        run=run,
    )


def seeds(folder: Path) -> None:
    """The files that the fuzz test damages."""
    header = fits.Header(
        {
            "TELESCOP": "SST",
            "INSTRUME": "CRISP",
            "WAVELNTH": 8542.0,
            "WAVEUNIT": -10,
            "DATE-OBS": "2026-05-01T08:00:00",
        }
    )
    fits.PrimaryHDU(voxels(30, 40, dtype="u2"), header).writeto(folder / "seed-u16.fits")
    scaled = fits.PrimaryHDU(voxels(2, 3, 10, 12, dtype="i2"), header)
    scaled.header["BLANK"] = 5
    scaled.header["BSCALE"], scaled.header["BZERO"] = 0.5, 100.0
    dates = [f"2026-05-01T08:00:0{n}" for n in range(3)]
    times = fits.BinTableHDU.from_columns([fits.Column("DATE-OBS", "19A", array=dates)], name="FRAMES")
    fits.HDUList([scaled, times]).writeto(folder / "seed-scaled.fits", output_verify="ignore")
    named = header.copy()
    for axis, (ctype, unit, value, step) in enumerate(
        (
            ("HPLN-TAN", "arcsec", 0, 0.06),
            ("HPLT-TAN", "arcsec", 0, 0.06),
            ("WAVE", "nm", 854.2, 0.01),
            ("STOKES", "", 1, 1),
            ("UTC", "s", 0, 5),
        ),
        1,
    ):
        named[f"CTYPE{axis}"], named[f"CUNIT{axis}"], named[f"CRVAL{axis}"] = ctype, unit, value
        named[f"CDELT{axis}"], named[f"CRPIX{axis}"] = step, 1
    fits.PrimaryHDU(voxels(2, 4, 3, 5, 6), named).writeto(folder / "seed-named.fits")
    sstred(shape=(2, 1, 3, 5, 6), angle=0.3).writeto(folder / "seed-table.fits")
    frames = [fits.ImageHDU(voxels(8, 9) + 100 * n, name="WB" if n % 2 else "NB") for n in range(4)]
    table = fits.BinTableHDU.from_columns([fits.Column("TIME", "D", array=np.arange(4.0))], name="TIMES")
    fits.HDUList([fits.PrimaryHDU(header=header), *frames, table]).writeto(folder / "seed-extensions.fits")
    for code in ("RICE_1", "GZIP_1", "GZIP_2", "HCOMPRESS_1", "PLIO_1"):
        cube = smooth(3, 24, 20, dtype="i2" if code == "PLIO_1" else "i4")
        tiled = fits.CompImageHDU(
            cube, header, compression_type=code, tile_shape=(1, 24, 20) if code == "HCOMPRESS_1" else None
        )
        tiled.writeto(folder / f"seed-{code.lower()}.fits")
    quantised = fits.CompImageHDU(smooth(24, 20), header, compression_type="RICE_1", quantize_level=16)
    quantised.writeto(folder / "seed-quantised.fits.gz")
    fits.PrimaryHDU(voxels(3, 20, 20), header).writeto(folder / "seed-gzipped.fits.gz")
    (folder / "seed-ana.f0").write_bytes(ana_bytes(voxels(12, 14, dtype="i2"), "2026-05-01 frame 1"))


def sstred(
    *,
    shape: tuple[int, ...] = (3, 4, 2, 30, 40),
    pixel: float = 0.059,
    angle: float = 0.0,
    mirrored: bool = False,
    drift: float = 0.0,
    unit: str = "arcsec",
    grid: str = "corners",
) -> fits.HDUList:
    """A cube (time, Stokes, wavelength, y, x) as SSTRED writes it: coordinates of the field's corners in a
    table WCS-TAB, and a map of wavelength errors (cavity errors).

    `angle` turns the field against solar north, `drift` [arcsec/s] moves it along the solar equator; `grid`
    is "corners", or "pixels" for a table of every pixel without an index. A single wavelength is not in the
    table, nor the time of a single image.
    """
    frames, _, waves, rows, columns = shape
    header = fits.Header(
        {"TELESCOP": "Swedish 1-meter Solar Telescope", "INSTRUME": "CRISP", "SOLARNET": 0.5}
    )
    header.update({"DATEREF": "2020-08-01T00:00:00", "DATE-BEG": "2020-08-01T07:59:59", "FILTER1": "6302"})
    header["VAR_KEYS"] = "VAR-EXT-DATE-BEG;DATE-BEG"
    wave, time_ = waves > 1, waves * frames > 1  # in the table
    column = "HPLN+HPLT" + "+WAVE" * wave + "+TIME" * time_
    for axis, (word, unit_, which) in enumerate(
        (
            ("HPLN-TAB", unit, 1),
            ("HPLT-TAB", unit, 2),
            ("WAVE-TAB" if wave else "WAVE", "nm", 3 * wave),
            ("STOKES", "", 0),
            ("UTC--TAB" if time_ else "UTC", "s", (3 + wave) * time_),
        ),
        1,
    ):
        header.update({f"PC{axis}_{axis}": 1.0, f"CTYPE{axis}": word, f"CUNIT{axis}": unit_})
        if not which and axis != 4:  # without CDELT
            header.update({f"CRPIX{axis}": 1, f"CRVAL{axis}": 630.1 if axis == 3 else 28800.0})
            continue
        if which:
            header.update({f"PS{axis}_0": "WCS-TAB", f"PS{axis}_1": column, f"PV{axis}_3": which})
        if which in (1, 2):
            header[f"CSYER{axis}"] = (120.0, "[arcsec] Orientation unknown")
            if grid == "corners":
                header[f"PS{axis}_2"] = word.replace("-TAB", "-INDEX")
        start = 0 if which else 1
        header.update({f"CRPIX{axis}": start, f"CRVAL{axis}": start, f"CDELT{axis}": 1})
    ends = {"corners": lambda n: np.array([1.0, n]), "pixels": lambda n: np.arange(1.0, n + 1)}[grid]
    x, y = ends(columns), ends(rows)
    table = np.zeros((frames, waves, len(y), len(x), 4))
    time = 28800 + 30.0 * np.arange(frames)[:, None] + 2.0 * np.arange(waves)
    u, v = (x[None, :] - 1) * (-pixel if mirrored else pixel), (y[:, None] - 1) * pixel
    arcsec = {"arcsec": 1.0, "deg": 3600.0}[unit]
    table[..., 0] = (
        300 + np.cos(angle) * u - np.sin(angle) * v + drift * (time[..., None, None] - 28800)
    ) / arcsec
    table[..., 1] = (-200 + np.sin(angle) * u + np.cos(angle) * v) / arcsec
    table[..., 2] = (630.1 + 0.1 * np.arange(waves))[:, None, None]
    table[..., 3] = time[..., None, None]
    table = table[..., [True, True, wave, time_]]
    table = table if wave else table[:, 0]
    if frames == 1:  # IDL leaves out the last of its axes where its length is 1
        table = table[0]
    columns_ = [
        fits.Column(column, f"{table.size}D", dim=str(table.shape[::-1]).replace(" ", ""), array=table[None])
    ]
    if grid == "corners":
        columns_ += [
            fits.Column("HPLN-INDEX", "2E", array=[[1, columns]]),
            fits.Column("HPLT-INDEX", "2E", array=[[1, rows]]),
        ]
    header["CWDIS3"] = "Lookup"
    for word, value in (("EXTVER", 1), ("AXIS.1", 1), ("APPLY", 6)):
        header[f"HIERARCH DW3 {word}"] = value
    return fits.HDUList(
        [
            fits.PrimaryHDU(smooth(*shape), header),
            fits.BinTableHDU.from_columns(columns_, name="WCS-TAB"),
            fits.ImageHDU(np.zeros((frames, 1, 1, rows, columns), np.float32), name="WCSDVARR"),
        ]
    )

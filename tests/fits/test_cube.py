"""Many restorations in one SOLARNET cube, read again by astropy and by our own reader."""

import itertools
import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS, FITSFixedWarning

from heliorestore.burst import Burst
from heliorestore.cli import main
from heliorestore.errors import BurstError
from heliorestore.fits.cube import gather
from heliorestore.fits.reader import read, read_burst
from heliorestore.fits.writer import write
from heliorestore.samples import sample_path
from heliorestore.settings import SavedSettings
from heliorestore.snapshot import Run, Snapshot

SHAPE = (12, 17)  # an odd number of pixels
WAVES = (630.15, 630.25)
START = np.datetime64("2026-05-01T23:59:50", "us")  # the series crosses midnight


def restoration(
    path: Path,
    *,
    wave: float = WAVES[0],
    seconds: float = 0.0,
    angle: float = 0.0,
    level: float = 100.0,
    **cards: object,
) -> Path:
    """A restored file of I and V at one wavelength, whose pixels tell where they belong."""
    header = fits.Header(
        {"TELESCOP": "SST", "INSTRUME": "CRISP", "BUNIT": "DN", "OBSERVER": "A", "PRSTEP1": "FLATFIELDING"}
    )
    header.update({"WAVELNTH": wave, "WAVEUNIT": -9, "XPOSURE": 0.5 + seconds})
    for axis, centre in ((1, 300.0 + seconds / 100), (2, -200.0)):
        header.update({f"CTYPE{axis}": ("HPLN-TAN", "HPLT-TAN")[axis - 1], f"CUNIT{axis}": "arcsec"})
        header.update({f"CRVAL{axis}": centre, f"CRPIX{axis}": 5.0, f"CDELT{axis}": 0.06})
    header.update(
        {"PC1_1": np.cos(angle), "PC1_2": -np.sin(angle), "PC2_1": np.sin(angle), "PC2_2": np.cos(angle)}
    )
    header.update(cards)
    source = path.with_name(f"raw-{path.name}")
    noise = np.random.default_rng(1).normal(level, 1, (2, 3, *SHAPE)).astype("f4")
    fits.PrimaryHDU(noise, header).writeto(source)
    burst = read_burst(source)
    times = START + np.array([seconds, seconds + 0.1, seconds + 0.2]) * np.timedelta64(10**6, "us")
    burst = Burst(
        frames=burst.frames, instruments=burst.instruments, labels=("line, I", "line, V"), unit="DN",
        headers=burst.headers, times=times, sources=burst.sources,
    )  # fmt: skip
    run = Run.of(burst, SavedSettings("sv-momfbd", (("r0_cm", "none", "", ""),)), "cpu", 0)
    images = np.stack([burst.image(0, 0), burst.image(1, 0) + 1000])
    log = (f"r0 was found from the data: {8 + seconds:.1f} cm at 630 nm.",)
    return write(Snapshot(step=1, total=1, images=images, run=run, messages=log), path)


@pytest.fixture(scope="module")
def cube(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two scans of two wavelengths, of which the second wavelength of the second scan is missing."""
    folder = tmp_path_factory.mktemp("cube")
    files = [
        restoration(folder / f"{name}.fits", wave=WAVES[wave], seconds=seconds, angle=seconds / 100)
        for name, wave, seconds in (("c", 0, 0.0), ("b", 1, 2.0), ("a", 0, 30.0))
    ]
    assert main(["cube", *map(str, files), "-o", str(folder / "cube.fits"), "--debug"]) == 0
    return folder / "cube.fits"


def test_the_file_is_valid_and_every_image_is_in_its_place(cube: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with fits.open(cube, checksum=True) as hdus:
            hdus.verify("exception")
            data, header = hdus[0].data.copy(), hdus[0].header
            variable, inputs = hdus["VAR-EXT-PLANES"], hdus["INPUTS"].data
            dates, contrasts = variable.data["DATE-BEG"][0], variable.data["DATANRMS"][0]
            r0 = variable.data["ATMOS_R0"][0]
    assert data.shape == (2, 4, 2, *SHAPE)
    assert np.isnan(data[1, :, 1]).all()
    assert np.isnan(data[:, 1:3]).all()  # neither Q nor U
    for time, (wave, name) in itertools.product((0, 1), enumerate("cb")):
        if (time, wave) != (1, 1):
            wanted = fits.getdata(cube.with_name("a.fits" if time else f"{name}.fits"))
            np.testing.assert_array_equal(data[time, ::3, wave], wanted)
    assert header["VAR_KEYS"].startswith("VAR-EXT-PLANES;DATE-BEG,DATE-END,DATAMEAN,DATANRMS,ATMOS_R0")
    assert variable.header["WCSN1"] == "PIXEL-TO-PIXEL"
    assert dates.shape == contrasts.shape == (2, 4, 2, 1, 1)
    assert dates[0, 3, 1, 0, 0] == "2026-05-01T23:59:52.000000"
    assert contrasts[1, 0, 0, 0, 0] == pytest.approx(np.std(data[1, 0, 0]) / np.mean(data[1, 0, 0]), rel=1e-5)
    np.testing.assert_allclose(r0[:, 0, :, 0, 0], [[0.08, 0.10], [0.38, np.nan]])
    assert header["DATANRMS"] == pytest.approx(np.nanmean(contrasts))
    assert (header["DATE-BEG"], header["DATE-END"]) == (
        "2026-05-01T23:59:50.000000",
        "2026-05-02T00:00:20.200000",
    )
    assert [header[f"PRSTEP{n}"] for n in (1, 2, 3)] == [
        "FLATFIELDING", "SPATIALLY-VARIANT-MOMFBD", "CONCATENATION",
    ]  # fmt: skip
    assert header["OBSERVER"] == "A"
    assert "XPOSURE" not in header  # it differs from file to file
    assert len(inputs) == 3
    assert all(len(row["SHA256"]) == 64 for row in inputs)


def test_astropy_finds_the_coordinates_of_every_image(cube: Path) -> None:
    with fits.open(cube) as hdus, warnings.catch_warnings():
        warnings.simplefilter("ignore", FITSFixedWarning)
        wcs = WCS(hdus[0].header, fobj=hdus)
        own = [WCS(fits.getheader(cube.with_name(f"{name}.fits"))).celestial for name in "cba"]
    to_arcsec = 3600 if str(wcs.wcs.cunit[0]) == "deg" else 1
    to_nm = 1e9 if str(wcs.wcs.cunit[2]) == "m" else 1
    for file, (time, wave, seconds) in enumerate(((0, 0, 0.1), (0, 1, 2.1), (1, 0, 30.1))):
        for x, y in ((0, 0), (16, 11), (3, 9)):
            found = wcs.all_pix2world([[x, y, wave, 0, time]], 0)[0]
            wanted = own[file].all_pix2world([[x, y]], 0)[0] * 3600
            np.testing.assert_allclose(found[:2] * to_arcsec, (wanted + 648000) % 1296000 - 648000, atol=1e-4)
            assert found[2] * to_nm == pytest.approx(WAVES[wave])
            assert found[3] == 1  # Stokes I
            assert found[4] == pytest.approx(86390 + seconds)


def test_our_reader_gives_wavelengths_times_and_labels(cube: Path) -> None:
    burst = read(cube)
    assert isinstance(burst, Burst)
    assert burst.layout == "named-axes"
    assert burst.shape == (8, 2, *SHAPE)
    assert burst.labels[:2] == ("630.15 nm, I", "630.25 nm, I")
    assert burst.labels[-1] == "630.25 nm, V"
    assert [i.wavelength_nm for i in burst.instruments[:2]] == list(WAVES)
    assert burst.instruments[0].pixel_arcsec == pytest.approx(0.06, rel=1e-4)
    seconds = (burst.times - START) / np.timedelta64(1, "s")
    np.testing.assert_allclose(seconds, [0.1, 30.1], atol=1e-3)
    assert burst.unit == "DN"


def test_crispex_finds_its_axes_and_labels(cube: Path) -> None:
    # What CRISPEX 1.7.4 reads of a tabulated cube: these words as types of the five axes in this order, a
    # first PC1 that is not 0, and a time of the day in seconds with DATE_OBS.
    header = fits.getheader(cube)
    types = [header[f"CTYPE{axis}"] for axis in range(1, 6)]
    assert types == ["HPLN-TAB", "HPLT-TAB", "WAVE-TAB", "STOKES", "UTC--TAB"]
    assert header["PC1_1"] == 1
    assert header["BTYPE"] == "Intensity"
    assert header["DATE_OBS"] == header["DATE-BEG"]
    assert header["DATEREF"] == "2026-05-01T00:00:00.000000"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"CDELT1": 0.07, "CDELT2": 0.07}, "arcsec; a cube has one scale"),
        ({"INSTRUME": "CHROMIS"}, "instruments CRISP and CHROMIS"),
        ({"CRVAL1": 900.0}, "different fields: their centres are 60"),
    ],
)
def test_what_is_no_cube_is_refused_in_a_sentence(
    tmp_path: Path, changes: dict[str, object], sentence: str
) -> None:
    files = [restoration(tmp_path / "a.fits"), restoration(tmp_path / "b.fits", seconds=9, **changes)]
    with pytest.raises(BurstError, match=sentence):
        gather(files)


def test_a_steady_series_is_recorded_in_the_cube(tmp_path: Path) -> None:
    files = []
    for name, frames in (("a", "0:2"), ("b", "2:4"), ("c", "4:6")):
        files.append(tmp_path / f"{name}.fits")
        short = ["--frames", frames, "--iterations", "2", "--quiet"]
        assert (
            main(["richardson-lucy", str(sample_path("small_burst.fits")), "-o", str(files[-1]), *short]) == 0
        )
    out = tmp_path / "cube.fits"
    assert main(["cube", *map(str, files), "-o", str(out), "--align", "--gain", "--objects", "0"]) == 0
    with fits.open(out, checksum=True) as hdus:
        table, header = hdus["SERIES"].data, hdus[0].header
        assert table["FILE"].tolist() == ["a.fits", "b.fits", "c.fits"]
        assert np.abs(table["SHIFT_X"]).max() > 0
        levels = np.nanmedian(hdus[0].data, (-2, -1))
    assert [header[f"PRSTEP{n}"] for n in (1, 2, 3)] == [
        "RICHARDSON-LUCY-DECONVOLUTION", "DESTRETCHING-REGISTRATION", "CONCATENATION",
    ]  # fmt: skip
    assert '"align": true' in header["PRPARA2"]
    assert np.ptp(levels) / levels.mean() < 0.01


def test_wide_and_narrow_band_of_one_wavelength_stay_apart(tmp_path: Path) -> None:
    burst, out = sample_path("small_burst.fits"), tmp_path / "cube.fits"
    restored = tmp_path / "restored.fits"
    assert main(["richardson-lucy", str(burst), "-o", str(restored), "--iterations", "1", "--quiet"]) == 0
    assert main(["cube", str(restored), "-o", str(out)]) == 0
    assert read_burst(out).labels == ("854.20 nm", "WB 854.20 nm")
    np.testing.assert_array_equal(fits.getdata(out)[0, 0, 1], fits.getdata(restored)[0])

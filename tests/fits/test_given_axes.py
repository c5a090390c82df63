"""Axes that a user names because the header does not."""

import numpy as np
import pytest
from astropy.io import fits

from heliorestore.errors import BurstError
from heliorestore.fits.reader import read, read_burst

CUBE = np.arange(2 * 3 * 4 * 5 * 6, dtype="i2").reshape(2, 3, 4, 5, 6)


@pytest.fixture
def cube(tmp_path):
    def write(array=CUBE, **cards):
        fits.writeto(tmp_path / "a.fits", array, fits.Header(cards), overwrite=True)
        return tmp_path / "a.fits"

    return write


@pytest.mark.parametrize(
    ("axes", "stored", "labels"),
    [
        ("tuning,modulation,frame,y,x", CUBE, ["tuning 0, modulation 0", "tuning 0, modulation 1"]),
        ("Tuning=2, modulation, time,y,x", CUBE, ["tuning 0, modulation 0", "tuning 0, modulation 1"]),
        ("wavelength,stokes,frame,y,x", CUBE, ["wavelength 0, I", "wavelength 0, Q"]),
        ("stokes,frame,x,y,tuning", CUBE.transpose(1, 2, 4, 3, 0), None),
        ("tuning=2,modulation,frame=4,y,x", CUBE.reshape(24, 5, 6), None),
        ("tuning,modulation=3,frame=4,y,x", CUBE.reshape(24, 5, 6), None),
        ("frame,object,y,x", CUBE[0].swapaxes(0, 1), ["object 0", "object 1"]),
    ],
)
def test_a_cube_is_read_by_the_names_of_its_axes(cube, axes, stored, labels):
    burst = read(cube(stored, INSTRUME="CRISP", WAVELNTH=8542), axes=axes)
    truth = CUBE[:1] if "object" in axes else CUBE
    if stored.shape == (3, 4, 6, 5, 2):  # Stokes is the slower axis there
        truth = truth.swapaxes(0, 1)
    assert burst.layout == "named-axes"
    np.testing.assert_array_equal(burst.frames[...], truth.reshape(-1, 4, 5, 6))
    assert labels is None or list(burst.labels[:2]) == labels


def test_coordinates_of_an_axis_count_where_its_ctype_agrees(cube):
    cards = {"CTYPE5": "WAVE", "CRVAL5": 630.1, "CRPIX5": 1.0, "CDELT5": 0.1, "CUNIT5": "nm"}
    right = read_burst(cube(**cards), axes="wavelength,modulation,frame,y,x")
    assert (right.instruments[3].wavelength_nm, right.labels[3]) == (630.2, "630.20 nm, modulation 0")
    other = read_burst(cube(**cards), axes="frame,wavelength,stokes,y,x")
    assert other.instruments[0].wavelength_nm is None
    assert other.times is None


@pytest.mark.parametrize(
    ("axes", "why"),
    [
        ("wavelength,polarisation,frame,y,x", "'polarisation' is unknown"),
        ("wavelength,stokes=0,frame,y,x", "'stokes=0' is unknown"),
        ("wavelength,stokes,frame,x", "y and x must each be there once"),
        ("tuning,time,frame,y,x", "only one axis can be the frames"),
        ("frame,y,x", "they are 3"),
        ("object,tuning,stokes,frame,y,x", "sizes are missing"),
        ("tuning=3,stokes,frame,y,x", "the sizes do not fit"),
        ("object=2,tuning=2,stokes,frame,y,x", "the sizes do not fit"),
    ],
)
def test_names_that_do_not_fit_are_one_sentence_with_the_shape_and_the_words(cube, axes, why):
    with pytest.raises(BurstError) as caught:
        read(cube(), axes=axes)
    for part in (why, "(2, 3, 4, 5, 6)", "wavelength, stokes, modulation, state, tuning, object", "a.fits"):
        assert part in str(caught.value)


def test_an_unknown_cube_asks_for_the_names(cube):
    with pytest.raises(BurstError, match=r"\(2, 3, 4, 5, 6\).*--axes wavelength,stokes,frame,y,x"):
        read(cube())
    # Compressed pixels cannot be cut into other tiles.
    path = cube()
    fits.CompImageHDU(CUBE.reshape(24, 5, 6), compression_type="GZIP_1").writeto(path, overwrite=True)
    with pytest.raises(BurstError, match="compressed image cannot be split"):
        read(path, axes="tuning=6,frame,y,x")

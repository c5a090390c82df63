"""Cubes of CRISPEX: a text of 512 bytes, then images."""

import numpy as np
import pytest

from heliorestore.errors import BurstError
from heliorestore.fits.reader import describe, read

TYPES = {"i2": "2 (integer)", "f4": "4 (float)"}


def lapalma(path, array, extra="", endian="l", planes=None):
    """Write (y, x) or (plane, y, x) as IDL does."""
    order = "<" if endian == "l" else ">"
    *times, rows, columns = array.shape
    nt = f", nt={planes or times[0]}" if times else ""
    text = f"{extra} datatype={TYPES[array.dtype.str[1:]]}, dims={array.ndim}, nx={columns}, ny={rows}{nt}"
    path.write_bytes(f"{text}, endian={endian}".encode().ljust(512, b"\0"))
    with path.open("ab") as file:
        file.write(array.astype(array.dtype.newbyteorder(order)).tobytes())
    return path


CUBE = np.arange(2 * 4 * 3 * 5 * 6).reshape(2, 4, 3, 5, 6)  # time, Stokes, wavelength, y, x
POLARISED = "stokes=[I,Q,U,V], ns=4 : "


@pytest.mark.parametrize(("endian", "dtype", "name"), [("l", "i2", "a.icube"), ("b", "f4", "a.fcube")])
def test_planes_are_frames_and_the_header_is_kept(tmp_path, endian, dtype, name):
    planes = CUBE.reshape(-1, 5, 6).astype(dtype)
    path = lapalma(tmp_path / name, planes, POLARISED, endian)
    burst = read(path)
    assert burst.layout == "lapalma"
    np.testing.assert_array_equal(burst.frames[0], planes)
    assert str(burst.headers[0]["HISTORY"]).startswith("stokes=[I,Q,U,V], ns=4 :  datatype=")
    assert describe(burst)["storage"] == "La Palma cube"
    assert read(lapalma(tmp_path / name, planes[0], "", endian)).shape == (1, 1, 5, 6)
    named = read(lapalma(path, planes), axes="frame,stokes=4,wavelength=3,y,x")
    np.testing.assert_array_equal(named.frames[5, 1], CUBE[1, 1, 2])


def test_the_spectral_cube_beside_it_gives_the_wavelengths(tmp_path):
    planes = CUBE.reshape(-1, 5, 6).astype("i2")
    lapalma(tmp_path / "crispex_6302_im.icube", planes, POLARISED)
    # Its own axes are (pixel and Stokes, time, wavelength).
    lapalma(tmp_path / "crispex_6302_sp.icube", planes.reshape(120, 2, 3), POLARISED)
    for path in (tmp_path / "crispex_6302_im.icube", tmp_path):
        burst = read(path)
        assert burst.shape == (12, 2, 5, 6)
        assert burst.labels[5] == "wavelength 2, Q"
        np.testing.assert_array_equal(burst.frames[5], CUBE[:, 1, 2])
    with pytest.raises(BurstError, match=r"spectral cube.*open the cube of images"):
        read(tmp_path / "crispex_6302_sp.icube")


def test_a_damaged_cube_is_one_sentence(tmp_path):
    planes = np.zeros((3, 5, 6), "i2")
    with pytest.raises(BurstError, match=r"cut off.*240 bytes.*only 180"):
        read(lapalma(tmp_path / "a.icube", planes, planes=4))
    path = lapalma(tmp_path / "a.icube", planes)
    path.write_bytes(path.read_bytes().replace(b"datatype=2", b"datatype=6"))
    with pytest.raises(BurstError, match=r"datatype=6.*1, 2, 3, 4, 5"):
        read(path)

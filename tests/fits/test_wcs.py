import warnings

import numpy as np
import pytest
from astropy.io.fits import Header
from astropy.wcs import WCS, FITSFixedWarning
from hypothesis import given
from hypothesis import strategies as st

from heliorestore.fits.wcs import planar, zoomed
from heliorestore.instrument import Instrument


def header(letter="", form="PC", angle=0.3):
    c, s = np.cos(angle), np.sin(angle)
    cards = {
        f"CTYPE1{letter}": "HPLN-TAN",
        f"CTYPE2{letter}": "HPLT-TAN",
        f"CUNIT1{letter}": "deg",
        f"CUNIT2{letter}": "deg",
        f"CRVAL1{letter}": 0.1,
        f"CRVAL2{letter}": -0.2,
        f"CRPIX1{letter}": 12.5,
        f"CRPIX2{letter}": 7.0,
    }
    scale = 0.06 / 3600
    if form == "PC":
        cards |= {f"CDELT1{letter}": scale, f"CDELT2{letter}": scale}
    factor = 1 if form == "PC" else scale
    cards |= {
        f"{form}{i}_{j}{letter}": factor * m
        for (i, j), m in zip(((1, 1), (1, 2), (2, 1), (2, 2)), (c, -s, s, c), strict=True)
    }
    return Header(cards)


@given(
    form=st.sampled_from(["PC", "CD"]),
    letter=st.sampled_from(["", "B"]),
    zoom=st.integers(2, 4),
    x=st.floats(-0.5, 30),
    y=st.floats(-0.5, 30),
)
def test_a_place_in_the_image_keeps_its_place_on_the_sky(form, letter, zoom, x, y):
    coarse = header() + header(letter, form) if letter else header("", form)
    fine = zoomed(coarse, zoom)
    # Counted from 0, the centre of pixel x lies at zoom (x + 1/2) - 1/2.
    there = [zoom * (value + 0.5) - 0.5 for value in (x, y)]
    sky = [
        WCS(h, key=letter or " ").wcs_pix2world(*place, 0) for h, place in ((coarse, (x, y)), (fine, there))
    ]
    np.testing.assert_allclose(sky[1], sky[0], atol=1e-10)


def test_the_scale_is_halved_in_cdelt_or_cd_and_never_in_pc():
    fine = zoomed(header("", "PC") + header("A", "CD"), 2)
    assert fine["CDELT1"] == 0.03 / 3600
    assert fine["PC1_2"] == header()["PC1_2"]
    assert fine["CD1_1A"] == header("A", "CD")["CD1_1A"] / 2
    assert "CDELT1A" not in fine
    assert fine["CRPIX1"] == 2 * 12.5 - 0.5
    assert fine["CRPIX2A"] == 2 * 7.0 - 0.5


def test_zooming_back_gives_the_header_again():
    once = zoomed(zoomed(header() + header("C", "CD"), 2), 1 / 2)
    for key, value in (header() + header("C", "CD")).items():
        assert once[key] == pytest.approx(value) if isinstance(value, float) else once[key] == value


def test_a_header_without_wcs_gets_none():
    assert zoomed(Header({"TELESCOP": "SST"}), 2) == Header({"TELESCOP": "SST"})


def test_the_other_axes_are_dropped_and_the_plane_becomes_axes_1_and_2():
    cube = Header(
        {
            "CTYPE1": "WAVE",
            "CTYPE2": "HPLT-TAN",
            "CTYPE3": "HPLN-TAN",
            "CRVAL3": 5.0,
            "CRVAL1": 9.0,
            "PC2_3": 0.5,
            "PC3_1": 7.0,
            "PC2_2": 1.0,
            "PV1_1": 3.0,
            "PS1_0": "TAB",
            "WCSAXES": 3,
            "CTYPE3A": "RA---TAN",
            "TELESCOP": "SST",
        }
    )
    cube["HISTORY"] = "kept"
    plane = planar(cube, x=3, y=2)
    assert dict(plane) == {
        "CTYPE2": "HPLT-TAN",
        "CTYPE1": "HPLN-TAN",
        "CRVAL1": 5.0,
        "PC2_1": 0.5,
        "PC2_2": 1.0,
        "CTYPE1A": "RA---TAN",
        "TELESCOP": "SST",
        "HISTORY": plane["HISTORY"],
    }
    assert list(plane["HISTORY"]) == ["kept"]


@pytest.mark.parametrize(
    ("change", "scale"),
    [
        ({"CUNIT1": None, "CUNIT2": None}, 0.059),  # degrees, for astropy
        ({"CUNIT1": "Arcsec", "CUNIT2": "Arcsec"}, 0.059),
        ({"CTYPE2": None}, 0.059),
        ({"PC1_1": 0.0, "PC2_2": 0.0}, 0.059),
        ({"CTYPE1": "HPLN-TAB", "CTYPE2": "HPLT-TAB", "PS1_0": "T", "PS1_1": "C"}, None),  # there is no table
    ],
    ids=str,
)
def test_headers_that_astropy_refuses_or_takes_otherwise_tell_the_scale(change, scale):
    cards = {"CTYPE1": "HPLN-TAN", "CTYPE2": "HPLT-TAN", "CUNIT1": "arcsec", "CUNIT2": "arcsec"}
    cards |= {"CDELT1": 0.059, "CDELT2": 0.059}
    odd = Header({key: value for key, value in (cards | change).items() if value is not None})
    assert Instrument.from_header(odd).pixel_arcsec == scale
    fine = planar(odd)
    assert [fine[key] for key in odd if not key.startswith("PS")] == [
        odd[key] for key in odd if not key.startswith("PS")
    ]
    try:
        warnings.simplefilter("ignore", FITSFixedWarning)
        by_astropy = WCS(odd).proj_plane_pixel_scales()[0].to_value("arcsec")
    except (ValueError, MemoryError):
        by_astropy = np.nan
    assert by_astropy != pytest.approx(0.059), "the reasons in fits/wcs.py have gone"

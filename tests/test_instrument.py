import dataclasses

import pytest

from heliorestore.errors import SettingsError
from heliorestore.instrument import KNOWN, Instrument, KnownInstrument


@pytest.mark.parametrize("key", KNOWN)
def test_an_instrument_survives_being_written_as_text(key: str) -> None:
    assert Instrument.parse(key) == KNOWN[key]
    assert Instrument.parse(str(KNOWN[key])) == KNOWN[key]
    changed = Instrument.parse(f"{key},pixel_arcsec=0.1234,wavelength_nm=500.5")
    assert Instrument.parse(str(changed)) == changed
    assert changed.diameter_m == KNOWN[key].diameter_m


def test_a_custom_instrument_survives_being_written_as_text() -> None:
    custom = Instrument(
        name="My, telescope", diameter_m=0.5, obscuration_m=0.1, pixel_arcsec=0.2, wavelength_nm=656.28
    )
    again = Instrument.parse(str(custom))
    assert again == Instrument(
        name="My  telescope", diameter_m=0.5, obscuration_m=0.1, pixel_arcsec=0.2, wavelength_nm=656.28
    )
    incomplete = Instrument(name="half known", pixel_arcsec=0.3)
    assert Instrument.parse(str(incomplete)) == incomplete


@pytest.mark.parametrize(
    ("cards", "name", "pixel_arcsec", "wavelength_nm", "diameter_m"),
    [
        (
            {
                "TELESCOP": "SST",
                "INSTRUME": "CRISP",
                "WAVELNTH": 8542.0,
                "WAVEUNIT": -10,
                "CDELT1": 0.059,
                "CUNIT1": "arcsec",
            },
            "SST/CRISP 8542",
            0.059,
            854.2,
            1.0,
        ),
        ({"INSTRUME": "CHROMIS", "WAVELNTH": 393.4, "WAVEUNIT": -9}, "SST/CHROMIS 3934", 0.038, 393.4, 1.0),
        ({"INSTRUME": "CRISP", "WAVELNTH": 656.28, "WAVEUNIT": "nm"}, "SST/CRISP 6563", 0.059, 656.28, 1.0),
        ({"INSTRUME": "CRISP"}, "SST/CRISP", 0.059, None, 1.0),
        (
            {"TELESCOP": "SDO/HMI", "WAVELNTH": 6173, "CDELT1": -1.4e-4, "CUNIT1": "deg"},
            "SDO/HMI 6173",
            0.504,
            617.3,
            0.14,
        ),
        (
            {
                "TELESCOP": "SDO/HMI",
                "INSTRUME": "HMI_FRONT2",
                "WAVELNTH": 6173.0,
                "CD1_1": 0.3,
                "CD2_1": 0.4,
                "CUNIT1": "arcsec",
            },
            "SDO/HMI 6173",
            0.5,
            617.3,
            0.14,
        ),
        (
            {"TELESCOP": "GREGOR", "INSTRUME": "HiFI+", "WAVELNTH": 656.3, "WAVEUNIT": "nm"},
            "GREGOR/HiFI 6563",
            0.05,
            656.3,
            1.44,
        ),
        (
            {"INSTRUME": "VBI", "WAVELNTH": 450.4, "WAVEUNIT": "nm", "CDELT1": 0.011, "CUNIT1": "arcsec"},
            "DKIST/VBI 4504",
            0.011,
            450.4,
            4.0,
        ),
        (
            {"TELESCOP": "IRIS", "INSTRUME": "SJI", "CDELT1": 0.33, "CUNIT1": "arcsec"},
            "IRIS SJI",
            0.33,
            None,
            None,
        ),
        ({}, "unknown", None, None, None),
        ({"CDELT1": 1.0, "WAVELNTH": 304}, "unknown", None, None, None),
        ({"CDELT1": float("nan"), "WAVELNTH": "soft", "WAVEUNIT": True}, "unknown", None, None, None),
        ({"CDELT1": 5.0, "CUNIT1": "km"}, "unknown", None, None, None),
        (
            {"CTYPE1": "CRLN-CEA", "CDELT1": 0.03, "CUNIT1": "degree", "RSUN_OBS": 972.0},
            "unknown",
            0.508938,
            None,
            None,
        ),
    ],
)
def test_what_headers_say(
    cards: dict, name: str, pixel_arcsec: float, wavelength_nm: float, diameter_m: float
) -> None:
    read = Instrument.from_header(cards)
    assert read.name == name
    assert read.pixel_arcsec == pytest.approx(pixel_arcsec) if pixel_arcsec else read.pixel_arcsec is None
    assert read.wavelength_nm == pytest.approx(wavelength_nm) if wavelength_nm else read.wavelength_nm is None
    assert read.diameter_m == diameter_m


def test_hmi_has_wachters_psf_and_its_resolution() -> None:
    hmi = KNOWN["hmi-6173"]
    assert hmi.psf == "wachter"
    assert hmi.resolution_arcsec == pytest.approx(617.3e-9 / 0.14 * 206264.806, rel=1e-6)
    assert Instrument(diameter_m=1.0).resolution_arcsec is None


def test_what_is_missing_is_named_with_a_remedy() -> None:
    with pytest.raises(
        SettingsError,
        match=r"diameter_m, "
        r"wavelength_nm.*crisp-8542.*diameter_m=1.0,wavelength_nm=854.2",
    ):
        Instrument(pixel_arcsec=0.059).require()


def test_what_is_required_has_every_number() -> None:
    known = KNOWN["hifi-6563"].require()
    assert dataclasses.asdict(known) == dataclasses.asdict(KNOWN["hifi-6563"])
    assert known.resolution_arcsec == KNOWN["hifi-6563"].resolution_arcsec
    assert known.require() is known
    assert str(known) == "hifi-6563"
    with pytest.raises(TypeError, match="wavelength_nm"):
        KnownInstrument(diameter_m=1.0, pixel_arcsec=0.059)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("crisp-8524", "did you mean crisp-8542"),
        ("pixel_arcsec=wide", "must be a number"),
        ("pixel=0.1", "no 'pixel'.*pixel_arcsec"),
        ("crisp-8542,pixel_arcsec=-1", "positive"),
        ("crisp-8542,obscuration_m=2", "2.0 m and the aperture 1.0 m"),
        ("psf=square", "'airy' and 'wachter'"),
    ],
)
def test_a_wrong_instrument_is_one_sentence(text: str, says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        Instrument.parse(text)


@pytest.mark.parametrize(
    ("instrument", "says"),
    [
        (Instrument.from_header({"INSTRUME": "CRISP", "WAVELNTH": 6302, "CDELT1": 1.0, "CUNIT1": "arcsec"}),
         "Pixels of 1 arcsec are 16.9 times larger than those of SST/CRISP (0.059 arcsec)"),
        (Instrument.parse("chromis-3934,pixel_arcsec=0.0038"), "10 times smaller than those of SST/CHROMIS"),
        (Instrument.parse("crisp-8542,pixel_arcsec=0.18"), "3.05 times larger"),
        (Instrument.parse("crisp-8542,pixel_arcsec=0.17"), None),  # binned
        (Instrument.parse("crisp-8542,pixel_arcsec=0.0295"), None),  # on twice as many pixels
        (Instrument(name="IRIS SJI", pixel_arcsec=5.0), None),
        (Instrument(name="custom", pixel_arcsec=5.0), None),
        (Instrument.parse("crisp-6302"), None),
    ],
)  # fmt: skip
def test_a_scale_far_from_the_cameras_is_doubted(instrument: Instrument, says: str | None) -> None:
    if says is None:
        assert instrument.doubt is None
    else:
        assert instrument.doubt is not None
        assert says in instrument.doubt
        assert "pixel_arcsec=0.0" in instrument.doubt  # what to do

import dataclasses
from pathlib import Path

import platformdirs
import pytest

import heliorestore
from heliorestore.cli import main
from heliorestore.errors import SettingsError
from heliorestore.instrument import KNOWN, Instrument, KnownInstrument, find, own, save_own
from heliorestore.samples import sample_path

HEADERS = Path(__file__).parents[2] / "shared" / "data"


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
            0.97,
        ),
        ({"INSTRUME": "CHROMIS", "WAVELNTH": 393.4, "WAVEUNIT": -9}, "SST/CHROMIS 3934", 0.038, 393.4, 0.97),
        ({"INSTRUME": "CRISP", "WAVELNTH": 656.28, "WAVEUNIT": "nm"}, "SST/CRISP 6563", 0.059, 656.28, 0.97),
        ({"INSTRUME": "CRISP"}, "SST/CRISP", 0.059, None, 0.97),
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
        # as a simulated burst says that its SST had another aperture
        ({"INSTRUME": "CRISP", "WAVELNTH": 8542, "APTDIA": 1000.0}, "SST/CRISP 8542", 0.059, 854.2, 1.0),
        ({"TELESCOP": "Mine", "APTDIA": 80.0, "CDELT1": 0.5, "CUNIT1": "arcsec"}, "Mine", 0.5, None, 0.08),
        ({"TELESCOP": "Mine", "APTDIA": 0.0}, "Mine", None, None, None),
        # SSTRED, H-beta by its prefilter
        (
            {
                "TELESCOP": "Swedish 1-meter Solar Telescope",
                "INSTRUME": "CHROMIS",
                "CAMERA": "Chromis-N",
                "WAVELNTH": 486.135,
                "WAVEUNIT": -9,
            },
            "SST/CHROMIS 4862",
            0.038,
            486.135,
            0.97,
        ),
        (
            {"TELESCOP": "GREGOR", "INSTRUME": "HiFIplus", "WAVELNTH": 430.7, "WAVEUNIT": "nm"},
            "GREGOR/HiFI 4307",
            0.025,
            430.7,
            1.44,
        ),
        # VBI without a wavelength: blue or red, so no scale either
        ({"TELESCOP": "Daniel K. Inouye Solar Telescope", "INSTRUME": "VBI"}, "DKIST/VBI", None, None, 4.0),
        ({"INSTRUME": "VBI", "WAVELNTH": 705.839, "WAVEUNIT": -9}, "DKIST/VBI 7054", 0.017, 705.839, 4.0),
        # Hinode gives no WAVELNTH, but the filter's name
        (
            {
                "TELESCOP": "HINODE",
                "INSTRUME": "SOT/WB",
                "WAVE": "Ca II H line",
                "CDELT1": 0.10896,
                "CUNIT1": "arcsec",
            },
            "Hinode/SOT-BFI 3968",
            0.10896,
            396.8,
            0.5,
        ),
        (
            {
                "TELESCOP": "HINODE",
                "INSTRUME": "SOT/WB",
                "WAVE": "G band 4305",
                "CDELT1": 0.05448,
                "CUNIT1": "arcsec",
            },
            "Hinode/SOT-BFI 4305",
            0.05448,
            430.5,
            0.5,
        ),
        (
            {"TELESCOP": "HINODE", "INSTRUME": "SOT/NB", "WAVE": "TF Fe I 6302"},
            "Hinode/SOT-NFI 6302",
            0.08,
            630.2,
            0.5,
        ),
        (
            {"TELESCOP": "HINODE", "INSTRUME": "XRT", "CDELT1": 1.0286, "CUNIT1": "arcsec"},
            "HINODE XRT",
            1.0286,
            None,
            None,
        ),
        (
            {
                "TELESCOP": "SOLO/PHI/HRT",
                "INSTRUME": "PHI",
                "DETECTOR": "HRT",
                "WAVELNTH": 6173.341,
                "CDELT1": 0.5,
                "CUNIT1": "arcsec",
            },
            "SolO/PHI-HRT 6173",
            0.5,
            617.3341,
            0.14,
        ),
        # not the full-disc telescope, whose aperture is another
        (
            {"TELESCOP": "SOLO/PHI/FDT", "INSTRUME": "PHI", "DETECTOR": "FDT"},
            "SOLO/PHI/FDT PHI",
            None,
            None,
            None,
        ),
        (
            {"TELESCOP": "Sunrise", "INSTRUME": "IMaX", "WAVELNTH": 5250.2},
            "Sunrise/IMaX 5250",
            0.055,
            525.02,
            1.0,
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
)  # fmt: skip
def test_what_headers_say(
    cards: dict, name: str, pixel_arcsec: float, wavelength_nm: float, diameter_m: float
) -> None:
    read = Instrument.from_header(cards)
    assert read.name == name
    assert read.pixel_arcsec == pytest.approx(pixel_arcsec) if pixel_arcsec else read.pixel_arcsec is None
    assert read.wavelength_nm == pytest.approx(wavelength_nm) if wavelength_nm else read.wavelength_nm is None
    assert read.diameter_m == diameter_m


@pytest.mark.parametrize(
    ("file", "name", "pixel_arcsec"),
    [
        ("headers/resampled_hmi.fits", "SDO/HMI 6173", 20.65575936),
        ("headers/sunkit-image_dkist_photosphere.fits", "DKIST/VBI 4504", 0.010123573),
        ("enhance/hmi_sharp_377_continuum.fits", "SDO/HMI 6173", None),
        ("bursts/imax_focus.fits", "Sunrise/IMaX 5250", 0.055),
        ("truth/crisp_8542_spot_wb.fits", "SST/CRISP 8542", 0.059),
        ("headers/irispy_SJI_2832_test.fits", "IRIS SJI", 0.16635),
    ],
)
def test_real_headers_name_their_instrument(file: str, name: str, pixel_arcsec: float | None) -> None:
    if not (HEADERS / file).exists():
        pytest.skip("the reference data are not on this machine")
    found = heliorestore.read(HEADERS / file).instruments[0]
    assert found.name == name
    assert found.pixel_arcsec == pytest.approx(pixel_arcsec or found.pixel_arcsec)


def test_the_papers_sst_has_one_metre_and_is_not_taken_for_the_real_one() -> None:
    real, paper = find("crisp-8542"), find("crisp-8542-paper")
    assert (real.diameter_m, paper.diameter_m) == (0.97, 1.0)
    assert dataclasses.replace(paper, name=real.name, diameter_m=0.97) == real
    assert heliorestore.read(sample_path("small_burst.fits")).instruments[0].diameter_m == 1.0
    # what earlier versions wrote down by name had the paper's
    assert Instrument.recorded("crisp-8542") == paper
    assert Instrument.recorded("crisp-8542,pixel_arcsec=0.06").diameter_m == 1.0
    assert all(Instrument.recorded(known.record) == known for known in KNOWN.values())


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("crisp-6302,pixel_arcsec=0.06", "SST/CRISP 6302 (edited)"),
        ("crisp-6302,diameter_m=0.97", "SST/CRISP 6302"),  # nothing changed
        ("crisp-6302,wavelength_nm=517.3", "SST/CRISP 5173"),  # another filter of that camera
        ("crisp-6302,wavelength_nm=630.15", "SST/CRISP 6302 (edited)"),
        ("crisp-6302,wavelength_nm=517.3,diameter_m=1", "SST/CRISP 5173 (edited)"),
        ("crisp-6302,pixel_arcsec=0.06,name=mine", "mine"),
        ("pixel_arcsec=0.06", "unknown"),
    ],
)
def test_an_edited_instrument_is_not_called_by_the_known_ones_name(text: str, name: str) -> None:
    assert Instrument.parse(text).name == name
    # filling in what the file does not say edits nothing
    assert (
        Instrument.parse("diameter_m=0.5", Instrument(name="IRIS SJI", pixel_arcsec=0.3)).name == "IRIS SJI"
    )


def test_ones_own_instrument_is_remembered_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(platformdirs, "user_config_path", lambda *_, **__: tmp_path)
    assert (
        main(["instruments", "add", "balcony", "diameter_m=0.08,pixel_arcsec=0.9,wavelength_nm=656.3"]) == 0
    )
    balcony = find("balcony")
    assert balcony == Instrument(name="balcony", diameter_m=0.08, pixel_arcsec=0.9, wavelength_nm=656.3)
    assert main(["instruments", "add", "crisp-new", "crisp-6302", "pixel_arcsec=0.044"]) == 0
    assert find("crisp-new") == dataclasses.replace(find("crisp-6302"), name="crisp-new", pixel_arcsec=0.044)
    (tmp_path / "instruments" / "broken.toml").write_text('diameter_m = "wide"')
    assert set(own()) == {"balcony", "crisp-new"}
    capsys.readouterr()
    assert main(["instruments"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "balcony your own 0.08 m 0.9 arcsec 656.3 nm" in [" ".join(line.split()) for line in lines]
    assert sum(line.startswith("crisp-8542 ") for line in lines) == 1
    # a record does not depend on what is remembered
    record = heliorestore.Burst.from_array([[1.0]]).with_instrument("balcony").instruments[0].record
    assert main(["instruments", "remove", "balcony"]) == 0
    assert Instrument.recorded(record) == balcony
    for words, says in (
        (("add", "hmi-6173", "diameter_m=1"), "hmi-6173 is a bundled instrument"),
        (("add", "my telescope", "diameter_m=1"), "no spaces"),
        (("add", "../x", "diameter_m=1"), "cannot be called"),
        (("add", "nothing"), "give its name and its numbers"),
        (("remove", "balcony"), "no instrument 'balcony'; your own: broken, crisp-new"),
    ):
        assert main(["instruments", *words]) == 2
        assert says in capsys.readouterr().err
    with pytest.raises(SettingsError, match="did you mean crisp-new"):
        find("crisp-newer")
    with pytest.raises(SettingsError, match="bundled"):
        save_own("crisp-6302", balcony)


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
        ("crisp-8542,pixel_arcsec=-1", "between 1e-09 and"),
        ("crisp-8542,obscuration_m=2", "2.0 m and the aperture 0.97 m"),
        ("crisp-8542,diameter_m=1e300", "diameter_m is 1e.300"),
        ("psf=square", "possible are airy, wachter, "),
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

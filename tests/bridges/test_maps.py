"""Bursts and results as SunPy maps and back; what SunPy understands is compared with SunPy itself."""

import warnings
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
import sunpy.map

import heliorestore
from heliorestore import Burst, from_map, to_map
from heliorestore.errors import BurstError, SettingsError
from heliorestore.samples import sample_path
from observatory_files import write_as_jsoc
from turned_burst import COLUMNS, MIRRORED, ROWS, burst, corners, result


@pytest.mark.parametrize("cards", [{}, MIRRORED], ids=["turned", "mirrored and turned"])
def test_a_frame_as_a_map_is_the_map_of_its_header_and_comes_back(cards: dict[str, object]) -> None:
    made = burst(**cards)
    shown = to_map(made)
    theirs = sunpy.map.Map(made.image(0, 0), made.headers[0])
    assert type(shown) is type(theirs)
    np.testing.assert_allclose(corners(shown), corners(theirs), rtol=0, atol=1e-9)
    assert (shown.unit, shown.date, shown.wavelength) == (theirs.unit, theirs.date, theirs.wavelength)
    assert shown.observer_coordinate.lat.deg == pytest.approx(-7.2)
    assert shown.mask.sum() == 1
    again = from_map(shown)
    np.testing.assert_array_equal(again.frames, made.frames)
    assert (again.instruments, again.labels, again.unit) == (made.instruments, made.labels, made.unit)
    assert again.times == made.times
    np.testing.assert_allclose(corners(to_map(again)), corners(shown), rtol=0, atol=1e-6)
    assert "as JSOC writes it" in str(again.headers[0]["HISTORY"])


@pytest.mark.parametrize("cards", [{}, MIRRORED], ids=["turned", "mirrored and turned"])
def test_a_restored_image_on_finer_pixels_lies_where_the_observed_one_did(cards: dict[str, object]) -> None:
    made = burst(objects=2, **cards)
    restored = to_map(result(made), object=1)
    theirs = sunpy.map.Map(made.image(0, 0), made.headers[0])
    np.testing.assert_allclose(corners(restored, zoom=2), corners(theirs), rtol=0, atol=1e-6)
    assert restored.scale[0].value == pytest.approx(abs(theirs.scale[0].value) / 2) or cards
    assert restored.uncertainty.array.shape == restored.data.shape
    assert restored.meta["label1"] == "Q"
    assert "label2" not in restored.meta
    assert "PRSTEP1" in restored.fits_header
    again = from_map([to_map(result(made), object=0), restored])
    assert again.labels == ("I", "Q")
    assert again.instruments[0].pixel_arcsec == pytest.approx(0.252)


def test_maps_become_objects_and_frames_with_their_times_and_places() -> None:
    drift = [burst(**{"CRVAL1": 410.0 + k, "DATE-OBS": f"2014-03-01T00:00:0{k}"}) for k in range(3)]
    maps = [to_map(each) for each in reversed(drift)]
    made = from_map(maps)
    assert made.shape == (1, 3, ROWS, COLUMNS)
    assert np.all(np.diff(made.times) == np.timedelta64(1, "s"))
    for number, each in enumerate(reversed(maps)):
        np.testing.assert_allclose(corners(to_map(made, frame=number)), corners(each), rtol=0, atol=1e-5)
        assert to_map(made, frame=number).date == each.date
    with pytest.raises(BurstError, match=r"as many maps of every camera.*3 of .*, 1 of"):
        from_map([*maps, to_map(burst(WAVELNTH=5250.0))])
    with pytest.raises(BurstError, match=r"differ in size \(29 x 24, 30 x 24 pixels\)"):
        from_map([*maps, sunpy.map.Map(np.ones((ROWS, 29)), maps[0].fits_header)])
    with pytest.raises(BurstError, match="There is no map"):
        from_map([])
    with pytest.raises(BurstError, match="A ndarray is no map"):
        from_map([np.ones((3, 3))])


def test_what_is_not_there_is_said() -> None:
    with pytest.raises(BurstError, match="no object 1: there are 1, numbered from 0"):
        to_map(burst(), object=1)
    with pytest.raises(BurstError, match="no frame 2"):
        to_map(burst(), frame=2)
    with pytest.raises(BurstError, match="no frame 0: this result has one image"):
        to_map(result(burst()), frame=0)
    with pytest.raises(BurstError, match="size of the pixels is unknown"):
        to_map(Burst.from_array(np.ones((4, 4))))


def test_a_simulated_burst_and_its_truths_aperture_come_back() -> None:
    made = heliorestore.read(sample_path("small_burst.fits"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # no observer in the header: SunPy says that it takes the Earth
        shown = [to_map(made, object=k, frame=f) for k in range(2) for f in range(3)]
        assert shown[0].wavelength == 854.2 * u.nm
        again = from_map(shown)
    assert again.shape == (2, 3, 128, 128)
    assert again.labels == made.labels
    assert again.instruments == made.instruments
    assert again.times[0] == made.times[0]
    np.testing.assert_array_equal(again.image(1, 2), made.image(1, 2))
    hmi = heliorestore.read(sample_path("hmi_continuum.fits"))  # of a class of SunPy's that looks at the unit
    shown = to_map(hmi)
    assert from_map(shown).unit == "I/Ic"
    binned = from_map(shown.superpixel([5, 5] * u.pix))
    with pytest.raises(SettingsError, match=r"2\.52 arcsec .*0\.504"):
        binned.check_scale()
    binned.with_instrument("pixel_arcsec=2.52").check_scale()


def test_a_missing_package_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "sunpy.map", None)
    with pytest.raises(BurstError, match=r'pip install "heliorestore\[sunpy\]"'):
        to_map(burst())
    monkeypatch.setitem(sys.modules, "dkist", None)
    with pytest.raises(BurstError, match=r'pip install "heliorestore\[dkist\]"'):
        heliorestore.from_dkist(None)


def test_a_file_as_jsoc_writes_it_is_the_map_that_sunpy_makes_of_it(tmp_path: Path) -> None:
    path = write_as_jsoc(tmp_path)
    made = heliorestore.read(path)
    assert (made.instruments[0].name, made.count_bad_pixels()) == ("SDO/HMI 6173", 12)
    ours, theirs = to_map(made), sunpy.map.Map(path)
    np.testing.assert_array_equal(ours.data, theirs.data.astype(np.float32))
    x, y = [0, 47, 0, 47] * u.pix, [0, 0, 47, 47] * u.pix
    assert ours.pixel_to_world(x, y).separation(theirs.pixel_to_world(x, y)).max() < 1e-6 * u.arcsec
    assert (ours.date, ours.unit) == (theirs.date, theirs.unit)
    # sunpy 6.0 knows no unit of theirs
    assert ours.wavelength.to_value("Angstrom") == pytest.approx(theirs.wavelength.value)
    assert ours.mask.sum() == 12
    assert "Polarization correction" in ours.meta["history"]


def test_the_real_header_of_hmi_survives(tmp_path: Path) -> None:
    file = Path(__file__).parents[3] / "shared" / "data" / "headers" / "resampled_hmi.fits"
    if not file.exists():
        pytest.skip("the reference data are not on this machine")
    ours, theirs = to_map(heliorestore.read(file)), sunpy.map.Map(file)
    np.testing.assert_array_equal(ours.data, theirs.data.astype(np.float32))
    places = [each.pixel_to_world([0, 99, 0, 99] * u.pix, [0, 0, 99, 99] * u.pix) for each in (ours, theirs)]
    assert places[0].separation(places[1]).max() < 1e-6 * u.arcsec
    assert ours.observer_coordinate.separation(theirs.observer_coordinate) < 1e-9 * u.deg
    assert (ours.date, ours.unit) == (theirs.date, theirs.unit)

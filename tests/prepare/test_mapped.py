"""Frames of one camera on the pixels of another: values, windows, bad pixels, coordinates, records."""

import warnings

import numpy as np
import pytest
import torch
from astropy.io import fits
from astropy.wcs import WCS
from scipy import ndimage

import heliorestore
from cameras import granules, known_map, pixels, seen_by
from heliorestore.burst import Burst
from heliorestore.cli import main
from heliorestore.errors import BurstError, SettingsError
from heliorestore.fits.wcs import mapped
from heliorestore.preparation import Preparation
from heliorestore.prepare.camera_map import CameraMap, write_map
from heliorestore.prepare.coarse_map import ORIENTATIONS
from heliorestore.prepare.interpolation import values_at
from heliorestore.prepare.mapped import onto_wide
from heliorestore.prepare.opening import open_burst, reopen

WIDE, NARROW = (60, 70), (80, 76)


class Counted:
    """Frames that record how much of them was read."""

    def __init__(self, array):
        self.array, self.shape, self.dtype, self.read = array, array.shape, array.dtype, 0

    def __getitem__(self, key):
        part = self.array[key]
        self.read += part.size
        return part


def cameras(known: CameraMap, frames: int = 2):
    """A burst of each camera; frame f is (1 + f) times the scene."""
    images = granules(pixels(WIDE)), seen_by(NARROW, known)
    factors = np.arange(1, frames + 1)[:, None, None]
    return [Burst.from_array((factors * image)[None].astype("f4")) for image in images]


@pytest.mark.parametrize("orientation", ORIENTATIONS, ids=lambda o: str(o.astype(int).tolist()))
def test_the_narrow_frames_show_what_the_wide_ones_show(orientation) -> None:
    known = known_map(orientation, WIDE, NARROW)
    burst = onto_wide(cameras(known), known)
    assert burst.shape == (2, 2, *WIDE)
    images = np.asarray(burst.frames[:, 1])
    good = np.isfinite(images[1])
    places = known(pixels(WIDE))
    inside = ((places > -0.01) & (places < [NARROW[1] - 0.99, NARROW[0] - 0.99])).all(-1)
    np.testing.assert_array_equal(good, inside)  # NaN outside, and nowhere else
    deep = ndimage.binary_erosion(inside, iterations=8)
    # half a pixel would be an error of 30; at the edges the image is continued by a guess
    np.testing.assert_allclose(images[1][deep], images[0][deep], rtol=2e-3)
    # the independent road: scipy with the same matrix, in its order of axes
    matrix = known.matrix[[1, 0]][:, [1, 0]], known.matrix[[1, 0], 2]
    other = ndimage.affine_transform(2 * seen_by(NARROW, known), *matrix, output_shape=WIDE, order=5)
    np.testing.assert_allclose(images[1][deep], other[deep], rtol=2e-3)


def test_mirrors_and_whole_pixels_change_no_value() -> None:
    image = np.random.default_rng(0).normal(1000, 100, NARROW).astype("f4")
    known = CameraMap(
        matrix=np.array([[-1, 0, 70.0], [0, 1, 5], [0, 0, 1]]), wide_shape=WIDE, narrow_shape=NARROW
    )
    burst = onto_wide([Burst.from_array(np.ones((1, *WIDE))), Burst.from_array(image)], known)
    np.testing.assert_array_equal(burst.image(1, 0), image[5:65, 70:0:-1])


def test_amplitudes_are_kept_up_to_the_diffraction_limit() -> None:
    x = torch.arange(160, dtype=torch.float32)
    at = torch.linspace(50, 110, 401, dtype=torch.float64)[None]
    for frequency, loss in ((0.1, 0.002), (0.3, 0.002), (0.43, 0.002), (0.45, 0.007)):
        for phase in (0.0, 1.0, 2.0):
            wave = torch.cos(2 * np.pi * frequency * x + phase).expand(12, -1)
            found = values_at(wave, torch.full_like(at, 5.0), at)
            wanted = torch.cos(2 * np.pi * frequency * at + phase)
            kept = float((found * wanted).sum() / wanted.square().sum())
            assert abs(kept - 1) < loss, (frequency, phase, kept)


def test_surface_brightness_is_kept_and_large_pixels_are_means() -> None:
    known = CameraMap(matrix=np.array([[2, 0, 0.5], [0, 2, 0.5], [0, 0, 1]]))
    narrow = np.random.default_rng(1).normal(1000, 100, (120, 140)).astype("f4")
    flat = np.full((120, 140), 7.0)
    wide = Burst.from_array(np.ones((1, *WIDE)))
    shapes = {"wide_shape": WIDE, "narrow_shape": (120, 140)}
    found = onto_wide([wide, Burst.from_array(flat)], CameraMap(matrix=known.matrix, **shapes)).image(1, 0)
    np.testing.assert_allclose(found, 7, rtol=1e-6)
    images = onto_wide([wide, Burst.from_array(narrow)], CameraMap(matrix=known.matrix, **shapes)).image(1, 0)
    blocks = narrow.reshape(60, 2, 70, 2).mean((1, 3))
    np.testing.assert_allclose(images, blocks, rtol=1e-5)


def test_a_window_reads_the_part_that_it_needs_and_bad_pixels_do_not_spread() -> None:
    known = known_map(ORIENTATIONS[4], (300, 320), (330, 340))
    images = np.random.default_rng(0).normal(1000, 30, (1, 3, 330, 340)).astype("f4")
    bad = known([40.3, 57.2])
    images[..., round(bad[1]), round(bad[0])] = np.nan
    frames = Counted(images)
    burst = onto_wide([Burst.from_array(np.ones((1, 3, 300, 320))), Burst(frames=frames)], known)
    part = burst.window(slice(40, 70), slice(30, 55)).frames[1, 2]
    assert frames.read < 90 * 90
    whole = burst.image(1, 2)
    np.testing.assert_allclose(part, whole[40:70, 30:55], rtol=1e-5)
    assert 1 <= np.isnan(part).sum() <= 4  # those between which the bad pixel lies
    assert np.isnan(whole[57, 40])
    np.testing.assert_allclose(burst.frames[1, ::2, 57, 44:40:-1][1], whole[57, 44:40:-1], rtol=1e-5)
    assert burst.frames[:, ::2, 5:5].shape == (2, 2, 0, 320)


def sky(header: fits.Header, places):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return WCS(header).wcs_pix2world(places, 0)


@pytest.mark.parametrize("form", ["PC", "CD", "CROTA2", "plain"])
def test_a_feature_keeps_its_place_on_the_sky(form) -> None:
    c, s = np.cos(0.4), np.sin(0.4)
    header = fits.Header({"CTYPE1": "HPLN-TAN", "CTYPE2": "HPLT-TAN", "CUNIT1": "arcsec", "CUNIT2": "arcsec"})
    header.update({"CRVAL1": 100.0, "CRVAL2": -50.0, "CRPIX1": 33.0, "CRPIX2": 20.5})
    if form != "CD":
        header.update({"CDELT1": 0.05, "CDELT2": 0.06})
    if form in ("PC", "CD"):
        factor = 1 if form == "PC" else 0.05
        header.update({f"{form}1_1": factor * c, f"{form}1_2": -factor * s})
        header.update({f"{form}2_1": factor * s, f"{form}2_2": factor * c})
    if form == "CROTA2":
        header["CROTA2"] = 20.0
    known = known_map(ORIENTATIONS[6], WIDE, NARROW, scale=1.5)
    made = mapped(header, known.matrix, WIDE)
    places = np.array([[0.0, 0.0], [69, 0], [12.3, 45.6]])
    np.testing.assert_allclose(sky(made, places), sky(header, known(places)), atol=1e-9)
    if form == "plain":
        assert made["CDELT1"] == pytest.approx(1.5 * 0.05)
    # a tilt is taken as its tangent in the middle
    known.matrix[2, :2] = 1e-6, -2e-6
    middle = np.array([[(WIDE[1] - 1) / 2, (WIDE[0] - 1) / 2]])
    moved = sky(mapped(header, known.matrix, WIDE), middle)
    np.testing.assert_allclose(moved, sky(header, known(middle)), atol=1e-9)


def test_the_pointing_follows_too() -> None:
    known = known_map(ORIENTATIONS[5], WIDE, NARROW)
    wide, narrow = cameras(known)
    plane = np.array([[10, 0.05, 0.01], [20, -0.01, 0.06]])
    narrow = heliorestore.Burst(frames=narrow.frames, pointing=np.broadcast_to(plane, (1, 2, 2, 3)))
    found = onto_wide([wide, narrow], known).pointing
    assert found is not None
    assert np.isnan(found[0]).all()
    place = np.array([11.0, 22])
    middles = [np.array([n[1] - 1, n[0] - 1]) / 2 for n in (WIDE, NARROW)]
    there = plane[:, 0] + plane[:, 1:] @ (known(place) - middles[1])
    np.testing.assert_allclose(found[1, 0, :, 0] + found[1, 0, :, 1:] @ (place - middles[0]), there)


@pytest.fixture
def files(tmp_path):
    """Files of two cameras whose names sort the narrow one first, and the map."""
    known = known_map(ORIENTATIONS[1], WIDE, NARROW)
    header = fits.Header({"INSTRUME": "CRISP", "WAVELNTH": 6302.0, "WAVEUNIT": -10, "CUNIT1": "arcsec"})
    paths = [tmp_path / name for name in ("wb.fits", "nb.fits", "map.toml")]
    for path, burst, pixel in zip(paths, cameras(known), (0.06, 0.058), strict=False):
        header["CDELT1"] = pixel
        fits.PrimaryHDU(burst.frames[0], header).writeto(path)
    write_map(known, paths[2])
    return paths


def test_two_files_are_one_burst_that_a_method_restores_and_rerun_repeats(files, tmp_path, capsys) -> None:
    wide, narrow, register = map(str, files)
    with pytest.raises(BurstError, match="differ in shape"):
        open_burst([wide, narrow], Preparation())
    for order in ([wide, narrow], [narrow, wide]):
        burst = open_burst(order, Preparation(register=register))
        assert burst.labels == ("wb", "nb")
        assert [i.pixel_arcsec for i in burst.instruments] == [0.06, 0.06]
    out, again = str(tmp_path / "out.fits"), str(tmp_path / "again.fits")
    arguments = ["--register", register, "--iterations", "1"]
    assert main(["richardson-lucy", wide, narrow, "-o", out, *arguments]) == 0
    assert main(["rerun", out, "-o", again]) == 0
    first, second = heliorestore.read(out), heliorestore.read(again)
    np.testing.assert_array_equal(first.images, second.images)
    assert first.run.preparation.register == register
    assert first.run.files["register"].sha256
    # the narrow band is where the wide band is
    inner = np.s_[20:-20, 20:-20]
    assert np.corrcoef(first.images[0][inner].ravel(), first.images[1][inner].ravel())[0, 1] > 0.99
    files[2].write_text(files[2].read_text().replace("projective", "affine"))
    with pytest.raises(BurstError, match=r"map\.toml"):
        reopen(tmp_path / "out.fits")
    capsys.readouterr()


def test_a_map_of_other_cameras_is_refused(files, tmp_path) -> None:
    wide, narrow, register = files
    with pytest.raises(SettingsError, match="has only object 0"):
        open_burst(wide, Preparation(register=str(register)))
    alone = open_burst(narrow, Preparation(register=str(register)))  # its shape says what it is
    assert alone.shape == (1, 2, *WIDE)
    write_map(known_map(ORIENTATIONS[1], WIDE, (81, 76)), register)
    with pytest.raises(SettingsError, match=r"narrow camera of \(81, 76\) pixels"):
        open_burst([wide, narrow], Preparation(register=str(register)))
    one = known_map(ORIENTATIONS[0], WIDE, WIDE)
    both = Burst.from_array(np.ones((3, 2, *WIDE)), labels=("a", "b", "c"))
    frames = onto_wide([both], CameraMap(matrix=one.matrix, applies_to=("C",))).frames
    assert [bool(np.isnan(frames[k, 0]).any()) for k in range(3)] == [False, False, True]
    frames = onto_wide([both], CameraMap(matrix=one.matrix)).frames
    assert [bool(np.isnan(frames[k, 0]).any()) for k in range(3)] == [False, True, True]
    with pytest.raises(SettingsError, match="applies to d, and the burst has only a, b, c"):
        onto_wide([both], CameraMap(matrix=one.matrix, applies_to=("d",)))

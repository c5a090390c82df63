"""Known maps between two cameras are found again, and none where there is none; files of maps."""

import json

import numpy as np
import pytest
from astropy.io import fits

from cameras import distance, granules, holes, known_map, pixels, seen_by, spots
from heliorestore.cli import main
from heliorestore.errors import BurstError, SettingsError
from heliorestore.prepare.camera_map import CameraMap, read_map
from heliorestore.prepare.coarse_map import ORIENTATIONS
from heliorestore.prepare.register import find_map, fit

WIDE = (256, 300)
NAMES = [f"{o.astype(int).tolist()}" for o in ORIENTATIONS]


def pinholes(known: CameraMap, spread: float = 0.2):
    """Pinhole images of both cameras; fluxes of the holes differ by `spread`."""
    places = holes(WIDE)
    fluxes = 1000 * np.random.default_rng(2).uniform(1 - spread, 1 + spread, len(places))
    assert known.narrow_shape is not None
    return spots(places, fluxes, WIDE), spots(known(places), 0.6 * fluxes, known.narrow_shape, 2.2)


@pytest.mark.parametrize("orientation", ORIENTATIONS, ids=NAMES)
@pytest.mark.parametrize("scale", [0.98, 0.059 / 0.038])
def test_pinholes_give_the_map_in_every_orientation(orientation, scale) -> None:
    narrow = (np.abs(np.array(WIDE) @ np.abs(orientation)) * scale).astype(int)
    known = known_map(orientation, WIDE, (int(narrow[0]), int(narrow[1])), scale=scale)
    found = find_map(*pinholes(known))
    assert found.method == "pinholes"
    assert distance(found, known) < 0.01  # measured: 0.002 to 0.004
    assert found.residual_px is not None
    assert found.residual_px < 0.05
    assert found.points > 30


def test_a_regular_grid_of_equal_holes_needs_a_rough_map() -> None:
    known = known_map(ORIENTATIONS[3], WIDE, WIDE)
    images = pinholes(known, spread=0.0)
    with pytest.raises(BurstError, match=r"ways, because a regular grid .* --near"):
        find_map(*images)
    rough = known_map(ORIENTATIONS[3], WIDE, WIDE, turn=2, offset=(12, 1))
    assert distance(find_map(*images, near=rough), known) < 0.01


@pytest.mark.parametrize("number", [2, 5])
def test_granules_of_another_contrast_give_the_map(number) -> None:
    known = known_map(ORIENTATIONS[number], WIDE, (290, 280))
    rng = np.random.default_rng(1)
    wide = granules(pixels(WIDE)) + rng.normal(0, 10, WIDE)
    # of less contrast, with a nonlinear response, stronger noise, and a bad pixel
    narrow = 300 * (seen_by((290, 280), known) / 1000) ** 0.5 + rng.normal(0, 6, (290, 280))
    narrow[140, 133] = np.nan
    found = find_map(wide, narrow, scale=1.0)
    assert found.method == "images"
    assert distance(found, known) < 0.05  # measured: 0.01
    assert distance(found.inverse.after(found), CameraMap(matrix=np.eye(3), wide_shape=WIDE)) < 1e-9


def test_images_of_different_things_have_no_map() -> None:
    rng = np.random.default_rng(5)
    with pytest.raises(BurstError, match=r"no map was found|No map fits|none was found"):
        find_map(rng.normal(0, 1, (64, 64)), rng.normal(0, 1, (64, 64)), scale=1.0)
    with pytest.raises(BurstError, match="8 times as large"):
        find_map(np.ones((64, 64)), np.ones((64, 64)), scale=1 / 8)


def test_a_tilted_camera_has_a_projective_map() -> None:
    known = CameraMap(
        matrix=np.array([[-1.01, 0.02, 280], [0.01, 0.98, 3], [2e-5, -4e-5, 1]]), wide_shape=WIDE
    )
    places = pixels(WIDE)[::40, ::40].reshape(-1, 2)
    there = known(places) + np.random.default_rng(0).normal(0, 0.01, places.shape)
    found = CameraMap(matrix=fit(places, there, "projective"))
    assert distance(found, known) < 0.01
    assert distance(CameraMap(matrix=fit(places, there, "affine")), known) > 0.1
    step = 1e-3
    slope = (known([100 + step, 50]) - known([100, 50])) / step
    np.testing.assert_allclose(known.slope([100, 50])[:, 0], slope, rtol=1e-4)


def test_the_command_writes_a_map_that_a_person_can_read(tmp_path, capsys) -> None:
    known = known_map(ORIENTATIONS[1], WIDE, WIDE)
    for name, image in zip(("wide", "narrow"), pinholes(known), strict=True):
        fits.PrimaryHDU(image.astype("f4"), fits.Header({"CAMERA": name})).writeto(tmp_path / f"{name}.fits")
    files = [str(tmp_path / name) for name in ("wide.fits", "narrow.fits", "map.toml")]
    assert main(["register", *files[:2], "-o", files[2], "--json"]) == 0
    out = capsys.readouterr().out
    assert "mirrored in x, rotated by 3.30 degrees, scale 1.0200" in out
    facts = json.loads(out.splitlines()[-1])
    found = read_map(tmp_path / "map.toml")
    np.testing.assert_allclose(found.matrix, facts["matrix"], rtol=1e-10)
    assert distance(found, known) < 0.01
    assert (found.wide_shape, found.kind, found.applies_to) == (WIDE, "affine", ("narrow",))
    text = (tmp_path / "map.toml").read_text()
    assert "Centres of pixels are whole numbers, the first is 0" in text
    assert text.count("sha256") == 2
    assert main(["register", *files[:2], "-o", files[2]]) == 2  # exists
    assert main(["register", *files[:2], "-o", str(tmp_path / "map.fits")]) == 2


CFG = """
object{{
  WAVELENGTH=6302E-10
  channel{{
    FILENAME_TEMPLATE=camXIX_%07d.fits
    ALIGN_MAP=-0.99,-0.006,1871.05,0.005,-0.994,1191.62,-3.9e-08,-1.7e-06,1.0
  }}
  {0}
}}
"""
OTHER = "channel{\nFILENAME_TEMPLATE=camXXX_%07d.fits\nALIGN_MAP=1,0,3,0,1,4,0,0,1\n}"


def test_the_command_names_dead_frames_and_refuses_odd_values(tmp_path, capsys) -> None:
    rng = np.random.default_rng(0)
    good = granules(pixels((96, 110))) + rng.normal(0, 5, (96, 110))
    alone = np.full_like(good, np.nan)
    alone[50, 50] = 1.0
    images = {"good": good, "dead": np.stack([good, 0 * good, good]), "huge": 1e34 * good, "alone": alone}
    for name, image in images.items():
        fits.PrimaryHDU(image.astype("f4")).writeto(tmp_path / f"{name}.fits")
    good_, dead, huge, alone_ = (str(tmp_path / f"{name}.fits") for name in images)
    out = ["-o", str(tmp_path / "map.toml"), "--overwrite"]
    assert main(["register", good_, dead, *out]) == 0
    said = capsys.readouterr().err
    assert f"heliorestore: {dead}: " in said
    assert "frame 1 left out of the mean" in said
    for line in ([huge, huge], [good_, huge]):
        assert main(["register", *line, *out]) == 2
        assert f"{huge}: The values" in capsys.readouterr().err
    assert main(["register", good_, alone_, *out]) == 2
    assert "shows nothing" in capsys.readouterr().err


def test_maps_of_redux_and_nine_numbers_are_read(tmp_path, capsys) -> None:
    path, several, text = (tmp_path / name for name in ("one.cfg", "two.cfg", "nine.txt"))
    path.write_text(CFG.format(""))
    several.write_text(CFG.format(OTHER))
    text.write_text("# 9 numbers\n1 0 3\n0 1 4\n0 0 1\n")
    matrix = read_map(path).matrix
    assert (matrix[0, 2], matrix[1, 0], matrix[2, 1]) == (1871.05, 0.005, -1.7e-06)  # row by row, x before y
    np.testing.assert_allclose(read_map(text)([10.0, 20.0]), [13, 24])
    with pytest.raises(SettingsError, match=r"camXIX.*, camXXX.*heliorestore register two.cfg CAMERA"):
        read_map(several)
    out = tmp_path / "map.toml"
    assert main(["register", str(several), "camXXX", "-o", str(out)]) == 0
    np.testing.assert_array_equal(read_map(out).matrix, read_map(text).matrix)
    text.write_text("1 2 3")
    with pytest.raises(SettingsError, match="3 numbers where a map between cameras has nine"):
        read_map(text)
    out.write_bytes(bytes(range(128, 256)))
    with pytest.raises(SettingsError, match="is no map: give a file of"):
        read_map(out)
    out.write_text("matrix = [[1, 0], [0, 1]]")
    with pytest.raises(SettingsError, match="not a map of `heliorestore register`"):
        read_map(out)

"""heliorestore quality: figures, JSON, a chart, and mistakes in one line."""

import json

import numpy as np
import pytest
import torch
from astropy.io import fits

from build_files import ana_bytes
from cameras import distance, granules, known_map, pixels, seen_by
from heliorestore.cli import main
from heliorestore.fits.reader import read_burst
from heliorestore.instrument import Instrument
from heliorestore.prepare.camera_map import CameraMap
from heliorestore.prepare.coarse_map import ORIENTATIONS
from heliorestore.prepare.interpolation import values_at
from heliorestore.prepare.sharper import seen_through
from heliorestore.samples import sample_path

BURST, TRUTH = sample_path("sunspot_burst.fits"), sample_path("sunspot_truth.fits")


def last_json(capsys) -> dict:
    return json.loads(capsys.readouterr().out.strip().splitlines()[-1])


def test_every_object_is_measured(capsys) -> None:
    assert main(["quality", str(BURST), "--json"]) == 0
    facts = last_json(capsys)
    wide = facts["objects"][0]
    assert [found["name"] for found in facts["objects"]] == ["wide band", "narrow band"]
    assert 0.2 < wide["contrast"] < 0.3
    assert wide["noise_of_mean"] == pytest.approx(2e-3, rel=0.3)  # as it was simulated
    assert wide["resolution_arcsec"] == pytest.approx(854.2e-9 * 206264.8, rel=1e-3)
    frequency, power = (np.array(wide["spectrum"][name]) for name in ("frequency", "power"))
    beyond = frequency > 1.1 / wide["resolution_arcsec"]
    # Photon noise follows the intensity, so that a median over the field and its mean power differ.
    assert 0.5 < power[beyond].mean() / (wide["noise_of_mean"] * wide["pixel_arcsec"]) ** 2 < 2


def test_an_image_is_compared_with_a_reference_and_drawn(capsys, tmp_path) -> None:
    png = tmp_path / "chart.png"
    assert (
        main([
            "quality", str(BURST), "--reference", str(TRUTH), "--frame", "3", "--plot", str(png), "--json",
            "--sharpness",
        ])
        == 0
    )  # fmt: skip
    out = capsys.readouterr().out
    objects = json.loads(out.strip().splitlines()[-1])["objects"]
    against = objects[1]["reference"]
    values = objects[0]["sharpness"]
    assert len(values) == read_burst(BURST).shape[1]
    assert f"sharpest first: {np.argmax(values)}: {max(values):.4f}, " in out
    assert 0 < against["nmse"] < 0.3
    assert against["gain"] > 1  # a blurred image is too flat
    assert against["within_factor_2"] > 0.95
    assert "NMSE" in out
    assert png.read_bytes().startswith(b"\x89PNG")
    assert main(["quality", str(BURST), "--plot", str(tmp_path / "chart.svg")]) == 0
    assert "diffraction limit, 0.176 arcsec" in (tmp_path / "chart.svg").read_text()
    capsys.readouterr()
    assert main(["quality", str(BURST), "--plot", str(png)]) == 2
    assert "chart.png exists" in capsys.readouterr().err


def test_a_perfect_image_equals_its_reference(capsys) -> None:
    assert main(["quality", str(TRUTH), "--reference", str(TRUTH), "--json"]) == 0
    against = last_json(capsys)["objects"][0]["reference"]
    assert against["shift_px"] == [0, 0]
    assert (against["gain"], against["ssim"]) == (pytest.approx(1), pytest.approx(1))
    assert against["nmse"] < 1e-12


def test_the_result_of_another_code_is_registered_and_measured_beside_ours(tmp_path, capsys) -> None:
    """An ANA file, mirrored, on other pixels, with another level: what differs is the interpolation alone."""
    ours, theirs = tmp_path / "ours.fits", tmp_path / "theirs.f0"
    known = known_map(ORIENTATIONS[2], (200, 180), (210, 190), scale=1.05)
    fits.PrimaryHDU(granules(pixels((200, 180))).astype("f4")).writeto(ours)
    theirs.write_bytes(ana_bytes((1.2 * seen_by((210, 190), known)).astype("<f4")))
    chart = tmp_path / "both.png"
    arguments = ["--reference", str(theirs), "--register", "--plot", str(chart), "--json"]
    assert main(["quality", str(ours), *arguments]) == 0
    out = capsys.readouterr().out
    assert "mirrored in y, rotated by 3.30 degrees, scale 1.05" in out
    found = json.loads(out.splitlines()[-1])["objects"][0]
    assert distance(CameraMap(matrix=found["registered"]["matrix"], wide_shape=(200, 180)), known) < 0.05
    assert found["reference"]["shift_px"] == pytest.approx([0, 0], abs=0.05)
    assert found["reference"]["intensity_ratio"] == pytest.approx(1 / 1.2, rel=1e-3)
    assert found["reference"]["intensity_scatter"] < 5e-3
    assert found["reference"]["nmse"] < 1e-3
    assert chart.exists()


@pytest.fixture(scope="module")
def sun_by_two_telescopes(tmp_path_factory) -> list[str]:
    """A scene by an aperture of 0.28 m and by one of 1 m, on finer pixels, rotated, with coordinates."""
    pixel, angle, files = 0.06, np.radians(4), []
    scene = granules(pixels((420, 440))).astype(np.float64)
    y, x = pixels((150, 160))[..., 1], pixels((150, 160))[..., 0]
    coarse = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * 2.0
    places = [torch.from_numpy(coarse[n, 0] * x + coarse[n, 1] * y + (70, 40)[n]) for n in (0, 1)]
    wide = seen_through(scene, Instrument(diameter_m=1.0, wavelength_nm=617.3, pixel_arcsec=pixel), 0.28)
    seen = values_at(torch.from_numpy(wide.astype(np.float64)), places[1], places[0]).numpy()
    for name, image, matrix, at in (("coarse", seen, coarse, (70, 40)), ("fine", scene, np.eye(2), (0, 0))):
        header = fits.Header(
            {"CTYPE1": "HPLN-TAN", "CTYPE2": "HPLT-TAN", "CUNIT1": "arcsec", "CUNIT2": "arcsec"}
        )
        scale = pixel * float(np.sqrt(np.linalg.det(matrix)))
        header.update({"CRPIX1": 1.0, "CRPIX2": 1.0, "CRVAL1": pixel * at[0], "CRVAL2": pixel * at[1]})
        header.update({"CDELT1": scale, "CDELT2": scale})
        for row in (1, 2):
            for column in (1, 2):
                header[f"PC{row}_{column}"] = pixel * matrix[row - 1, column - 1] / scale
        files.append(str(tmp_path_factory.getbasetemp() / f"{name}.fits"))
        fits.PrimaryHDU(image.astype("f4"), header).writeto(files[-1])
    return files


@pytest.mark.parametrize("register", ["wcs", "affine"])
def test_a_sharper_telescope_agrees_once_degraded(sun_by_two_telescopes, register: str, capsys) -> None:
    coarse, fine = sun_by_two_telescopes
    common = ["quality", coarse, "--reference", fine, f"--register={register}", "--json"]
    instrument = ["--instrument", "diameter_m=1,wavelength_nm=617.3"]
    errors = []
    for sharper in ([], ["--sharper", "0.28"]):
        assert main([*common, *instrument, *sharper]) == 0
        errors.append(last_json(capsys)["objects"][0]["reference"])
    assert errors[1]["nmse"] < 2e-3 < errors[0]["nmse"]
    assert errors[1]["contrast_ratio"] == pytest.approx(1, abs=0.02)
    assert errors[1]["shift_px"] == pytest.approx([0, 0], abs=0.05)


def test_a_real_burst_and_its_published_restoration_are_displaced_by_a_pixel(shared_data, capsys) -> None:
    files = [str(shared_data / "bursts" / f"halpha_{name}_part.fits") for name in ("burst", "reference")]
    arguments = ["--reference", files[1], "--register=shift", "--frame", "7", "--json"]
    assert main(["quality", files[0], *arguments]) == 0
    matrix = json.loads(capsys.readouterr().out.splitlines()[-1])["objects"][0]["registered"]["matrix"]
    # the air displaces every frame by some tenths of a pixel as well
    np.testing.assert_allclose([matrix[1][2], matrix[0][2]], [1, 1], atol=0.4)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([str(BURST), "--register"], "name it with --reference"),
        ([str(BURST), "--sharper"], "--sharper degrades a reference"),
        ([str(BURST), "--reference", str(TRUTH), "--sharper"], "it is not sharper than one of"),
        ([str(BURST), "--frame", "99"], "has 12, numbered from 0"),
        ([str(BURST), "--reference", str(sample_path("hmi_continuum.fits"))], "a whole multiple"),
        (["no_such.fits"], "no_such.fits"),
        ([str(BURST), "--plot", "no/such/chart.png"], "does not exist: create it first"),
        (
            ["no_such.fits", "--plot", "chart.jpg"],
            "chart.jpg cannot name a chart: its name must end in .png, .pdf or .svg",
        ),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], words: str, capsys) -> None:
    assert main(["quality", *arguments]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1


def test_values_beyond_single_precision_and_negative_ones(tmp_path, capsys) -> None:
    image = np.random.default_rng(0).normal(1, 0.03, (32, 32))
    for name, factor in {"huge": 1e37, "negative": -1.0}.items():
        fits.PrimaryHDU((image * factor).astype("f4")).writeto(tmp_path / f"{name}.fits")
    assert main(["quality", str(tmp_path / "huge.fits")]) == 2
    assert "give them in another unit" in capsys.readouterr().err
    assert main(["quality", str(tmp_path / "negative.fits"), "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out.splitlines()[-1])["objects"]
    assert found["contrast"] == pytest.approx(0.03, rel=0.1)
    assert found["noise_of_mean"] > 0


@pytest.mark.parametrize("shape", [(1, 200), (200, 1), (2, 2)])
def test_images_too_small_for_a_noise_say_so(shape, tmp_path, capsys) -> None:
    path = tmp_path / "small.fits"
    fits.PrimaryHDU(np.random.default_rng(0).normal(1000, 30, shape).astype("f4")).writeto(path)
    assert main(["quality", str(path), "--json"]) == 0
    said = capsys.readouterr().out
    assert "noise      cannot be measured: that needs 3 x 3 valid pixels" in said
    found = json.loads(said.splitlines()[-1])["objects"][0]
    assert found["noise"] is found["noise_of_mean"] is None

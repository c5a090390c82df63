"""The command `heliorestore simulate`."""

import json
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

import heliorestore
from heliorestore.cli import main

SMALL = ["--size", "48", "--frames", "2", "--psf-size", "32", "--step", "16", "--quiet"]


def test_burst_truth_and_psfs_are_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    burst, truth, psfs = (tmp_path / name for name in ("burst.fits", "truth.fits", "psfs.fits"))
    arguments = [
        "simulate",
        "-o",
        str(burst),
        "--truth",
        str(truth),
        "--psfs",
        str(psfs),
        "--psf-step",
        "24",
        "--ao",
        "--json",
        *SMALL,
    ]
    assert main(arguments) == 0
    facts = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert facts["shape"] == [2, 2, 48, 48]
    assert facts["truth"] == str(truth)
    assert heliorestore.read(burst).shape == (2, 2, 48, 48)
    assert heliorestore.read(truth).shape == (2, 1, 48, 48)
    assert "--size 48" in "".join(str(fits.getheader(burst)["HISTORY"]).split("\n"))
    with fits.open(psfs, checksum=True) as hdus:
        assert hdus[0].data.shape == (2, 2, 2, 32, 32)
        np.testing.assert_allclose(hdus[0].data.sum((-2, -1)), 1, rtol=1e-5)
        assert hdus[0].header["PSFFIRST"] == 11.5


def test_faults_are_done_and_stand_beside_the_truth(tmp_path: Path) -> None:
    burst, truth = tmp_path / "burst.fits", tmp_path / "truth.fits"
    rms = ("flux-rms", "exposure-rms", "gain-table-rms", "fringe-amplitude")
    faults = [f"--{name}=0.02" for name in rms]
    faults += [
        "--full-well=30000",
        "--blur=scatter",
        "--outlier-frames=1",
        "--ao",
        "--ao-isoplanatic-arcsec=5",
    ]
    assert main(["simulate", "-o", str(burst), "--truth", str(truth), *SMALL, *faults]) == 0
    header = fits.getheader(burst)
    assert (header["SIMFLUX"], header["SIMBLUR"], header["SIMAOISO"]) == (0.02, "scatter", 5.0)
    assert header["SIMOUTL"] in ("0", "1")
    with fits.open(truth) as hdus:
        shapes = {hdu.name: hdu.data.shape for hdu in hdus[1:] if isinstance(hdu, fits.ImageHDU)}
    assert shapes == {
        "SCENE": (2, 48, 48),
        "SCALES": (2,),
        "FLUX": (2, 2, 48, 48),
        "GAINTABLE": (2, 48, 48),
        "FRINGES": (2, 2, 48, 48),
    }


def test_a_file_can_be_the_scene(tmp_path: Path) -> None:
    image = tmp_path / "sun.fits"
    header = fits.Header(
        {"CDELT1": 0.05, "CDELT2": 0.05, "CUNIT1": "arcsec", "CUNIT2": "arcsec", "WAVELNTH": 854.2}
    )
    fits.writeto(image, np.random.default_rng(1).random((60, 60)).astype(np.float32) + 1, header)
    assert (
        main(
            [
                "simulate",
                "-o",
                str(tmp_path / "b.fits"),
                "--truth",
                str(tmp_path / "t.fits"),
                "--scene",
                str(image),
                *SMALL,
            ]
        )
        == 0
    )
    burst = heliorestore.read(tmp_path / "b.fits")
    assert burst.shape == (1, 2, 48, 48)
    assert burst.instruments[0].pixel_arcsec == 0.05
    np.testing.assert_array_equal(
        fits.getdata(tmp_path / "t.fits", "SCENE")[0], fits.getdata(image)[6:54, 6:54]
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--scene", "corona"], "possible are sunspot, granulation, or a FITS file"),
        (["--size", "47"], "even number"),
        (["--truth", "{here}/burst.fits"], "same name"),
        (["--psfs", "{here}/no/../burst.fits"], "same name"),
        (["--psf-step", "0"], "psf_step is 0"),
        (["--dead-frames", "2"], "leave none of 2"),
        (["--blur", "both"], "gather"),
        (["--instrument", "crisp-8543"], "did you mean crisp-8542"),
        (["--instrument", "crisp-8542,pixel_arcsec=0.2"], "lambda/2D"),
    ],
)
def test_mistakes_are_one_line_and_nothing_is_written(
    arguments: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [argument.format(here=tmp_path) for argument in arguments]
    assert main(["simulate", "-o", str(tmp_path / "burst.fits"), *SMALL, *given]) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_the_scene_is_not_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scene = tmp_path / "scene.fits"
    assert main(["simulate", "-o", str(scene), *SMALL]) == 0
    before = scene.read_bytes()
    for outputs in (["-o", str(scene)], ["-o", str(tmp_path / "new.fits"), "--truth", str(scene)]):
        assert main(["simulate", *outputs, "--scene", str(scene), "--overwrite", *SMALL]) == 2
        assert "is an input" in capsys.readouterr().err
        assert scene.read_bytes() == before


def test_an_existing_file_is_not_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "truth.fits").write_text("precious")
    assert (
        main(["simulate", "-o", str(tmp_path / "b.fits"), "--truth", str(tmp_path / "truth.fits"), *SMALL])
        == 2
    )
    assert "--overwrite" in capsys.readouterr().err
    assert (tmp_path / "truth.fits").read_text() == "precious"

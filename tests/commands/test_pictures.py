"""Movies and figures: what a frame shows, and what is refused."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from heliorestore.cli import main
from heliorestore.quality.pictures import Look, bar_arcsec, cut_levels, painted


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four frames of 340 x 400 pixels whose lower left quarter is bright, the later the brighter."""
    path = tmp_path_factory.mktemp("series") / "series.fits"
    frames = np.random.default_rng(0).uniform(0.9, 1.1, (4, 340, 400)).astype("f4")
    frames[:, :170, :200] += 1 + np.arange(4)[:, None, None]
    header = fits.Header({"CDELT1": 0.06, "CUNIT1": "arcsec", "INSTRUME": "CRISP", "BUNIT": "DN"})
    dates = [f"2026-05-01T08:00:0{n}" for n in range(4)]
    table = fits.BinTableHDU.from_columns([fits.Column("DATE-OBS", "19A", array=dates)], name="FRAMES")
    fits.HDUList([fits.PrimaryHDU(frames, header), table]).writeto(path)
    return path


@pytest.mark.parametrize("suffix", ["mp4", "gif"])
def test_a_movie_keeps_its_cut_levels_and_has_y_up(series: Path, tmp_path: Path, suffix: str) -> None:
    coder = pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe()
    out = tmp_path / f"out.{suffix}"
    assert main(["movie", str(series), "-o", str(out), "--limits", "0,5", "--no-time", "--no-scale-bar"]) == 0
    decode = [coder, "-v", "error", "-i", str(out), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    raw = subprocess.run(decode, capture_output=True, check=True).stdout
    frames = np.frombuffer(raw, "u1").reshape(4, 340, 400, 3)
    bright = [float(frame[250:, :150].mean()) for frame in frames]  # below on the screen, as in the file
    dark = [float(frame[:100].mean()) for frame in frames]
    assert np.all(np.diff(bright) > 30)
    assert np.ptp(dark) < 8
    assert [p.name for p in tmp_path.iterdir()] == [out.name]


def test_the_bar_is_as_long_as_it_says_and_the_time_is_written() -> None:
    flat = np.zeros((340, 400), np.float32)
    look = Look(limits=(0.0, 1.0), pixel_arcsec=0.05)
    bar = painted(flat, look)
    white = np.flatnonzero((bar[-25:] > 200).all(-1).any(0))
    assert bar_arcsec(400 * 0.05) == 5
    assert len(white) == pytest.approx(5 / 0.05, abs=4)
    assert (painted(flat, look, "2026-05-01 08:00:00 UTC")[:40] > 200).any()
    assert not (bar[:40] > 200).any()
    assert cut_levels([flat - 1, flat + 1]) == (-1, 1)


def test_a_figure_has_both_images_and_arcsec(series: Path, tmp_path: Path) -> None:
    svg = tmp_path / "out.svg"
    assert main(["figure", str(series), "--before", str(series), "--frame", "2", "-o", str(svg)]) == 0
    drawn = svg.read_text()
    for word in ("x [arcsec]", "y [arcsec]", "frame 2", "restored", "intensity [DN]"):
        assert f">{word}<" in drawn
    # A burst whose header gives no scale lies in the field of its restoration.
    unknown = tmp_path / "unknown.fits"
    fits.writeto(unknown, fits.getdata(series))
    assert main(["figure", str(series), "--before", str(unknown), "-o", str(svg), "--overwrite"]) == 0
    assert svg.read_text().count(">x [arcsec]<") == 2


def test_mistakes_are_one_sentence(
    series: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "out.mp4")
    for arguments, sentence in (
        (["movie", str(series), "-o", "out.avi"], "must end in .mp4 or .gif"),
        (["movie", str(series), "-o", out, "--object", "3"], "object is 3"),
        (["movie", str(series), "-o", out, "--limits", "3"], "write two numbers"),
        (["movie", str(series), "-o", out, "--cmap", "grey!"], "no colour map"),
        (["figure", str(series), "-o", "out.txt"], "must end in"),
    ):
        assert main(arguments) == 2
        assert sentence in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    assert main(["movie", str(series), "-o", out]) == 2
    assert capsys.readouterr().err.count("pip install 'heliorestore[movie]'") == 1
    assert not list(tmp_path.iterdir())

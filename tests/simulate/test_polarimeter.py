"""A burst behind a polarimeter: which states a frame shows, their truth, and the file."""

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from heliorestore.burst import Burst
from heliorestore.cli import main
from heliorestore.coordinates import anchor_of
from heliorestore.errors import BurstError, SettingsError
from heliorestore.fits.reader import read_burst
from heliorestore.instrument import KNOWN
from heliorestore.simulate.burst import Simulation, simulate_burst
from heliorestore.simulate.polarimeter import TETRAHEDRON
from heliorestore.simulate.view import SimulationSettings

CRISP = KNOWN["crisp-6302-paper"]
SETTINGS = SimulationSettings(
    size=48, frames=9, psf_size=32, step=16, polarimetry=True, offsets_pm="-8,8", noise=0.0
)


@pytest.fixture(scope="module")
def made() -> Simulation:
    return simulate_burst(SETTINGS, CRISP, seed=2)


def test_each_frame_shows_the_wide_band_and_one_state(made: Simulation) -> None:
    present = made.burst.present
    assert made.burst.shape[:2] == (9, 9)
    assert present is not None
    assert present[0].all()
    assert (present[1:].sum(0) == 1).all()
    # States are the fastest, then the places in the line.
    shown = [made.burst.coordinates[1 + int(n)] for n in present[1:].argmax(0)]
    assert [each.state for each in shown] == [0, 1, 2, 3, 0, 1, 2, 3, 0]
    assert [each.offset_pm for each in shown] == [-8] * 4 + [8] * 4 + [-8]
    assert anchor_of(made.burst.coordinates) == 0
    assert np.array_equal(np.isfinite(np.asarray(made.burst.frames)).all((2, 3)), present)
    assert made.burst.frames_of(1) == [0, 8]
    assert len(list(made.burst.images())) == 18
    assert made.burst.count_bad_pixels() == 0


def test_the_truth_has_polarised_light_of_both_wings(made: Simulation) -> None:
    stokes = made.stokes
    assert stokes is not None
    assert stokes.shape == (2, 4, 48, 48)
    assert np.allclose(np.einsum("ns,wsyx->wnyx", TETRAHEDRON, stokes).reshape(8, 48, 48), made.truth[1:])
    assert stokes[:, 0].mean() > 0.4
    # V is antisymmetric around the line's centre.
    strong = np.abs(stokes[0, 3]) > 0.02
    assert strong.any()
    assert (stokes[0, 3] * stokes[1, 3])[strong].mean() < 0


def test_the_file_says_what_is_missing(
    made: Simulation, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = "--size 48 --frames 9 --psf-size 32 --step 16 --polarimetry --offsets-pm=-8,8 --noise 0 --seed 2"
    files = ["-o", str(tmp_path / "b.fits"), "--truth", str(tmp_path / "t.fits"), "--quiet"]
    assert main(["simulate", *files, *flags.split(), "--instrument", "crisp-6302-paper"]) == 0
    burst = read_burst(tmp_path / "b.fits")
    assert burst.coordinates == made.burst.coordinates
    assert burst.labels == made.burst.labels
    assert np.array_equal(burst.present, made.burst.present)
    assert np.array_equal(burst.frames[:, :], made.burst.frames, equal_nan=True)
    assert main(["info", str(tmp_path / "b.fits")]) == 0
    assert "63 of 81 images" in capsys.readouterr().out
    assert np.isfinite(burst.first_image(4)).all()
    with fits.open(tmp_path / "t.fits") as hdus:
        assert np.array_equal(hdus["STOKES"].data, made.stokes)
        assert np.allclose(hdus["MODULATION"].data, TETRAHEDRON)
    part = burst.select(objects="0,2", frames="1,5")
    assert part.present is not None
    assert part.present.tolist() == [[True, True], [True, False]]
    assert burst.select(objects="0,2", frames="1").present is None
    assert [each.state for each in part.coordinates] == [None, 1]


def test_what_cannot_be_is_said_in_a_sentence(made: Simulation) -> None:
    with pytest.raises(SettingsError, match="9 frames for 12 states"):
        simulate_burst(SETTINGS.replace(offsets_pm="-8,0,8"), CRISP)
    with pytest.raises(SettingsError, match="No polarised light is known at 393"):
        simulate_burst(SETTINGS, KNOWN["chromis-3934"])
    with pytest.raises(BurstError, match="state 3 has no image"):
        made.burst.select(frames="0:3").check_values()
    with pytest.raises(BurstError, match="present"):
        Burst(frames=np.ones((1, 2, 4, 4)), present=np.ones((2, 1), bool))

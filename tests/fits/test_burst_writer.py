"""A burst written and read again."""

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

import heliorestore
from heliorestore.errors import RestorationError
from heliorestore.fits.burst_writer import write_burst
from heliorestore.instrument import KNOWN
from heliorestore.simulate.burst import Simulation, simulate_burst
from heliorestore.simulate.view import SimulationSettings


@pytest.fixture(scope="module")
def simulation() -> Simulation:
    return simulate_burst(
        SimulationSettings(size=32, frames=3, psf_size=32, step=16), KNOWN["crisp-8542"], seed=1
    )


def test_a_burst_comes_back_as_it_was(simulation: Simulation, tmp_path: Path) -> None:
    path = write_burst(simulation.burst, tmp_path / "burst.fits")
    back = heliorestore.read(path)
    assert back.layout == "objects"
    assert back.labels == ("wide band", "narrow band")
    assert back.instruments == simulation.burst.instruments
    np.testing.assert_array_equal(np.asarray(back.frames[:, :]), simulation.burst.frames)
    with fits.open(path, checksum=True) as hdus:
        hdus.verify("exception")
        assert hdus["FRAMES"].data["DATE-OBS"][2] == "2026-01-01T09:00:00.200"
        assert hdus[0].header["LABEL2"] == "narrow band"


def test_equal_bursts_are_equal_files(simulation: Simulation, tmp_path: Path) -> None:
    first, second = (
        write_burst(simulation.burst, tmp_path / name).read_bytes() for name in ("a.fits", "b.fits")
    )
    assert first == second


def test_a_truth_with_its_scene_reads_as_the_truth(simulation: Simulation, tmp_path: Path) -> None:
    path = write_burst(
        simulation.truth_burst(), tmp_path / "truth.fits", extensions={"SCENE": simulation.scene}
    )
    back = heliorestore.read(path)
    assert back.shape == (2, 1, 32, 32)
    np.testing.assert_array_equal(back.image(1, 0), simulation.truth[1])
    np.testing.assert_array_equal(fits.getdata(path, "SCENE"), simulation.scene)


def test_an_existing_file_stays(simulation: Simulation, tmp_path: Path) -> None:
    path = write_burst(simulation.burst, tmp_path / "burst.fits")
    with pytest.raises(RestorationError, match="--overwrite"):
        write_burst(simulation.burst, path)
    write_burst(simulation.burst, path, overwrite=True)

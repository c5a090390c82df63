"""The true PSFs of a file, from its header alone."""

from pathlib import Path

import pytest
import torch
from astropy.io.fits import Header

import heliorestore
from heliorestore.errors import SettingsError
from heliorestore.fits.burst_writer import write_burst
from heliorestore.instrument import KNOWN
from heliorestore.simulate.burst import simulate_burst
from heliorestore.simulate.replay import view_of
from heliorestore.simulate.view import SimulationSettings

SETTINGS = SimulationSettings(
    size=32, frames=2, objects=1, psf_size=32, step=16, ao=True, high_share=0.3, blur="scatter", flux_rms=0.01
)


def test_a_file_gives_its_true_psfs_again(tmp_path: Path) -> None:
    made = simulate_burst(SETTINGS, KNOWN["chromis-3934"], seed=7)
    for name, burst in (("burst.fits", made.burst), ("truth.fits", made.truth_burst())):
        again = view_of(heliorestore.read(write_burst(burst, tmp_path / name)).headers[0])
        assert again.settings == SETTINGS
        assert again.instrument == made.view.instrument
    rows, columns = torch.tensor([3.0, 20.0]), torch.tensor([30.0, -4.0])
    torch.testing.assert_close(again.psfs(1, rows, columns), made.view.psfs(1, rows, columns), rtol=0, atol=0)


def test_other_files_do_not_know_theirs() -> None:
    with pytest.raises(SettingsError, match="only simulated files know their PSFs"):
        view_of(Header({"HISTORY": "flat-fielded"}))

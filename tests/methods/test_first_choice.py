"""The method that is offered first."""

import numpy as np
import pytest

from heliorestore.burst import Burst
from heliorestore.fits.reader import read
from heliorestore.instrument import Instrument
from heliorestore.methods.first_choice import first_choice
from heliorestore.samples import sample_path


@pytest.mark.parametrize(
    ("sample", "method"),
    [
        ("hmi_continuum.fits", "enhance"),
        ("hmi_magnetogram.fits", "enhance"),
        ("small_burst.fits", "sv-momfbd"),
        ("sunspot_truth.fits", "richardson-lucy"),
        ("stokes_series.fits", "denoise"),
    ],
)
def test_the_samples_have_the_method_that_they_are_for(sample, method):
    assert first_choice(read(sample_path(sample))) == method


def test_frames_of_an_unknown_camera_are_for_the_network():
    frames = np.ones((1, 5, 8, 8), np.float32)
    assert first_choice(Burst.from_array(frames)) == "mfbd"
    assert first_choice(Burst.from_array(frames, Instrument.parse("crisp-8542"))) == "sv-momfbd"

"""The sample files are what their script makes."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from astropy.io import fits

import heliorestore
from heliorestore.samples import SAMPLES, sample_path


@pytest.fixture(scope="module")
def script() -> ModuleType:
    path = sample_path("small_burst.fits").with_name("make_samples.py")
    spec = importlib.util.spec_from_file_location("make_samples", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def counts(path: Path) -> np.ndarray:
    with fits.open(path, do_not_scale_image_data=True) as hdus:
        return hdus[0].data.astype(np.int32)


def test_the_small_burst_is_made_again_to_the_count(script: ModuleType, tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    script.small_burst(tmp_path)
    torch.set_num_threads(threads)
    made, kept = tmp_path / "small_burst.fits", sample_path("small_burst.fits")
    assert fits.getheader(made) == fits.getheader(kept)
    difference = np.abs(counts(made) - counts(kept))
    assert difference.max() <= 1  # another machine's sine may round the other way
    assert (difference > 0).mean() < 1e-3


@pytest.mark.parametrize("name", SAMPLES)
def test_every_sample_says_that_it_is_synthetic_and_knows_its_instrument(name: str) -> None:
    burst = heliorestore.read(sample_path(name))
    assert "synthetic" in fits.getheader(sample_path(name)).comments["ORIGIN"]
    assert all(not instrument.unknown for instrument in burst.instruments)
    assert sample_path(name).stat().st_size < 4e6


def test_the_samples_are_like_the_sun() -> None:
    continuum, magnetogram = (
        heliorestore.read(sample_path(f"hmi_{kind}.fits")).image(0, 0)
        for kind in ("continuum", "magnetogram")
    )
    quiet = continuum[:50, :50]
    assert quiet.std() / quiet.mean() == pytest.approx(0.04, abs=0.01)  # HMI sees 3.7 %
    assert continuum.min() < 0.35
    assert 1500 < np.abs(magnetogram).max() < 3000
    assert magnetogram.min() < -200 < 200 < magnetogram.max()
    stokes = heliorestore.read(sample_path("stokes_series.fits"))
    assert stokes.shape == (12, 8, 96, 96)
    assert [label.split(", ")[1] for label in stokes.labels[::3]] == ["I", "Q", "U", "V"]
    linear, circular = (np.stack([stokes.image(number, frame) for frame in range(8)]) for number in (3, 9))
    noise = np.median(np.abs(linear[1:] - linear[:-1])) / 0.6745 / 2**0.5
    assert noise == pytest.approx(3e-3, rel=0.2)
    # Neighbouring times show the same signals, far above the noise.
    assert np.corrcoef(circular[3].ravel(), circular[4].ravel())[0, 1] > 0.9
    assert circular.mean(0).std() > 5 * noise
    truth, burst = (heliorestore.read(sample_path(f"sunspot_{name}.fits")) for name in ("truth", "burst"))
    assert burst.shape == (2, 12, 256, 256)
    assert truth.image(0, 0).mean() == pytest.approx(burst.image(0, 0).mean(), rel=0.02)

"""Frames that are not like the others: left out or scaled, said so, and no harm to the rest."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from blind_bursts import CPU, INSTRUMENT, Case, nmse, simulate
from heliorestore.burst import Burst
from heliorestore.errors import BurstError
from heliorestore.methods.base import restore
from heliorestore.methods.mfbd import MfbdSettings
from heliorestore.methods.momfbd import MomfbdSettings
from heliorestore.methods.sv_momfbd import SvMomfbdSettings
from heliorestore.prepare.observe import in_words, observe

FEW = MomfbdSettings(modes=8, patch=32, patch_step=16, r0_cm=20.0, left_out=0.0, iterations=4)
METHODS = {
    "momfbd": FEW,
    "sv-momfbd": SvMomfbdSettings(
        modes=8, patch=32, psf=32, grid_step=16, r0_cm=20.0, left_out=0.0, iterations=4, patch_iterations=2
    ),
    "mfbd": MfbdSettings(committee=1),
}


def spoilt(kind: str, frame: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(3)
    return {
        "NaN": np.full_like(frame, np.nan),
        "flat": np.full_like(frame, frame.mean()),
        "black": rng.normal(2.0, 1.0, frame.shape),
        "elsewhere": np.asarray(simulate(size=96, frames=1, seed=11).burst.frames)[0, 0],
    }[kind].astype(frame.dtype)


@pytest.fixture(scope="module")
def case() -> Case:
    return simulate(size=96, frames=7)


@pytest.fixture(scope="module")
def burst(case: Case) -> Burst:
    return case.burst


@pytest.fixture(params=["NaN", "flat", "black", "elsewhere"])
def with_outlier(burst: Burst, request: pytest.FixtureRequest) -> Burst:
    """The burst, whose last frame is no frame of it."""
    frames = np.asarray(burst.frames).copy()
    frames[0, -1] = spoilt(request.param, frames[0, -1])
    return replace(burst, frames=frames)


@pytest.mark.parametrize("method", METHODS)
def test_a_restoration_is_as_if_the_outlier_had_not_been_there(with_outlier: Burst, method: str) -> None:
    found = restore(with_outlier, METHODS[method], device="cpu")
    wanted = restore(with_outlier.select(frames=slice(0, 6)), METHODS[method], device="cpu")
    np.testing.assert_array_equal(found.images, wanted.images)
    (told,) = (message for message in found.messages if "left out" in message)
    assert told.startswith("1 of 7 frames were left out (6: ")
    if "modes" in found.maps:
        np.testing.assert_array_equal(found.maps["modes"][:6], wanted.maps["modes"])
        assert np.isnan(found.maps["modes"][6]).all()


def test_the_numbers_told_are_those_in_the_file(with_outlier: Burst) -> None:
    some = with_outlier.select(frames=slice(1, 7))
    assert "(6: " in in_words(some, observe(some, CPU))[0]


def test_frames_are_read_the_same_way_from_a_file(with_outlier: Burst) -> None:
    held, read = observe(with_outlier, CPU), observe(with_outlier, CPU, hold_bytes=0)
    torch.testing.assert_close(held.read().images, read.read().images)
    assert held.frames == read.frames == 6


def test_a_result_with_an_outlier_can_be_gone_on_with(with_outlier: Burst) -> None:
    once = restore(with_outlier, FEW.replace(iterations=2), device="cpu")
    twice = restore(with_outlier, FEW.replace(iterations=4), device="cpu", start=once)
    assert np.isfinite(twice.images).all()
    assert np.isfinite(twice.maps["modes"][:6]).all()


def test_a_good_burst_keeps_all_its_frames(burst: Burst) -> None:
    assert observe(burst, CPU).selection.reasons == {}


@pytest.mark.parametrize("method", METHODS)
def test_brighter_and_fainter_frames_count_as_if_they_were_not(case: Case, method: str) -> None:
    burst = case.burst
    factors = np.array([1.0, 1.03, 0.97, 1.3, 1.01, 0.98, 1.0])
    frames = np.asarray(burst.frames)
    jittered = replace(burst, frames=(frames * factors[:, None, None]).astype(np.float32))
    found = restore(jittered, METHODS[method], device="cpu")
    wanted = restore(burst, METHODS[method], device="cpu")
    gain = found.images.mean() / wanted.images.mean()
    # The flux is that of the regular frames; one that is 30 % brighter has no say in it.
    assert gain == pytest.approx(np.delete(factors, 3).mean(), rel=2e-3)
    error, without = (
        nmse(result.images[0], case.truth[0], deconvolved=method != "mfbd")[0] for result in (found, wanted)
    )
    assert error < 1.1 * without
    assert any("30" in message and "peak to peak" in message for message in found.messages)


@pytest.mark.parametrize("method", METHODS)
def test_a_constant_image_is_a_sentence(method: str) -> None:
    constant = Burst(frames=np.full((1, 4, 64, 64), 700.0, np.float32), instruments=(INSTRUMENT,))
    with pytest.raises(BurstError, match="same value"):
        restore(constant, METHODS[method], device="cpu")


def test_a_burst_of_nothing_but_gaps_is_a_sentence() -> None:
    empty = Burst(frames=np.full((1, 4, 64, 64), np.nan, np.float32), instruments=(INSTRUMENT,))
    with pytest.raises(BurstError, match="no valid pixel"):
        restore(empty, FEW, device="cpu")


@pytest.mark.parametrize("shape", [(1, 64), (64, 15)])
def test_fields_narrower_than_the_blur_are_refused(shape: tuple[int, int]) -> None:
    burst = Burst.from_array(np.random.default_rng(0).normal(10, 1, (3, *shape)))
    with pytest.raises(BurstError, match=f"{shape[0]} x {shape[1]} pixels; .* 16 x 16 at least"):
        observe(burst, torch.device("cpu"))

"""A run of SV-MOMFBD that somebody watches: settings act in the middle of an iteration, images come first."""

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from blind_bursts import CPU, PSF, simulate
from heliorestore.methods.base import replay, stream
from heliorestore.methods.sv_momfbd import METHOD, SvMomfbdSettings
from heliorestore.snapshot import Snapshot, StopReason

SETTINGS = SvMomfbdSettings(
    grid_step=16, modes=8, patch=32, psf=PSF, iterations=6, patch_iterations=2, stop_early=False
)
TURNED = SETTINGS.replace(lambda_object=0.2)


@pytest.fixture(scope="module")
def burst():
    return simulate(varying=0.3, noise=2e-3).burst


class Hand:
    """Turns a knob when it is asked for the `at`-th time, and counts."""

    def __init__(self, at: int, settings: SvMomfbdSettings = TURNED) -> None:
        self.at, self.settings, self.asked = at, settings, 0

    def __call__(self) -> SvMomfbdSettings | None:
        self.asked += 1
        return self.settings if self.asked == self.at else None


def same(one: Snapshot, other: Snapshot) -> None:
    np.testing.assert_array_equal(one.images, other.images)
    np.testing.assert_array_equal(one.maps["modes"], other.maps["modes"])


def values(snapshot: Snapshot) -> list[float]:
    return list(snapshot.history["lambda_object"])


def test_a_turned_knob_ends_the_iteration_and_changes_the_objects_alone(burst):
    plain = [s for _, s in zip(range(4), stream(burst, SETTINGS, device="cpu"), strict=False)]
    hand = Hand(0)
    with closing(stream(burst, SETTINGS, device="cpu", news=hand)) as source:
        last = [next(source) for _ in range(4)][-1]
        same(last, plain[-1])
        hand.at = hand.asked + 3  # in the middle of the fifth iteration
        cut = next(source)
        further = next(source)
    assert hand.asked > hand.at
    assert (cut.step, values(cut)[3:]) == (5, [0.02, 0.2])
    assert np.diff(cut.images).std() < np.diff(last.images).std()
    np.testing.assert_array_equal(cut.maps["modes"], last.maps["modes"])
    assert np.abs(further.maps["modes"] - cut.maps["modes"]).max() > 0
    *_, again = replay(burst, SETTINGS, further.history, device="cpu")
    same(again, further)


def test_other_knobs_end_the_iteration_too_and_the_modes_follow(burst):
    hand = Hand(0, SETTINGS.replace(lambda_modes=1.0))
    with closing(stream(burst, SETTINGS, device="cpu", news=hand)) as source:
        last = [next(source) for _ in range(4)][-1]
        hand.at = hand.asked + 3
        cut = next(source)
    assert list(cut.history["lambda_modes"])[3:] == [0.01, 1.0]
    assert np.abs(cut.maps["modes"] - last.maps["modes"]).max() > 0


def test_the_last_image_comes_before_its_error_which_gives_way_to_a_knob(burst):
    *_, whole = stream(burst, SETTINGS, device="cpu")
    hand = Hand(0)
    with closing(stream(burst, SETTINGS, device="cpu", news=hand)) as source:
        *_, image = [next(source) for _ in range(6)]
        assert (image.stop, "uncertainty" in image.maps) == (None, False)
        hand.at = hand.asked + 3  # while its error is computed
        turned = next(source)
        assert (turned.step, values(turned)[-1], turned.stop) == (7, 0.2, None)
        rested = next(source)
        assert (rested.step, rested.stop, len(values(rested))) == (7, StopReason.DONE, 7)
        same(rested, turned)
        assert rested.maps["uncertainty"].shape == rested.images.shape
        assert next(source, None) is None
    watched = list(stream(burst, SETTINGS, device="cpu", news=lambda: None))
    assert len(watched) == 7
    same(watched[-1], whole)
    np.testing.assert_array_equal(watched[-1].maps["uncertainty"], whole.maps["uncertainty"])


@pytest.mark.parametrize("sent", [TURNED, SETTINGS], ids=["turned", "as it was"])
def test_a_checkpoint_knows_with_which_knobs_the_objects_were_solved_for(
    burst, tmp_path: Path, sent: SvMomfbdSettings
):
    def fifth(checkpoint: str) -> Snapshot:
        source = METHOD.stream(burst, SETTINGS.replace(checkpoint=checkpoint), device=CPU, seed=0)
        *_, last = [next(source) for _ in range(4)]
        if checkpoint:
            source.close()
            source = METHOD.stream(burst, sent.replace(checkpoint=checkpoint), device=CPU, seed=0)
            last = next(source)
        else:
            last = source.send(sent)
        source.close()
        return last

    same(fifth(str(tmp_path / "state.pt")), fifth(""))

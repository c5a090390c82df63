"""Fried's parameter from simulated bursts whose r0 is known."""

from functools import cache

import numpy as np
import pytest
import torch

from heliorestore.burst import Burst
from heliorestore.cli import main
from heliorestore.diagnose.fried import estimate_r0_cm
from heliorestore.errors import SettingsError
from heliorestore.fits.reader import read
from heliorestore.instrument import Instrument, find
from heliorestore.methods.base import settings_of, stream
from heliorestore.methods.momfbd import MomfbdSettings
from heliorestore.simulate.burst import simulate_burst
from heliorestore.simulate.view import SimulationSettings

CPU = torch.device("cpu")


@cache
def burst(r0_cm, *, ao=True, scene="granulation", size=96):
    settings = SimulationSettings(scene=scene, objects=1, r0_cm=r0_cm, ao=ao, frames=8, noise=2e-3, size=size)
    return simulate_burst(settings, find("crisp-8542"), seed=11).burst


@pytest.mark.parametrize(
    ("r0_cm", "ao", "scene"),
    [(7.0, True, "granulation"), (15.0, True, "sunspot"), (15.0, False, "granulation")],
)
def test_r0_is_found_within_two_fifths_with_adaptive_optics_and_without(r0_cm, ao, scene):
    # rounding alone, which differs from processor to processor, moves the second one from 18.1 to 20.5 cm
    assert estimate_r0_cm(burst(r0_cm, ao=ao, scene=scene), CPU) == pytest.approx(r0_cm, rel=0.4)


def test_the_record_of_a_run_holds_the_r0_that_was_found_and_tells_it():
    seen = burst(15.0, size=64)
    *_, last = stream(seen, MomfbdSettings(iterations=2, r0_from_data=True), device="cpu")
    used = settings_of(last.run)
    assert used.r0_cm == round(estimate_r0_cm(seen, CPU), 1) != MomfbdSettings().r0_cm
    assert not used.r0_from_data
    assert any(f"{used.r0_cm:g} cm" in message for message in last.messages)
    *_, again = stream(seen, used, device="cpu")
    assert (again.images == last.images).all()


def test_knobs_turn_while_a_run_whose_r0_was_found_goes_on():
    asked = MomfbdSettings(iterations=3, r0_from_data=True)
    running = stream(burst(15.0, size=64), asked, device="cpu")
    first = next(running)
    turned = running.send(asked.replace(filter_width=0.5))
    assert turned.history["filter_width"].tolist() == [asked.filter_width, 0.5]
    assert settings_of(turned.run) == settings_of(first.run)


def test_an_r0_that_nobody_gave_is_told_with_what_it_does_to_the_contrast():
    seen, settings = burst(15.0, size=64), MomfbdSettings(iterations=1)

    def told(changed):
        return [
            text for text in next(stream(seen, changed, device="cpu")).messages if "cm was assumed" in text
        ]

    (text,) = told(settings)
    assert text.startswith("r0 = 10 cm was assumed")
    assert "the contrast depends on it" in text
    assert told(settings.replace(r0_cm=15.0)) == told(settings.replace(left_out=0.0)) == []
    assert told(settings.replace(air="none")) == []


def test_the_command_and_the_record_tell_the_assumed_r0(tmp_path, capsys):
    path, out = tmp_path / "burst.fits", tmp_path / "restored.fits"
    assert main(["simulate", "-o", str(path), "--size", "64", "--frames", "3", "--objects", "1"]) == 0
    assert main(["momfbd", str(path), "-o", str(out), "--iterations", "1", "--quiet", "--device", "cpu"]) == 0
    assert "r0 = 10 cm was assumed" in capsys.readouterr().err
    assert any("r0 = 10 cm was assumed" in text for text in read(out).messages)


def test_an_unknown_telescope_is_asked_for():
    unknown = Burst.from_array(np.ones((1, 4, 64, 64), np.float32), Instrument())
    with pytest.raises(SettingsError, match="--instrument"):
        next(stream(unknown, MomfbdSettings(r0_from_data=True), device="cpu"))

"""Pixels without any valid value are NaN in the result of every method, and its coverage is 0 there."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from blind_bursts import simulate
from heliorestore.burst import Burst
from heliorestore.instrument import Instrument, find
from heliorestore.methods import METHODS
from heliorestore.methods.base import load, restore, stream
from heliorestore.methods.blind.field_fit import FieldFit
from heliorestore.methods.richardson_lucy import RichardsonLucySettings, initial, prepare
from heliorestore.methods.sv_momfbd import SvMomfbdSettings
from heliorestore.prepare.average import average_frames

HOLE = (slice(20, 24), slice(30, 33))  # bad in every frame
BLIND = {"modes": 4, "patch": 32}
ALL: dict[str, dict[str, Any]] = {
    "sv-momfbd": BLIND | {"psf": 32, "patch_iterations": 1, "iterations": 2},
    "momfbd": BLIND | {"patch_step": 16, "iterations": 1},
    "mfbd": {"committee": 2},
    "richardson-lucy": {"iterations": 2, "upsampling": 2},
    "enhance": {"kind": "continuum", "network": "small", "uncertainty": True},
    "denoise": {"uncertainty": True, "passes": 2},
    "pca": {"components": 1},
}


@pytest.fixture(scope="module")
def burst() -> Burst:
    """Two objects with three frames that do not move, each with a bad pixel of its own."""
    found = simulate(size=48, frames=3, modes=4, objects=2, varying=0.0, noise=2e-3).burst
    frames = np.array(found.frames)
    frames[..., *HOLE] = np.nan
    frames[:, 1, 5, 7] = np.nan
    return replace(found, frames=frames)


def test_all_methods_are_tried() -> None:
    assert set(ALL) == set(METHODS)


@pytest.mark.parametrize("method", ALL)
def test_what_no_frame_has_measured_is_nan_and_not_covered(method: str, burst: Burst) -> None:
    if method == "enhance":
        burst = replace(burst, instruments=(find("hmi-6173"),) * 2)
    if method in ("denoise", "pca"):
        burst = replace(burst, instruments=tuple(Instrument(wavelength_nm=617.3 + 0.1 * k) for k in range(2)))
    knobs = ALL[method] | ({"align": False} if method in ("sv-momfbd", "momfbd", "mfbd") else {})
    result = restore(burst, load(method).settings(**knobs), device="cpu")
    hole = np.zeros(burst.shape[2:], bool)
    hole[HOLE] = True
    for image, coverage in zip(result.images, result.maps["coverage"], strict=True):
        np.testing.assert_array_equal(np.isnan(image), hole.repeat(result.zoom, 0).repeat(result.zoom, 1))
        np.testing.assert_array_equal(coverage == 0, hole)
    for name in {"uncertainty", "residual"} & set(result.maps):
        assert np.isnan(result.maps[name]).any(), name
    assert any("24 pixels have no valid value" in message for message in result.messages)


def test_a_hole_is_filled_where_a_run_begins_from_such_a_result(burst: Burst) -> None:
    first = {
        name: next(stream(burst, load(name).settings(**ALL[name]), device="cpu"))
        for name in ("richardson-lucy", "sv-momfbd")
    }
    field = FieldFit(burst, SvMomfbdSettings(**ALL["sv-momfbd"]), torch.device("cpu"), first["sv-momfbd"])
    settings = RichardsonLucySettings(**ALL["richardson-lucy"])
    problem = prepare(burst, average_frames(burst).images, False, settings, torch.device("cpu"))
    for objects in (field.initial().flow.objects, initial(problem, first["richardson-lucy"], False)):
        assert objects.min() > 0.1 * objects.mean()  # zero would stay zero

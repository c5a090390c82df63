"""A series of restorations: place, level and orientation do not flicker, and a bad one does no harm."""

import dataclasses
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from astropy.io import fits

from heliorestore.burst import Source
from heliorestore.errors import BurstError
from heliorestore.fits.cube import Cube, Restoration
from heliorestore.instrument import KNOWN
from heliorestore.optics.convolve import interpolate, node_grid
from heliorestore.prepare.destretch import local, sample
from heliorestore.prepare.series import SeriesSettings, steady

SIDE, FRAMES, BAD = 144, 9, 4
FLOW = 0.2  # pixels per frame, the Sun's own motion of the upper half
Image = npt.NDArray[np.float32]


def scene(side: int = SIDE + 64) -> torch.Tensor:
    """Structure of 5 to 30 pixels with a contrast of 12 %."""
    k = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    noise = np.fft.rfft2(np.random.default_rng(3).normal(size=(side, side)))
    image = np.fft.irfft2(noise * np.exp(-((k - 0.06) ** 2) / (2 * 0.03**2)), s=(side, side))
    return torch.from_numpy(1 + 0.12 * image / image.std()).float()


def seen(sky: torch.Tensor, number: int, *, angle: float = 0.0) -> Image:
    """What the telescope shows at one time: displaced, stretched, blurred and brighter or darker."""
    dice = np.random.default_rng(number)
    nodes = torch.from_numpy(dice.normal(0, 0.8, (2, *node_grid((SIDE, SIDE), 48)))).float()
    stretch = interpolate(nodes, (SIDE, SIDE), 48)
    y, x = torch.meshgrid(torch.arange(SIDE) - SIDE / 2, torch.arange(SIDE) - SIDE / 2, indexing="ij")
    cos, sin = np.cos(angle), np.sin(angle)
    dy, dx = dice.uniform(-3, 3, 2)
    places = (
        (SIDE + 64) / 2 + sin * x + cos * y + dy + stretch[0],
        (SIDE + 64) / 2 + cos * x - sin * y + dx + stretch[1],
    )
    # The Sun moves steadily in its upper half.
    places = places[0], places[1] + FLOW * number * (y < 0)
    image = sample(sky, *places)
    k = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)[None])
    width = dice.uniform(2, 5) if number != BAD else 25  # px, of the blur
    blurred = np.fft.irfft2(np.fft.rfft2(image.numpy()) * np.exp(-((width * k) ** 2)), s=(SIDE, SIDE))
    if number == BAD:
        blurred = np.random.default_rng(8).normal(1, 0.02, (SIDE, SIDE)) + 0.3 * np.roll(
            blurred - 1, (9, 7), (0, 1)
        )
    noisy = blurred + dice.normal(0, 2e-3, (SIDE, SIDE))
    return np.asarray(500 * dice.uniform(0.85, 1.15) * noisy, np.float32)


def restorations(images: list[Image], folder: Path, **known: object) -> Cube:
    (folder / "a.fits").touch()
    made = [
        Restoration(
            **{
                "source": Source.of(folder / "a.fits"), "header": fits.Header(), "labels": ("WB", "NB"),
                "instruments": (KNOWN["crisp-6302"],) * 2, "unit": "DN", "shape": (SIDE, SIDE),
                "began": np.datetime64("2026-05-01T08:00:00", "us") + np.timedelta64(10, "s") * number,
                "ended": np.datetime64("2026-05-01T08:00:00", "us") + np.timedelta64(10, "s") * number,
                "corners": None, "image": lambda object_, image=image: image * (1 + object_),
            } | known
        )
        for number, image in enumerate(images)
    ]  # fmt: skip
    places = np.stack([np.arange(len(made)), np.zeros(len(made), int)], -1).reshape(-1, 1, 1, 2)
    return Cube(restorations=tuple(made), positions=(("WB", 630.2),), stokes="I", places=places)


def displacements(images: list[Image], sky: torch.Tensor) -> npt.NDArray[np.float64]:
    """Where each image (time, [y, x], gy, gx) shows what the Sun has in the middle of the field."""
    middle = slice(32, 32 + SIDE)
    truth = sky[middle, middle][None]
    whole = [np.where(np.isfinite(image), image, np.nanmean(image)) for image in images]
    found = torch.stack([local(torch.from_numpy(image).float()[None], truth) for image in whole])
    return found[..., 2:-2, 2:-2].double().numpy()


def motions(places: npt.NDArray[np.float64], times: list[int]) -> tuple[float, float]:
    """The rms displacement about a steady motion, and that of the upper half against the lower one."""
    away = np.array(times) - np.mean(times)
    slope = np.tensordot(away, places, 1) / (away**2).sum()
    jitter = places - places.mean(0) - slope * away[:, None, None, None]
    return float(np.sqrt((jitter**2).mean())), float(slope[1, :3].mean() - slope[1, -3:].mean())


def test_place_and_level_do_not_flicker_and_a_bad_burst_drags_nothing(tmp_path: Path) -> None:
    sky = scene()
    cube = restorations([seen(sky, n) for n in range(FRAMES)], tmp_path)
    done = steady(cube, SeriesSettings(align=True, destretch=True, gain=True))
    good = [n for n in range(FRAMES) if n != BAD]
    before, after = (displacements([c.restorations[n].image(0) for n in good], sky) for c in (cube, done))
    # The Sun's own steady motion must stay, and is not jitter.
    (jitter_before, flow_before), (jitter, flow) = (motions(each, good) for each in (before, after))
    assert jitter_before > 1
    assert jitter < 0.1
    assert flow_before < -0.1
    assert flow == pytest.approx(flow_before, abs=0.02)
    # Narrow band follows: its intensity is twice that of the wide band.
    levels = [np.nanmedian(done.restorations[n].image(1)) for n in good]
    assert np.ptp(levels) / np.mean(levels) < 0.01
    assert done.series["REFERENCE"] == [int(n != BAD) for n in range(FRAMES)]
    assert len(set(done.series["CONTRAST"])) == FRAMES
    assert any("Not used as reference" in text for text in done.messages)
    assert np.isnan(done.restorations[0].image(0)).any()  # what came in over the edge is no image


def test_the_rotation_of_the_field_is_taken_off(tmp_path: Path) -> None:
    sky, rate = scene(), 0.02  # degrees per second
    angles = [np.radians(rate) * 10 * (n - 2) for n in range(5)]
    images = [seen(sky, 7, angle=angle) for angle in angles]
    cube = restorations(images, tmp_path)
    half = (SIDE - 1) / 2 * np.array([-1, 1])
    pixels = np.stack(np.meshgrid(half, half), -1)
    turns = [np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]) for a in angles]
    known = [
        dataclasses.replace(each, corners=300 + 0.06 * pixels @ turn.T)
        for each, turn in zip(cube.restorations, turns, strict=True)
    ]
    for whole, how in ((cube, str(-rate)), (dataclasses.replace(cube, restorations=tuple(known)), "header")):
        done = steady(whole, SeriesSettings(derotate=how))
        turned = [each.image(0) for each in done.restorations]
        inner = slice(30, -30)
        for image in turned:
            assert np.abs(image / turned[2] - 1)[inner, inner].max() < 0.02, how
    np.testing.assert_allclose(done.restorations[0].corners, known[2].corners, atol=1e-6)
    with pytest.raises(BurstError, match="does not say how its field lies"):
        steady(cube, SeriesSettings(derotate="header"))


def test_contrast_changes_only_on_request(tmp_path: Path) -> None:
    sky = scene()
    cube = restorations([seen(sky, n) for n in range(3)], tmp_path)
    assert steady(cube, SeriesSettings()) is cube
    for asked in (False, True):
        done = steady(cube, SeriesSettings(gain=True, same_contrast=asked))
        contrasts = [np.std(each.image(0)) / np.mean(each.image(0)) for each in done.restorations]
        assert (np.ptp(contrasts) < 1e-4) == asked

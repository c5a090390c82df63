"""The forward model in tiles and batches of frames: the same as in one piece, within its memory, whatever the
shape."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from blind_bursts import CPU, PSF, simulate
from heliorestore.burst import Burst
from heliorestore.methods.blind.forward import Flow
from heliorestore.methods.blind.parts import make_layout
from heliorestore.methods.sv_momfbd import METHOD, SvMomfbdSettings
from heliorestore.prepare.observe import observe
from heliorestore.snapshot import Snapshot

STEP = 16


@pytest.fixture(scope="module")
def case():
    """Two objects of two wavelengths, so two kinds of transfer functions, 75 x 113 pixels with bad ones: no
    multiple of the step."""
    made = simulate(size=113, objects=2, wavelengths=(854.2, 630.2), frames=3, varying=0.3)
    frames = np.asarray(made.burst.frames)[:, :, :75].copy()
    frames[1, 2, 30:33, 60:70] = np.nan
    return replace(
        made, burst=Burst(frames=frames, instruments=made.burst.instruments), modes=made.modes[:, :, :6]
    )


def flow(case, memory_bytes: float, **how: float) -> Flow:
    return Flow(
        observe(case.burst, CPU, align=False, **how),
        replace(case.wavefronts, left_out=1.0),
        PSF,
        STEP,
        memory_bytes,
    )


def close(found: torch.Tensor | None, wanted: torch.Tensor | None) -> None:
    assert found is not None
    assert wanted is not None
    assert float((found - wanted).norm() / wanted.norm()) < 1e-5


def test_tiles_of_the_field_give_what_the_undivided_field_gives(case):
    whole, cut = flow(case, 1e9), flow(case, 1.0)
    assert whole.layout.count == 1
    assert cut.layout.tiles == (3, 4)
    assert cut.layout.at_once == 1
    objects = whole.surround(whole.observation.mean)
    objects = objects + 0.1 * torch.randn(objects.shape, generator=torch.Generator().manual_seed(1))
    gamma = torch.tensor([1.0, 0.5])
    ours, theirs = (f.slope(objects, case.modes, gamma, in_objects=True) for f in (cut, whole))
    close(ours.modes, theirs.modes)
    close(ours.objects, theirs.objects)
    assert ours.square == pytest.approx(theirs.square, rel=1e-5)
    ours, theirs = (f.transfers(case.modes) for f in (cut, whole))
    weights = gamma[:, None, None, None]
    close(ours.normal(objects, weights), theirs.normal(objects, weights))
    close(ours.back(objects, weights), theirs.back(objects, weights))
    close(ours.squares(objects), theirs.squares(objects))
    close(ours.residual(objects, 2), theirs.residual(objects, 2))


def test_frames_that_are_read_part_by_part_are_those_that_are_held(case):
    held, read = flow(case, 1.0), flow(case, 1.0, hold_bytes=0.0)
    assert type(held.observation.source) is not type(read.observation.source)
    objects = held.surround(held.observation.mean)
    for found, wanted in zip(
        *(
            (t.back(objects, torch.ones(1)), t.squares(objects), t.normal(objects, torch.ones(1)))
            for t in (f.transfers(case.modes) for f in (read, held))
        ),
        strict=True,
    ):
        assert torch.equal(found, wanted)


def test_a_run_in_tiles_and_one_in_a_piece_end_alike(case, monkeypatch):
    settings = SvMomfbdSettings(
        grid_step=STEP, modes=8, r0_cm=20.0, psf=PSF, iterations=2, align=False, object_weights="1, 0.5"
    )
    # Not from zero aberrations: there the gradient in every even mode is nothing but rounding, and Adam's
    # first step is its sign.
    start = Snapshot(
        step=0,
        total=2,
        images=np.nanmean(np.asarray(case.burst.frames), 1),
        maps={"modes": 0.5 * case.modes.numpy()},
    )
    whole = list(METHOD.stream(case.burst, settings, device=CPU, seed=0, start=start))[-1]
    monkeypatch.setattr("heliorestore.methods.blind.field_plan.budget_bytes", lambda *_: 3e6)
    cut = list(METHOD.stream(case.burst, settings, device=CPU, seed=0, start=start))[-1]
    for found, wanted in ((cut.images, whole.images), (cut.maps["modes"], whole.maps["modes"])):
        assert np.linalg.norm(found - wanted) / np.linalg.norm(wanted) < 1e-5
    assert cut.losses["loss"] == pytest.approx(whole.losses["loss"], rel=1e-5)


@pytest.mark.parametrize("shape", [(1, 1), (16, 17), (33, 200), (97, 64)])
@pytest.mark.parametrize("memory_bytes", [1.0, 3e6, 3e7, 1e12])
def test_every_pixel_belongs_to_one_part_and_every_node_to_one_at_least(shape, memory_bytes):
    layout = make_layout((2, 5, *shape), step=8, psf=16, optics=1, memory_bytes=memory_bytes, device=CPU)
    pixels, nodes = torch.zeros(5, *shape), torch.zeros(5, *(-(-(n - 1) // 8) + 1 for n in shape))
    for part in layout.parts():
        pixels[part.frames, *part.pixels] += 1
        nodes[part.frames, *part.nodes] += 1
        assert nodes[part.frames, *part.nodes].numel() > 0
    assert bool((pixels == 1).all())
    assert bool((nodes >= 1).all())
    assert layout.count == len(list(layout.parts()))
    assert 0 <= layout.kept <= layout.count


def test_more_memory_keeps_more_transfer_functions():
    kept = [
        make_layout((1, 12, 1024, 1024), step=32, psf=96, optics=1, memory_bytes=b, device=CPU)
        for b in (3e8, 1e9, 4e9)
    ]
    assert [layout.kept / layout.count for layout in kept] == sorted(
        layout.kept / layout.count for layout in kept
    )
    assert kept[-1].kept == kept[-1].count
    assert kept[0].kept < kept[0].count

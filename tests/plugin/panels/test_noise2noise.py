"""The panel of Noise2Noise: the slider's frame, the visible objects, the whole series, and what was taken
away."""

import numpy as np
import pytest
import torch

from heliorestore.burst import Burst
from heliorestore.coordinates import Coordinates
from heliorestore.nets import weights
from heliorestore.nets.denoiser import uncertain
from window import set_fields, wait_for_threads

FRAMES = np.random.default_rng(0).standard_normal((2, 3, 40, 44)).astype(np.float32)
FRAMES[0] += 100  # an intensity, which is left as it is
SERIES = Burst.from_array(FRAMES, labels=("I", "V"))
PLACES = tuple(
    Coordinates(wavelength_nm=630.25, offset_pm=pm, stokes=name) for name in "IV" for pm in (-5.0, 5.0)
)
SPECTRA = Burst(frames=FRAMES[[0, 0, 1, 1]], labels=tuple(each.label for each in PLACES), coordinates=PLACES)


@pytest.fixture
def denoise_panel(request, viewer, tmp_path, monkeypatch, qtbot):
    """The panel with a series of I and V, or another, and a network that was never trained."""
    from napari.layers import Layer

    from heliorestore.plugin.panels.noise2noise import DenoiseWidget
    from heliorestore.plugin.viewer.layers import burst_layers

    torch.manual_seed(0)
    weights.save(
        uncertain(),
        weights.WeightsRecord(
            name="denoise-stokes", architecture="denoiser-uncertain", normalisation="noise"
        ),
        tmp_path,
    )
    monkeypatch.setattr(weights, "folders", lambda: (tmp_path, tmp_path))
    for data in burst_layers(getattr(request, "param", SERIES), "sun"):
        viewer.add_layer(Layer.create(*data))
    viewer.dims.current_step = (0, 0, 0, 0, 0)
    widget = DenoiseWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Noise2Noise")
    qtbot.waitUntil(lambda: widget.form is not None, timeout=30_000)
    yield widget
    wait_for_threads()


def test_the_series_comes_over_the_input_and_moves_with_it(denoise_panel, viewer, finish):
    viewer.dims.set_current_step(2, 2)
    assert denoise_panel.form.fields["frame"].get() == 2
    outcome = finish(denoise_panel, denoise_panel.run_panel.run_button.click, seconds=60)
    assert outcome.end.value == "finished"
    assert viewer.canvas.overlays["shown of the cube"].text == "V"
    before, after = viewer.layers["sun"], viewer.layers["denoise 1 sun series"]
    assert after.visible
    assert not viewer.layers["denoise 1 sun"].visible
    assert after.data.shape == before.data.shape
    np.testing.assert_allclose(after.scale, before.scale)
    np.testing.assert_array_equal(after.data[:, :, 2], viewer.layers["denoise 1 sun"].data[:, :, 0])
    assert tuple(after.contrast_limits) == tuple(before.contrast_limits)
    assert "V: taken away" in denoise_panel.residual_text.text()
    assert "  " not in denoise_panel.residual_text.text()  # where a unit is not known
    residual = viewer.layers["denoise 1 sun residual"]
    denoise_panel.residual_button.click()
    assert residual.visible
    assert residual.contrast_limits[0] == -residual.contrast_limits[1]
    denoise_panel.residual_button.click()
    assert not residual.visible
    denoise_panel.compare_button.click()
    assert [layer.name for layer in viewer.layers if layer.visible] == ["sun", "denoise 1 sun series"]
    assert viewer.canvas.grid.enabled
    denoise_panel.compare_button.click()
    assert not viewer.canvas.grid.enabled


def test_a_button_fits_the_network_to_the_series(denoise_panel, finish):
    set_fields(denoise_panel, patches=10)
    denoise_panel.epochs.setValue(2)
    outcome = finish(denoise_panel, denoise_panel.fit_button.click, seconds=60)
    assert outcome.end.value == "finished"
    assert "Fitted in 2 epochs" in denoise_panel.run_panel.messages.text()
    assert np.isfinite(denoise_panel.run_panel.snapshot.history["hold_out"][:2]).all()


@pytest.mark.parametrize("denoise_panel", [SPECTRA], indirect=True, ids=["spectra"])
def test_three_ways_are_compared_or_given_up(denoise_panel, viewer, qtbot):
    run, ways = denoise_panel.run_panel, denoise_panel.ways_button
    set_fields(denoise_panel, patches=10)
    denoise_panel.epochs.setValue(1)
    ways.click()
    qtbot.waitUntil(lambda: run.busy, timeout=20_000)
    run.stop_button.click()
    qtbot.waitUntil(lambda: not ways.isChecked(), timeout=60_000)
    ways.click()
    qtbot.waitUntil(lambda: viewer.canvas.grid.enabled, timeout=120_000)
    shown = [layer.name for layer in viewer.layers if layer.visible]
    assert shown[0] == "sun"
    assert len(shown) == 4
    assert [line for line in denoise_panel.ways_text.text().split("\n") if line.endswith(":")] == [
        "wavelength by wavelength:",
        "spectral:",
        "PCA:",
    ]
    ways.click()
    assert not viewer.canvas.grid.enabled

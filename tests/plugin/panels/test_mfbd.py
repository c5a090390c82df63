"""The panel of MFBD by a network: committee, spread, and MOMFBD beside it."""

import numpy as np
import pytest

from heliorestore.burst import Burst
from heliorestore.instrument import KNOWN
from heliorestore.nets import weights
from window import set_fields, wait_for_threads

FRAMES = (1e3 * (1 + 0.05 * np.random.default_rng(0).standard_normal((3, 32, 40)))).astype(np.float32)


@pytest.fixture
def mfbd_panel(viewer, tmp_path, monkeypatch, qtbot):
    """The panel with a burst of three frames, and networks that were never trained."""
    import torch
    from napari.layers import Layer

    from heliorestore.plugin.panels.mfbd import MfbdWidget
    from heliorestore.plugin.viewer.layers import burst_layers

    torch.manual_seed(0)
    for name, architecture in (
        ("mfbd-crisp-quarter", "mfbd-quarter"),
        ("mfbd-recurrent-crisp-quarter", "mfbd-recurrent-quarter"),
    ):
        record = weights.WeightsRecord(
            name=name,
            architecture=architecture,
            normalisation="contrast 1",
            pixel_arcsec=(0.05, 0.07),
            quality={"error_over_spread": 8.0},
        )
        weights.save(weights.build(architecture), record, tmp_path)
    monkeypatch.setattr(weights, "folders", lambda: (tmp_path, tmp_path))
    for data in burst_layers(Burst.from_array(FRAMES, KNOWN["crisp-8542"]), "burst"):
        viewer.add_layer(Layer.create(*data))
    widget = MfbdWidget(viewer)
    viewer.window.add_dock_widget(widget, name="MFBD")
    qtbot.waitUntil(lambda: widget.form is not None, timeout=30_000)
    set_fields(widget, committee=3)
    yield widget
    wait_for_threads()


def test_the_spread_is_shown_on_request(mfbd_panel, viewer, finish):
    assert mfbd_panel.method_name == "mfbd"
    outcome = finish(mfbd_panel, mfbd_panel.run_panel.run_button.click)
    assert outcome.end.value == "finished"
    spread = viewer.layers["mfbd 1 burst spread"]
    assert "not how far they are all wrong" in mfbd_panel.about_spread.text()
    assert not mfbd_panel.about_spread.isHidden()
    assert viewer.layers["mfbd 1 burst"].data.shape == (32, 40)
    assert not spread.visible
    mfbd_panel.spread.setChecked(True)
    assert spread.visible
    assert viewer.layers[-1] == spread  # under the image nobody would see it
    np.testing.assert_array_equal(spread.data, mfbd_panel.run_panel.snapshot.maps["uncertainty"][0])
    mfbd_panel.spread.setChecked(False)
    assert not spread.visible
    viewer.layers.remove(spread)
    mfbd_panel.spread.setChecked(True)  # a layer that the user deleted stays deleted
    assert "Weights mfbd-crisp-quarter" in mfbd_panel.run_panel.messages.text()


def test_the_recurrent_network_refines_one_image_frame_by_frame(mfbd_panel, viewer, finish):
    set_fields(mfbd_panel, network="recurrent", committee=1)
    assert mfbd_panel.about_spread.isHidden()
    outcome = finish(mfbd_panel, mfbd_panel.run_panel.run_button.click)
    assert outcome.end.value == "finished"
    assert mfbd_panel.run_panel.snapshot.step == 2
    assert [layer.name for layer in viewer.layers] == ["burst", "mfbd 1 burst"]


def test_momfbd_runs_beside_it(mfbd_panel, viewer, finish):
    mfbd_panel.iterations.setValue(1)
    outcome = finish(mfbd_panel, mfbd_panel.momfbd_button.click, seconds=120)
    assert outcome.end.value == "finished"
    assert viewer.layers["momfbd 1 burst"].data.shape == (32, 40)
    assert mfbd_panel.momfbd_button.isEnabled()


def test_what_is_missing_is_said(mfbd_panel, viewer):
    viewer.layers.clear()
    mfbd_panel.momfbd_button.click()
    assert mfbd_panel.run_panel.problem.text()
    mfbd_panel.spread.setChecked(True)
    assert len(viewer.layers) == 0


def test_the_network_needs_no_instrument_but_momfbd_does(mfbd_panel, viewer, finish):
    from napari.layers import Layer

    from heliorestore.plugin.viewer.layers import burst_layers

    viewer.layers.clear()
    for data in burst_layers(Burst.from_array(FRAMES), "unknown"):
        viewer.add_layer(Layer.create(*data))
    mfbd_panel.layer_list.choose([viewer.layers[0]])
    assert mfbd_panel.instrument.missing.isHidden()
    mfbd_panel.momfbd_button.click()
    assert (
        "does not give the aperture, the pixel size and the wavelength" in mfbd_panel.run_panel.problem.text()
    )
    assert finish(mfbd_panel, mfbd_panel.run_panel.run_button.click).end.value == "finished"
    assert "size of the pixels is unknown" in mfbd_panel.run_panel.messages.text()

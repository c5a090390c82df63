"""The panel of SV-MOMFBD in a real viewer, with real runs on a small burst."""

import dataclasses
import gc
import json
import os
import signal
import subprocess
import sys
import textwrap
import weakref
from contextlib import suppress

import numpy as np
import pytest
import torch
from astropy.io import fits
from astropy.io.fits import Header

import heliorestore
from heliorestore.burst import Burst
from heliorestore.instrument import find
from heliorestore.plugin.runs import autosave
from heliorestore.plugin.runs.preview import new_edges
from heliorestore.plugin.runs.versions import versions
from heliorestore.plugin.viewer.layers import is_restorable
from heliorestore.plugin.viewer.shown_plane import is_image
from heliorestore.preparation import Preparation
from heliorestore.prepare.opening import prepared
from window import set_fields, wait_for_threads

SMALL = {
    "lambda_object": 0.1,
    "modes": 6,
    "psf": 32,
    "patch": 32,
    "grid_step": 16,
    "patch_iterations": 2,
    "iterations": 5,
    "stop_early": False,
}


@pytest.fixture
def saves(tmp_path, monkeypatch):
    """The folder of unfinished runs, empty."""
    folder = tmp_path / "unfinished"
    folder.mkdir()
    monkeypatch.setattr(autosave, "folder", lambda: folder)
    return folder


@pytest.fixture
def small_burst() -> Burst:
    rng = np.random.default_rng(5)
    scene = rng.normal(1.0, 0.1, (2, 1, 40, 48)).astype(np.float32)
    frames = (100 * (scene + rng.normal(0, 0.01, (2, 4, 40, 48)))).astype(np.float32)
    header = Header(
        {
            "TELESCOP": "SST",
            "INSTRUME": "CRISP",
            "WAVELNTH": 854.2,
            "WAVEUNIT": -9,
            "CDELT1": 0.059,
            "CUNIT1": "arcsec",
        }
    )
    return Burst.from_array(frames, find("crisp-8542"), labels=("WB", "NB"), headers=(header, header))


@pytest.fixture
def sun_file(small_burst, tmp_path):
    """The burst in a file."""
    from heliorestore.fits.burst_writer import write_burst

    return write_burst(small_burst, tmp_path / "sun.fits")


def docked(viewer, qtbot, burst=None):
    from napari.layers import Layer

    from heliorestore.plugin.panels.sv_momfbd import SvMomfbdWidget
    from heliorestore.plugin.viewer.layers import burst_layers

    for data in burst_layers(burst, "sun") if burst is not None else ():
        viewer.add_layer(Layer.create(*data))
    viewer.dims.current_step = (0,) * viewer.dims.ndim
    widget = SvMomfbdWidget(viewer)
    viewer.window.add_dock_widget(widget, name="SV-MOMFBD")
    qtbot.waitUntil(lambda: widget.form is not None, timeout=30_000)
    set_fields(widget, **SMALL)
    return widget


@pytest.fixture
def live(viewer, saves, small_burst, qtbot):
    """The panel with the first object, which has half the layers of both."""
    widget = docked(viewer, qtbot, small_burst.select(objects=slice(0, 1)))
    yield widget
    end(widget)


@pytest.fixture
def live_both(viewer, saves, small_burst, qtbot):
    """The panel with both objects."""
    widget = docked(viewer, qtbot, small_burst)
    yield widget
    end(widget)


def end(widget):
    with suppress(RuntimeError):
        widget.preview_on.setChecked(False)
        widget.run_panel.stop()
    wait_for_threads()


def results(viewer, stem="sv-momfbd"):
    return {layer.name: layer for layer in viewer.layers if layer.name.startswith(stem)}


def slide(widget, name, value):
    widget.form.fields[name].editor.box.setValue(value)


def test_a_run_gives_the_headless_result_and_its_state_goes_with_the_panel(
    live_both, viewer, small_burst, finish, saves
):
    finish(live_both, live_both.run_panel.run_button.click, seconds=60)
    alone = heliorestore.restore(small_burst, live_both.form.settings(), device="cpu")
    np.testing.assert_array_equal(results(viewer)["sv-momfbd 1 WB"].data, alone.images[0])
    snapshot = live_both.run_panel.snapshot
    assert snapshot.run.settings == live_both.form.settings()  # and not where the state was kept
    assert snapshot.losses == dict(alone.losses)
    assert {path.suffix for path in saves.iterdir()} == {".json", ".state"}
    assert autosave.unfinished("sv-momfbd") == []  # it ended as it should
    assert "cannot be resumed" in live_both.run_panel.messages.text()  # the burst is in no file
    viewer.close()
    wait_for_threads()


def test_modes_and_frames_have_a_slider_each_and_nothing_moves(live, viewer, finish):
    viewer.dims.current_step = (2, 0, 0)
    viewer.scene.camera.zoom, viewer.scene.camera.center = 11.0, (0, 0.3, 0.4)
    finish(live, live.run_panel.run_button.click, seconds=60)
    modes = results(viewer)["sv-momfbd 1 sun WB modes"]
    assert (modes.data.shape, modes.axis_labels, modes.visible) == ((6, 4, 4, 4), ("k", "t", "y", "x"), False)
    assert viewer.dims.current_step[:2] == (0, 2)
    assert (viewer.scene.camera.zoom, viewer.scene.camera.center) == (11.0, (0, 0.3, 0.4))
    live.modes_on.setChecked(True)
    assert modes.visible
    assert viewer.layers[-1].name == modes.name  # over the image
    live.modes_on.setChecked(False)
    assert not modes.visible


def test_the_glance_is_loaded_before_the_first_snapshot_needs_it(live, viewer, qtbot, monkeypatch):
    monkeypatch.delitem(sys.modules, "heliorestore.diagnose.glance", raising=False)
    live._form_shown()
    qtbot.waitUntil(lambda: "heliorestore.diagnose.glance" in sys.modules, timeout=20_000)


def test_knobs_turned_in_a_pause_act_at_the_next_iteration_and_are_seen_at_once(live, viewer, qtbot, finish):
    run = live.run_panel
    set_fields(live, iterations=9)
    for step in range(1, 5):
        run.step_button.click()
        qtbot.waitUntil(
            lambda step=step: run.state.name == "PAUSED" and run.snapshot and run.snapshot.step == step,
            timeout=60_000,
        )
    name = "sv-momfbd 1 sun WB"  # it shows the last step in a turn of its own
    qtbot.waitUntil(
        lambda: name in results(viewer) and results(viewer)[name].metadata["heliorestore"].step == 4,
        timeout=20_000,
    )
    layer = results(viewer)[name]
    before = np.array(layer.data)
    for value in np.geomspace(0.1, 10, 12):
        slide(live, "lambda_object", float(value))
    qtbot.waitUntil(lambda: np.abs(layer.data - before).max() > 0, timeout=20_000)
    assert layer.data.std() < before.std()  # it damps
    assert run.snapshot.step == 4  # no iteration was done for that
    np.testing.assert_array_equal(run.snapshot.images[0], before)
    slide(live, "lambda_object", 0.1)
    qtbot.waitUntil(lambda: np.array_equal(layer.data, before), timeout=20_000)
    slide(live, "lambda_object", 10.0)
    finish(live, run.run_button.click, seconds=60)
    qtbot.wait(600)
    assert not run.busy  # the knob has acted: there is nothing to go on for
    assert run.snapshot.history["lambda_object"].tolist() == [0.1] * 4 + [10.0] * 5
    np.testing.assert_array_equal(layer.data, run.snapshot.images[0])


def test_a_run_that_has_ended_goes_on_when_a_knob_is_turned(live, viewer, finish):
    finish(live, live.run_panel.run_button.click, seconds=60)
    names = list(results(viewer))
    finish(live, lambda: slide(live, "lambda_object", 1.0), seconds=60)
    snapshot = live.run_panel.snapshot
    assert list(results(viewer)) == names
    assert snapshot.step > 5
    assert snapshot.history["lambda_object"].tolist() == [0.1] * 5 + [1.0] * (snapshot.step - 5)
    assert (np.diff(snapshot.history["seconds"]) > 0).all()
    assert live.field_run.job.autosave.restart.ended
    again = list(
        heliorestore.methods.base.replay(live.burst(), live.form.settings(), snapshot.history, device="cpu")
    )[-1]
    assert again.losses == dict(snapshot.losses)  # the file of such a result can be rerun
    np.testing.assert_array_equal(again.images, snapshot.images)


def test_other_settings_wait_for_a_new_run(live, viewer, finish, qtbot):
    finish(live, live.run_panel.run_button.click, seconds=60)
    set_fields(live, modes=5)
    slide(live, "lambda_object", 1.0)
    qtbot.wait(600)
    assert not live.run_panel.busy
    finish(live, live.run_panel.run_button.click, seconds=60)
    assert live.run_panel.snapshot.maps["modes"].shape[1] == 5
    assert len(results(viewer)) == 8


def test_what_a_sweep_ran_is_not_gone_on_with(live, viewer, finish, qtbot):
    import dataclasses

    finish(live, live.run_panel.run_button.click, seconds=60)
    finish(
        live,
        lambda: live.run_panel.start(dataclasses.replace(live.job(), seed=1), live.make_layers(live.job())),
        seconds=60,
    )
    slide(live, "lambda_object", 1.0)
    qtbot.wait(600)
    assert not live.run_panel.busy
    assert live.run_panel.snapshot.step == 5


def test_the_preview_box_restores_its_part_follows_knobs_and_moves(live, viewer, qtbot):
    def below() -> int:
        live.grab()  # lays it out
        return live.modes_on.mapTo(live, live.modes_on.rect().topLeft()).y()

    place = below()
    live.preview_on.setChecked(True)
    preview, box = live.preview, live.preview.box
    assert [new_edges(n) for n in (40, 200, 1024)] == [
        (4, 36),
        (50, 150),
        (384, 640),
    ]  # half of a small field
    moved = type(preview.rectangle)(0, 8, 32, 40)
    assert preview.rectangle != moved  # else the wait below could end before the move is seen
    box.move(moved)
    qtbot.waitUntil(
        lambda: preview.snapshot is not None and preview.snapshot.step == 5 and preview.rectangle == moved,
        timeout=60_000,
    )
    layer = viewer.layers["preview sun WB"]
    assert layer.data.shape == (32, 32)
    np.testing.assert_allclose(
        layer.data_to_world((0, 0)), viewer.layers["sun WB"].data_to_world((0, 0, 8))[1:]
    )
    assert layer.data.mean() == pytest.approx(100, rel=0.02)
    assert layer.contrast_limits == viewer.layers["sun WB"].contrast_limits
    qtbot.waitUntil(lambda: "at rest" in live.preview_note.text(), timeout=20_000)
    assert below() == place  # nothing moves under the mouse
    sharp = np.array(layer.data)
    slide(live, "lambda_object", 5.0)
    qtbot.waitUntil(
        lambda: "at rest" in live.preview_note.text() and preview.snapshot.step > 5, timeout=60_000
    )
    assert layer.data.std() < sharp.std()
    box.move(type(preview.rectangle)(4, 0, 40, 36))
    qtbot.waitUntil(lambda: preview.snapshot is not None and layer.data.shape == (36, 36), timeout=60_000)
    np.testing.assert_allclose(
        layer.data_to_world((0, 0)), viewer.layers["sun WB"].data_to_world((0, 4, 0))[1:]
    )
    assert viewer.layers.selection.active.name == "preview box"
    live.probe.on.setChecked(True)
    # of the box, no run was needed
    qtbot.waitUntil(lambda: "Strehl" in live.probe.text.text(), timeout=30_000)
    viewer.layers.remove("preview box")
    assert not live.preview_on.isChecked()
    assert not layer.visible
    live.preview_on.setChecked(True)  # a new box, the same layer for its image
    assert viewer.layers["preview box"].visible
    qtbot.waitUntil(lambda: layer.visible, timeout=60_000)
    assert layer.name == "preview sun WB"
    assert layer.data.shape == live.preview.snapshot.images.shape[1:]


def test_run_takes_the_whole_field_and_ends_the_preview(live_both, viewer, finish, qtbot):
    live_both.preview_on.setChecked(True)
    qtbot.waitUntil(lambda: "preview NB" in viewer.layers, timeout=60_000)
    finish(live_both, live_both.run_panel.run_button.click, seconds=60)
    assert live_both.preview is None
    assert live_both.run_panel.snapshot.images.shape == (2, 40, 48)
    hidden = [layer for layer in viewer.layers if layer.name.startswith("preview")]
    assert [layer.name for layer in hidden] == ["preview NB", "preview WB", "preview box"]
    assert not any(layer.visible for layer in hidden)
    # What is hidden is nobody's result: neither an input, nor a version, nor to be compared, nor written.
    assert not any(is_restorable(layer) or is_image(layer) for layer in hidden)
    assert [version.name for version in versions(viewer.layers)] == ["sv-momfbd 1"]
    assert "preview" not in " ".join(
        live_both.layer_list.item(row).text() for row in range(live_both.layer_list.count())
    )
    assert viewer.layers.selection.active.name == "sv-momfbd 1 WB"
    count = len(viewer.layers)
    live_both.preview_on.setChecked(True)
    qtbot.waitUntil(lambda: viewer.layers["preview WB"].visible, timeout=60_000)
    assert [layer.name for layer in viewer.layers][-2:] == ["preview WB", "preview box"]  # over the result
    assert (len(viewer.layers), viewer.layers.selection.active.name) == (count, "preview box")
    assert viewer.layers["preview WB"].metadata["run"] is live_both.preview.snapshot.run


def test_the_probe_shows_the_psf_of_the_frame_on_the_slider(live, viewer, finish, qtbot):
    finish(live, live.run_panel.run_button.click, seconds=60)
    live.probe.on.setChecked(True)
    qtbot.waitUntil(lambda: "Strehl" in live.probe.text.text(), timeout=30_000)
    assert "WB, frame 0" in live.probe.text.text()
    assert live.air.text().startswith("r0 ")
    assert live.air.text().endswith(" %")
    first = live.probe.view.psf
    viewer.dims.set_current_step(1, 3)
    qtbot.waitUntil(lambda: "frame 3" in live.probe.text.text(), timeout=30_000)
    assert not np.array_equal(live.probe.view.psf.image, first.image)
    assert f"{first.wavefront_rms:.2f} rad rms" != f"{live.probe.view.psf.wavefront_rms:.2f} rad rms"
    assert f"{live.probe.view.psf.wavefront_rms:.2f} rad rms" in live.probe.text.text()
    live.probe.view.resize(300, 150)
    root = live.probe.view.grab().toImage()
    live.probe.logarithmic.setChecked(True)
    assert live.probe.view.grab().toImage() != root
    live.modes_on.setChecked(True)
    viewer.dims.current_step = (2, 3, 0, 0)
    assert live.frame_views.mode_name.text() == "k = 2, like Zernike 4: defocus"
    assert live.field_run.layers.layers["modes", 0].colorbar.visible
    beside_bar = viewer.canvas.overlays["mode map"]
    assert (beside_bar.text, beside_bar.visible) == ("k = 2, like Zernike 4: defocus [rad]\u00a0", True)
    live.modes_on.setChecked(False)
    assert live.frame_views.mode_name.text() == ""
    assert not beside_bar.visible
    live.probe.point.layer.add([30.0, 5.0])  # as a click does
    assert live.probe.point.place == (30.0, 5.0)
    assert len(live.probe.point.layer.data) == 1
    before = live.probe.view.psf
    qtbot.waitUntil(lambda: live.probe.view.psf is not before, timeout=30_000)
    assert 0 < live.probe.view.psf.strehl < 1
    live.probe.on.setChecked(False)
    assert not viewer.layers["PSF probe"].visible
    count = len(viewer.layers)
    live.probe.on.setChecked(True)
    assert viewer.layers["PSF probe"].visible
    assert (len(viewer.layers), live.probe.point.place) == (count, (20.0, 24.0))
    viewer.layers.remove("PSF probe")
    live.probe.on.setChecked(False)
    live.probe.on.setChecked(True)
    assert len(viewer.layers) == count


def test_the_residual_follows_the_frame_slider(live, viewer, qtbot, finish):
    set_fields(live, iterations=100_000)
    live.run_panel.run_button.click()
    qtbot.waitUntil(lambda: "sv-momfbd 1 sun WB residual" in results(viewer), timeout=60_000)
    live.residual_on.setChecked(True)
    viewer.dims.set_current_step(viewer.dims.ndim - 3, 3)
    wanted = live.form.fields["residual_frame"]
    assert wanted.get() == 3
    layer = results(viewer)["sv-momfbd 1 sun WB residual"]
    # one frame's has a sign
    qtbot.waitUntil(lambda: layer.visible and layer.data.min() < 0 < layer.data.max(), timeout=60_000)
    live.residual_on.setChecked(False)
    assert wanted.get() is None
    assert finish(live, live.run_panel.stop_button.click, seconds=60).end.value == "stopped"


def test_a_run_in_a_closed_window_is_offered_and_resumed_with_the_same_loss(
    make_napari_viewer_proxy, viewer, saves, sun_file, finish, qtbot
):
    burst = heliorestore.read(sun_file)
    dark = sun_file.with_name("dark.fits")
    fits.writeto(dark, np.full((40, 48), 20.0, np.float32))
    widget = docked(viewer, qtbot, burst)
    widget.input.calibration.show_preparation(Preparation(dark=str(dark)))
    qtbot.waitUntil(lambda: "runs use" in widget.input.calibration.said.text(), timeout=20_000)
    set_fields(widget, iterations=12)
    widget.run_panel.step_button.click()
    qtbot.waitUntil(
        lambda: widget.run_panel.state.name == "PAUSED" and widget.run_panel.snapshot is not None,
        timeout=60_000,
    )
    settings = widget.form.settings()
    viewer.close()
    wait_for_threads()
    # The test is the process that began it: as if that had gone.
    (record,) = saves.glob("*.json")
    values = json.loads(record.read_text())
    record.write_text(json.dumps(values | {"process": [values["process"][0], 1.0]}))
    widget = docked(make_napari_viewer_proxy(), qtbot)
    assert "sv-momfbd of sun.fits" in widget.unfinished.text.text()
    assert widget.run_panel.curve.isAncestorOf(widget.unfinished)  # it moves nothing
    outcome = finish(widget, widget.unfinished.resume_button.click, seconds=60)
    assert outcome.end.value == "finished"
    calibrated = prepared(burst, Preparation(dark=str(dark)))
    whole = heliorestore.restore(calibrated, settings, device="cpu")
    resumed = widget.run_panel.snapshot
    assert widget.form.settings() == settings
    assert resumed.losses == dict(whole.losses)
    assert resumed.history["step"].tolist() == list(range(1, 13))
    np.testing.assert_array_equal(resumed.images, whole.images)
    assert widget.unfinished.isHidden()


def test_a_run_is_resumed_with_the_knobs_as_they_stood_and_repeated_from_its_start(
    make_napari_viewer_proxy, viewer, saves, sun_file, finish, qtbot, monkeypatch
):
    monkeypatch.setattr("heliorestore.methods.checkpoint.INTERVAL_S", 0.0)
    widget = docked(viewer, qtbot, heliorestore.read(sun_file))
    run = widget.run_panel
    for step, smooth in enumerate((0.1, 0.1, 0.7), 1):
        slide(widget, "lambda_object", smooth)
        run.step_button.click()
        qtbot.waitUntil(
            lambda step=step: (
                run.state.name == "PAUSED" and run.snapshot is not None and run.snapshot.step == step
            )
        )
    (record,) = saves.glob("*.json")
    # a crash would lose no more than what comes now
    assert ["lambda_object", "0.7"] in json.loads(record.read_text())["rows"]
    slide(widget, "lambda_object", 0.4)  # no iteration has been made with it
    viewer.close()
    wait_for_threads()
    values = json.loads(record.read_text())
    record.write_text(json.dumps(values | {"process": [values["process"][0], 1.0]}))
    widget = docked(make_napari_viewer_proxy(), qtbot)
    finish(widget, widget.unfinished.resume_button.click, seconds=60)
    resumed = widget.run_panel.snapshot
    assert widget.form.settings().lambda_object == 0.4
    assert resumed.history["lambda_object"].tolist() == [0.1, 0.1, 0.7, 0.4, 0.4]
    assert (np.diff(resumed.history["seconds"]) > 0).all()
    again = list(
        heliorestore.methods.base.replay(
            heliorestore.read(sun_file), resumed.run.settings, resumed.history, device="cpu"
        )
    )
    np.testing.assert_array_equal(again[-1].images, resumed.images)


def test_a_killed_process_leaves_a_run_that_can_be_resumed_or_discarded(viewer, saves, sun_file, qtbot):
    code = f"""
        import torch; torch.set_num_threads(1)
        import heliorestore, time
        from pathlib import Path
        from heliorestore.plugin.runs import autosave
        from heliorestore.plugin.runs.worker import Job, RestoreWorker
        from heliorestore import SvMomfbdSettings
        autosave.folder = lambda: Path({str(saves)!r})
        burst = heliorestore.read({str(sun_file)!r})
        settings = SvMomfbdSettings(**{ {**SMALL, "iterations": 10_000}!r})
        saved, _ = autosave.begin(burst, settings, device="cpu")
        worker = RestoreWorker("test", Job(burst=burst, settings=settings, device="cpu", autosave=saved))
        worker.run()
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)])
    try:
        qtbot.waitUntil(
            lambda: any(json.loads(path.read_text())["step"] >= 2 for path in saves.glob("*.json")),
            timeout=100_000,  # it is saved at once, not after a minute
        )
        assert autosave.unfinished("sv-momfbd") == []  # it runs
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    (found,) = autosave.unfinished("sv-momfbd")
    assert found.restart.step >= 2
    widget = docked(viewer, qtbot)
    widget.unfinished.discard_button.click()
    assert not widget.unfinished.offered
    assert list(saves.glob("*.state")) == list(saves.glob("*.json")) == []


def test_where_nothing_can_be_saved_the_run_works_and_says_so(live, finish, monkeypatch):
    def full():
        raise OSError("No space left on device")

    monkeypatch.setattr(autosave, "folder", full)
    assert finish(live, live.run_panel.run_button.click, seconds=60).end.value == "finished"
    assert "No space left on device" in live.run_panel.messages.text()


def test_a_changed_input_is_not_gone_on_with(viewer, saves, sun_file, qtbot):
    saved, _ = autosave.begin(heliorestore.read(sun_file), heliorestore.SvMomfbdSettings(**SMALL))
    saved.state.write_bytes(b"state")
    sun_file.write_bytes(b"something else")
    widget = docked(viewer, qtbot)
    widget.resume(saved)
    assert "sun.fits has been changed since" in widget.run_panel.problem.text()
    changed = dataclasses.replace(saved.restart, sources=(), prepared_with=((str(sun_file), 1, 1),))
    widget.resume(autosave.Autosave("dark", changed))
    assert "sun.fits has been changed since" in widget.run_panel.problem.text()


def test_out_of_memory_at_any_stage_is_said_and_the_next_run_works(live, finish, monkeypatch):
    import heliorestore.methods.blind.field_fit as module

    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    for name in ("observe", "refine_step", "measure", "evaluate"):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, full)
            outcome = finish(live, live.run_panel.run_button.click, seconds=60)
        assert outcome.end.value == "failed"
        assert "memory" in live.run_panel.problem.text()
        assert finish(live, live.run_panel.run_button.click, seconds=60).end.value == "finished"
        assert live.run_panel.problem.text() == ""


def test_layers_and_box_may_be_deleted_while_it_runs(live, viewer, finish, qtbot):
    set_fields(live, iterations=100_000)
    live.run_panel.run_button.click()
    qtbot.waitUntil(lambda: len(results(viewer)) == 3, timeout=60_000)
    live.modes_on.setChecked(True)
    viewer.layers.clear()
    live.modes_on.setChecked(False)
    slide(live, "lambda_object", 1.0)
    step = live.run_panel.snapshot.step
    qtbot.waitUntil(lambda: live.run_panel.snapshot.step > step, timeout=60_000)
    assert finish(live, live.run_panel.stop_button.click, seconds=60).end.value == "stopped"
    assert live.run_panel.problem.text() == ""


def test_a_result_of_live_knobs_can_be_exported(live, finish, tmp_path, qtbot):
    finish(live, live.run_panel.run_button.click, seconds=60)
    finish(live, lambda: slide(live, "filter_width", 1.5), seconds=60)
    live.export(tmp_path / "out.fits")
    qtbot.waitUntil(lambda: live.run_panel.messages.text().startswith("Written"), timeout=30_000)
    back = heliorestore.read(tmp_path / "out.fits")
    assert back.history["filter_width"].tolist() == live.run_panel.snapshot.history["filter_width"].tolist()
    np.testing.assert_array_equal(back.images, live.run_panel.snapshot.images)


def test_many_updates_leave_no_snapshot_behind(live, viewer, finish):
    from heliorestore.snapshot import Snapshot

    finish(live, live.run_panel.run_button.click, seconds=60)
    layers, snapshot = live.field_run.layers, live.run_panel.snapshot
    seen = []
    for step in range(100):
        maps = {name: maps + np.float32(step) for name, maps in snapshot.maps.items()}
        images = snapshot.images + np.float32(step)
        made = Snapshot(
            step=step,
            total=100,
            images=images,
            maps=maps,
            history=snapshot.history,
            losses=snapshot.losses,
            run=snapshot.run,
        )
        seen.append(weakref.ref(made))
        layers.show(made)
    del made, maps, images
    gc.collect()
    assert sum(ref() is not None for ref in seen) <= 2
    assert len(viewer.layers) == 5


def test_the_preview_ends_with_the_window(live, viewer, qtbot):
    live.preview_on.setChecked(True)
    qtbot.waitUntil(lambda: live.preview.snapshot is not None, timeout=60_000)
    running = live.preview_box.running
    viewer.close()
    gc.collect()
    qtbot.waitUntil(lambda: all(not worker.is_running for worker in running), timeout=20_000)


def test_the_memory_of_a_run_is_told_before_it(live, qtbot):
    qtbot.waitUntil(lambda: "Memory needed: about" in live.memory_note.text(), timeout=20_000)
    assert "GB" in live.memory_note.text()
    live.resize(385, 690)  # what a window of 1366 x 768 leaves
    live.grab()  # lays it out
    assert live.run_panel.curve.height() >= 160
    assert live.run_panel.curve.mapTo(live, live.run_panel.curve.rect().bottomLeft()).y() < 690
    inputs = live.layer_list.height()
    for number in range(3):
        live.viewer.add_image(np.zeros((40, 48)), name=f"more {number}")
    assert live.layer_list.sizeHint().height() > inputs
    live.viewer.add_image(np.zeros((40, 48)), name="a name that is longer than the panel is wide, by far")
    live.grab()
    assert live.layer_list.sizeHintForColumn(0) <= live.layer_list.viewport().width()
    assert not live.layer_list.horizontalScrollBar().isVisible()  # it would hide a row


def test_shortcuts_press_the_buttons_and_what_is_disabled_stays(live, viewer, qtbot):
    from heliorestore.plugin.widgets.shortcuts import SHORTCUTS

    assert {str(key) for key in viewer.keymap} >= {
        key.replace("Control", "Ctrl").replace("-", "+") for key in SHORTCUTS
    }
    pressed = []
    live.run_panel.run_button.clicked.connect(lambda: pressed.append("run"))
    live.run_panel.pause_button.clicked.connect(lambda: pressed.append("pause"))
    actions = {str(key): action for key, action in viewer.keymap.items()}
    actions["Ctrl+Alt+H"](viewer)
    assert pressed == []  # nothing runs
    actions["Ctrl+Alt+R"](viewer)
    assert pressed == ["run"]

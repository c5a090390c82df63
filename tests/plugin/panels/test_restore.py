"""The panel in a real viewer: what a user does, and what must not happen meanwhile."""

import dataclasses
import gc
import shlex
import weakref

import numpy as np
import pytest

from fake_method import FakeSettings
from heliorestore import own_instruments
from heliorestore.errors import HeliorestoreError
from heliorestore.instrument import find
from heliorestore.methods.base import restore
from heliorestore.plugin.viewer.contrast import cuts
from heliorestore.snapshot import StopReason
from window import choose_method, results, set_fields, wait_for_threads


@pytest.fixture
def notices():
    """What napari would show as notifications during the test."""
    from napari.utils.notifications import notification_manager

    seen = []
    notification_manager.notification_ready.connect(seen.append)
    yield seen
    notification_manager.notification_ready.disconnect(seen.append)


def test_a_run_makes_layers_with_the_headless_result(panel, viewer, burst, finish):
    outcome = finish(panel, panel.run_panel.run_button.click)
    alone = restore(burst, FakeSettings(), device="cpu")
    layers = results(viewer)
    assert outcome.end.value == "finished"
    assert set(layers) == {"fake 1 WB", "fake 1 NB", "fake 1 WB residual", "fake 1 NB residual"}
    np.testing.assert_array_equal(layers["fake 1 WB"].data, alone.images[0])
    np.testing.assert_array_equal(layers["fake 1 NB"].data, alone.images[1])
    assert layers["fake 1 WB"].metadata["heliorestore"].stop is StopReason.DONE
    assert not layers["fake 1 WB residual"].visible
    assert panel.run_panel.progress.value() == panel.run_panel.progress.maximum() == 5
    assert "All iterations are done" in panel.run_panel.messages.text()
    assert all(str(layer.units[-1]) == "arcsecond" for layer in viewer.layers)


def test_a_second_run_is_a_new_version_and_leaves_the_first_alone(panel, viewer, finish):
    finish(panel, panel.run_panel.run_button.click)
    first = np.array(results(viewer)["fake 1 WB"].data)
    # limits of its own, once; not those of the input around it
    assert tuple(results(viewer)["fake 1 WB"].contrast_limits) == cuts(first)
    results(viewer)["fake 1 WB"].contrast_limits = (1.0, 2.0)
    set_fields(panel, strength=1.0)
    finish(panel, panel.run_panel.run_button.click)
    np.testing.assert_array_equal(results(viewer)["fake 1 WB"].data, first)
    assert results(viewer)["fake 2 WB"].data.mean() > first.mean()
    assert tuple(results(viewer)["fake 1 WB"].contrast_limits) == (1.0, 2.0)
    assert len(results(viewer)) == 8


def test_view_is_not_moved_and_layers_are_not_replaced_by_updates(panel, viewer, finish, qtbot):
    viewer.dims.current_step = (3, 0, 0)
    viewer.scene.camera.zoom = 7.0
    set_fields(panel, iterations=100_000, pace_s=0.002)
    panel.run_panel.run_button.click()
    qtbot.waitUntil(lambda: len(results(viewer)) == 4, timeout=20_000)
    layer = results(viewer)["fake 1 WB"]
    layer.contrast_limits, layer.colormap = (9.0, 11.0), "inferno"
    before = {name: id(each) for name, each in results(viewer).items()}
    centre = viewer.scene.camera.center
    seen = layer.metadata["heliorestore"].step
    qtbot.waitUntil(lambda: layer.metadata["heliorestore"].step > seen, timeout=20_000)
    outcome = finish(panel, panel.run_panel.stop)
    assert outcome.end.value == "stopped"
    assert tuple(layer.contrast_limits) == (9.0, 11.0)
    assert layer.colormap.name == "inferno"
    assert viewer.dims.current_step[0] == 3
    assert viewer.scene.camera.zoom == 7.0
    assert viewer.scene.camera.center == centre
    assert {name: id(each) for name, each in results(viewer).items()} == before


def test_only_few_snapshots_are_drawn_and_the_last_one_always(panel, viewer, finish, monkeypatch):
    from heliorestore.plugin.viewer.result_layers import ResultLayers

    drawn = []
    show = ResultLayers.show
    monkeypatch.setattr(
        ResultLayers, "show", lambda self, snapshot: (drawn.append(snapshot.step), show(self, snapshot))
    )
    set_fields(panel, iterations=2000)
    finish(panel, panel.run_panel.run_button.click)
    assert drawn == sorted(drawn)
    assert drawn[-1] == 2000
    assert len(drawn) < 200


def test_layers_that_take_long_follow_one_per_turn_and_all_end_with_the_last_snapshot(
    panel, viewer, finish, qtbot, monkeypatch
):
    from qtpy.QtOpenGLWidgets import QOpenGLWidget

    from heliorestore.plugin.viewer import result_layers

    layers = result_layers.ResultLayers(viewer, "slow", panel.layer_list.chosen())
    finish(panel, panel.run_panel.run_button.click)
    snapshot = panel.run_panel.snapshot
    layers.last = snapshot
    while not layers.complete():
        pass
    for layer in layers.layers.values():
        layer.visible = True
    monkeypatch.setattr(result_layers, "_TURN_S", 0.0)
    listed = []
    for layer in layers.layers.values():
        layer.events.thumbnail.connect(lambda _: listed.append(layers.settled))
    for step in (1, 2):
        layers.show(dataclasses.replace(snapshot, images=snapshot.images + np.float32(step), step=step))
    steps = [layer.metadata["heliorestore"].step for layer in layers.layers.values()]
    assert not layers.settled
    assert steps.count(1) == 1
    assert 2 not in steps
    canvas = viewer.window.main_menu.window().centralWidget().findChild(QOpenGLWidget)
    assert not canvas.updatesEnabled()  # it is painted once, in a turn of its own
    qtbot.waitUntil(lambda: layers.settled, timeout=20_000)
    qtbot.waitUntil(canvas.updatesEnabled, timeout=20_000)
    assert listed  # the layer list shows them once
    assert all(listed)
    assert {layer.metadata["heliorestore"].step for layer in layers.layers.values()} == {2}
    for (kind, object_), layer in layers.layers.items():
        if kind == "image":
            np.testing.assert_array_equal(layer.data, snapshot.images[object_] + 2)


def test_frames_are_being_read_as_long_as_they_are(monkeypatch):
    from heliorestore.plugin.runs import stopping

    class Frames:
        shape, dtype, ndim = (1, 1, 2, 2), np.dtype("float32"), 4

        def __getitem__(self, key):
            return watched.being_read

    watched = stopping.StopBetweenFrames(Frames(), lambda: None)
    assert watched.being_read  # the first one follows
    monkeypatch.setattr(stopping, "_MOMENT_S", 0.0)
    assert watched[0]
    assert not watched.being_read


def test_what_a_run_does_is_said_from_its_begin_to_the_last_layer(panel, finish, qtbot, monkeypatch):
    from heliorestore.plugin.runs import stopping

    run, said = panel.run_panel, []
    monkeypatch.setattr(stopping, "_MOMENT_S", 0.0)
    monkeypatch.setattr(run.status, "setText", said.append)
    run._clock.setInterval(5)
    set_fields(panel, iterations=2, pace_s=0.2)
    finish(panel, run.run_button.click)
    layers = [text for text in said if text.startswith("Adding layer")]
    assert layers[0].endswith("of 4 to the viewer…")
    assert said.index("Computing the first result…") < said.index(layers[0])
    assert said[-1].startswith("Finished: 2 iterations")


def test_an_error_reaches_the_user_and_the_next_run_works(panel, viewer, finish, notices):
    for how, words in (
        ("runtime", "shapes do not fit"),
        ("memory", "not enough memory"),
        ("gpu", "not enough memory"),
    ):
        notices.clear()
        set_fields(panel, fail=how)
        outcome = finish(panel, panel.run_panel.run_button.click)
        assert outcome.end.value == "failed"
        assert words in panel.run_panel.problem.text()
        assert len(notices) == 1
        assert panel.run_panel.run_button.isEnabled()
        assert not panel.run_panel.stop_button.isEnabled()
        assert panel.run_panel.progress.maximum() > 0  # no bar that runs for ever
        set_fields(panel, fail="")
        assert finish(panel, panel.run_panel.run_button.click).end.value == "finished"
        assert panel.run_panel.problem.text() == ""


def test_pause_step_and_go_on(panel, finish, qtbot):
    run = panel.run_panel
    run.step_button.click()
    qtbot.waitUntil(lambda: run.state.name == "PAUSED" and run.snapshot is not None, timeout=20_000)
    assert run.snapshot.step == 1
    assert run.status.text() == "Paused before iteration 2 of 5."
    assert (run.run_button.isEnabled(), run.pause_button.isEnabled(), run.stop_button.isEnabled()) == (
        True,
        False,
        True,
    )
    assert run.run_button.text() == "Continue"
    run.step_button.click()
    qtbot.waitUntil(lambda: run.snapshot.step == 2, timeout=20_000)
    assert finish(panel, run.run_button.click).end.value == "finished"
    assert run.snapshot.step == 5
    assert run.run_button.text() == "Run"
    assert run.status.text().startswith("Finished: 5 iterations in 0:")  # and no rate of a run that is over


def test_a_run_that_waits_for_settings_at_its_end_is_shown_and_can_be_stopped(panel, finish, qtbot):
    run = panel.run_panel
    job = dataclasses.replace(panel.job(), holds=True)
    run.start(job, panel.make_layers(job))
    qtbot.waitUntil(lambda: run.state.name == "HOLDING" and run.snapshot is not None, timeout=20_000)
    assert "Waiting for a change" in run.status.text()
    assert (run.run_button.isEnabled(), run.pause_button.isEnabled()) == (False, False)
    assert finish(panel, run.stop_button.click).end.value == "stopped"


def test_live_settings_act_and_a_slider_storm_leaves_the_last_value(panel, fake, finish, qtbot):
    run = panel.run_panel
    run.step_button.click()
    qtbot.waitUntil(lambda: run.state.name == "PAUSED", timeout=20_000)
    assert not panel.form.fields["offset"].editor.isEnabled()
    slider = panel.form.fields["strength"].editor.slider
    for tick in range(30):
        slider.setValue(slider.maximum() - 29 + tick)
    finish(panel, run.run_button.click)
    assert fake.strengths == [0.1, 10.0, 10.0, 10.0, 10.0]
    assert run.snapshot.history["strength"].tolist() == fake.strengths
    assert panel.form.fields["offset"].editor.isEnabled()


def test_a_layer_that_is_deleted_meanwhile_stays_deleted(panel, viewer, finish, qtbot):
    set_fields(panel, iterations=100_000, pace_s=0.002)
    panel.run_panel.run_button.click()
    qtbot.waitUntil(lambda: len(results(viewer)) == 4, timeout=20_000)
    viewer.layers.remove("fake 1 WB")
    viewer.layers.remove("sun WB")  # the input too
    step = panel.run_panel.snapshot.step
    qtbot.waitUntil(lambda: panel.run_panel.snapshot.step > step, timeout=20_000)
    assert finish(panel, panel.run_panel.stop_button.click).end.value == "stopped"
    assert "fake 1 WB" not in results(viewer)
    assert results(viewer)["fake 1 NB"].metadata["heliorestore"].stop is StopReason.USER
    assert panel.run_panel.status.text().startswith("Stopped after")
    assert "Stopped" not in panel.run_panel.messages.text()  # said once
    assert panel.run_panel.problem.text() == ""


def test_deleting_every_layer_meanwhile_is_safe(panel, viewer, finish, qtbot):
    set_fields(panel, iterations=100_000, pace_s=0.002)
    panel.run_panel.run_button.click()
    qtbot.waitUntil(lambda: len(results(viewer)) == 4, timeout=20_000)
    viewer.layers.clear()
    finish(panel, panel.run_panel.stop_button.click)
    panel.run_panel.run_button.click()
    assert "No image layer is chosen" in panel.run_panel.problem.text()


def test_closing_the_window_ends_the_run(panel, viewer, fake, qtbot):
    set_fields(panel, iterations=100_000, pace_s=0.002)
    panel.run_panel.run_button.click()
    qtbot.waitUntil(lambda: len(results(viewer)) == 4, timeout=20_000)
    viewer.close()
    wait_for_threads()
    qtbot.waitUntil(lambda: fake.closed == 1, timeout=20_000)
    gc.collect()
    assert fake.made[0]() is None


def test_a_running_restoration_is_in_naparis_task_list(panel, make_napari_viewer_proxy, finish, qtbot):
    from napari.viewer import current_viewer

    set_fields(panel, iterations=100_000, pace_s=0.002)
    panel.run_panel.run_button.click()
    qtbot.waitUntil(lambda: panel.run_panel.snapshot is not None, timeout=20_000)
    tasks = current_viewer().window._task_status_manager  # there is no public way to ask
    assert any("fake of 2 x 4 images of 30 x 24 pixels" in text for text in tasks.get_status())
    finish(panel, panel.run_panel.stop)
    assert not tasks.is_busy()


def test_destroying_the_dock_ends_the_run(panel, viewer, fake, qtbot):
    set_fields(panel, iterations=100_000, pace_s=0.002)
    panel.run_panel.run_button.click()
    qtbot.waitUntil(lambda: len(results(viewer)) == 4, timeout=20_000)
    viewer.window.remove_dock_widget(panel)
    panel.deleteLater()
    qtbot.waitUntil(lambda: fake.closed == 1, timeout=20_000)
    # nobody listens any more, nothing breaks
    viewer.add_image(np.ones((4, 4)), scale=(0.05, 0.05), units=("arcsec", "arcsec"))
    assert len(viewer.layers) == 7


def test_a_run_whose_panel_was_closed_stops_at_once(panel, viewer, fake, finish, qtbot):
    set_fields(panel, iterations=100_000, pace_s=0.002)
    panel.run_panel.run_button.click()
    qtbot.waitUntil(lambda: len(results(viewer)) == 4, timeout=20_000)
    # the panel itself is still alive: Python's collector has not come to it
    outcome = finish(panel, lambda: viewer.window.remove_dock_widget(panel))
    assert outcome.end.value == "stopped"
    assert fake.closed == 1
    assert not panel.run_panel.stopped  # nobody pressed Stop: what was saved of it can be resumed
    assert len(results(viewer)) == 4


def test_hiding_the_dock_lets_the_run_go_on(panel, viewer, finish, qtbot):
    set_fields(panel, iterations=60, pace_s=0.002)
    dock = panel.parent()
    assert finish(panel, lambda: (panel.run_panel.run_button.click(), dock.hide())).end.value == "finished"


def close_button(dock):
    """The button with the cross in the title bar."""
    return dock.titleBarWidget().close_button


def answer(button, monkeypatch):
    """Press the button of that name in every question from now on; the list has the names that were there."""
    from qtpy.QtWidgets import QMessageBox

    asked = []

    def press(box):
        names = {each.text().replace("&", ""): each for each in box.buttons()}
        asked.append(set(names))
        names[button].click()

    monkeypatch.setattr(QMessageBox, "exec", press)
    return asked


def test_closing_a_panel_in_mid_run_asks(panel, viewer, fake, finish, qtbot, monkeypatch):
    set_fields(panel, iterations=100_000, pace_s=0.002)
    panel.run_panel.run_button.click()
    qtbot.waitUntil(lambda: len(results(viewer)) == 4, timeout=20_000)
    dock, run = panel.parent(), panel.run_panel
    asked = answer("Cancel", monkeypatch)
    close_button(dock).click()
    assert asked == [{"Let it run", "Stop", "Cancel"}]
    assert run.busy
    assert not dock.isHidden()
    dock.setFloating(True)  # which makes the button anew
    answer("Let it run", monkeypatch)
    close_button(dock).click()
    assert dock.isHidden()
    before = run.snapshot.step
    qtbot.waitUntil(lambda: run.snapshot.step > before + 5, timeout=20_000)
    assert viewer.window.dock_widgets["Restore"] is panel  # what the Plugins menu shows again
    dock.setVisible(True)
    answer("Stop", monkeypatch)
    assert finish(panel, close_button(dock).click).end.value == "stopped"
    assert fake.closed == 1
    assert "Restore" not in viewer.window.dock_widgets


def test_closing_a_panel_without_a_run_asks_nothing(panel, viewer, finish, monkeypatch):
    finish(panel, panel.run_panel.run_button.click)
    asked = answer("Cancel", monkeypatch)
    close_button(panel.parent()).click()
    assert not asked
    assert "Restore" not in viewer.window.dock_widgets


def test_updates_leave_no_memory_behind(panel, viewer, finish, qtbot):
    set_fields(panel, iterations=100_000)
    panel.run_panel.run_button.click()
    qtbot.waitUntil(lambda: len(results(viewer)) == 4, timeout=20_000)
    old = weakref.ref(panel.run_panel.snapshot)
    pictures = weakref.ref(panel.run_panel.snapshot.images)
    step = panel.run_panel.snapshot.step
    qtbot.waitUntil(lambda: panel.run_panel.snapshot.step > step, timeout=20_000)
    finish(panel, panel.run_panel.stop)
    gc.collect()
    assert old() is None
    assert pictures() is None


def test_what_is_unknown_is_asked_for_in_the_panel(panel, viewer, finish):
    from napari.layers import Layer

    viewer.add_layer(
        Layer.create(np.random.default_rng(0).normal(5, 1, (20, 20)), {"name": "plain"}, "image")
    )
    panel.input.instrument_section.set_open(True)
    panel.setFixedWidth(385)
    panel.show()
    panel.grab()
    below = panel.run_panel.run_button
    place, title = below.mapTo(panel, below.rect().center()), panel.input.instrument_section.title
    panel.layer_list.choose([viewer.layers["plain"]])
    assert title.text() == "⚠ Instrument"
    panel.grab()
    assert below.mapTo(panel, below.rect().center()) == place  # nothing moves under the mouse
    panel.run_panel.run_button.click()
    assert "does not give the aperture, the pixel size and the wavelength" in panel.run_panel.problem.text()
    assert not panel.instrument.missing.isHidden()
    panel.instrument.choice.setCurrentIndex(panel.instrument.choice.findData("crisp-8542"))
    panel.instrument.numbers["pixel_arcsec"].setText("0.06")
    panel.instrument.numbers["pixel_arcsec"].editingFinished.emit()
    assert panel.instrument.missing.isHidden()
    assert title.text() == "Instrument"
    assert panel.instrument.text() == "crisp-8542,pixel_arcsec=0.06"
    choice = panel.instrument.choice
    assert choice.currentText() == "SST/CRISP 8542 (edited)"
    panel.setFixedWidth(385)  # what a window of 1366 x 768 leaves
    panel.grab()
    assert choice.width() > choice.fontMetrics().horizontalAdvance("file: SST/CRISP 8542 (edited)") + 30
    panel.instrument.save_as("no such name")
    assert "cannot be called 'no such name'" in panel.instrument.missing.text()
    panel.instrument.save_as("crisp-new")  # remembered, and chosen
    assert panel.instrument.text() == panel.instrument.choice.currentText() == "crisp-new"
    assert find("crisp-new").pixel_arcsec == 0.06
    assert panel.instrument.missing.isHidden()
    assert finish(panel, panel.run_panel.run_button.click).end.value == "finished"
    assert panel.run_panel.snapshot.run.instruments[0].pixel_arcsec == 0.06
    assert "fake 1 plain" in results(viewer)
    own_instruments.delete("crisp-new")


def test_a_scale_far_from_the_cameras_is_refused_in_the_panel(panel, viewer, finish):
    from napari.layers import Layer

    cards = {"INSTRUME": "CRISP", "WAVELNTH": 6302.0, "WAVEUNIT": -10, "CDELT1": 1.0, "CUNIT1": "arcsec"}
    image = np.random.default_rng(0).normal(5, 1, (20, 20))
    viewer.add_layer(Layer.create(image, {"name": "odd", "metadata": {"header": cards}}, "image"))
    panel.layer_list.choose([viewer.layers["odd"]])
    assert "16.9 times larger than those of SST/CRISP" in panel.instrument.doubt.text()
    assert panel.instrument.missing.isHidden()
    pixel = panel.instrument.numbers["pixel_arcsec"]
    assert finish(panel, panel.run_panel.run_button.click).end.value == "failed"
    assert "than those of SST/CRISP (0.059 arcsec)" in panel.run_panel.problem.text()
    pixel.setText("0.06")
    pixel.editingFinished.emit()
    assert panel.instrument.doubt.isHidden()
    pixel.setText("1")
    pixel.editingFinished.emit()
    assert not panel.instrument.doubt.isHidden()
    pixel.setModified(True)  # as by typing
    pixel.editingFinished.emit()
    assert panel.instrument.doubt.isHidden()
    assert panel.instrument.text() == "pixel_arcsec=1"


def test_an_instrument_belongs_to_its_layer_in_every_panel(panel, viewer):
    from heliorestore.plugin.panels.enhance import EnhanceWidget

    for name in ("one", "other"):
        viewer.add_image(np.random.default_rng(0).normal(5, 1, (20, 20)), name=name)
    one, other = viewer.layers["one"], viewer.layers["other"]
    second = EnhanceWidget(viewer)
    viewer.window.add_dock_widget(second, name="second")
    for each in (panel, second):
        each.layer_list.choose([one])
    box = panel.instrument
    box.choice.setCurrentIndex(box.choice.findData("crisp-8542"))
    box.numbers["pixel_arcsec"].setText("0.06")
    box.numbers["pixel_arcsec"].editingFinished.emit()
    text = "crisp-8542,pixel_arcsec=0.06"
    assert second.instrument.text() == text
    assert second.instrument.choice.currentText() == "SST/CRISP 8542 (edited)"
    panel.layer_list.choose([other])  # whose instrument nobody has entered
    assert box.text() == ""
    second.instrument.numbers["diameter_m"].setText("1.5")
    viewer.add_image(np.ones((4, 4)), name="comes meanwhile")
    assert second.instrument.numbers["diameter_m"].text() == "1.5"  # being typed
    panel.layer_list.choose([one, other])
    assert box.text() == text
    assert "restored with that of one" in panel.hint.text()
    assert second.instrument.numbers["diameter_m"].text() == "1.5"
    panel.layer_list.choose([other])
    box.set_text("name=custom,psf=airy,diameter_m=0.5")
    panel.layer_list.choose([one])
    assert box.text() == text
    second.layer_list.choose([other])
    assert second.instrument.text() == "name=custom,psf=airy,diameter_m=0.5"
    box.choice.setCurrentIndex(0)  # back to the file's
    second.layer_list.choose([one])
    assert second.instrument.text() == ""


def test_a_custom_instrument_has_only_the_numbers_that_are_given(panel):
    box = panel.instrument
    box.choice.setCurrentIndex(box.choice.findText("custom"))
    box.numbers["diameter_m"].setText("0.5")
    (instrument, _) = panel.burst().instruments
    assert (instrument.name, instrument.diameter_m, instrument.wavelength_nm) == ("custom", 0.5, 630.0)
    box.numbers["diameter_m"].setText("half")
    panel.run_panel.run_button.click()
    assert "aperture D [m] is 'half'; it must be a number" in panel.run_panel.problem.text()


def test_frames_and_objects_are_chosen_by_slices(panel, finish):
    panel.frames.setText("1:3")
    panel.objects.setText("1")
    finish(panel, panel.run_panel.run_button.click)
    run = panel.run_panel.snapshot.run
    assert (run.labels, run.frame_numbers, run.object_numbers) == (("NB",), range(1, 3), range(1, 2))
    panel.frames.setText("9:")
    panel.run_panel.run_button.click()
    assert "the burst has 4 frames, numbered 0 to 3" in panel.run_panel.problem.text()
    panel.frames.setText("first")
    panel.run_panel.run_button.click()
    assert "write numbers and Python slices, such as 0:6" in panel.run_panel.problem.text()


def test_frames_are_chosen_by_their_sharpness(panel, viewer, burst, qtbot):
    from heliorestore.prepare.sharpness import sharpness

    choice = panel.input.frame_choice
    assert choice.values is None  # nothing is read before it is opened
    panel.objects.setText("1")
    choice.set_open(True)
    qtbot.waitUntil(lambda: choice.values is not None, timeout=20_000)
    values = sharpness(burst, 1)
    np.testing.assert_array_equal(choice.values, values)
    assert choice.said.text() == "4 of 4 frames are used."
    choice.best.setText("50%")
    choice.best.editingFinished.emit()
    two = sorted(np.argsort(-values)[:2].tolist())
    assert list(panel.burst().frame_numbers) == two
    choice.chart.clicked.emit(two[0])
    assert panel.frames.text() == f"{two[1]}:{two[1] + 1}"
    assert choice.best.text() == ""
    choice.chart.clicked.emit(two[1])  # the last one stays
    assert choice.said.text() == "1 of 4 frames are used."
    choice.best.setText("half")
    choice.best.editingFinished.emit()
    assert "a percentage such as 30%" in choice.said.text()
    known = choice.values
    viewer.add_image(np.ones((24, 30)), name="other")
    assert choice.values is known  # a layer that comes changes nothing
    viewer.layers.remove("other")
    panel.layer_list.choose([])
    assert choice.values is None
    assert "No image layer is chosen" in choice.said.text()


def test_the_list_of_inputs_follows_the_viewer(panel, viewer):
    def shown():
        return [
            (panel.layer_list.item(n).text(), panel.layer_list.item(n).checkState().value)
            for n in range(panel.layer_list.count())
        ]

    assert shown() == [("sun WB", 2), ("sun NB", 2)]
    viewer.layers["sun NB"].name = "line"
    viewer.add_image(np.ones((24, 30)), name="other", scale=(0.05, 0.05), units=("arcsec", "arcsec"))
    viewer.add_points(np.zeros((1, 2)), scale=(0.05, 0.05), units=("arcsec", "arcsec"))
    assert shown() == [("sun WB", 2), ("line", 2), ("other", 0)]
    viewer.layers.remove("sun WB")
    assert shown() == [("line", 2), ("other", 0)]
    assert panel.burst().labels == ("NB",)
    viewer.layers.clear()
    viewer.add_image(np.ones((24, 30)), name="new", scale=(0.05, 0.05), units=("arcsec", "arcsec"))
    assert shown() == [("new", 2)]


def test_the_command_line_repeats_the_run(panel, viewer, burst, tmp_path, qtbot, monkeypatch, finish):
    import dataclasses

    from napari.layers import Layer

    from heliorestore.burst import Source
    from heliorestore.plugin.viewer.layers import burst_layers

    panel.copy_command()
    assert "save the layer to FITS" in panel.run_panel.problem.text()
    path = tmp_path / "my scan.fits"
    path.write_bytes(b"")
    from_file = dataclasses.replace(burst, sources=(Source.of(path),))
    layers = [viewer.add_layer(Layer.create(*data)) for data in burst_layers(from_file, "scan")]
    panel.layer_list.choose(layers)
    panel.frames.setText("::2")
    panel.objects.setText("1")
    panel.instrument.numbers["pixel_arcsec"].setText("0.06")
    panel.device.setCurrentText("cpu")
    panel.seed.setValue(7)
    set_fields(panel, strength=0.25, text="it's")
    from qtpy.QtWidgets import QApplication

    panel.copy_command()
    words = shlex.split(QApplication.clipboard().text())
    assert words[:3] == ["heliorestore", "fake", str(path)]
    assert words[words.index("-o") + 1] == "my scan_restored.fits"
    assert words[words.index("--instrument") + 1] == "pixel_arcsec=0.06"
    assert {"--frames=0:4:2", "--objects=1:2"} <= set(words)
    assert words[words.index("--device") + 1 : words.index("--device") + 4] == ["cpu", "--seed", "7"]
    assert words[-4:] == ["--strength", "0.25", "--text", "it's"]
    panel.copy_python()
    text = QApplication.clipboard().text()
    compile(text, "copied", "exec")
    assert ".select(objects='1:2', frames='0:4:2').with_instrument('pixel_arcsec=0.06')" in text
    assert 'strength=0.25, text="it\'s"' in text
    check_moved(panel, finish, qtbot)
    check_calibration(panel, viewer, burst, tmp_path, qtbot, monkeypatch)


def check_moved(panel, finish, qtbot):
    """Where no command repeats the result, the panel says what does."""
    finish(panel, panel.run_panel.run_button.click)
    panel.copy_command()
    assert "rerun" not in panel.run_panel.messages.text()
    panel.run_panel.step_button.click()
    qtbot.waitUntil(lambda: panel.run_panel.state.name == "PAUSED", timeout=20_000)
    set_fields(panel, strength=0.5)
    finish(panel, panel.run_panel.run_button.click)
    panel.copy_python()
    said = panel.run_panel.messages.text()
    assert "settings were moved during its run" in said
    assert "heliorestore rerun FILE" in said
    set_fields(panel, strength=0.25)


def check_calibration(panel, viewer, burst, tmp_path, qtbot, monkeypatch):
    """The frames are calibrated for the run, and both texts say with what; goes on from the test above."""
    from astropy.io import fits
    from qtpy.QtWidgets import QApplication, QFileDialog

    dark, small = tmp_path / "dark.fits", tmp_path / "small.fits"
    fits.writeto(dark, np.full((24, 30), 2.5, np.float32))
    fits.writeto(small, np.ones((24, 24), np.float32))
    calibration = panel.input.calibration
    box = calibration.form.fields["dark"].editor
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(dark), ""))
    box.browse_button.click()
    with pytest.raises(HeliorestoreError, match="still being read"):
        panel.job()
    shown = "The layers show the frames as they are in the file"
    qtbot.waitUntil(lambda: shown in calibration.said.text(), timeout=20_000)
    job = panel.job()
    np.testing.assert_array_equal(job.burst.image(0, 1), burst.image(1, 2) - 2.5)
    assert job.burst.labels == ("NB",)
    panel.copy_command()
    assert shlex.split(QApplication.clipboard().text())[-6:-4] == ["--dark", str(dark)]
    panel.copy_python()
    text = QApplication.clipboard().text()
    compile(text, "copied", "exec")
    assert f"scan.fits', Preparation(dark={str(dark)!r}))\nburst = burst.select(objects='1:2'" in text
    box.set_path(str(small))
    box.changed.emit()
    says = "24 x 24 pixels and the frames have 30 x 24"
    qtbot.waitUntil(lambda: says in calibration.said.text(), timeout=20_000)
    panel.run_panel.say("")
    panel.start()
    assert "24 x 24 pixels" in panel.run_panel.problem.text()
    viewer.layers[0].data = viewer.layers[0].data + 1
    panel.layer_list.choose([viewer.layers[0]])
    assert "open several files as one burst" in calibration.said.text()


def test_reset_shows_the_defaults_again(panel):
    set_fields(panel, iterations=9, flag=True)
    panel.reset_button.click()
    assert panel.form.settings() == FakeSettings()


def test_every_control_explains_itself(panel):
    from qtpy.QtWidgets import (
        QAbstractButton,
        QAbstractSlider,
        QAbstractSpinBox,
        QComboBox,
        QLineEdit,
        QListWidget,
        QScrollBar,
    )

    silent = [
        child
        for kind in (QAbstractButton, QAbstractSlider, QAbstractSpinBox, QComboBox, QLineEdit, QListWidget)
        for child in panel.findChildren(kind)
        if not child.toolTip()
        and not isinstance(child, QScrollBar)
        and not isinstance(child.parent(), (QAbstractSpinBox, QComboBox))  # Qt's own parts of a control
    ]
    assert silent == []


def test_the_panel_scrolls_and_keeps_its_width(panel, viewer, qtbot):
    assert panel.minimumWidth() == 320
    assert panel.minimumSizeHint().height() < 300


def test_another_method_can_be_chosen_and_brings_its_own_form(panel, qtbot):
    shown = [panel.method_choice.itemText(n) for n in range(panel.method_choice.count())]
    assert {"SV-MOMFBD", "Noise2Noise", "Richardson-Lucy", "fake"} <= set(shown)
    choose_method(panel, "richardson-lucy", qtbot)
    assert set(panel.form.fields) >= {"iterations", "damping", "upsampling"}
    assert panel.device.findText("cpu") >= 0
    assert len({panel.device.itemText(n) for n in range(panel.device.count())}) == panel.device.count()


def test_a_method_that_cannot_be_loaded_is_explained(panel, notices, qtbot, monkeypatch):
    from heliorestore.methods import METHODS, Entry

    monkeypatch.setitem(METHODS, "fake", Entry("heliorestore.no_such_module:METHOD", "Not there."))
    panel.method_form.choose()
    qtbot.waitUntil(lambda: "no_such_module" in panel.run_panel.problem.text(), timeout=20_000)
    assert len(notices) == 1
    assert not panel.run_panel.run_button.isEnabled()


def test_hidden_layers_wait_until_they_are_shown(panel, viewer, finish, qtbot):
    heard = []
    viewer.layers.selection.events.active.connect(lambda event: heard.append(str(event.value)))
    set_fields(panel, iterations=100_000, pace_s=0.002)
    panel.run_panel.run_button.click()
    qtbot.waitUntil(lambda: len(results(viewer)) == 4, timeout=20_000)
    layers = results(viewer)
    hidden, shown = layers["fake 1 WB residual"], layers["fake 1 WB"]
    stale = hidden.metadata["heliorestore"].step
    qtbot.waitUntil(lambda: shown.metadata["heliorestore"].step > stale, timeout=20_000)
    assert hidden.metadata["heliorestore"].step == stale
    hidden.visible = True
    assert hidden.metadata["heliorestore"] is panel.run_panel.snapshot
    finish(panel, panel.run_panel.stop)
    assert {layer.metadata["heliorestore"].step for layer in results(viewer).values()} == {
        panel.run_panel.snapshot.step
    }
    assert [layer.name for layer in viewer.layers][-4:] == [
        "fake 1 WB residual",
        "fake 1 NB residual",
        "fake 1 NB",
        "fake 1 WB",
    ]
    assert viewer.layers.selection.active.name == "fake 1 WB"
    assert set(heard) <= {"None", "fake 1 WB"}  # nothing is built for a selection that is undone at once


def test_closing_the_window_before_the_layers_are_made_is_safe(panel, viewer, fake, qtbot):
    set_fields(panel, iterations=100_000, pace_s=0.002)
    panel.run_panel.run_button.click()
    qtbot.waitUntil(lambda: bool(fake.strengths), timeout=20_000)
    viewer.close()
    wait_for_threads()
    assert fake.closed == 1


def test_closing_the_window_while_a_method_is_loaded_is_safe(panel, viewer, qtbot):
    panel.method_choice.setCurrentIndex(panel.method_choice.findData("richardson-lucy"))
    assert panel.form is None
    viewer.close()
    wait_for_threads()


def test_mode_maps_give_sliders_and_no_word_about_units(panel, viewer, burst):
    from napari.layers import Layer

    from heliorestore.plugin.viewer.layers import snapshot_layers
    from heliorestore.snapshot import Run, Snapshot

    maps = {"modes": np.random.default_rng(0).normal(size=(4, 6, 3, 4))}
    snapshot = Snapshot(
        step=1, total=1, images=np.ones((2, 24, 30)), maps=maps, run=Run.of(burst, FakeSettings(), "cpu", 0)
    )
    for data in snapshot_layers(snapshot, "r"):
        viewer.add_layer(Layer.create(*data))
    assert viewer.dims.ndim == 4
    viewer.dims.current_step = (5, 3, 0, 0)  # mode 5 of frame 3: the frame slider is the burst's
    np.testing.assert_array_equal(
        viewer.layers["r WB modes"].data[5, 3], maps["modes"].astype(np.float32)[3, 5]
    )
    assert viewer.dims.axis_labels[:2] == ("k", "t")


def test_the_export_dialog_starts_where_the_last_one_ended(panel, finish, qtbot, tmp_path, monkeypatch):
    from heliorestore.plugin.panels import files as module

    asked = []

    def answer(parent, title, start, *_):
        asked.append(start)
        return str(tmp_path / "chosen"), ""

    monkeypatch.setattr(module.QFileDialog, "getSaveFileName", answer)
    finish(panel, panel.run_panel.run_button.click)
    panel.export_button.click()
    qtbot.waitUntil(lambda: panel.run_panel.messages.text().startswith("Written"), timeout=20_000)
    assert (tmp_path / "chosen.fits").exists()
    (tmp_path / "chosen.fits").unlink()
    panel.export_button.click()
    assert asked[1].startswith(str(tmp_path))
    qtbot.waitUntil((tmp_path / "chosen.fits").exists, timeout=20_000)


def test_a_panel_for_one_method_has_no_choice_of_methods(viewer, fake, qtbot):
    from heliorestore.plugin.panels.restore import RestoreWidget

    class FakePanel(RestoreWidget):
        method = "fake"

    widget = FakePanel(viewer)
    viewer.window.add_dock_widget(widget, name="Fake")
    qtbot.waitUntil(lambda: widget.form is not None, timeout=20_000)
    assert widget.form.settings_class is FakeSettings
    assert widget.method_choice.parent() is None
    assert widget.summary.text() == "Add a number."


def test_a_panel_names_the_order_of_its_sections_and_fills_its_own(viewer, fake, qtbot):
    from qtpy.QtWidgets import QLabel

    from heliorestore.plugin.panels.restore import RestoreWidget

    class FakePanel(RestoreWidget):
        method = "fake"
        slots = ("mine", "run", "empty", *(name for name in RestoreWidget.slots if name != "run"))

        def _build(self):
            super()._build()
            self.mine = QLabel("mine")
            self.sections.fill("mine", self.mine)

    widget = FakePanel(viewer)
    viewer.window.add_dock_widget(widget, name="Fake")
    places = [widget.column.itemAt(n).layout() for n in range(widget.column.count())]
    mine, *shown = [place.itemAt(0).widget() for place in places if place is not None and place.count()]
    assert mine is widget.mine
    assert [section.title.text() for section in shown] == [
        "Run", "Input", "Method", "Suggestion", "Result", "Versions", "Sweep",
    ]  # fmt: skip
    qtbot.waitUntil(lambda: widget.form is not None, timeout=20_000)
    with pytest.raises(KeyError):
        widget.sections.fill("nowhere", QLabel())


def test_a_layer_of_naparis_own_reader_is_pointed_out(panel, viewer, tmp_path):
    from napari.layers import Layer
    from napari.layers._source import layer_source

    # as napari marks what it has read itself
    with layer_source(path=str(tmp_path / "cube.fits"), reader_plugin="napari"):
        layer = Layer.create(
            np.ones((20, 20)), {"name": "cube", "scale": (0.05, 0.05), "units": ("arcsec", "arcsec")}, "image"
        )
    viewer.add_layer(layer)
    panel.layer_list.choose([viewer.layers["cube"]])
    assert "opened by napari's own reader" in panel.hint.text()
    assert not panel.hint.isHidden()


def test_what_cannot_be_restored_is_said_before_run_with_what_to_do(panel, viewer):
    from qtpy.QtCore import QPoint

    bursts, below = list(viewer.layers), panel.run_panel.run_button
    panel.setFixedWidth(385)
    for name, image, words in (
        ("flat", np.full((3, 24, 30), 7.0), "The pixels of flat all have the value 7: there is nothing"),
        ("empty", np.full((24, 30), np.nan, np.float32), "The pixels of empty are all NaN"),
    ):
        layer = viewer.add_image(image, name=name, contrast_limits=(0, 1))
        panel.layer_list.choose(bursts)
        panel.grab()
        place = below.mapTo(panel, QPoint())
        panel.layer_list.choose([layer])
        assert words in panel.hint.text()
        panel.grab()
        assert below.mapTo(panel, QPoint()) == place
        assert panel.instrument.missing.isHidden()
        panel.run_panel.run_button.click()
        assert words in panel.run_panel.problem.text()
    late = np.ones((3, 24, 30))
    late[1, 3] = 2  # some frames are good
    panel.layer_list.choose([viewer.add_image(late, name="late")])
    assert "nothing to restore" not in panel.hint.text()
    panel.layer_list.choose(bursts)
    assert panel.hint.text() == ""
    for layer in list(viewer.layers):
        viewer.layers.remove(layer)
    for layer, words in (
        (viewer.add_image(np.zeros((9, 9, 3), np.uint8), rgb=True, name="photo"), "photo has colours: split"),
        (viewer.add_labels(np.zeros((9, 9), int), name="spots"), "spots holds labels, not an image: open"),
        (viewer.add_points([[1.0, 2.0]], name="dots"), "dots holds points, not an image"),
        (viewer.add_image(np.zeros((2, 3, 9, 9)), name="scan"), "scan has 4 axes (2 x 3 x 9 x 9): split it"),
    ):
        assert words in panel.hint.text()
        viewer.layers.remove(layer)
    assert panel.hint.text() == ""


def test_the_method_that_fits_the_layer_stands_first_until_one_is_chosen(viewer, qtbot):
    from napari.layers import Layer

    from heliorestore.fits.reader import read
    from heliorestore.plugin.panels.restore import RestoreWidget
    from heliorestore.plugin.viewer.layers import burst_layers
    from heliorestore.samples import sample_path

    for sample in ("hmi_continuum.fits", "sunspot_truth.fits"):
        for data in burst_layers(read(sample_path(sample)), sample):
            viewer.add_layer(Layer.create(*data))
    widget = RestoreWidget(viewer)
    qtbot.addWidget(widget)
    assert (widget.method_choice.itemData(0), widget.method_name) == ("enhance", "enhance")
    widget.layer_list.choose([viewer.layers[1]])
    assert (widget.method_choice.itemData(0), widget.method_name) == ("richardson-lucy", "richardson-lucy")
    choose_method(widget, "pca", qtbot)
    widget.layer_list.choose([viewer.layers[0]])
    assert (widget.method_choice.itemData(0), widget.method_name) == ("enhance", "pca")
    assert widget.method_choice.currentText() == "PCA"

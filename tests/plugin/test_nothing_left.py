"""What is deleted or closed is freed: nothing of ours keeps it, nor lets napari keep it."""

import gc
import weakref

import numpy as np
import pytest
from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QApplication

from heliorestore.burst import Burst
from window import set_fields, wait_for_threads


def gone(reference: weakref.ref) -> bool:
    """Whether it is freed when Qt and Python have tidied up."""
    QApplication.processEvents()
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    for _ in range(3):
        gc.collect()
    return reference() is None


def test_the_worker_of_a_closed_panel_keeps_no_snapshot(panel, qtbot):
    """napari keeps the worker until the window closes."""
    set_fields(panel, iterations=100_000, pace_s=0.02)
    panel.run_panel.run_button.click()
    qtbot.waitUntil(lambda: panel.run_panel.snapshot is not None, timeout=20_000)
    worker = panel.run_panel._worker
    assert worker is not None
    panel.run_panel.quit()
    wait_for_threads()  # no event is served: a panel that is closed takes nothing
    assert worker.take() is None


@pytest.mark.parametrize("listed", [True, False])
def test_who_hears_of_the_end_of_a_task_is_not_kept_by_it(viewer, qtbot, listed):
    from heliorestore.plugin.runs.task import start_task

    class Heard(list):
        """A list that can be referred to weakly."""

    def begin():
        heard = Heard()
        start_task("work", lambda: 3, lambda outcome: heard.append(outcome), listed=listed)  # noqa: PLW0108 # it holds the list
        qtbot.waitUntil(lambda: bool(heard), timeout=20_000)
        return weakref.ref(heard)

    reference = begin()
    qtbot.wait(20)
    assert gone(reference)


def test_a_window_that_is_closed_while_a_key_blinks_is_freed(viewer):
    from heliorestore.plugin.viewer.blink_key import blink
    from heliorestore.plugin.viewer.comparison import comparison_of

    viewer.add_image(np.eye(20), name="a")
    viewer.add_image(np.eye(20)[::-1], name="b")
    blink(viewer)
    comparison = weakref.ref(comparison_of(viewer))
    assert not gone(comparison)  # no panel keeps it
    viewer.close()
    assert gone(comparison)


def test_the_noise_of_a_record_does_not_keep_it():
    from heliorestore.plugin.panels.profiles import _noise

    frames = np.random.default_rng(0).normal(1, 0.1, (2, 3, 24, 24)).astype(np.float32)
    burst = Burst.from_array(frames)
    assert _noise(burst, 0) is _noise(burst, 0)
    assert not np.array_equal(_noise(burst, 0), _noise(burst, 1))
    reference = weakref.ref(burst)
    del burst
    assert gone(reference)


def test_the_results_of_a_sweep_go_with_its_layers(panel, viewer, qtbot):
    box = panel.sweep_box
    set_fields(panel, iterations=2)
    box.setting.setCurrentIndex(box.setting.findText("strength"))
    box.values.setText("1, 2, 3")
    box.start_button.click()
    qtbot.waitUntil(lambda: not box.running and "Done" in box.said.text(), timeout=20_000)
    references = [weakref.ref(snapshot) for snapshot in box.layers.snapshots]
    names = [layer.name for layer in viewer.layers if layer.metadata.get("kind") == "sweep"]
    viewer.layers.remove(names[0])
    assert box.export_button.isEnabled()
    viewer.layers.remove(names[1])
    assert not box.export_button.isEnabled()
    assert gone(references[0])
    assert gone(references[1])  # the panel keeps its last result, the third

"""The section of cut levels sets those of the selected images, and the origin."""

import numpy as np
import pytest

from heliorestore.plugin.viewer.cut_levels import apply_cuts, is_lower_left
from heliorestore.plugin.widgets.cut_box import CutLevels

SUN = (1000 * (1 + 0.1 * np.random.default_rng(0).standard_normal((3, 64, 80)).cumsum(-1) / 5)).astype(
    np.float32
)


def test_cuts_go_to_the_selected_layers_and_the_origin_can_be_below(viewer, qtbot):
    chosen = viewer.add_image(SUN, name="sun")
    viewer.add_image(1.5 * SUN[0], name="brighter")
    viewer.dims.current_step = (0, 0, 0)
    viewer.layers.selection = {chosen}
    box = CutLevels(viewer)
    qtbot.addWidget(box)
    other = tuple(viewer.layers["brighter"].contrast_limits)
    box.cut.setCurrentIndex(box.cut.findText("min-max"))
    box.apply()
    assert tuple(chosen.contrast_limits) == pytest.approx((SUN[0].min(), SUN[0].max()))
    assert tuple(viewer.layers["brighter"].contrast_limits) == other
    viewer.layers.selection.clear()
    assert apply_cuts(viewer, 95.0) == 2
    zoom = viewer.scene.camera.zoom
    box.origin.click()
    assert is_lower_left(viewer)
    assert viewer.scene.camera.zoom == zoom
    box.origin.click()
    assert not is_lower_left(viewer)

"""Panels beside each other, and the titles of what they hold."""

import pytest

from window import HAS_DISPLAY

pytestmark = pytest.mark.skipif(not HAS_DISPLAY, reason="widgets need a display; under Linux use xvfb-run -a")


def test_a_second_panel_is_a_tab_of_the_first_one(qtbot):
    from qtpy.QtCore import Qt
    from qtpy.QtWidgets import QDockWidget, QLabel, QMainWindow, QWidget

    from heliorestore.plugin.widgets.sections import scroll

    window, docks = QMainWindow(), []
    qtbot.addWidget(window)
    window.show()
    for title in ("other", "Restore", "Compare"):
        panel, dock = QWidget(), QDockWidget(title)
        if title != "other":
            scroll(panel, QLabel(title))
        dock.setWidget(panel)
        window.addDockWidget(Qt.DockWidgetArea.RightDockWidgetArea, dock)
        docks.append(dock)
        qtbot.wait(20)
    other, restore, compare = docks
    assert window.tabifiedDockWidgets(restore) == [compare]
    assert window.tabifiedDockWidgets(other) == []
    assert not compare.visibleRegion().isEmpty()  # the new one is in front
    assert not restore.isHidden()  # and the first one has not been closed


def test_titles_side_by_side_open_what_is_below_them(qtbot):
    from qtpy.QtWidgets import QLabel

    from heliorestore.plugin.widgets.sections import Section, side_by_side

    first, second = (Section(name, QLabel(name), opened=False) for name in ("one", "two"))
    whole = side_by_side(first, second)
    qtbot.addWidget(whole)
    whole.show()
    assert first.title.y() == second.title.y()
    assert not second.inside.isVisible()
    second.set_open(True)
    assert second.inside.isVisible()
    assert not first.inside.isVisible()

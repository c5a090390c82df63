"""A real panel by keyboard."""

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QCheckBox, QHBoxLayout, QLineEdit, QPushButton, QVBoxLayout, QWidget

from heliorestore.plugin.widgets.sections import row, scroll


def test_tab_goes_as_the_eye_does_and_the_focus_is_seen(qtbot):
    last, second, first, hidden = QPushButton("last"), QCheckBox("second"), QLineEdit(), QLineEdit()
    window, panel, inside = QWidget(), QWidget(), QWidget()
    below, above = QPushButton("below the panel"), QPushButton("above")
    column = QVBoxLayout(inside)
    for widget in (row("a", first, second), hidden, last):
        column.addWidget(widget)
    scroll(panel, inside)
    whole = QHBoxLayout(window)
    for widget in (above, panel, below):
        whole.addWidget(widget)
    hidden.hide()
    qtbot.addWidget(window)
    window.show()
    window.activateWindow()
    qtbot.waitExposed(window)
    first.setFocus()
    qtbot.waitUntil(first.hasFocus, timeout=20_000)
    area = panel.findChild(QWidget, "qt_scrollarea_viewport").parent()
    assert area.tab_order() == [first, second, last]
    ring = area._ring
    seen = []
    for _ in range(3):
        seen.append(QApplication.focusWidget())
        assert ring.isVisible()
        assert ring.geometry().contains(seen[-1].mapTo(inside, seen[-1].rect().center()))
        qtbot.keyClick(seen[-1], Qt.Key.Key_Tab)
    assert seen == [first, second, last]
    assert QApplication.focusWidget() in (below, above)
    assert not ring.isVisible()
    last.setFocus()
    qtbot.keyClick(last, Qt.Key.Key_Backtab)
    assert second.hasFocus()

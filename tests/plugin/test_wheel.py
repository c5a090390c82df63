"""The wheel over any panel scrolls it and changes nothing that has not the focus."""

import importlib

from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QWheelEvent
from qtpy.QtWidgets import (
    QAbstractSlider,
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QScrollArea,
    QScrollBar,
    QWidget,
)

from heliorestore.plugin.widgets.probe_box import PsfView
from heliorestore.plugin.widgets.sections import Section, scroll
from window import choose_method, wait_for_threads

PANELS = {
    "restore": "RestoreWidget",
    "sv_momfbd": "SvMomfbdWidget",
    "enhance": "EnhanceWidget",
    "mfbd": "MfbdWidget",
    "noise2noise": "DenoiseWidget",
    "quality": "QualityWidget",
    "compare": "CompareWidget",
    "profiles": "ProfilesWidget",
    "demodulate": "DemodulateWidget",
}


def turn(widget, delta=-120):
    """Turn the wheel by a notch over the middle of a widget."""
    middle = QPointF(widget.rect().center())
    QApplication.sendEvent(
        widget,
        QWheelEvent(
            middle,
            widget.mapToGlobal(middle),
            QPoint(),
            QPoint(0, delta),
            Qt.MouseButton.NoButton,
            Qt.KeyboardModifier.NoModifier,
            Qt.ScrollPhase.NoScrollPhase,
            False,
        ),
    )


def editors(panel):
    found = [
        part
        for kind in (QAbstractSlider, QAbstractSpinBox, QComboBox, PsfView)
        for part in panel.findChildren(kind)
    ]
    return [part for part in found if not isinstance(part, QScrollBar)]


def value(editor):
    if isinstance(editor, PsfView):
        return editor.field
    return editor.currentText() if isinstance(editor, QComboBox) else editor.value()


def test_the_wheel_scrolls_the_panel_and_changes_no_value(viewer, panel, qtbot):
    viewer.window.remove_dock_widget(panel)
    for module, name in PANELS.items():
        made = getattr(importlib.import_module(f"heliorestore.plugin.panels.{module}"), name)(viewer)
        check_wheel(viewer, made, qtbot)
        viewer.window.remove_dock_widget(made)
    wait_for_threads()


def check_wheel(viewer, made, qtbot):
    dock = viewer.window.add_dock_widget(made, name="Wheel")
    dock.window().resize(900, 420)
    dock.window().show()
    if hasattr(made, "form"):
        qtbot.waitUntil(lambda: made.form is not None, timeout=30_000)
    for section in made.findChildren(Section):
        section.set_open(True)
    qtbot.wait(100)
    bar = made.findChild(QScrollArea).verticalScrollBar()
    assert len(editors(made)) >= 1
    for editor in editors(made):
        editor.setEnabled(True)
        bar.setValue(0)
        before = value(editor)
        turn(editor)
        assert value(editor) == before, editor.toolTip()
        assert bar.value() > 0 or not bar.maximum(), editor.toolTip()


def test_a_form_that_is_loaded_later_is_no_exception(panel, viewer, qtbot):
    panel.window().show()
    choose_method(panel, "richardson-lucy", qtbot)
    qtbot.wait(100)
    for editor in editors(panel.form):
        before = value(editor)
        turn(editor)
        assert value(editor) == before
        assert editor.focusPolicy() != Qt.FocusPolicy.WheelFocus


def test_with_the_focus_the_wheel_acts(qtbot):
    from heliorestore.plugin.widgets.numbers import IntBox

    panel, inside, box, view = QWidget(), QWidget(), IntBox(0, 100), PsfView()
    for part in (box, view):
        part.setParent(inside)
    scroll(panel, inside)
    qtbot.addWidget(panel)
    panel.show()
    panel.activateWindow()
    for part in (box, view):
        before = value(part)
        turn(part)
        assert value(part) == before
        part.setFocus()
        qtbot.waitUntil(part.hasFocus, timeout=20_000)
        turn(part, 120)
        assert value(part) != before

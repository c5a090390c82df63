"""A widget follows the events of a viewer for as long as Qt keeps it."""

from napari.utils.events import EventEmitter
from qtpy.QtCore import QCoreApplication, QEvent
from qtpy.QtWidgets import QApplication, QWidget

from heliorestore.plugin.widgets.closing import follow


def test_a_deleted_widget_no_longer_follows(qapp: QApplication) -> None:
    moved, seen = EventEmitter(type_name="moved"), []

    def note(event: object) -> None:
        seen.append(event)

    panel = QWidget()
    child = QWidget(panel)
    follow(child, [moved], note)
    moved()
    assert len(seen) == 1
    panel.deleteLater()  # and with it the child
    QCoreApplication.sendPostedEvents(panel, QEvent.Type.DeferredDelete)
    moved()
    assert len(seen) == 1

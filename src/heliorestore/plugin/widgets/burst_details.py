"""The chosen burst of a night: before and after, what is known of it, and what the user thinks of it."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import QRect, Qt, Signal
from qtpy.QtGui import QPainter, QPaintEvent, QPixmap
from qtpy.QtWidgets import QLabel, QLineEdit, QWidget

from heliorestore.plugin.runs.night_seen import BurstRow
from heliorestore.plugin.widgets.burst_table import Thumbnails
from heliorestore.plugin.widgets.sections import button, row, stack

_SIDE_PX, _LEAST_PX = 150, 60
_REST_PX = 560  # of a panel: all but the pictures and half of the list
_LINES = 3
KEYS = {"k": "kept", "x": "rejected", "u": ""}
"""The verdict that a key gives, in the list."""


class _Picture(QWidget):
    """A thumbnail that is as large as its place allows."""

    def __init__(self, tip: str) -> None:
        super().__init__()
        self.setToolTip(tip)
        self.setFixedHeight(_SIDE_PX)
        self._picture: QPixmap | None = None

    def show_picture(self, picture: QPixmap | None) -> None:
        self._picture = picture
        self.update()

    def paintEvent(self, event: QPaintEvent | None) -> None:
        if self._picture is None:
            return
        size = self._picture.size().scaled(self.size(), Qt.AspectRatioMode.KeepAspectRatio)
        place = QRect(0, 0, size.width(), size.height())
        place.moveCenter(self.rect().center())
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        painter.drawPixmap(place, self._picture)


class BurstDetails(QWidget):
    """Shows one burst; the verdict and the note are for all that are chosen."""

    judged = Signal(object, object)  # verdict and note; None: as before
    wanted = Signal(object)  # the burst is to be opened
    noted = Signal()  # the note is complete: the keys are the list's again

    def __init__(self, thumbnails: Thumbnails) -> None:
        super().__init__()
        self._thumbnails = thumbnails
        self.row: BurstRow | None = None
        self.before = _Picture("As it was observed; its own contrast.")
        self.after = _Picture("As it was restored; its own contrast.")
        self.about = QLabel()
        self.about.setToolTip("The chosen burst.")
        self.about.setWordWrap(True)
        self.about.setAlignment(Qt.AlignmentFlag.AlignTop)
        # The same room for every burst, or the list would move under the mouse.
        self.about.setMinimumHeight(_LINES * self.about.fontMetrics().lineSpacing() + 4)
        self.about.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.open_button = button(
            "Open", "Open the result with its input (double click, or Enter, in the list).", self._open
        )
        self.keep_button = button(
            "Keep (K)", "Keep these results: it stands in the ledger, the table and the page.", self.keep
        )
        self.reject_button = button(
            "Reject (X)",
            "Reject these results; their files stay.",
            lambda: self.judged.emit("rejected", None),
        )
        self.clear_button = button(
            "Neither (U)", "Take the verdict back.", lambda: self.judged.emit("", None)
        )
        self.text = QLineEdit()
        self.text.setPlaceholderText("note, for the chosen bursts")
        self.text.setToolTip("A note on the chosen bursts; Enter, or leaving the field, saves it.")
        self.text.editingFinished.connect(self._note)
        self.text.returnPressed.connect(self.noted)
        self._judging = (self.keep_button, self.reject_button, self.clear_button)
        for each in (self.open_button, *self._judging):
            each.setFocusPolicy(Qt.FocusPolicy.NoFocus)  # the arrow keys stay the list's
        self._opening = row(self.open_button)
        pictures, judging = row(self.before, self.after), row(*self._judging)
        stack(self, pictures, self.about, self._opening, judging, self.text).setSpacing(3)
        thumbnails.arrived.connect(self._draw)
        self.show_rows(None, ())

    def add_choices(self, *choices: QWidget) -> None:
        """Put these beside the button that opens a result."""
        if (layout := self._opening.layout()) is not None:
            for each in choices:
                layout.addWidget(each)

    def leave_room(self, height: int) -> None:
        """Make the pictures small in a panel of this height, if the list needs the room more."""
        for picture in (self.before, self.after):
            picture.setFixedHeight(min(_SIDE_PX, max(_LEAST_PX, (height - _REST_PX) // 2)))

    def show_rows(self, current: BurstRow | None, rows: Sequence[BurstRow]) -> None:
        """Show the burst that is current, among all that are chosen."""
        another = (self.row.id if self.row else "") != (current.id if current else "")
        self.row = current
        done = any(each.state == "done" for each in rows)
        for each in self._judging:
            each.setEnabled(done)
        self.open_button.setEnabled(current is not None)
        self.text.setEnabled(done)
        # What is being typed must not be lost by what the workers do meanwhile.
        if another or not self.text.hasFocus():
            self.text.setText(current.note if current is not None else "")
        self.about.setText(_about(current, len(rows)))
        self._draw()

    def keep(self) -> None:
        self.judged.emit("kept", None)

    def _draw(self) -> None:
        current = self.row
        self.before.show_picture(self._thumbnails.get(current.before) if current else None)
        self.after.show_picture(self._thumbnails.get(current.after) if current else None)

    def _open(self) -> None:
        if self.row is not None:
            self.wanted.emit(self.row)

    def _note(self) -> None:
        text = self.text.text().strip()
        if self.row is not None and text != self.row.note:
            self.judged.emit(None, text)


def _about(current: BurstRow | None, chosen: int) -> str:
    if current is None:
        return ""
    more = f", and {chosen - 1} more chosen" if chosen > 1 else ""
    if current.state != "done":
        return f"{current.title}: {current.state}{more}\n{current.reason}".strip()
    contrast = current.contrast
    facts = "" if contrast is None else f"contrast {100 * contrast[0]:.2f} → {100 * contrast[1]:.2f} %"
    return "\n".join(filter(None, (f"{current.title} → {current.result.name}{more}", facts, current.facts)))

"""The bursts of a night as a table with thumbnails: rows are drawn, not made of widgets."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qtpy.QtCore import QAbstractTableModel, QModelIndex, QObject, QRect, QSize, Qt, Signal
from qtpy.QtGui import QColor, QFontMetrics, QImage, QKeyEvent, QPainter, QPalette, QPixmap
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTableView,
)

from heliorestore.plugin.runs.night_seen import BurstRow
from heliorestore.plugin.runs.task import End, Outcome, start_task

_ROW_PX = 58
_PICTURE_PX = 54
_KNOWN = 1500  # thumbnails kept in memory, 25 kB each
_AT_ONCE = 16  # thumbnails read in a turn
_STATES = ("running", "failed", "waiting", "done")  # as sorted
_COLOURS = {"running": "#3d8fd1", "failed": "#d9534f", "waiting": "#8a8f98", "done": "#4c9f50"}
_MARKS = {"kept": "✓", "rejected": "✗"}
_MARK_COLOURS = {"kept": "#4c9f50", "rejected": "#d9534f"}
_BREAKS = re.compile(r"[_.:/-]")
ALL = "all"
FILTERS = (ALL, *_STATES, *_MARKS, "not judged")
"""Which bursts are shown, by a word."""


def passes(row: BurstRow, wanted: str) -> bool:
    """Whether a burst is among those of that word."""
    if wanted == "not judged":
        return row.state == "done" and not row.verdict
    return wanted == ALL or wanted in (row.state, row.verdict)


@dataclass(frozen=True)
class _Column:
    title: str
    tip: str
    width: int  # 0: what is left
    key: Callable[[BurstRow], Any] | None  # sorts, None does not
    text: Callable[[BurstRow], str]


def _contrast(row: BurstRow) -> str:
    return "" if row.contrast is None else f"{100 * row.contrast[0]:.2f}\n→ {100 * row.contrast[1]:.2f}"


def _state(row: BurstRow) -> str:
    part = f"\n{row.step} of {row.total}" if row.total else ""
    return f"{row.state}{part}" + (f"\n{_MARKS[row.verdict]} {row.verdict}" if row.verdict in _MARKS else "")


_COLUMNS = (
    _Column("before", "The first frame of the first object, as observed.", _ROW_PX, None, lambda row: ""),
    _Column("after", "The restored image of the first object.", _ROW_PX, None, lambda row: ""),
    _Column("burst", "Its file or folder; below, why it failed, or your note.", 0, lambda r: r.title,
            lambda row: row.title),
    _Column("state", "What is going on with it, with its iterations, and what you think of it.", 78,
            lambda r: (_STATES.index(r.state), r.verdict), _state),
    _Column("contrast [%]", "Standard deviation over mean, before and after.", 82,
            lambda r: r.contrast[1] if r.contrast else -1.0, _contrast),
    _Column("time [s]", "Seconds that its restoration took.", 56,
            lambda r: -1.0 if r.seconds is None else r.seconds,
            lambda row: "" if row.seconds is None else f"{row.seconds:.1f}"),
)  # fmt: skip
_BEFORE, _AFTER, _BURST, _STATE = range(4)


class Thumbnails(QObject):
    """Pictures from files, read in a thread when they are first asked for, the last asked first."""

    arrived = Signal()

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._known: dict[Path, QPixmap] = {}
        self._missing: set[Path] = set()
        self._wanted: dict[Path, None] = {}
        self._at_work = False

    def get(self, path: Path | None) -> QPixmap | None:
        """The picture, None as long as it is not read."""
        if path is None or path in self._missing:
            return None
        if path in self._known:
            return self._known[path]
        self._wanted.pop(path, None)
        self._wanted[path] = None
        self._read()
        return None

    def look_again(self) -> None:
        """Files that were not there may be there now."""
        self._missing.clear()

    def _read(self) -> None:
        paths = list(self._wanted)[-_AT_ONCE:][::-1]
        if self._at_work or not paths:
            return
        self._at_work = True
        start_task(
            "Read thumbnails", lambda: {path: QImage(str(path)) for path in paths}, self._take, listed=False
        )

    def _take(self, outcome: Outcome) -> None:
        self._at_work = False
        images = outcome.value if outcome.end is End.FINISHED else {}
        for path, image in images.items():
            self._wanted.pop(path, None)
            if image.isNull():
                self._missing.add(path)
            else:
                self._known[path] = QPixmap.fromImage(image)
        for path in list(self._known)[: max(0, len(self._known) - _KNOWN)]:
            del self._known[path]
        # What has scrolled away need not be read now: who is drawn again asks again.
        self._wanted.clear()
        self.arrived.emit()


class BurstModel(QAbstractTableModel):
    """The rows that are shown: filtered and sorted here, since Qt would ask Python twice a comparison."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self.rows: list[BurstRow] = []
        self._all: Sequence[BurstRow] = ()
        self._wanted = ALL
        self._sorting: tuple[int, bool] | None = None  # column, and whether the largest is first

    def take(self, rows: Sequence[BurstRow]) -> None:
        """Show these, in place of what was known of them."""
        self._all = rows
        self._arrange()

    def show_only(self, wanted: str) -> None:
        """Show only those of a state or a verdict."""
        self._wanted = wanted
        self._arrange()

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        known = 0 <= column < len(_COLUMNS) and _COLUMNS[column].key is not None
        self._sorting = (column, order == Qt.SortOrder.DescendingOrder) if known else None
        self._arrange()

    def _arrange(self) -> None:
        rows = [row for row in self._all if passes(row, self._wanted)]
        if self._sorting is not None:
            column, downwards = self._sorting
            key = _COLUMNS[column].key
            assert key is not None
            rows.sort(key=key, reverse=downwards)
        before = self.rows
        if [row.id for row in rows] != [row.id for row in before]:
            self.beginResetModel()  # the view keeps its place and what is chosen
            self.rows = rows
            self.endResetModel()
            return
        self.rows = rows
        for number, (old, new) in enumerate(zip(before, rows, strict=True)):
            if old is not new and old != new:
                self.dataChanged.emit(self.index(number, 0), self.index(number, len(_COLUMNS) - 1))

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        return 0 if parent is not None and parent.isValid() else len(self.rows)

    def columnCount(self, parent: QModelIndex | None = None) -> int:
        return 0 if parent is not None and parent.isValid() else len(_COLUMNS)

    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        if orientation == Qt.Orientation.Horizontal and role == Qt.ItemDataRole.DisplayRole:
            return _COLUMNS[section].title
        if orientation == Qt.Orientation.Horizontal and role == Qt.ItemDataRole.ToolTipRole:
            return _COLUMNS[section].tip
        return None

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        row = self.rows[index.row()]
        if role == Qt.ItemDataRole.DisplayRole:
            return _COLUMNS[index.column()].text(row)
        if role == Qt.ItemDataRole.ToolTipRole:
            return "\n".join(filter(None, (*row.paths[:3], row.reason, row.facts, row.note)))
        return None


class _Painter(QStyledItemDelegate):
    """Draws thumbnails, and two lines about a burst, in the colours of the theme."""

    def __init__(self, parent: QObject, thumbnails: Thumbnails) -> None:
        super().__init__(parent)
        self._thumbnails = thumbnails

    def sizeHint(self, option: QStyleOptionViewItem, index: QModelIndex) -> QSize:
        return QSize(_COLUMNS[index.column()].width or 120, _ROW_PX)

    def paint(self, painter: QPainter | None, option: QStyleOptionViewItem, index: QModelIndex) -> None:
        model, widget = index.model(), option.widget
        if painter is None or not isinstance(model, BurstModel) or not isinstance(widget, QTableView):
            return
        row = model.rows[index.row()]
        if (style := widget.style()) is not None:
            style.drawPrimitive(QStyle.PrimitiveElement.PE_PanelItemViewItem, option, painter, widget)
        painter.save()
        inside = option.rect.adjusted(4, 2, -4, -2)
        text = option.palette.color(QPalette.ColorRole.Text)
        if index.column() <= _BURST and row.reason and row.before is None:
            # A sentence needs the place of the pictures too; each cell draws its part of it.
            painter.setClipRect(option.rect, Qt.ClipOperation.IntersectClip)
            inside.setLeft(widget.columnViewportPosition(0) + 4)
            inside.setRight(widget.columnViewportPosition(_BURST) + widget.columnWidth(_BURST) - 4)
            _draw_texts(
                painter,
                inside,
                [
                    (row.title, text, 1),
                    (row.reason.removeprefix(f"{Path(row.paths[0]).name} "), _faded(text), 3),
                ],
            )
        elif index.column() in (_BEFORE, _AFTER):
            path = row.before if index.column() == _BEFORE else row.after
            self._draw_picture(painter, option.rect, row, path)
        elif index.column() == _BURST:
            note = [(row.note, _faded(text), 2)] if row.note else []
            _draw_texts(painter, inside, [(row.title, text, 3 - len(note)), *note])
        elif index.column() == _STATE:
            chosen = option.state & QStyle.StateFlag.State_Selected  # where colours are hard to see
            lines = _state(row).split("\n")
            colours = [text if chosen else _colour(row, each, text) for each in lines]
            _draw_texts(
                painter, inside, [(each, colour, 1) for each, colour in zip(lines, colours, strict=True)]
            )
        else:
            painter.setPen(text)
            painter.drawText(
                inside,
                Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter,
                _COLUMNS[index.column()].text(row),
            )
        painter.restore()

    def _draw_picture(self, painter: QPainter, cell: QRect, row: BurstRow, path: Path | None) -> None:
        picture = self._thumbnails.get(path)
        if picture is None:
            return
        size = picture.size().scaled(_PICTURE_PX, _PICTURE_PX, Qt.AspectRatioMode.KeepAspectRatio)
        place = QRect(0, 0, size.width(), size.height())
        place.moveCenter(cell.center())
        painter.setOpacity(0.35 if row.verdict == "rejected" else 1.0)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        painter.drawPixmap(place, picture)


def _draw_texts(painter: QPainter, place: QRect, texts: Sequence[tuple[str, QColor, int]]) -> None:
    """Texts below each other, in the middle of a place, each with a colour and at most so many lines."""
    metrics, left = painter.fontMetrics(), place.height()
    fitted = []
    for text, colour, lines in texts:
        room = QSize(place.width(), min(lines * metrics.lineSpacing(), left))
        shown, height = _fitted(metrics, text, room)
        fitted.append((shown, colour, height))
        left -= height
    y = place.top() + left // 2
    for text, colour, height in fitted:
        painter.setPen(colour)
        painter.drawText(QRect(place.left(), y, place.width(), height), Qt.TextFlag.TextWordWrap, text)
        y += height


def _fitted(metrics: QFontMetrics, text: str, room: QSize) -> tuple[str, int]:
    """As much of a text as fits, wrapped, and its height; of one word it is the middle that is left out."""
    area, tail, kept = QRect(0, 0, room.width(), 10 * room.height()), 0 if " " in text else 8, len(text)
    while True:
        # A zero-width space, at which a name may be broken.
        shown = _BREAKS.sub(
            "\\g<0>\u200b", text[:kept] + ("…" + text[len(text) - tail :]) * (kept < len(text))
        )
        found = metrics.boundingRect(area, Qt.TextFlag.TextWordWrap, shown)
        if (found.height() <= room.height() and found.width() <= room.width()) or kept < 4:
            return shown, min(found.height(), room.height())
        kept = min(kept - 3, len(text) - tail - 1)


def _colour(row: BurstRow, text: str, other: QColor) -> QColor:
    verdict = text.partition(" ")[2] if text[:1] in _MARKS.values() else ""
    named = _COLOURS.get(text) or _MARK_COLOURS.get(verdict)
    return QColor(named) if named else other


def _faded(colour: QColor) -> QColor:
    faded = QColor(colour)
    faded.setAlphaF(0.7)
    return faded


class BurstTable(QTableView):
    """The list of a night; `pressed_key` says which key was pressed on the chosen bursts."""

    opened = Signal(object)  # BurstRow
    chosen_changed = Signal()
    pressed_key = Signal(str)

    def __init__(self, keys: str) -> None:
        super().__init__()
        self._keys = keys
        self.thumbnails = Thumbnails(self)
        self.shown = BurstModel(self)
        self.setModel(self.shown)
        self.setItemDelegate(_Painter(self, self.thumbnails))
        self.thumbnails.arrived.connect(self._repaint)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setShowGrid(False)
        self.setWordWrap(False)
        self._set_headers()
        self.doubleClicked.connect(lambda index: self.opened.emit(self.shown.rows[index.row()]))
        self.shown.modelAboutToBeReset.connect(self._remember)
        self.shown.modelReset.connect(self._recall)
        if (selection := self.selectionModel()) is not None:
            selection.selectionChanged.connect(lambda *_: self.chosen_changed.emit())
            selection.currentRowChanged.connect(lambda *_: self.chosen_changed.emit())
        self.shown.dataChanged.connect(lambda *_: self.chosen_changed.emit())

    def chosen(self) -> list[BurstRow]:
        """The chosen bursts, in the order of the list."""
        selection = self.selectionModel()
        numbers = sorted(index.row() for index in selection.selectedRows()) if selection else []
        return [self.shown.rows[number] for number in numbers]

    def current(self) -> BurstRow | None:
        """The burst that the keyboard is at, None if there is none."""
        number = self.currentIndex().row()
        return self.shown.rows[number] if 0 <= number < len(self.shown.rows) else None

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        if event is None:
            return
        plain = not event.modifiers() & ~Qt.KeyboardModifier.KeypadModifier
        if plain and event.text() and event.text().lower() in self._keys:
            self.pressed_key.emit(event.text().lower())
        elif plain and event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            if (row := self.current()) is not None:
                self.opened.emit(row)
        else:
            super().keyPressEvent(event)

    def keyboardSearch(self, search: str | None) -> None:
        """Letters are for what is done to a burst."""

    def _set_headers(self) -> None:
        if (rows := self.verticalHeader()) is not None:
            rows.hide()
            rows.setMinimumSectionSize(_ROW_PX)
            rows.setDefaultSectionSize(_ROW_PX)
            rows.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        if (titles := self.horizontalHeader()) is not None:
            titles.setSortIndicator(-1, Qt.SortOrder.AscendingOrder)
            titles.setMinimumSectionSize(40)
            titles.setHighlightSections(False)
            for number, column in enumerate(_COLUMNS):
                if column.width:
                    titles.resizeSection(number, column.width)
                else:
                    titles.setSectionResizeMode(number, QHeaderView.ResizeMode.Stretch)
        self.setSortingEnabled(True)

    def _repaint(self) -> None:
        if (port := self.viewport()) is not None:
            port.update()

    def _remember(self) -> None:
        current, bar = self.current(), self.verticalScrollBar()
        self._place = (
            current.id if current is not None else "",
            {row.id for row in self.chosen()},
            bar.value() if bar is not None else 0,
        )

    def _recall(self) -> None:
        current, chosen, value = self._place
        selection = self.selectionModel()
        if selection is None:
            return
        flags = selection.SelectionFlag
        for number, row in enumerate(self.shown.rows):
            if row.id == current:
                selection.setCurrentIndex(self.shown.index(number, 0), flags.NoUpdate)
            if row.id in chosen:
                selection.select(self.shown.index(number, 0), flags.Select | flags.Rows)
        if (bar := self.verticalScrollBar()) is not None:
            self.updateGeometries()
            bar.setValue(value)
        self.chosen_changed.emit()

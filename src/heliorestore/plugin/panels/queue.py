"""The panel of a night: many bursts restored with the settings found on one, and their results judged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.layers import Layer
from napari.utils.history import get_open_history, update_open_history
from qtpy.QtCore import QEvent, QObject
from qtpy.QtGui import QDragEnterEvent, QDropEvent, QResizeEvent, QShowEvent
from qtpy.QtWidgets import QComboBox, QFileDialog, QProgressBar, QVBoxLayout, QWidget

from heliorestore.errors import HeliorestoreError
from heliorestore.plugin.panels.new_night import NewNight, layer_files
from heliorestore.plugin.preferences import preferences
from heliorestore.plugin.runs.night_seen import BurstRow, NightSeen
from heliorestore.plugin.runs.queue import Input, NightReader, is_night, original
from heliorestore.plugin.runs.task import End, Outcome, start_task
from heliorestore.plugin.viewer.comparison import How, comparison_of
from heliorestore.plugin.viewer.failure import explain
from heliorestore.plugin.viewer.layers import LayerData, burst_layers, stem_of
from heliorestore.plugin.viewer.meeting import meet
from heliorestore.plugin.widgets.burst_details import KEYS, BurstDetails
from heliorestore.plugin.widgets.burst_table import FILTERS, BurstTable, passes
from heliorestore.plugin.widgets.closing import when_closed, when_taken_out
from heliorestore.plugin.widgets.messages import Clipped, MessageStrip
from heliorestore.plugin.widgets.sections import button, check, row, scroll

if TYPE_CHECKING:
    from napari.viewer import Viewer

_TABLE_PX = 190  # at least
_STATES = ("running", "waiting", "done", "failed")


class QueueWidget(QWidget):
    """Begins nights, and shows one: its bursts, their results, and what the user thinks of them."""

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__()
        self.viewer = napari_viewer
        meet(napari_viewer)
        self.comparison = comparison_of(napari_viewer)
        self.reader: NightReader | None = None
        self.night: NightSeen | None = None
        self._folder: Path | None = None  # of the night that is shown whenever the panel is
        self._opened: list[Any] = []  # the layers of the result that was opened last
        self._pair: tuple[list[Any], list[Any]] = [], []  # its input, and what came of it
        self.setMinimumWidth(480)
        self._build()
        when_closed(self, self._stop_looking)
        when_taken_out(self, self.comparison.stop)
        self._show()

    # -- which night

    def open_night(self, folder: Path) -> None:
        """Show the night in this folder, whoever began it, and what happens to it."""
        self._stop_looking()
        self.new.set_open(False)
        self._folder, self.night = folder, None
        self.table.shown.take(())
        self._look()
        self._show()

    def use(self, panel: QWidget) -> None:
        """Put a night together with the settings of this panel."""
        self.new.use(panel)

    def showEvent(self, event: QShowEvent | None) -> None:
        super().showEvent(event)
        self._look()

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        super().resizeEvent(event)
        self.details.leave_room(self.height())

    def _look(self) -> None:
        if self._folder is not None and self.reader is None:
            self.reader = NightReader(self._folder, self)
            self.reader.device = preferences().device
            self.reader.workers = self.new.workers.value()
            self.reader.seen.connect(self._seen)
            self.reader.failed.connect(self.say)
            self.reader.start()

    def _stop_looking(self) -> None:
        """The night goes on, but nobody looks."""
        if self.reader is not None:
            self.reader.close()
            self.reader.seen.disconnect(self._seen)
            self.reader.failed.disconnect(self.say)
            self.reader = None

    def _ask_for_night(self) -> None:
        name = QFileDialog.getExistingDirectory(self, "The folder of a night", get_open_history()[0])
        if name:
            update_open_history(name)
            self.say("")
            self.open_night(Path(name))

    def _begun(self, folder: Path) -> None:
        update_open_history(str(folder))  # where it will be looked for tomorrow
        self.open_night(folder)

    # -- what it says

    def say(self, text: str) -> None:
        """Show an error, until the next thing is asked for."""
        self.strip.say(text and f"⚠ {text}")

    def _seen(self, night: NightSeen) -> None:
        self.night = night
        self.table.thumbnails.look_again()
        self.table.shown.take(night.rows)
        self._show()

    def _show(self) -> None:
        night = self.night
        self.where.setText(self._folder.name if self._folder else "No night is open.")
        self.where.setToolTip(str(self._folder or ""))
        counts = {state: night.count(state) if night else 0 for state in _STATES}
        total = len(night.rows) if night else 0
        self.progress.setRange(0, max(total, 1))
        self.progress.setValue(counts["done"] + counts["failed"])
        self.progress.setFormat("%v of %m" if total else "")
        self.status.setText(_in_words(night) if night else "Reading…" if self._folder else "")
        idle = night is None or night.cancelled or not (counts["running"] or night.coordinated)
        self.resume_button.setEnabled(bool(counts["waiting"]) and idle)
        self.cancel_button.setEnabled(bool(counts["waiting"] + counts["running"]) and not idle)
        self.retry_button.setEnabled(bool(counts["failed"]))
        self.add_button.setEnabled(night is not None)
        known = Counter(
            word for each in (night.rows if night else ()) for word in FILTERS if passes(each, word)
        )
        for number, word in enumerate(FILTERS):
            self.filter.setItemText(number, f"{word} ({known[word]})")
        self._show_chosen()

    def _show_chosen(self) -> None:
        chosen = self.table.chosen()
        self.details.show_rows(self.table.current() if chosen else None, chosen)

    # -- what is asked for

    def _ask(self, act: Callable[[NightReader], None]) -> None:
        self.say("")
        if self.reader is not None:
            self.reader.workers = self.new.workers.value()
            act(self.reader)

    def retry(self) -> None:
        """Try the chosen failed bursts again; all, if none of them is chosen."""
        rows = [each for each in self.table.chosen() if each.state == "failed"]
        if not rows and self.night is not None:
            rows = [each for each in self.night.rows if each.state == "failed"]
        self._ask(lambda reader: reader.retry([each.id for each in rows]))

    def judge(self, verdict: str | None, note: str | None = None) -> None:
        """Keep or reject the chosen results, or give them a note."""
        bursts = [each.id for each in self.table.chosen() if each.state == "done"]
        if bursts:
            self._ask(lambda reader: reader.judge(bursts, verdict, note))

    def add(self, inputs: Sequence[Input]) -> None:
        """Add bursts to the night that is open, or to the one that is put together."""
        if self.reader is None:
            self.new.set_open(True)
            self.new.add(inputs)
        else:
            self._ask(lambda reader: reader.add(inputs))

    def _dropped(self, paths: list[Path], add: Callable[[list[Path]], None]) -> None:
        """Files and folders are bursts, but the folder of a night is opened."""
        if len(paths) == 1 and is_night(paths[0]):
            self.open_night(paths[0])
        else:
            add(paths)

    def _add_files(self) -> None:
        names, _ = QFileDialog.getOpenFileNames(self, "Add bursts", get_open_history()[0])
        if names:
            update_open_history(names[0])
            self.add([Path(name) for name in names])

    # -- a result in the viewer

    def open_result(self, burst: BurstRow) -> None:
        """Open a result with its input under it; a burst without a result alone."""
        if self._folder is None:
            return
        folder = self._folder
        there = self._input_layers(burst)
        self.say("")
        self.strip.report(f"Opening {burst.title}…")

        def work() -> tuple[list[LayerData], list[LayerData], str]:
            from heliorestore.plugin.npe2.readers import load_layers

            before, problem = [], ""
            try:
                if not there:
                    before = burst_layers(original(folder, burst), stem_of(Path(burst.paths[0])))
            except HeliorestoreError as error:
                problem = explain(error)
            return before, load_layers([burst.result]) if burst.state == "done" else [], problem

        start_task(
            f"Open {burst.title}", work, lambda outcome: self._show_result(outcome, there), listed=False
        )

    def _input_layers(self, burst: BurstRow) -> list[Any]:
        """The layers that show its files already."""
        known = []
        for layer in self.viewer.layers:
            try:
                files = layer_files([layer])
            except HeliorestoreError:
                continue
            paths = tuple(map(Path, burst.paths))
            if files == [paths[0] if len(paths) == 1 else paths] and layer.metadata.get("kind") is None:
                known.append(layer)
        return known

    def _show_result(self, outcome: Outcome, there: list[Any]) -> None:
        self.strip.report("")
        if outcome.end is not End.FINISHED:
            self.say(explain(outcome.error) if outcome.error else "")
            return
        before, after, problem = outcome.value
        self.say(problem)
        beside = self.comparison.how is How.SIDE
        self.comparison.stop()
        earlier = [each for each in self._opened if each in self.viewer.layers and each not in there]
        first = len(self.viewer.layers) == 0
        added = [self.viewer.add_layer(Layer.create(*data)) for data in (*before, *after)]
        if self.one_at_a_time.isChecked():
            for layer in earlier:
                self.viewer.layers.remove(layer)
        if first:
            self.viewer.dims.current_step = (0,) * self.viewer.dims.ndim
        self._opened = [*(each for each in self._opened if each in there), *added]
        self._pair = there or added[: len(before)], added[len(before) :]
        # Else the place that is looked at stays.
        self._compare(fit=first or beside != (self.how.currentData() is How.SIDE))

    def _compare(self, *, fit: bool) -> None:
        """Show the first object's result as the menu says: over its input, beside it, in turns."""
        before, after = ([each for each in part if each in self.viewer.layers] for part in self._pair)
        results = [layer for layer in after if layer.metadata.get("kind") == "image"]
        how = self.how.currentData()
        if how is not None and before and results:
            limits = results[-1].contrast_limits
            try:
                self.comparison.start(how, before[0], results[-1])
                # Those of its input, which both have now, would cut off what the restored image shows.
                results[-1].contrast_limits = limits
            except HeliorestoreError as error:
                self.say(explain(error))
        if fit:
            self.viewer.fit_to_view()

    def _how_changed(self) -> None:
        self.comparison.stop()
        self._compare(fit=bool(self._pair[1]))

    # -- how it looks

    def _build(self) -> None:
        self.strip = MessageStrip()
        self.problem = self.strip.problem
        self.new = NewNight(self.viewer, self.say)
        self.new.begun.connect(self._begun)
        self.where = Clipped("The night that is shown.")
        bold = self.where.font()
        bold.setBold(True)
        self.where.setFont(bold)
        self.status = Clipped("How many bursts are in each state, and whether anybody works at them.", 2)
        self.progress = QProgressBar()
        self.progress.setToolTip("Bursts that are done or have failed.")
        self.table = BurstTable("".join(KEYS))
        self.table.setMinimumHeight(_TABLE_PX)
        self.details = BurstDetails(self.table.thumbnails)
        self.filter = QComboBox()
        self.filter.addItems(FILTERS)
        self.filter.setToolTip("The bursts that are listed.")
        self.how = QComboBox()
        self.how.addItem("over its input", None)
        for how in (How.SIDE, How.BLINK, How.SPLIT):
            self.how.addItem(
                {How.SIDE: "beside its input", How.BLINK: "in turns", How.SPLIT: "with a divider"}[how], how
            )
        self.how.setCurrentIndex(1)
        self.how.setToolTip("How an opened result is shown; the panel Compare does more.")
        self.one_at_a_time = check(
            "one at a time", "Close the result that was opened before, with its input.", lambda on: None
        )
        self.one_at_a_time.setChecked(True)
        self._build_buttons()
        self.table.opened.connect(self.open_result)
        self.table.chosen_changed.connect(self._show_chosen)
        self.table.pressed_key.connect(lambda key: self.judge(KEYS[key]))
        self.details.judged.connect(self.judge)
        self.details.wanted.connect(self.open_result)
        self.details.noted.connect(self.table.setFocus)
        self.filter.currentIndexChanged.connect(lambda number: self.table.shown.show_only(FILTERS[number]))
        self.how.currentIndexChanged.connect(self._how_changed)
        inside = QWidget()
        column = QVBoxLayout(inside)
        column.setContentsMargins(6, 4, 6, 4)
        night = row(self.resume_button, self.cancel_button, self.retry_button, self.add_button)
        for part in (
            self.new,
            row(self.where, self.open_button),
            row(self.progress, "show", self.filter),
            self.status,
            night,
        ):
            column.addWidget(part)
        column.addWidget(self.table, 1)
        column.addWidget(self.strip)
        column.addWidget(self.details)
        self.details.add_choices(self.how, self.one_at_a_time)
        scroll(self, inside)
        _Drops(self, lambda paths: self._dropped(paths, self.add))
        _Drops(self.new, lambda paths: self._dropped(paths, self.new.add))

    def _build_buttons(self) -> None:
        self.open_button = button(
            "Open night…",
            "Show a night that was begun here, before, or by the command line.",
            self._ask_for_night,
        )
        self.resume_button = button(
            "Resume", "Go on with what waits, in processes of their own.",
            lambda: self._ask(lambda reader: reader.resume()),
        )  # fmt: skip
        self.cancel_button = button(
            "Cancel", "Let the workers save what they do, or complete it, and end; Resume goes on.",
            lambda: self._ask(lambda reader: reader.cancel()),
        )  # fmt: skip
        self.retry_button = button(
            "Retry failed", "Try the chosen failed bursts again; all, if none of them is chosen.", self.retry
        )
        self.add_button = button(
            "Add files…",
            "Add bursts to this night; you can also drop files or folders here.",
            self._add_files,
        )


class _Drops(QObject):
    """Files and folders that are dropped on a widget go to `act`."""

    def __init__(self, widget: QWidget, act: Callable[[list[Path]], None]) -> None:
        super().__init__(widget)
        self._act = act
        widget.setAcceptDrops(True)
        widget.installEventFilter(self)

    def eventFilter(self, widget: QObject | None, event: QEvent | None) -> bool:
        if not isinstance(event, QDropEvent) or (data := event.mimeData()) is None:
            return False
        paths = [Path(url.toLocalFile()) for url in data.urls() if url.isLocalFile()]
        if not paths:
            return False
        event.acceptProposedAction()
        if not isinstance(event, QDragEnterEvent) and event.type() == QEvent.Type.Drop:
            self._act(paths)
        return True


def _in_words(night: NightSeen) -> str:
    """How a night stands, and what can be done."""
    counts = {state: night.count(state) for state in _STATES}
    text = f"{night.method}: " + ", ".join(f"{n} {state}" for state, n in counts.items() if n)
    if not night.rows:
        return f"{night.method}: no burst."
    if night.cancelled:
        ending = "The workers are ending." if counts["running"] else ""
        return f"{text}. {ending or 'Cancelled: Resume goes on.'}"
    if counts["waiting"] and not counts["running"]:
        if night.coordinated:
            return f"{text}. The workers are starting."
        last = f" It ended with: {night.last_words}" if night.last_words else ""
        return f"{text}. Nobody works at it: Resume goes on.{last}"
    return f"{text}." if counts["waiting"] + counts["running"] else f"{text}. Finished."

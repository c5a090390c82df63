"""The queue: a night that is begun, seen, judged and gone on with, and what its list does with many rows."""

import json
import os
import threading
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from napari.layers import Layer
from qtpy.QtCore import QMimeData, QObject, QPoint, QPointF, Qt, QUrl
from qtpy.QtGui import QDragEnterEvent, QDropEvent, QImage
from qtpy.QtWidgets import QApplication

from heliorestore.batch.ledger import Ledger
from heliorestore.batch.night import Night, add
from heliorestore.batch.work import Worker
from heliorestore.errors import BurstError, SettingsError
from heliorestore.plugin.npe2.readers import load_layers
from heliorestore.plugin.runs import queue as nights
from heliorestore.plugin.runs.night_seen import BurstRow, NightSeen
from heliorestore.plugin.runs.queue import NightReader, Wanted, begin, count
from heliorestore.preparation import Preparation

SETTINGS = "richardson-lucy"


def write_bursts(folder: Path, count: int) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    header = fits.Header({"TELESCOP": "SST", "INSTRUME": "CRISP", "WAVELNTH": 630.2, "WAVEUNIT": -9})
    header.update({"CDELT1": 0.059, "CUNIT1": "arcsec"})
    paths = [folder / f"burst{number}.fits" for number in range(count)]
    for number, path in enumerate(paths):
        image = np.random.default_rng(number).normal(1000, 30, (32, 24)).astype(np.float32)
        fits.writeto(path, image, header)
    return paths


@pytest.fixture
def unattended(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The nights for which a coordinator would have been begun."""
    begun: list[Path] = []
    monkeypatch.setattr(nights, "launch", lambda folder, workers, device: begun.append(folder))
    return begun


@pytest.fixture
def night(tmp_path: Path, unattended: list[Path]) -> Path:
    """A night with two results and a burst that failed."""
    paths = write_bursts(tmp_path / "raw", 3)
    paths[2].write_bytes(paths[2].read_bytes()[:3000])
    begin(tmp_path / "night", Wanted(settings=SETTINGS), [tmp_path / "raw"], "", 0)
    Worker(tmp_path / "night").run()
    return tmp_path / "night"


@pytest.fixture
def queue(viewer: Any) -> Any:
    _, widget = viewer.window.add_plugin_dock_widget("heliorestore", "Queue")
    yield widget
    widget._stop_looking()


def wait(qtbot: Any, condition: Callable[[], bool], timeout: int = 30_000) -> None:
    qtbot.waitUntil(condition, timeout=timeout)


def press(table: Any, key: Any, qtbot: Any) -> None:
    qtbot.keyClick(table, key)


def looking() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("night ")]


def test_a_night_is_begun_seen_again_opened_and_judged(
    queue: Any, viewer: Any, tmp_path: Path, qtbot: Any
) -> None:
    folder = tmp_path / "raw"
    write_bursts(folder, 2)
    queue.new.start()
    assert "Choose the settings" in queue.problem.text()
    queue.new.settings.setCurrentIndex(queue.new.settings.findData(f"method {SETTINGS}"))
    queue.new.add([folder])
    wait(qtbot, queue.new.start_button.isEnabled)
    assert queue.new.said.text() == f"2 bursts: raw{os.sep}"
    where = Path(queue.new.folder.text())
    assert where == tmp_path / "raw_richardson-lucy"
    queue.new.folder.setText(str(folder / "burst0.fits"))
    queue.new.folder.setModified(True)
    queue.new.start_button.click()
    wait(qtbot, lambda: "burst0.fits is not a folder" in queue.problem.text())
    wait(qtbot, queue.new.start_button.isEnabled)
    assert "burst0.fits is not a folder" in queue.problem.text()
    queue.new.folder.setText(str(where))
    queue.new.workers.setValue(1)
    queue.new.start_button.click()
    wait(qtbot, lambda: queue.night is not None and len(queue.night.rows) == 2)

    # The night goes on while nobody looks, in a session that does not end with this one.
    _, number, _ = json.loads((where / "coordinator.json").read_text())
    assert os.getsid(number) not in (os.getsid(0), os.getsid(os.getppid()))
    viewer.window.remove_dock_widget(queue.parent())
    wait(qtbot, lambda: not looking())
    _, queue = viewer.window.add_plugin_dock_widget("heliorestore", "Queue")
    queue.open_night(where)
    wait(qtbot, lambda: "2 done. Finished." in queue.status.text(), timeout=60_000)

    queue.table.selectRow(1)
    wait(qtbot, lambda: queue.table.thumbnails.get(queue.table.current().after) is not None)
    (mine,) = load_layers([folder / "burst1.fits"])
    viewer.add_layer(Layer.create(*mine))  # which is not opened again
    press(queue.table, Qt.Key.Key_Return, qtbot)
    wait(qtbot, lambda: len(viewer.layers) >= 2)
    assert [layer.name for layer in viewer.layers if layer.visible] == ["burst1", "burst1_restored"]
    limits = load_layers([where / "burst1_restored.fits"])[-1][1]["contrast_limits"]
    assert [tuple(viewer.layers[name].contrast_limits) for name in ("burst1", "burst1_restored")] == [
        limits
    ] * 2
    queue.how.setCurrentIndex(0)
    assert tuple(viewer.layers["burst1"].contrast_limits) == mine[1]["contrast_limits"]
    press(queue.table, Qt.Key.Key_K, qtbot)
    wait(qtbot, lambda: queue.night.rows[1].verdict == "kept")
    queue.details.text.setText("no seeing at all")
    queue.details.text.editingFinished.emit()
    wait(qtbot, lambda: queue.night.rows[1].note == "no seeing at all")
    assert queue.filter.itemText(5) == "kept (1)"
    queue._stop_looking()
    wait(qtbot, lambda: not looking())
    table = (where / "night.csv").read_text().splitlines()
    assert table[2].endswith("kept,no seeing at all")


def test_a_night_of_the_command_line_is_tried_again_added_to_and_cancelled(
    queue: Any, viewer: Any, night: Path, unattended: list[Path], qtbot: Any
) -> None:
    def states() -> list[str]:
        return [row.state for row in queue.night.rows] if queue.night else []

    queue.open_night(night.parent)
    wait(qtbot, lambda: "is not a night" in queue.problem.text())
    drop(queue.new, [night])
    wait(qtbot, lambda: states() == ["done", "done", "failed"])
    assert "burst2.fits" in queue.night.rows[2].reason
    assert str(night.parent) not in queue.night.rows[2].reason
    unattended.clear()
    assert queue.retry_button.isEnabled()
    assert not queue.resume_button.isEnabled()

    queue.table.selectRow(2)
    press(queue.table, Qt.Key.Key_K, qtbot)  # nothing is there to be kept
    queue.retry_button.click()
    wait(qtbot, lambda: states() == ["done", "done", "waiting"])
    assert unattended == [night]
    assert "Nobody works at it" in queue.status.text()
    more = write_bursts(night.parent / "late", 1)
    drop(queue, more)
    wait(qtbot, lambda: len(states()) == 4)
    queue.cancel_button.setEnabled(True)  # as when a coordinator worked
    queue.cancel_button.click()
    wait(qtbot, lambda: "Cancelled" in queue.status.text())
    queue.resume_button.click()
    wait(qtbot, lambda: not queue.night.cancelled)
    assert unattended == [night] * 3
    assert not queue.problem.text()

    # Both are opened, one after the other; a burst without a result alone.
    for number, names in ((0, ["burst0", "burst0_restored"]), (1, ["burst1", "burst1_restored"])):
        queue.table.doubleClicked.emit(queue.table.shown.index(number, 2))
        wait(qtbot, lambda names=names: [x.name for x in viewer.layers if x.visible] == names)
    assert not [layer for layer in viewer.layers if layer.name.startswith("burst0")]
    raw = fits.getdata(night.parent / "raw" / "burst1.fits")
    np.testing.assert_array_equal(viewer.layers["burst1"].data, raw)
    queue.how.setCurrentIndex(0)
    assert not viewer.canvas.grid.enabled
    queue.table.doubleClicked.emit(queue.table.shown.index(3, 2))
    wait(qtbot, lambda: [layer.name for layer in viewer.layers if layer.visible] == ["burst0"])


def drop(widget: Any, paths: list[Path]) -> None:
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(path)) for path in paths])
    action, left, none = Qt.DropAction.CopyAction, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # PySide6 6.12 has another way, PyQt6 6.11 not
        entered = QDragEnterEvent(QPoint(5, 5), action, data, left, none)
    QApplication.sendEvent(widget, entered)
    QApplication.sendEvent(widget, QDropEvent(QPointF(5, 5), action, data, left, none))


def test_the_settings_of_a_panel_are_those_of_the_night(panel: Any, tmp_path: Path, qtbot: Any) -> None:
    from heliorestore.plugin.panels.new_night import _free_folder, layer_files
    from heliorestore.plugin.panels.queue import QueueWidget

    queue = QueueWidget(panel.viewer)
    panel.viewer.window.add_dock_widget(queue, name="Queue")
    panel.form.fields["amount"].set(3.5) if "amount" in panel.form.fields else None
    panel.frames.setText("0:2")
    panel.seed.setValue(7)
    panel.layer_list.choose([panel.viewer.layers[1]])
    panel.input.calibration.form.fields["dark"].set("dark.fits")
    queue.use(panel)
    assert queue.new.settings.currentText() == "panel Restore (fake)"
    panel.input.calibration.form.fields["dark"].set("")
    wanted = queue.new.wanted()
    assert wanted.settings == panel.form.settings()
    assert (wanted.frames, wanted.best, wanted.objects, wanted.seed) == ("0:2", "", "1:2", 7)
    panel.input.frame_choice.best.setText("30%")
    wanted = queue.new.wanted()
    assert (wanted.frames, wanted.best) == ("", "30%")
    assert wanted.night("").frames == ":"

    with pytest.raises(BurstError, match="did not come from a file"):
        layer_files(list(panel.viewer.layers))
    (path,) = write_bursts(tmp_path, 1)
    record = load_layers([path])[0][1]["metadata"]
    assert layer_files([type("Layer", (), {"metadata": record, "name": "sun"})]) == [path]
    (tmp_path.parent / f"{tmp_path.name}_fake").mkdir()
    assert _free_folder(tmp_path, "fake").name == f"{tmp_path.name}_fake_2"
    queue.new.start()
    assert "Name a folder" in queue.problem.text()


def test_no_worker_is_begun_beside_the_jobs_of_slurm(tmp_path: Path) -> None:
    (tmp_path / "worker.sh").touch()
    with pytest.raises(BurstError, match="are jobs of SLURM: begin some with sbatch"):
        nights.launch(tmp_path, 0, "auto")


def rows(count: int, folder: Path) -> list[BurstRow]:
    return [
        BurstRow(
            id=f"{number}", title=f"burst{number:04d}.fits", paths=(f"/data/burst{number:04d}.fits",),
            result=folder / f"{number}.fits", state="failed" if number % 100 == 0 else "done",
            reason="The file is damaged. " * 20 if number % 100 == 0 else "",
            seconds=float((number * 37) % 1000), contrast=(0.1, 0.1 + 0.0001 * number),
            before=folder / f"{number}_before.png", after=folder / f"{number}_after.png",
        )
        for number in range(count)
    ]  # fmt: skip


def test_a_list_of_a_thousand_reads_only_what_is_seen_and_keeps_its_place(tmp_path: Path, qtbot: Any) -> None:
    from heliorestore.plugin.widgets.burst_table import BurstTable

    many = rows(1000, tmp_path)
    for number in range(1000):
        for when in ("before", "after"):
            (tmp_path / f"{number}_{when}.png").touch()
    picture = QImage(8, 8, QImage.Format.Format_Grayscale8)
    for number in range(495, 515):
        picture.save(str(tmp_path / f"{number}_after.png"))
    table = BurstTable("kx")
    qtbot.addWidget(table)
    table.resize(480, 400)
    table.shown.take(many)
    table.show()
    bar = table.verticalScrollBar()
    table.selectRow(500)
    wait(qtbot, lambda: table.thumbnails.get(many[500].after) is not None)
    assert len(table.thumbnails._missing) < 60
    place = bar.value()
    assert place > 1000

    table.shown.take(
        [replace(row, note="x") if row.id == "501" else row for row in many] + rows(1001, tmp_path)[1000:]
    )
    assert [row.id for row in table.chosen()] == ["500"]
    assert bar.value() == place
    table.sortByColumn(5, Qt.SortOrder.DescendingOrder)
    assert [row.seconds for row in table.shown.rows[:3]] == [999.0, 998.0, 997.0]
    assert [row.id for row in table.chosen()] == ["500"]
    table.shown.show_only("failed")
    assert len(table.shown.rows) == 11
    keys: list[str] = []
    table.pressed_key.connect(keys.append)
    for key in (Qt.Key.Key_K, Qt.Key.Key_X, Qt.Key.Key_B, Qt.Key.Key_Down):
        qtbot.keyClick(table, key)
    assert keys == ["k", "x"]


def test_a_reader_ends_with_its_panel_and_after_what_was_asked_for(night: Path, qtbot: Any) -> None:
    parent = QObject()
    reader = NightReader(night, parent)
    seen: list[NightSeen] = []
    reader.seen.connect(seen.append)
    reader.start()
    wait(qtbot, lambda: bool(seen))
    reader.judge([row.id for row in seen[0].rows[:2]], "rejected", None)
    reader.close()
    wait(qtbot, lambda: not reader.thread_.is_alive())
    ledger = Ledger(night)
    ledger.refresh()
    assert ledger.verdicts() == {"kept": 0, "rejected": 2}
    assert "rejected" in (night / "night.csv").read_text()
    other = NightReader(night, parent)
    other.start()
    thread = other.thread_
    parent.deleteLater()
    wait(qtbot, lambda: not thread.is_alive())


def test_the_files_of_a_layer_are_one_burst_of_a_night(tmp_path: Path, unattended: list[Path]) -> None:
    frames = tuple(write_bursts(tmp_path / "frames", 2))
    begin(tmp_path / "night", Wanted(settings=SETTINGS), [frames, frames[0], frames], "{stem}.fits", 0)
    ledger = Ledger(tmp_path / "night")
    ledger.refresh()
    assert [(entry.name, len(entry.paths)) for entry in ledger.entries.values()] == [
        ("frames.fits", 2),
        ("burst0.fits", 1),
    ]
    assert unattended == [tmp_path / "night"]
    ledger.attempt(next(iter(ledger.entries.values())))
    first, second = nights._seen(Night.read(tmp_path / "night"), ledger, known := nights._Rows()).rows
    assert (first.state, first.reason) == ("running", "")
    ledger.judge(next(iter(ledger.entries.values())), "kept", "")
    ledger.refresh()
    again = nights._seen(Night.read(tmp_path / "night"), ledger, known).rows
    assert again == (replace(first, verdict="kept"), second)
    assert again[1] is second
    assert (first.title, second.title) == ("frames (2 files)", "burst0")
    # The command line would say the same of it.
    there = Night.read(tmp_path / "night")
    assert there == Wanted(settings=SETTINGS).night("{stem}.fits")
    assert add(ledger, there, [frames]) == 0
    plan = tmp_path / "plan.csv"
    plan.write_text("files,iterations\nframes/burst0.fits,7\nframes/burst1.fits,\n")
    assert count([plan, frames[0]], Wanted(settings=SETTINGS)) == 3
    with pytest.raises(SettingsError, match="choose them first"):
        count([plan], None)
    begin(tmp_path / "night", Wanted(settings=SETTINGS), [plan], "{stem}.fits", 0)
    ledger.refresh()
    assert [entry.own for entry in ledger.entries.values()] == [{}, {}, {"iterations": "7"}, {}]
    assert nights._seen(there, ledger, known).rows[2].facts == "its own iterations 7"
    with pytest.raises(BurstError, match="No burst is given"):
        begin(tmp_path / "other", Wanted(settings=SETTINGS, preparation=Preparation()), [], "", 0)
    assert not (tmp_path / "other").exists()

"""The files of a panel: open the input, export a result, copy a run as a command or as Python."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from napari.utils.history import get_open_history, get_save_history, update_open_history, update_save_history
from qtpy.QtCore import QObject
from qtpy.QtWidgets import QApplication, QFileDialog, QLineEdit

from heliorestore.errors import HeliorestoreError
from heliorestore.fits.reader import SUFFIXES
from heliorestore.plugin.panels.parts import Panel
from heliorestore.plugin.runs.as_code import as_command, as_python, not_repeated
from heliorestore.plugin.runs.task import End, Outcome, start_task
from heliorestore.plugin.viewer.failure import explain
from heliorestore.plugin.widgets.sections import Section, button, row
from heliorestore.snapshot import Snapshot

_FILES = f"Solar images ({' '.join(f'*{suffix}' for suffix in SUFFIXES)});;All files (*)"


class Files(QObject):
    """The section *Result* of a panel, and the button that opens files; problems are said in the panel."""

    def __init__(self, panel: Panel) -> None:
        super().__init__(panel.widget)
        self._panel = panel
        self.open_button = button(
            "Open FITS…",
            "Open files with this plugin's reader, which keeps every frame, the header and the scale.",
            self.open_files,
        )
        self.axes = QLineEdit()
        self.axes.setPlaceholderText("from file")
        self.axes.setToolTip(
            "Names of the axes of the files to open, the slowest first, if their headers do not give them: "
            "wavelength,stokes,frame,y,x. Objects are wavelength, stokes, modulation, state, tuning and "
            "object; frame,stokes=4,wavelength=21,y,x splits an axis in which all images follow each other."
        )
        self.open_row = row(self.open_button, "axes", self.axes)
        self.export_button = button(
            "Export FITS…",
            "Write the latest result with header, WCS, losses, settings and provenance.",
            self.export,
        )
        command = button(
            "Copy as command line",
            "The heliorestore command that runs these settings without napari. Where settings were moved "
            "during the run, it says so: then an exported file and `heliorestore rerun` repeat the result.",
            self.copy_command,
        )
        python = button(
            "Copy as Python",
            "Python lines that run these settings in a script or notebook.",
            self.copy_python,
        )
        queue = button(
            "Restore more…",
            "Restore further files with these settings, in the panel Queue; napari may be closed meanwhile.",
            self._queue,
        )
        self.section = Section("Result", row(self.export_button, queue), row(command, python))

    def open_files(self) -> None:
        """Ask for files and open them with this plugin's reader, whichever reader napari would take."""
        names, _ = QFileDialog.getOpenFileNames(
            self._panel.widget, "Open FITS", get_open_history()[0], _FILES
        )
        if names:
            update_open_history(names[0])
            self.open_paths(names)

    def open_paths(self, paths: Sequence[str | Path], then: Callable[[], None] | None = None) -> None:
        """Read files in a thread, several as one burst, add and tick their layers, then call `then`."""
        from heliorestore.plugin.npe2.readers import load_layers

        axes = self.axes.text().strip()
        start_task(
            f"Open {Path(paths[0]).name}",
            lambda: load_layers(paths, axes),
            lambda outcome: self._opened(outcome, then),
            listed=False,
        )

    def export(self, path: str | Path | None = None, snapshot: Snapshot | None = None) -> None:
        """Write a result, by default the latest, in a thread; without a path ask for one."""
        if (snapshot := snapshot or self._panel.run_panel.snapshot) is None:
            return
        if path is None:
            method = snapshot.run.settings.method if snapshot.run is not None else self._panel.method_name
            suggestion = Path(get_save_history()[0]) / f"{method}_{snapshot.step}.fits"
            # The dialog asks before an existing file is replaced.
            path, _ = QFileDialog.getSaveFileName(
                self._panel.widget, "Export FITS", str(suggestion), "FITS (*.fits *.fits.gz)"
            )
            if not path:
                return
        target = Path(path) if Path(path).suffix else Path(f"{path}.fits")
        update_save_history(str(target))

        def write() -> Path:
            from heliorestore.fits.writer import write

            return write(snapshot, target, overwrite=True)

        self._panel.run_panel.report(f"Writing {target.name}…")
        start_task(f"Write {target.name}", write, self._written)

    def copy_command(self) -> None:
        """Put the command that repeats this run into the clipboard."""
        self._copy(as_command)

    def copy_python(self) -> None:
        """Put the Python lines that repeat this run into the clipboard."""
        self._copy(as_python)

    def _queue(self) -> None:
        """Take this panel's settings to the queue."""
        dock, queue = self._panel.viewer.window.add_plugin_dock_widget("heliorestore", "Queue")
        dock.show()  # it may have been hidden
        dock.raise_()
        queue.use(self._panel.widget)

    def _copy(self, make: Callable[..., str]) -> None:
        panel = self._panel
        try:
            job = panel.job()
            text = make(
                panel.input.whole_file(),
                job.burst,
                job.settings,
                instrument=panel.instrument.text(),
                device=job.device,
                seed=job.seed,
            )
        except HeliorestoreError as error:
            panel.run_panel.say(explain(error))
            return
        panel.run_panel.say("")
        if (clipboard := QApplication.clipboard()) is not None:
            clipboard.setText(text)
        warning = not_repeated(panel.run_panel.snapshot)
        panel.run_panel.report(f"Copied:\n{text}" + (warning and f"\n⚠ {warning}"))

    def _opened(self, outcome: Outcome, then: Callable[[], None] | None) -> None:
        from napari.layers import Layer

        if outcome.end is not End.FINISHED:
            self._panel.run_panel.say_failure(outcome)
            return
        self.axes.clear()  # the next file may have others
        viewer = self._panel.viewer
        first = not len(viewer.layers)
        added = [viewer.add_layer(Layer.create(*data)) for data in outcome.value]
        if first:  # napari would open a series in its middle
            viewer.dims.current_step = (0,) * viewer.dims.ndim
        images = [layer for layer in added if layer.metadata.get("kind", "image") == "image"]
        self._panel.layer_list.choose(images)
        if then is not None:
            then()

    def _written(self, outcome: Outcome) -> None:
        if outcome.end is End.FINISHED:
            self._panel.run_panel.report(f"Written: {outcome.value}")
        else:
            self._panel.run_panel.report("")
            self._panel.run_panel.say_failure(outcome)

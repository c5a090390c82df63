"""The input of a panel: the ticked layers, their objects and frames, and their instrument."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from qtpy.QtCore import QObject
from qtpy.QtWidgets import QLineEdit

from heliorestore.burst import Burst
from heliorestore.errors import BurstError, HeliorestoreError
from heliorestore.plugin.panels.calibration import Calibration
from heliorestore.plugin.panels.frame_choice import FrameChoice
from heliorestore.plugin.panels.parts import Panel
from heliorestore.plugin.runs.worker import Job
from heliorestore.plugin.viewer.cubes import objects_in
from heliorestore.plugin.viewer.layers import (
    burst_of,
    common_burst,
    enter_instrument,
    entered_instrument,
    hint,
    objects_of,
)
from heliorestore.plugin.viewer.unsuitable import nothing_in, why_not_listed
from heliorestore.plugin.widgets.closing import follow
from heliorestore.plugin.widgets.instrument_box import InstrumentBox
from heliorestore.plugin.widgets.layer_list import LayerList
from heliorestore.plugin.widgets.sections import Place, Section, note, row, say, side_by_side


class InputLayers(QObject):
    """The sections *Input* and *Instrument* of a panel."""

    def __init__(self, panel: Panel) -> None:
        super().__init__(panel.widget)
        self.layer_list = LayerList(panel.viewer)
        self.hint = note("Warnings about the chosen layers.")
        self.instrument = InstrumentBox()
        self.frames, self.objects = QLineEdit(), QLineEdit()
        for edit, what in ((self.frames, "frames"), (self.objects, "objects")):
            edit.setPlaceholderText("all")
            edit.setToolTip(
                f"The {what} to use, numbered from 0: slices such as 0:6 or ::2, or a list as 0:12,15,17. "
                f"Empty: all {what}."
            )
        self.frame_choice = FrameChoice(self.frames, self._all_frames)
        self.section = Section(
            "Input",
            panel.files.open_row,
            self.layer_list,
            Place(2, self.hint),
            row("frames", self.frames, "objects", self.objects),
        )
        self.calibration = Calibration()
        self.instrument_section = Section("Instrument", self.instrument)
        self.about = side_by_side(self.frame_choice, self.calibration, self.instrument_section)
        self.calibration.changed.connect(self.look)
        self._measured: list[Any] = []  # the layers whose frames are known
        self._entered: list[str] = []  # the instruments that the ticked layers were given, as they are shown
        self._nothing: list[str] = []  # what is said of frames without an image
        for changed in (self.calibration.changed, self.calibration.read, self.objects.editingFinished):
            changed.connect(self.frame_choice.forget)
        self.layer_list.changed.connect(self.look)
        self.instrument.asks.connect(self._mark_instrument)
        self.instrument.changed.connect(self._keep_instrument)
        self.instrument.changed.connect(self.look)
        follow(self, [panel.viewer.layers.events], self._layers_told)

    def whole_burst(self) -> Burst:
        """The burst of the ticked layers, its frames prepared."""
        chosen = self.layer_list.chosen()
        shown = burst_of(chosen)
        prepared = self.calibration.prepared(common_burst(chosen))
        return shown if prepared is None else prepared.select(objects=objects_of(chosen))

    def burst(self) -> Burst:
        """The part of it to restore, with the chosen instrument."""
        if self._nothing:  # before anything is asked for that would not help
            raise BurstError(self._nothing[0])
        part = self.whole_burst().select(self.objects.text(), self.frames.text())
        return self.instrument.apply(part)

    def _all_frames(self) -> Burst:
        """The chosen objects with every frame, and what is known of the instrument."""
        return self.whole_burst().select(self.objects.text()).with_instrument(self.instrument.text())

    def whole_file(self) -> Burst:
        """All objects and frames of the files that the input came from."""
        chosen = self.layer_list.chosen()
        return common_burst(chosen) or burst_of(chosen)

    def layers_of(self, job: Job) -> list[Any]:
        """The layers that a job restores, one per object; a cube stands there for each of its own."""
        chosen = self.layer_list.chosen()
        together = common_burst(chosen) is not None
        # Layers of one burst have its numbers; others are objects in the order of the list.
        objects = [(layer, number) for layer in chosen for number in objects_in(layer)]
        numbered = {number if together else place: layer for place, (layer, number) in enumerate(objects)}
        return [numbered[number] for number in job.burst.object_numbers]

    def look(self) -> None:
        """Show the instrument of the ticked layers, and warnings about them."""
        chosen = self.layer_list.chosen()
        if chosen != self._measured:  # a frame is read for it: not with every layer that comes or goes
            with suppress(HeliorestoreError, OSError):  # a file that has gone is reported by the run
                self._nothing = list(filter(None, map(nothing_in, chosen)))
        others = () if chosen else map(why_not_listed, self.layer_list.viewer_layers())
        about = (*map(hint, chosen), *self._nothing, *others, _other_instruments(chosen))
        text = "\n".join(filter(None, about))
        burst = None
        if chosen:
            try:
                burst = burst_of(chosen)
            except HeliorestoreError as error:
                text = f"{text}\n{error}".strip()
        self.calibration.look(common_burst(chosen))
        self._entered = self._all_entered()
        known = None if self._nothing else burst  # of nothing no instrument is missing
        self.instrument.set_burst(known, entered_instrument(chosen[0]) if chosen else "")
        if chosen != self._measured:  # not with every layer that comes or goes
            self._measured = chosen
            self.frame_choice.forget()
        say(self.hint, text and f"⚠ {text}")

    def _keep_instrument(self) -> None:
        """The instrument belongs to the layers; other panels that have them see it there."""
        text, chosen = self.instrument.text(), self.layer_list.chosen()
        if chosen and text != entered_instrument(chosen[0]):
            for layer in chosen:
                enter_instrument(layer, text)

    def _mark_instrument(self, asks: bool) -> None:
        """Say in the title that something is asked for: the section may be closed."""
        self.instrument_section.title.setText("⚠ Instrument" if asks else "Instrument")

    def _layers_told(self, event: Any) -> None:
        # The layers of a run get new metadata with every snapshot.
        if event.type == "metadata" and self._entered != self._all_entered():
            self.look()

    def _all_entered(self) -> list[str]:
        return [entered_instrument(layer) for layer in self.layer_list.chosen()]


def _other_instruments(layers: list[Any]) -> str:
    """A warning where not all these layers, restored together, were given the instrument of the first."""
    others = [layer.name for layer in layers if entered_instrument(layer) != entered_instrument(layers[0])]
    if not others:
        return ""
    return (
        f"{', '.join(others)} and {layers[0].name} have been given different instruments: together they "
        f"are restored with that of {layers[0].name}."
    )

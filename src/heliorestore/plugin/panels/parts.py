"""What the parts of a restoration panel may ask of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from heliorestore.burst import Burst
from heliorestore.plugin.panels.calibration import Calibration
from heliorestore.plugin.runs.live import LiveLayers
from heliorestore.plugin.runs.preview import Preview
from heliorestore.plugin.runs.worker import Job
from heliorestore.plugin.viewer.result_layers import ResultLayers
from heliorestore.plugin.widgets.form import SettingsForm
from heliorestore.plugin.widgets.instrument_box import InstrumentBox
from heliorestore.plugin.widgets.layer_list import LayerList
from heliorestore.plugin.widgets.numbers import IntBox
from heliorestore.plugin.widgets.run_controls import RunPanel
from heliorestore.plugin.widgets.sweep_box import SweepBox
from heliorestore.selection import Numbers
from heliorestore.settings import Settings
from heliorestore.snapshot import Snapshot

if TYPE_CHECKING:
    from napari.viewer import Viewer
    from qtpy.QtWidgets import QCheckBox, QComboBox, QLineEdit, QWidget


class Input(Protocol):
    """What is restored."""

    calibration: Calibration

    def whole_file(self) -> Burst: ...

    def layers_of(self, job: Job) -> list[Any]: ...


class Files(Protocol):
    """The files of a panel."""

    open_row: QWidget

    def open_paths(self, paths: Sequence[str | Path], then: Callable[[], None] | None = None) -> None: ...

    def export(self, path: str | Path | None = None, snapshot: Snapshot | None = None) -> None: ...


class Form(Protocol):
    """The settings of a panel."""

    def knobs(self) -> Settings | None: ...

    def show_settings(self, settings: Settings) -> None: ...


class Panel(Protocol):
    """A panel as its parts see it."""

    viewer: Viewer
    run_panel: RunPanel
    layer_list: LayerList
    instrument: InstrumentBox
    frames: QLineEdit
    objects: QLineEdit
    device: QComboBox
    seed: IntBox

    @property
    def widget(self) -> QWidget: ...

    @property
    def method(self) -> str | None: ...

    @property
    def groups(self) -> Mapping[str, Sequence[str]] | None: ...

    @property
    def method_name(self) -> str: ...

    @property
    def form(self) -> SettingsForm | None: ...

    @property
    def input(self) -> Input: ...

    @property
    def files(self) -> Files: ...

    @property
    def method_form(self) -> Form: ...

    def job(self) -> Job: ...

    def make_layers(self, job: Job) -> ResultLayers: ...


class Views(Protocol):
    """What is seen of the frame on the slider."""

    frames: Numbers


class Box(Protocol):
    """The preview box and its tick."""

    on: QCheckBox


class Field(Protocol):
    """The run on the whole field."""

    layers: LiveLayers | None


class LivePanel(Panel, Protocol):
    """A panel that is steered while it runs, as its parts see it."""

    sweep_box: SweepBox

    @property
    def preview(self) -> Preview | None: ...

    @property
    def preview_box(self) -> Box: ...

    @property
    def frame_views(self) -> Views: ...

    @property
    def field_run(self) -> Field: ...

    def knobs(self) -> Any: ...

    def make_layers(self, job: Job) -> LiveLayers: ...

"""The form of any method, made from its settings class alone."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QCheckBox, QComboBox, QFormLayout, QHBoxLayout, QLabel, QLineEdit, QWidget

from heliorestore.errors import SettingsError
from heliorestore.plugin.widgets.file_box import FileBox
from heliorestore.plugin.widgets.numbers import FloatBox, IntBox, SlideNumber
from heliorestore.plugin.widgets.sections import Section, note, say, stack
from heliorestore.plugin.widgets.weights_box import WeightsBox
from heliorestore.settings import Option, Settings, options


@dataclass(frozen=True)
class Field:
    """One setting in the form: its editor, getter and setter, and the line for its error."""

    option: Option
    editor: QWidget
    label: QLabel
    get: Callable[[], Any]
    set: Callable[[Any], None]
    error: QLabel


class SettingsForm(QWidget):
    """Editors for every setting of a class; `changed` fires when one of them has changed.

    With `groups`, titles and the names of their settings in order, each group can be folded; the first is
    open, and settings of no group come last. Settings that it is `without` keep their defaults.
    """

    changed = Signal()

    def __init__(
        self,
        settings_class: type[Settings],
        *,
        groups: Mapping[str, Sequence[str]] | None = None,
        without: Collection[str] = (),
    ) -> None:
        super().__init__()
        self.settings_class = settings_class
        self.fields: dict[str, Field] = {}
        self.groups: dict[str, Section] = {}
        known = {option.name: option for option in options(settings_class) if option.name not in without}
        column = stack(self)
        column.setSpacing(0)
        left = [name for name in known if not any(name in names for names in (groups or {}).values())]
        for title, names in {**(groups or {}), "Further settings": left}.items():
            holder = QWidget()
            rows = QFormLayout(holder)
            rows.setContentsMargins(0, 0, 0, 0)
            rows.setVerticalSpacing(3)
            # Panels are narrow: a long label goes above its field.
            rows.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
            rows.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
            for name in names:
                if name in known:
                    self._add(known[name], rows)
            if groups:
                self.groups[title] = holder = Section(title, holder, opened=not self.groups)
            column.addWidget(holder)
        self.reset()

    def settings(self) -> Settings:
        """The current settings; an error of a field is shown under it and raised."""
        values = {}
        first: SettingsError | None = None
        for name, field in self.fields.items():
            try:
                values[name] = field.option.check(field.get())
                self._show_error(field, "")
            except SettingsError as error:
                self._show_error(field, str(error))
                # All errors are shown, the first is raised.
                first = first or error
        if first is not None:
            raise first
        return self.settings_class(**values)

    def set_settings(self, settings: Settings, *, live_only: bool = False) -> None:
        """Show these settings, or the live ones of them."""
        for name, field in self.fields.items():
            if field.option.live or not live_only:
                field.set(getattr(settings, name))
                self._show_error(field, "")
        self.changed.emit()

    def reset(self) -> None:
        """Show the defaults."""
        self.set_settings(self.settings_class())

    def set_running(self, running: bool) -> None:
        """While a method runs only the live settings can be changed."""
        for field in self.fields.values():
            field.editor.setEnabled(field.option.live or not running)

    def _add(self, option: Option, rows: QFormLayout) -> None:
        editor, get, set_ = _editor(option, self._edited)
        if option.optional:
            editor, get, set_ = _optional(option, editor, get, set_, self._edited)
        editor.setToolTip(tooltip(option))
        label = QLabel(option.label)
        label.setToolTip(tooltip(option))
        label.setBuddy(editor)
        error = note("The error of this setting.")
        rows.addRow(label, editor)
        rows.addRow(error)
        self.fields[option.name] = Field(option, editor, label, get, set_, error)

    def _edited(self, *_: Any) -> None:
        self.changed.emit()

    def _show_error(self, field: Field, text: str) -> None:
        say(field.error, text and f"⚠ {text}")


def tooltip(option: Option) -> str:
    """The help of a setting, with its range, unit and default, and whether it acts while running."""
    unit = f" {option.unit}" if option.unit else ""
    facts = [
        f"{option.range_text}{unit}" if option.range_text else option.unit,
        option.default_text and f"default {option.default_text}{unit}",
    ]
    if option.live:
        facts.append("acts while running, from the next iteration on")
    given = "; ".join(filter(None, facts))
    return f"{option.help}\n({given})" if given else option.help


Editor = tuple[QWidget, Callable[[], Any], Callable[[Any], None]]


def _editor(option: Option, changed: Callable[..., None]) -> Editor:
    """The widget for the type of a setting, with its getter and setter."""
    if option.choices:
        combo = QComboBox()
        for choice in option.choices:
            combo.addItem(str(choice), choice)
        combo.currentIndexChanged.connect(changed)
        return combo, combo.currentData, lambda value: combo.setCurrentIndex(combo.findData(value))
    if option.type is bool:
        check = QCheckBox()
        check.toggled.connect(changed)
        return check, check.isChecked, check.setChecked
    if option.type is str:
        return _text_editor(option, changed)
    bounded = option.minimum is not None and option.maximum is not None
    # Settings that are turned while a method runs get a slider.
    if option.log or (option.live and option.type is float and bounded):
        default = option.default if option.default is not None else option.minimum or 1.0
        slide = SlideNumber(
            option.minimum, option.maximum, float(default), whole=option.type is int, log=option.log
        )
        slide.valueChanged.connect(changed)
        return slide, slide.value, slide.setValue
    box: IntBox | FloatBox = (IntBox if option.type is int else FloatBox)(option.minimum, option.maximum)
    box.valueChanged.connect(changed)
    return box, box.value, box.setValue


def _text_editor(option: Option, changed: Callable[..., None]) -> Editor:
    """The widget for a text, which may name weights or a file."""
    if option.weights_of:
        weights = WeightsBox(option.weights_of)
        weights.activated.connect(changed)
        weights.line.editingFinished.connect(changed)
        return weights, weights.currentText, weights.setEditText
    if option.file:
        file = FileBox(option.label)
        file.changed.connect(changed)
        return file, file.path, file.set_path
    line = QLineEdit()
    line.editingFinished.connect(changed)
    return line, line.text, line.setText


def _optional(
    option: Option,
    editor: QWidget,
    get: Callable[[], Any],
    set_: Callable[[Any], None],
    changed: Callable[..., None],
) -> Editor:
    """The editor with a check box before it: unchecked is None."""
    whole = QWidget()
    given = QCheckBox()
    layout = QHBoxLayout(whole)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.addWidget(given)
    layout.addWidget(editor, 1)
    for part in (given, editor):
        part.setToolTip(f"{tooltip(option)}\nUnticked: none.")

    def write(value: Any) -> None:
        given.setChecked(value is not None)
        editor.setEnabled(value is not None)
        if value is not None:
            set_(value)

    given.toggled.connect(editor.setEnabled)
    given.toggled.connect(changed)
    return whole, lambda: get() if given.isChecked() else None, write

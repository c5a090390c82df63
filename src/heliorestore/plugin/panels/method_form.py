"""The settings of a panel's method: the method is loaded in a thread, then its form is shown."""

from __future__ import annotations

from qtpy.QtCore import QObject, QSignalBlocker, Signal
from qtpy.QtWidgets import QComboBox, QWidget

from heliorestore.errors import HeliorestoreError
from heliorestore.methods import METHODS
from heliorestore.methods.first_choice import first_choice
from heliorestore.plugin.panels.parts import Panel
from heliorestore.plugin.preferences import preferences
from heliorestore.plugin.runs.task import End, Outcome, start_task
from heliorestore.plugin.viewer.layers import burst_of
from heliorestore.plugin.widgets.form import SettingsForm
from heliorestore.plugin.widgets.preset_box import PresetBox
from heliorestore.plugin.widgets.sections import Section, button, note, stack
from heliorestore.settings import Settings

_MEMORY = "memory_gb"  # the setting whose default the preferences know


class MethodForm(QObject):
    """The section *Method* of a panel; `form` is None as long as the method is being loaded."""

    changed = Signal()  # a setting was moved
    shown = Signal()  # another form is shown, or none

    def __init__(self, panel: Panel) -> None:
        super().__init__(panel.widget)
        self._panel = panel
        self.form: SettingsForm | None = None
        self.devices: tuple[str, ...] = ()  # of this machine, known once a method is loaded
        self._wanted: Settings | None = None  # to be shown once their method is loaded
        self._chosen = False  # whether the user has chosen the method: then it stays
        self._loaded_as: Settings | None = None  # what the form showed first
        self.choice = QComboBox()
        self.choice.setToolTip("The method of restoration; the one that fits the ticked layers stands first.")
        for name, entry in METHODS.items():
            self.choice.addItem(entry.title or name, name)
        self.choice.currentIndexChanged.connect(self._choose)
        self.summary = note("What the method does.")
        self.summary.show()
        self.loading = note("The method is being loaded; the first time this takes a few seconds.")
        self.preset_box = PresetBox(self.show_settings, self.settings)
        self.reset_button = button(
            "Reset to defaults", "Set every setting of the method back to its default.", self.reset
        )
        holder = QWidget()
        self._place = stack(holder, self.loading)
        choice = [] if panel.method else [self.choice]
        self.section = Section("Method", *choice, self.summary, self.preset_box, holder, self.reset_button)

    @property
    def name(self) -> str:
        return self._panel.method or str(self.choice.currentData())

    def loaded(self) -> SettingsForm:
        """The form; as long as the method is being loaded that is raised as a sentence."""
        if self.form is None:
            raise HeliorestoreError(f"{self.name} is still being loaded: try again in a moment.")
        return self.form

    def settings(self) -> Settings:
        """The current settings; errors are raised as a sentence."""
        return self.loaded().settings()

    def knobs(self) -> Settings | None:
        """The current settings, None while they cannot be read."""
        try:
            return self.settings()
        except HeliorestoreError:
            return None

    def order(self) -> bool:
        """Put the method that fits the ticked layers first; until the user has chosen one or has changed a
        setting it is the present one too. Whether that has changed.
        """
        layers = self._panel.layer_list.chosen()
        if self._panel.method is not None or self._panel.run_panel.busy or not layers:
            return False
        try:
            number = self.choice.findData(first_choice(burst_of(layers)))
        except HeliorestoreError:
            return False
        before = self.name
        with QSignalBlocker(self.choice):
            if number > 0:
                title, name = self.choice.itemText(number), self.choice.itemData(number)
                self.choice.removeItem(number)
                self.choice.insertItem(0, title, name)
            moved = self.form is not None and self.knobs() != self._loaded_as
            self.choice.setCurrentIndex(self.choice.findData(before) if self._chosen or moved else 0)
        return self.name != before

    def follow(self) -> None:
        """Offer the methods for the layers that are ticked now."""
        if self.order():
            self.choose()

    def _choose(self) -> None:
        self._chosen = True
        self.choose()

    def choose(self) -> None:
        """Load the chosen method in a thread, since that imports torch, then show its form."""
        name = self.name
        self.summary.setText(METHODS[name].summary)
        self._panel.instrument.set_needed(METHODS[name].needs_instrument)
        self._panel.run_panel.curve.setVisible(METHODS[name].iterates)

        def load_method() -> tuple[str, type[Settings], tuple[str, ...]]:
            from heliorestore.methods.base import devices, load

            return name, load(name).settings, devices()

        self._show(None)
        self.loading.setText(f"Loading {name}…")
        start_task(f"Load {name}", load_method, self._loaded, listed=False)

    def show_settings(self, settings: Settings) -> None:
        """Show these settings and choose their method; during a run only the live ones."""
        run = self._panel.run_panel
        self._chosen = True
        if settings.method != self.name:
            number = self.choice.findData(settings.method)
            if self._panel.method is not None or run.busy or number < 0:
                self._wanted = None
                run.say(
                    f"These are settings of {settings.method}: choose them in its own panel, when no "
                    "run is active."
                )
                return
            self._wanted = settings
            self.choice.setCurrentIndex(number)
        elif self.form is None:
            self._wanted = settings
        else:
            self.form.set_settings(settings, live_only=run.busy)

    def use(self, setting: str, value: float) -> None:
        """Set one setting, if the method has it."""
        if self.form is not None and setting in self.form.fields:
            self.form.fields[setting].set(value)

    def reset(self) -> None:
        """Show the defaults, with the memory that the preferences allow."""
        if self.form is None:
            return
        self.form.reset()
        if _MEMORY in self.form.fields and (memory_gb := preferences().memory_gb):
            self.form.fields[_MEMORY].set(memory_gb)

    def set_running(self, running: bool) -> None:
        """While a method runs only its live settings can be changed."""
        self.choice.setEnabled(not running)
        self.preset_box.setEnabled(not running)
        self.reset_button.setEnabled(self.form is not None and not running)
        if self.form is not None:
            self.form.set_running(running)

    def _loaded(self, outcome: Outcome) -> None:
        if outcome.end is not End.FINISHED:
            self.loading.setText("")
            self._panel.run_panel.say_failure(outcome)
            return
        name, settings_class, self.devices = outcome.value
        if name != self.name:  # another one has been chosen meanwhile
            return
        form = SettingsForm(settings_class, groups=self._panel.groups)
        form.changed.connect(self.changed)
        self._show(form)
        self.reset()
        if self._wanted is not None and self._wanted.method == name:
            form.set_settings(self._wanted)
        self._loaded_as = self.knobs()
        self._wanted = None

    def _show(self, form: SettingsForm | None) -> None:
        if self.form is not None:
            self._place.removeWidget(self.form)
            self.form.deleteLater()
        self.form = form
        self.loading.setVisible(form is None)
        if form is not None:
            self._place.addWidget(form)
        self.preset_box.set_class(form.settings_class if form is not None else None)
        self.shown.emit()

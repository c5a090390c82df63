"""The section *Calibrate* of a panel: what is done to the frames before the method."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import Signal

from heliorestore.burst import Burst
from heliorestore.errors import HeliorestoreError
from heliorestore.plugin.runs.autosave import State, as_they_are
from heliorestore.plugin.runs.task import End, Latest, Outcome
from heliorestore.plugin.widgets.form import SettingsForm
from heliorestore.plugin.widgets.sections import Place, Section, note, say
from heliorestore.preparation import Preparation
from heliorestore.prepare.opening import prepared

_RAW = "The layers show the frames as they are in the file; runs use the prepared ones."
_NO_FILE = "Only layers of one file, as it was opened, can be calibrated: open several files as one burst."


class Calibration(Section):
    """Files for the camera's frames; they are read in a thread, and `prepared` gives the result."""

    changed = Signal()  # another preparation is wanted
    read = Signal()  # its files are

    def __init__(self) -> None:
        # The axes are a matter of opening a file.
        self.form = SettingsForm(Preparation, without=("axes",))
        self.said = note("What is done to the frames, and what does not fit.")
        super().__init__("Calibrate", self.form, Place(2, self.said), opened=False)
        self._reader = Latest("Read the calibration", self._read)
        self._asked: tuple[Burst, Preparation, tuple[State, ...]] | None = None
        self._found: Burst | str | None = None  # for what was asked, or why there is none
        self._then: Callable[[], None] | None = None
        self.form.changed.connect(self.changed)

    def show_preparation(self, preparation: Preparation) -> None:
        """Fill in these files."""
        self.form.set_settings(preparation)
        self.set_open(bool(preparation.files()))

    def look(self, whole: Burst | None) -> None:
        """Read the files for this burst, unless that was done, and say what is the matter."""
        wanted = self._wanted()
        if whole is None or wanted is None:
            self._asked = None
            say(self.said, f"⚠ {_NO_FILE}" if wanted else "")
            return
        wanted = wanted.replace(axes=whole.preparation.axes)
        asked = (whole, wanted, as_they_are(wanted.files().values()))
        if self._asked is None or self._asked[0] is not whole or self._asked[1:] != asked[1:]:
            self._asked, self._found = asked, None
            say(self.said, "Reading…")
            self._reader.ask(lambda: prepared(whole, wanted))

    def prepared(self, whole: Burst | None) -> Burst | None:
        """The burst with its frames prepared, None if no file is given.

        As long as the files are being read, or if they do not fit, that is raised as a sentence.
        """
        if self._wanted() is None:
            return None
        if whole is None:
            raise HeliorestoreError(_NO_FILE)
        self.look(whole)  # a file that was written anew is read anew
        if not isinstance(self._found, Burst):
            text = self._found or "The calibration is still being read: try again in a moment."
            raise HeliorestoreError(text)
        return self._found

    def when_read(self, then: Callable[[], None]) -> None:
        """Call `then` as soon as nothing is being read."""
        if self._asked is None or self._found is not None:
            then()
        else:
            self._then = then

    def _wanted(self) -> Preparation | None:
        """What is filled in, None if that is nothing."""
        settings = self.form.settings()
        return settings if isinstance(settings, Preparation) and settings.files() else None

    def _read(self, outcome: Outcome) -> None:
        if self._asked is None:
            return
        done = outcome.end is End.FINISHED
        self._found = outcome.value if done else str(outcome.error)
        say(self.said, "\n".join((_RAW, *outcome.value.messages)) if done else f"⚠ {outcome.error}")
        self.read.emit()
        if (then := self._then) is not None:
            self._then = None
            then()

"""Run, pause, step, stop: buttons, progress and loss curve of a panel's one restoration."""

from __future__ import annotations

import time
from enum import Enum
from typing import Any

from qtpy.QtCore import QObject, QTimer, Signal
from qtpy.QtWidgets import QProgressBar, QWidget

from heliorestore.plugin.runs.course import clock, course
from heliorestore.plugin.runs.redraw_rate import Pace
from heliorestore.plugin.runs.task import End, Outcome
from heliorestore.plugin.runs.worker import Job, RestoreWorker, Stage, prepare_restoration
from heliorestore.plugin.viewer.failure import explain, notify
from heliorestore.plugin.viewer.result_layers import ResultLayers
from heliorestore.plugin.viewer.turns import in_a_turn
from heliorestore.plugin.widgets.loss_curve import LossCurve
from heliorestore.plugin.widgets.messages import Clipped, MessageStrip
from heliorestore.plugin.widgets.sections import button, row, stack
from heliorestore.settings import Settings, options
from heliorestore.snapshot import Snapshot, StopReason

_BAR = 8  # px
_SILENT = ("iterations", "residual_frame", "stop_early")  # live settings that do not change the result
_TICK_MS = 1000  # between two looks at the clock: the time left shrinks while an iteration is computed


class State(Enum):
    """The state of the panel; the value is shown to the user, as long as there is no more to say."""

    IDLE = "Ready."
    LOADING = "Loading the method…"
    RUNNING = "Reading the frames…"
    PAUSED = "Paused."
    HOLDING = "Waiting for a change."
    STOPPING = "Stopping after this iteration…"


STATES = {
    Stage.LOADING: State.LOADING,
    Stage.RUNNING: State.RUNNING,
    Stage.PAUSED: State.PAUSED,
    Stage.HOLDING: State.HOLDING,
}
"""The panel's state at each stage of the worker."""


class RunPanel(QWidget):
    """Drives a `RestoreWorker` and shows its snapshots at the refresh rate, always the latest one."""

    wanted = Signal(bool)  # the user wants a new run; True: pause after its first iteration
    state_changed = Signal()
    ended = Signal(object)  # Outcome

    def __init__(self) -> None:
        super().__init__()
        self.state = State.IDLE
        self.snapshot: Snapshot | None = None
        self._worker: RestoreWorker | None = None
        self._settings: Settings | None = None
        self._layers: ResultLayers | None = None
        self._outcome = Outcome(End.FINISHED)
        self._ended_as: End | None = None
        self.stopped = False  # by the user, with the button
        self._adding = ""  # what is said while the last layers are made
        self._ready = False
        self._came = 0.0  # when the last snapshot did
        self._begun = False  # whether this run has shown a snapshot
        self._build()
        self._clock = QTimer(self)
        self._clock.setInterval(_TICK_MS)
        self._clock.timeout.connect(self._show_course)
        self._pace = Pace(self, self._draw, lambda: self._layers is None or self._layers.settled)
        # A closed panel must not leave its run behind; the list outlives the widget.
        self._running: list[RestoreWorker] = []
        self.destroyed.connect(_quitter(self._running))
        self._set_state(State.IDLE)

    # -- starting and steering

    def start(self, job: Job, layers: ResultLayers, *, paused: bool = False, further: bool = False) -> None:
        """Run the job; with `paused` do its first iteration and wait. A run that goes `further` keeps the
        displayed curve and progress.
        """
        self._layers, self._settings, self.stopped = layers, job.settings, False
        self._pace.forget()
        self._begun = False
        if not further:
            self.snapshot = None
            self.curve.clear()
            # Qt shows a moving bar: the number of iterations is not known yet.
            self.progress.setRange(0, 0)
        self.say("")
        self.report("")
        worker = prepare_restoration(
            job,
            {
                "arrived": self._arrived,
                "stage": self._stage,
                "message": self.report_more,
                "ended": self._ended,
            },
        )
        if paused:
            worker.pause()
        self._worker = worker
        self._running[:] = [worker]
        self._set_state(State.LOADING)
        worker.start()

    def send(self, settings: Settings) -> None:
        """Use the live ones of these settings from the next iteration on."""
        if self._worker is not None and self._settings is not None and type(settings) is type(self._settings):
            self._worker.send(self._settings.live_from(settings))

    def pause(self) -> None:
        if self._worker is not None:
            self._worker.pause()

    def stop(self) -> None:
        """End in the middle of an iteration; the last image stays."""
        if self._worker is not None:
            self.stopped = True
            self._set_state(State.STOPPING)
            self._worker.quit()

    def run(self) -> None:
        """Continue if paused, else ask for a new run."""
        if self._worker is not None:
            self._worker.resume()
        else:
            self.wanted.emit(False)

    def step(self) -> None:
        """One more iteration; the first one of a new run if nothing runs."""
        if self._worker is not None:
            self._worker.step()
        else:
            self.wanted.emit(True)

    def set_ready(self, ready: bool) -> None:
        """Set whether there is a method to run."""
        self._ready = ready
        self._set_state(self.state)

    @property
    def busy(self) -> bool:
        return self._worker is not None

    def quit(self) -> None:
        """End the run because its panel closes, without a result; an autosaved run can be resumed later."""
        _quitter(self._running)()

    # -- what it says

    def say(self, text: str) -> None:
        """Show an error, until the next run."""
        self.strip.say(text and f"⚠ {text}")

    def say_failure(self, outcome: Outcome) -> None:
        """Show the error of a task, here and as a notification."""
        if outcome.error is not None:
            self.say(explain(outcome.error))
            notify(outcome.error)

    def report(self, text: str) -> None:
        """Show a message in place of the earlier ones."""
        self.strip.report(text)

    def report_more(self, text: str) -> None:
        """Show a message, and keep the earlier ones."""
        self.strip.report_more(text)

    # -- signals of the worker

    def _arrived(self) -> None:
        self._pace.want()

    def _stage(self, stage: Stage) -> None:
        if self.state is not State.STOPPING:
            self._came = time.monotonic()  # a pause is no part of an iteration
            self._set_state(STATES[stage])

    def _draw(self) -> None:
        snapshot = self._worker.take() if self._worker is not None else None
        if snapshot is None:
            return
        self._came = time.monotonic()
        self.snapshot, self._begun = snapshot, True
        if self._layers is not None:
            self._layers.show(snapshot)
        self._show_progress(snapshot)
        knobs = [each.name for each in options(type(self._settings)) if each.live] if self._settings else []
        knobs = [name for name in knobs if name not in _SILENT]
        self.curve.set_history(snapshot.history, tuple(snapshot.losses), knobs, snapshot.stages)
        self._show_course()
        self.state_changed.emit()

    def _ended(self, outcome: Outcome) -> None:
        self._pace.forget()
        self._draw()
        self._outcome = outcome
        self._complete()

    def _complete(self) -> None:
        """Create the missing layers, one per turn of the event loop, then be ready for the next run."""
        if self._layers is not None and not self._layers.complete():
            missing, count = self._layers.missing
            self._adding = f"Adding layer {count - missing + 1} of {count} to the viewer…" if missing else ""
            self._show_course()
            in_a_turn(self._complete)
            return
        self._adding = ""
        outcome = self._outcome
        self._worker, self._layers = None, None
        self._running.clear()
        self.progress.setRange(0, max(self.progress.maximum(), 1))
        if outcome.end is End.FAILED and outcome.error is not None:
            self.say_failure(outcome)
        elif self.snapshot is not None and self.snapshot.stop not in (None, StopReason.USER):
            self.report_more(self.snapshot.stop.value)  # of the user's stop the line of the course speaks
        self._ended_as = outcome.end
        self._set_state(State.IDLE)
        self.ended.emit(outcome)

    def _show_progress(self, snapshot: Snapshot) -> None:
        # Qt repaints a bar with a new value at once, and the whole window with it: delay that until
        # everything is drawn.
        self.progress.setUpdatesEnabled(False)
        self.progress.setRange(0, max(snapshot.total, 1))
        self.progress.setValue(min(snapshot.step, snapshot.total))
        self.progress.setUpdatesEnabled(True)

    def _show_course(self) -> None:
        """Say what is being computed, and for how long; no number of a run that has ended."""
        text = self._ending() if self.state is State.IDLE else self.state.value
        if not self._begun and self.state is State.RUNNING and self._worker and not self._worker.reading:
            text = "Computing the first result…"
        if self._begun and self.snapshot is not None and self.state in (State.RUNNING, State.PAUSED):
            now = course(self.snapshot)
            text = "Finishing: standard errors and checks…" if now is None else str(now)
            if now is not None and self.state is State.PAUSED:
                text = f"Paused before {now}."
            elif now is not None and now.more:
                text += ", the whole field after that"
            elif now is not None and (left := now.left_s(time.monotonic() - self._came)) is not None:
                most = "at most " if getattr(self._settings, "stop_early", False) else ""
                text += f", {most}{clock(left)} left"
        text = self._adding or text
        self.status.setText(text[:1].upper() + text[1:])

    def _ending(self) -> str:
        """How the last run ended."""
        if self._ended_as is None:
            return State.IDLE.value
        done = self.snapshot.step if self.snapshot is not None else 0
        took = f" in {clock(self.snapshot.elapsed_s)}" if self.snapshot and self.snapshot.elapsed_s else ""
        words = {End.FINISHED: "Finished:", End.STOPPED: "Stopped after", End.FAILED: "Failed after"}
        stages = self.snapshot.stages if self.snapshot is not None else ()
        # A network's parts are counted as such; those of a fit are iterations, whatever their stage.
        parts = len(stages) == 1 and not hasattr(self._settings, "iterations")
        unit = stages[0][0] if parts else "iteration"
        return f"{words[self._ended_as]} {done} {unit}{'s' * (done != 1)}{took}."

    def _set_state(self, state: State) -> None:
        self.state = state
        (self._clock.start if state is State.RUNNING else self._clock.stop)()
        self._show_course()
        idle, paused = state is State.IDLE and self._ready, state is State.PAUSED
        self.run_button.setText("Continue" if paused else "Run")
        self.run_button.setEnabled(idle or paused)
        self.step_button.setEnabled(idle or paused)
        self.pause_button.setEnabled(state is State.RUNNING)
        self.stop_button.setEnabled(state in STATES.values())
        self.state_changed.emit()

    def _build(self) -> None:
        self.run_button = button(
            "Run", "Start a restoration with these settings, or continue a paused one.", self.run
        )
        self.pause_button = button(
            "Pause",
            "Pause after the current iteration; settings can be changed meanwhile.",
            self.pause,
        )
        self.step_button = button("Step", "Do one iteration and pause.", self.step)
        self.stop_button = button(
            "Stop", "End now, in the middle of an iteration too, and keep the last image.", self.stop
        )
        buttons = row(self.run_button, self.pause_button, self.step_button, self.stop_button)
        self.progress = QProgressBar()
        self.progress.setTextVisible(False)  # the line below says more
        self.progress.setFixedHeight(_BAR)
        self.progress.setRange(0, 1)
        self.progress.setToolTip("Iterations done.")
        self.status = Clipped("What is being computed, and the time left as the last iterations had it.")
        self.strip = MessageStrip()
        self.problem, self.messages = self.strip.problem, self.strip.messages
        self.curve = LossCurve()
        stack(self, buttons, self.progress, self.status, self.strip, self.curve).setSpacing(3)


def _quitter(running: list[RestoreWorker]) -> Any:
    def quit_all(_: QObject | None = None) -> None:
        for worker in running:
            worker.abandon()

    return quit_all

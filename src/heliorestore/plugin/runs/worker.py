"""A restoration off the GUI thread.

napari's own generator worker is not suitable: it swallows RuntimeErrors, such as torch's out-of-memory
errors, it does not close the generator on abort, and it queues every yield. Here every end is reported
exactly once (`ended`), the generator is always closed, and only the latest snapshot waits, in a mailbox with
one slot.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from napari.qt.threading import create_worker

from heliorestore.burst import Burst
from heliorestore.plugin.runs.autosave import Autosave
from heliorestore.plugin.runs.task import Task, widen_pool
from heliorestore.settings import Settings
from heliorestore.snapshot import Snapshot, StopReason

if TYPE_CHECKING:
    from heliorestore.plugin.runs.stopping import StopBetweenFrames


class Stage(Enum):
    """The activity of a restoration in a thread."""

    LOADING = "loading"
    RUNNING = "running"
    PAUSED = "paused"
    HOLDING = "holding"  # done, waiting for changed settings


@dataclass(frozen=True, kw_only=True)
class Job:
    """One restoration to be run; its text is what napari's list of running tasks shows.

    With `autosave` its state is kept there, and a state found there is continued. A job that `holds` does not
    end by itself: after its last snapshot it waits for settings, and continues with them.
    """

    burst: Burst
    settings: Settings
    device: str = "auto"
    seed: int = 0
    autosave: Autosave | None = None
    holds: bool = False

    def __str__(self) -> str:
        objects, frames, rows, columns = self.burst.shape
        return f"{self.settings.method} of {objects} x {frames} images of {columns} x {rows} pixels"


class RestoreWorker(Task):
    """Iterates a restoration; pause, step and stop take effect between two iterations, live settings also in
    the middle of one, if the method can end it there.
    """

    def __init__(self, title: str, job: Job) -> None:
        super().__init__(title, self._restore)
        self._job: Job | None = job
        self._change = threading.Condition()
        self._paused = False
        self._steps = 0
        self._sent: Settings | None = None
        self._latest: Snapshot | None = None
        self._pending = False
        self._abandoned = False
        self._frames: StopBetweenFrames | None = None

    # -- called by the GUI thread

    @property
    def reading(self) -> bool:
        """Whether the frames are being read, so far as is known."""
        return self._frames is None or self._frames.being_read

    def pause(self) -> None:
        """Wait before the next iteration until `resume`, `step` or `quit`."""
        with self._change:
            self._paused = True

    def resume(self) -> None:
        """Continue without further waiting."""
        with self._change:
            self._paused = False
            self._change.notify()

    def step(self) -> None:
        """Do one more iteration, then wait."""
        with self._change:
            self._steps += 1
            self._paused = True
            self._change.notify()

    def quit(self) -> None:
        """End at once, in the middle of an iteration too; the last snapshot is the result."""
        with self._change:
            super().quit()
            self._change.notify()

    def abandon(self) -> None:
        """End at once, as nobody takes a result any more: none is kept."""
        with self._change:
            self._abandoned, self._latest = True, None
        self.quit()

    def send(self, settings: Settings) -> None:
        """Use these live settings as soon as the method can; only the last ones sent until then count."""
        with self._change:
            self._sent = settings
            self._change.notify()

    def take(self) -> Snapshot | None:
        """Empty the mailbox: the latest snapshot, or None if it has been taken already."""
        with self._change:
            latest, self._latest, self._pending = self._latest, None, False
        return latest

    # -- in the worker's thread

    def _restore(self) -> None:
        # The worker object outlives the run: it must not keep the burst.
        job, self._job = self._job, None
        if job is None or self.abort_requested:
            return
        self._tell("stage", Stage.LOADING)  # the first import of torch takes seconds
        from heliorestore.methods.base import stream
        from heliorestore.plugin.runs.stopping import StopBetweenFrames, StopBetweenOperations

        last = None
        settings = job.settings
        sent: Settings | None = None

        def news() -> Settings | None:
            nonlocal settings
            arrived = self._taken()
            settings = arrived or settings
            return arrived

        reported: set[str] = set()
        state = "" if job.autosave is None else str(job.autosave.state)
        stopping = StopBetweenOperations(lambda: self.abort_requested)
        self._frames = StopBetweenFrames(job.burst.frames, stopping.look)
        burst = dataclasses.replace(job.burst, frames=self._frames)
        with closing(
            stream(burst, settings, device=job.device, seed=job.seed, checkpoint=state, news=news)
        ) as iterations:
            self._tell("stage", Stage.RUNNING)
            while not self.abort_requested:
                try:
                    with stopping:
                        last = iterations.send(sent)  # `send(None)` is `next`
                except (StopIteration, GeneratorExit):
                    break
                for text in last.messages:
                    if text not in reported:
                        reported.add(text)
                        self._tell("message", text)
                if job.autosave is not None:
                    job.autosave.note(last, settings)
                self._post(last)
                if last.stop is not None and job.autosave is not None:
                    break  # closing the generator now keeps its checkpoint
                if last.stop is None or job.holds:
                    sent = self._wait(hold=last.stop is not None)
                    settings = sent or settings
                else:
                    sent = None
        self._frames = None
        if self.abort_requested and last is not None and last.stop is None:
            last = dataclasses.replace(last, stop=StopReason.USER)
            self._post(last)
        if job.autosave is not None:
            job.autosave.keep(last, settings)

    def _post(self, snapshot: Snapshot) -> None:
        """Replace the snapshot in the mailbox, and emit `arrived` only if the last one has been taken."""
        with self._change:
            if self._abandoned:
                return
            self._latest = snapshot
            ring, self._pending = not self._pending, True
        # Emitted outside of the lock: a slot may call `take`.
        if ring:
            self._tell("arrived")

    def _taken(self) -> Settings | None:
        """Settings that were sent and not used yet."""
        with self._change:
            sent, self._sent = self._sent, None
        return sent

    def _wait(self, *, hold: bool = False) -> Settings | None:
        """Wait while paused, or on hold until settings arrive; return the next iteration's settings."""

        def stays() -> bool:
            return not self.abort_requested and (
                self._sent is None if hold else self._paused and not self._steps
            )

        with self._change:
            waits = stays()
        if waits:
            self._tell("stage", Stage.HOLDING if hold else Stage.PAUSED)
        with self._change:
            # One condition guards all that the GUI thread may change; every change notifies it.
            self._change.wait_for(lambda: not stays())
            self._steps = max(0, self._steps - 1)
            sent, self._sent = self._sent, None
        if waits and not self.abort_requested:
            self._tell("stage", Stage.RUNNING)
        return sent


def prepare_restoration(job: Job, connect: Mapping[str, Callable[..., None]]) -> RestoreWorker:
    """A worker for the job, listed among napari's tasks (closing the window asks and cancels), not yet
    started.

    napari keeps the first argument as long as the window lives: a title, not the data.
    """
    widen_pool()
    return create_worker(
        str(job),
        job,
        _worker_class=RestoreWorker,
        _connect=dict(connect),
        _start_thread=False,
        _ignore_errors=True,
    )

"""Work off the GUI thread: any function as a `Task`, a restoration as a `RestoreWorker`.

napari's own generator worker is not suitable: it swallows RuntimeErrors, such as torch's out-of-memory
errors, it does not close the generator on abort, and it queues every yield. Here every end is reported
exactly once (`ended`), the generator is always closed, and only the latest snapshot waits, in a mailbox with
one slot.
"""

from __future__ import annotations

import contextlib
import dataclasses
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from enum import Enum
from typing import Any, TextIO

from napari.qt.threading import WorkerBase, WorkerBaseSignals, create_worker
from qtpy.QtCore import QThreadPool, Signal

from heliorestore.burst import Burst
from heliorestore.plugin.runs.autosave import Autosave
from heliorestore.settings import Settings
from heliorestore.snapshot import Snapshot, StopReason

_THREADS = 8  # at least: paused restorations hold theirs


class End(Enum):
    """How a task ended."""

    FINISHED = "finished"
    STOPPED = "stopped"
    FAILED = "failed"


class Stage(Enum):
    """The activity of a restoration in a thread."""

    LOADING = "loading"
    RUNNING = "running"
    PAUSED = "paused"
    HOLDING = "holding"  # done, waiting for changed settings


@dataclass(frozen=True)
class Outcome:
    """The end of a task, with the value that it returned or the error that ended it."""

    end: End
    value: Any = None
    error: Exception | None = None


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


class TaskSignals(WorkerBaseSignals):
    """The signals of a worker to the GUI thread; napari's task list listens to `aborted`."""

    aborted = Signal()
    ended = Signal(object)  # Outcome
    message = Signal(str)
    stage = Signal(object)  # Stage
    arrived = Signal()  # a snapshot waits in the mailbox


class Task(WorkerBase):
    """A function in its own thread; whatever happens in it, `ended` is emitted once."""

    def __init__(self, title: str, work: Callable[[], Any]) -> None:
        super().__init__(SignalsClass=TaskSignals)
        self.title = title
        self._work: Callable[[], Any] | None = work

    def work(self) -> Any:
        return self._work() if self._work is not None else None

    def run(self) -> None:
        """Do the work and report how it ended.

        This replaces superqt's version for a reason: `warnings.catch_warnings` there is process-wide, so that
        two workers that overlap leave the hook of a dead one behind, and a returned RuntimeError ends without
        a signal.
        """
        self._running = True
        self._tell("started")
        with _forwarded_warnings(lambda text: self._tell("message", text)):
            outcome = self._outcome()
        # napari keeps the worker until its window closes: the worker must not keep the data.
        self._work = None
        self._running = False
        if outcome.end is End.FAILED:
            self._tell("errored", outcome.error)
        elif outcome.end is End.STOPPED:
            self._tell("aborted")
        self._tell("ended", outcome)
        if outcome.end is End.FINISHED:
            self._tell("finished")  # for napari's task list this means "completed"
        self._tell("_finished", self)

    def _outcome(self) -> Outcome:
        try:
            value = self.work()
            return Outcome(End.STOPPED if self.abort_requested else End.FINISHED, value)
        except Exception as error:
            free_frames(error)
            return Outcome(End.FAILED, error=error)
        finally:
            free_gpu()

    def _tell(self, name: str, *values: Any) -> None:
        # When the application closes while a thread still works, Qt has already deleted the signals.
        with contextlib.suppress(RuntimeError):
            getattr(self.signals, name).emit(*values)


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

    # -- called by the GUI thread

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
        """End after the iteration that is being computed."""
        with self._change:
            super().quit()
            self._change.notify()

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
        with closing(
            stream(job.burst, settings, device=job.device, seed=job.seed, checkpoint=state, news=news)
        ) as iterations:
            self._tell("stage", Stage.RUNNING)
            while not self.abort_requested:
                try:
                    last = iterations.send(sent)  # `send(None)` is `next`
                except StopIteration:
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
        if self.abort_requested and last is not None and last.stop is None:
            last = dataclasses.replace(last, stop=StopReason.USER)
            self._post(last)
        if job.autosave is not None:
            job.autosave.keep(last, settings)

    def _post(self, snapshot: Snapshot) -> None:
        """Replace the snapshot in the mailbox, and emit `arrived` only if the last one has been taken."""
        with self._change:
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


def start_task(
    title: str, work: Callable[[], Any], ended: Callable[[Outcome], None], *, listed: bool = True
) -> Task:
    """Run `work` in a thread, `ended` in the GUI thread; closing the window asks while it is listed."""
    _widen_pool()
    if listed:
        return create_worker(title, work, _worker_class=Task, _connect={"ended": ended}, _ignore_errors=True)
    task = Task(title, work)
    task.signals.ended.connect(ended)
    task.start()
    return task


class Latest:
    """Runs functions one by one in a thread; of those asked for meanwhile only the last is run."""

    def __init__(self, title: str, done: Callable[[Outcome], None]) -> None:
        self._title, self._done = title, done
        self._next: Callable[[], Any] | None = None
        self._at_work = False

    def ask(self, work: Callable[[], Any]) -> None:
        """Do this next; `done` is called in the GUI thread unless something else was asked meanwhile."""
        self._next = work
        if not self._at_work:
            self._begin()

    def forget(self) -> None:
        """Drop a waiting request."""
        self._next = None

    def _begin(self) -> None:
        work, self._next = self._next, None
        if work is not None:
            self._at_work = True
            start_task(self._title, work, self._ended, listed=False)

    def _ended(self, outcome: Outcome) -> None:
        self._at_work = False
        if self._next is None:
            self._done(outcome)
        self._begin()


def prepare_restoration(job: Job, connect: Mapping[str, Callable[..., None]]) -> RestoreWorker:
    """A worker for the job, listed among napari's tasks (closing the window asks and cancels), not yet
    started.

    napari keeps the first argument as long as the window lives: a title, not the data.
    """
    _widen_pool()
    return create_worker(
        str(job),
        job,
        _worker_class=RestoreWorker,
        _connect=dict(connect),
        _start_thread=False,
        _ignore_errors=True,
    )


def _widen_pool() -> None:
    """With only as many threads as cores, paused restorations could block everything else from starting."""
    pool = QThreadPool.globalInstance()
    if pool is not None and pool.maxThreadCount() < _THREADS:
        pool.setMaxThreadCount(_THREADS)


def free_frames(error: BaseException | None) -> None:
    """Clear the local variables in the frames of a traceback: a stored error must not keep GPU memory."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def free_gpu() -> None:
    """Give unused GPU memory back to the system."""
    # Without importing torch: a task that does not use it must not load it.
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


# -- warnings of a worker's thread ---------------------------------------------------------------------------

_sinks: dict[int, Callable[[str], None]] = {}
_lock = threading.Lock()
_show_elsewhere: Callable[..., None] = warnings.showwarning


@contextlib.contextmanager
def _forwarded_warnings(sink: Callable[[str], None]) -> Iterator[None]:
    """Send the warnings of this thread to `sink`; those of other threads go where they went before."""
    global _show_elsewhere  # Python has one warnings hook per process
    thread = threading.get_ident()
    with _lock:
        if not _sinks:
            _show_elsewhere, warnings.showwarning = warnings.showwarning, _show_warning
        _sinks[thread] = sink
    try:
        yield
    finally:
        with _lock:
            del _sinks[thread]
            if not _sinks and warnings.showwarning is _show_warning:
                warnings.showwarning = _show_elsewhere


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    if sink := _sinks.get(threading.get_ident()):
        sink(f"{category.__name__}: {message}")
    else:
        _show_elsewhere(message, category, filename, lineno, file, line)

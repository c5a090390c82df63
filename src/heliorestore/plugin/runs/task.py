"""Any function off the GUI thread, whose every end is reported exactly once."""

from __future__ import annotations

import contextlib
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any, TextIO

from napari.qt.threading import WorkerBase, WorkerBaseSignals, create_worker
from qtpy.QtCore import QThreadPool, Signal

_THREADS = 8  # at least: paused restorations hold theirs


class End(Enum):
    """How a task ended."""

    FINISHED = "finished"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True)
class Outcome:
    """The end of a task, with the value that it returned or the error that ended it."""

    end: End
    value: Any = None
    error: Exception | None = None


class TaskSignals(WorkerBaseSignals):
    """The signals of a worker to the GUI thread; napari's task list listens to `aborted` and `errored`."""

    aborted = Signal()
    errored = Signal()  # without the error: PySide6 would hand it to napari's listener, which takes nothing
    ended = Signal(object)  # Outcome
    message = Signal(str)
    stage = Signal(object)  # Stage
    arrived = Signal()  # a snapshot waits in the mailbox


class Task(WorkerBase):
    """A function in its own thread; whatever happens in it, `ended` is emitted once."""

    def __init__(self, title: str, work: Callable[[], Any]) -> None:
        super().__init__(SignalsClass=TaskSignals)
        self.signals._finished.connect(_let_go)
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
            self._tell("errored")
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


def _let_go(task: Task) -> None:
    """Everybody has heard of the end: napari's worker must not keep them either."""
    task.signals.deleteLater()


def start_task(
    title: str, work: Callable[[], Any], ended: Callable[[Outcome], None], *, listed: bool = True
) -> Task:
    """Run `work` in a thread, `ended` in the GUI thread; closing the window asks while it is listed."""
    widen_pool()
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


def widen_pool() -> None:
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

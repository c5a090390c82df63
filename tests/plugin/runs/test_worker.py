"""The worker tells its end exactly once, closes the generator, and keeps only the latest snapshot."""

import gc
import threading
import warnings

import numpy as np
import pytest
import torch

from fake_method import FakeSettings
from heliorestore.burst import Burst
from heliorestore.methods.base import restore
from heliorestore.methods.noise2noise import DenoiseSettings
from heliorestore.plugin.runs.stopping import StopBetweenOperations
from heliorestore.plugin.runs.worker import Stage
from heliorestore.snapshot import Snapshot, StopReason
from window import HAS_DISPLAY, wait_for_threads

pytestmark = pytest.mark.skipif(
    not HAS_DISPLAY, reason="Qt's threads are tested with a display; under Linux use xvfb-run -a"
)


@pytest.fixture
def run(qtbot, fake, burst):
    """Start a worker and return it with the list of what it told."""
    from heliorestore.plugin.runs.worker import Job, RestoreWorker

    def start(prepare=lambda worker: None, **values):
        worker = RestoreWorker("test", Job(burst=burst, settings=FakeSettings(**values), device="cpu"))
        told = []
        for name in ("arrived", "stage", "message", "errored", "aborted", "finished", "ended"):
            getattr(worker, name).connect(lambda *v, name=name: told.append((name, *v)))
        prepare(worker)
        worker.start()
        return worker, told

    yield start
    wait_for_threads()


def names(told):
    return [name for name, *_ in told]


def until_end(qtbot, told):
    qtbot.waitUntil(lambda: "ended" in names(told), timeout=20_000)
    return next(values[0] for name, *values in told if name == "ended")


def test_result_equals_the_headless_one_bit_for_bit(qtbot, run, burst):
    worker, told = run(iterations=7)
    outcome = until_end(qtbot, told)
    alone = restore(burst, FakeSettings(iterations=7), device="cpu")
    last = worker.take()
    assert outcome.end.value == "finished"
    assert names(told).count("ended") == 1
    assert last.stop is StopReason.DONE
    np.testing.assert_array_equal(last.images, alone.images)
    np.testing.assert_array_equal(last.maps["residual"], alone.maps["residual"])


def test_a_kept_run_shows_the_snapshots_that_it_streams(monkeypatch, tmp_path):
    """Each is built by the method, given its time, and documented: nobody builds it again."""
    from heliorestore.methods import base
    from heliorestore.plugin.runs import autosave
    from heliorestore.plugin.runs.worker import Job, RestoreWorker

    monkeypatch.setattr(autosave, "folder", lambda: tmp_path)
    burst = Burst.from_array(np.random.default_rng(0).normal(1, 0.1, (1, 2, 72, 72)).astype(np.float32))
    settings = DenoiseSettings(weights="none", fit=1, patches=10, series=False)
    kept, _ = autosave.begin(burst, settings)
    streamed, built, shown = [], [], []
    stream, build = base.stream, Snapshot.__post_init__

    def watched(*arguments, **named):
        streamed.extend(made := list(stream(*arguments, **named)))
        yield from made

    monkeypatch.setattr(base, "stream", watched)
    monkeypatch.setattr(Snapshot, "__post_init__", lambda self: built.append(self) or build(self))
    worker = RestoreWorker("test", Job(burst=burst, settings=settings, device="cpu", autosave=kept))
    monkeypatch.setattr(worker, "_post", shown.append)
    worker.work()
    assert [id(snapshot) for snapshot in shown] == [id(snapshot) for snapshot in streamed]
    assert len(built) == 3 * len(shown)
    assert shown[-1].run.settings == settings  # without the place where its state was kept
    assert not kept.state.exists()  # there it was, and it is done


def test_only_the_latest_snapshot_waits_and_one_signal_is_pending(qtbot, run):
    worker, told = run(iterations=3000)
    wait_for_threads()  # the GUI thread, which is this one, was away all the time
    until_end(qtbot, told)
    assert names(told).count("arrived") == 1
    assert worker.take().step == 3000
    assert worker.take() is None


@pytest.mark.parametrize("how", ["runtime", "memory", "gpu"])
def test_an_error_in_the_method_is_told_and_nothing_stays_behind(qtbot, run, fake, how):
    worker, told = run(iterations=10, fail=how)
    outcome = until_end(qtbot, told)
    assert outcome.end.value == "failed"
    assert names(told).count("errored") == 1
    assert "finished" not in names(told)
    assert not worker.is_running
    assert fake.closed == 1
    told.clear()
    error = outcome.error  # whoever keeps the error keeps no array with it
    gc.collect()
    assert error is not None
    assert fake.made[0]() is None


def test_stop_closes_the_generator_and_frees_its_arrays(qtbot, run, fake):
    worker, told = run(iterations=100_000, pace_s=0.001)
    qtbot.waitUntil(lambda: "arrived" in names(told), timeout=20_000)
    worker.quit()
    outcome = until_end(qtbot, told)
    gc.collect()
    assert outcome.end.value == "stopped"
    assert names(told).count("aborted") == 1
    assert fake.closed == 1
    assert fake.made[0]() is None
    assert worker.take().stop is StopReason.USER


def test_stop_ends_an_iteration_in_its_middle_and_lets_the_method_save_its_state(qtbot, run, fake, burst):
    ends, begun = [], threading.Event()

    def stream(burst, settings, *, device, seed, start=None):
        yield Snapshot(step=1, total=9, images=np.stack([burst.image(0, 0)]))
        begun.set()
        try:
            for _ in range(1_000_000):  # an iteration of many operations, or of many frames to read
                burst.image(0, 0) if settings.flag else torch.ones(100, 100).sum()
        except GeneratorExit:
            ends.append(settings.flag)
            torch.ones(2).sum()  # what it does then is not stopped again
            burst.image(0, 0)
            raise

    fake.stream = stream
    for reads in (False, True):
        begun.clear()
        worker, told = run(flag=reads)
        begun.wait(20)
        worker.quit()
        assert until_end(qtbot, told).end.value == "stopped"
        assert (worker.take().stop, names(told).count("errored")) == (StopReason.USER, 0)
    assert ends == [False, True]


def test_stop_at_the_end_of_a_context_leaves_later_runs_their_gradients():
    asked, one = [], torch.ones(1)

    def iteration():
        with torch.no_grad():
            asked.append(True)
        return one + one

    with pytest.raises(GeneratorExit), StopBetweenOperations(lambda: bool(asked)):
        iteration()
    assert torch.is_grad_enabled()


def test_stop_before_the_start_runs_nothing(qtbot, run, fake):
    _, told = run(lambda worker: worker.quit(), iterations=100_000)
    assert until_end(qtbot, told).end.value == "stopped"
    assert fake.made == []


def test_pause_step_resume(qtbot, run):
    worker, told = run(lambda worker: worker.pause(), iterations=6)
    qtbot.waitUntil(lambda: ("stage", Stage.PAUSED) in told, timeout=20_000)
    assert worker.take().step == 1
    told.clear()
    worker.step()
    qtbot.waitUntil(lambda: ("stage", Stage.PAUSED) in told, timeout=20_000)
    assert worker.take().step == 2
    worker.resume()
    until_end(qtbot, told)
    assert worker.take().step == 6


def test_stop_while_paused_ends_at_once(qtbot, run):
    worker, told = run(lambda worker: worker.pause(), iterations=6)
    qtbot.waitUntil(lambda: ("stage", Stage.PAUSED) in told, timeout=20_000)
    worker.quit()
    assert until_end(qtbot, told).end.value == "stopped"
    assert worker.take().step == 1


def test_of_several_live_settings_the_last_one_counts(qtbot, run, fake):
    worker, told = run(lambda worker: worker.pause(), iterations=3)
    qtbot.waitUntil(lambda: ("stage", Stage.PAUSED) in told, timeout=20_000)
    for strength in np.linspace(0.2, 2.0, 30):
        worker.send(FakeSettings(iterations=3, strength=float(strength)))
    worker.resume()
    until_end(qtbot, told)
    assert fake.strengths == [0.1, 2.0, 2.0]


@pytest.mark.filterwarnings("default")
def test_warnings_of_the_thread_become_messages_and_those_of_others_do_not(qtbot, run):
    hook = warnings.showwarning
    worker, told = run(lambda worker: worker.pause(), iterations=4, fail="warning", pace_s=0.001)
    qtbot.waitUntil(lambda: ("stage", Stage.PAUSED) in told, timeout=20_000)
    with pytest.warns(UserWarning, match="from the GUI thread"):
        warnings.warn("from the GUI thread", stacklevel=1)
    worker.resume()
    until_end(qtbot, told)
    messages = [text for name, *values in told if name == "message" for text in values]
    assert len(messages) == 1
    assert "divide by zero" in messages[0]
    assert warnings.showwarning is hook


def test_a_task_tells_its_value_or_its_error(qtbot):
    from heliorestore.plugin.runs.task import start_task

    outcomes = []
    start_task("add", lambda: (threading.get_ident(), 1 + 1), outcomes.append, listed=False)
    qtbot.waitUntil(lambda: len(outcomes) == 1, timeout=20_000)
    thread, value = outcomes[0].value
    assert value == 2
    assert thread != threading.get_ident()
    start_task("fail", [].pop, outcomes.append, listed=False)
    qtbot.waitUntil(lambda: len(outcomes) == 2, timeout=20_000)
    assert isinstance(outcomes[1].error, IndexError)

"""A night of bursts: what its files say after everything that may happen to its workers."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.io import fits

from heliorestore import __version__
from heliorestore.batch import cluster, work
from heliorestore.batch import here as here_module
from heliorestore.batch import ledger as ledgers
from heliorestore.batch.cluster import DaskWorkers, SlurmWorkers
from heliorestore.batch.contact_sheet import write_sheet
from heliorestore.batch.engine import Workers, run_night
from heliorestore.batch.here import shared_gb, worker_command
from heliorestore.batch.ledger import Ledger, State
from heliorestore.batch.night import Night, add, bursts_in, open_entry, output_name
from heliorestore.batch.results import results_of
from heliorestore.batch.watch import Watch
from heliorestore.batch.work import Worker
from heliorestore.cli import main
from heliorestore.errors import BurstError, SettingsError
from heliorestore.fits.reader import read
from heliorestore.methods.momfbd import MomfbdSettings
from heliorestore.preparation import Preparation
from heliorestore.settings import to_rows

PREPARATION = {name: text for name, text, *_ in to_rows(Preparation())}
NIGHT = Night(method="richardson-lucy", settings={"iterations": "2"}, preparation=PREPARATION)


def write_bursts(folder: Path, count: int) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    header = fits.Header({"TELESCOP": "SST", "INSTRUME": "CRISP", "WAVELNTH": 630.2, "WAVEUNIT": -9})
    header.update({"CDELT1": 0.059, "CUNIT1": "arcsec", "DATE-OBS": "2020-05-03T09:41:07"})
    noise = np.random.default_rng(count)
    paths = [folder / f"burst{number}.fits" for number in range(count)]
    for path in paths:
        fits.writeto(path, noise.normal(1000, 30, (32, 24)).astype(np.float32), header)
    return paths


@pytest.fixture
def night(tmp_path: Path) -> Path:
    """The folder of a night with three bursts."""
    NIGHT.begin(tmp_path / "night")
    add(Ledger(tmp_path / "night"), NIGHT, bursts_in([*write_bursts(tmp_path / "in", 3)]))
    return tmp_path / "night"


def states(night: Path, **known: int) -> list[str]:
    ledger = Ledger(night, **known)
    ledger.refresh()
    return [ledger.state(entry).value for entry in ledger.entries.values()]


def test_a_worker_restores_what_waits_and_a_second_one_finds_nothing(night: Path) -> None:
    assert states(night) == ["waiting"] * 3
    assert Worker(night).run() == 3
    assert states(night) == ["done"] * 3
    assert Worker(night).run() == 0
    for number in range(3):
        result = read(night / f"burst{number}_restored.fits")
        assert result.step == 2
        assert result.run.settings.rows[0][:2] == ("iterations", "2")
    assert len(list((night / "thumbnails").glob("*.png"))) == 6


def test_a_file_that_is_no_result_of_the_night_stays(tmp_path: Path) -> None:
    night, (burst,) = replace(NIGHT, name="{stem}.fits"), write_bursts(tmp_path, 1)
    before = burst.read_bytes()
    night.begin(tmp_path)  # where the frames are
    ledger = Ledger(tmp_path)
    add(ledger, night, bursts_in([burst]))
    (entry,) = ledger.entries.values()
    assert entry.name == f"burst0_{entry.id[:8]}.fits"
    assert Worker(tmp_path).run() == 1
    assert burst.read_bytes() == before
    # a night whose ledger is lost finds its results again
    for file in (tmp_path / "ledger").iterdir():
        file.unlink()
    burst.rename(tmp_path / "other.fits")
    (tmp_path / entry.name).rename(burst)
    result = read(burst).run.sources[0]
    burst.rename(tmp_path / "other_restored.fits")
    (tmp_path / "other.fits").rename(burst)
    assert result.path == burst
    again = replace(NIGHT, name="other_restored.fits")
    ledger = Ledger(tmp_path)
    add(ledger, again, bursts_in([burst]))
    assert [each.name for each in ledger.entries.values()] == ["other_restored.fits"]


def test_a_pattern_that_names_no_file_leaves_no_night(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (burst,) = write_bursts(tmp_path / "in", 1)
    line = ["batch", "richardson-lucy", str(burst), "-o", str(tmp_path / "night"), "--name", "{stem}"]
    assert main(line) == 2
    assert "no name of a FITS file" in capsys.readouterr().err
    assert not (tmp_path / "night").exists()


def test_a_night_that_could_not_be_read_again_is_not_begun(tmp_path: Path) -> None:
    night = replace(NIGHT, name="\U0001f600\x7f{stem}.fits", instrument="\U0001f52d")
    night.begin(tmp_path / "night")
    assert Night.read(tmp_path / "night") == night
    for wrong in ({"name": 5}, {"name": ["a.fits"]}, {"seed": True}, {"name": "\udcff{stem}.fits"}):
        with pytest.raises(SettingsError, match=r"must be text|no text that a TOML file can hold"):
            replace(night, **wrong).begin(tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_name_that_is_no_text_is_restored(tmp_path: Path) -> None:
    (burst,) = write_bursts(tmp_path / "in", 1)
    odd = burst.rename(burst.with_name(os.fsdecode(b"\xff.fits")))
    NIGHT.begin(tmp_path / "night")
    ledger = Ledger(tmp_path / "night")
    add(ledger, NIGHT, bursts_in([odd]))
    assert Worker(tmp_path / "night").run() == 1
    ledger.refresh()
    write_sheet(ledger)
    assert b"\xff.fits" in (tmp_path / "night" / "night.csv").read_bytes()


def test_the_night_chooses_the_sharpest_frames(tmp_path: Path) -> None:
    path = write_bursts(tmp_path / "in", 1)[0]
    frames = np.full((3, 32, 24), 1000, np.float32)
    frames[:, ::4] += np.array([[[10]], [[30]], [[20]]])
    fits.writeto(path, frames, fits.getheader(path), overwrite=True)
    night = Night(
        method="richardson-lucy", settings={"iterations": "1"}, preparation=PREPARATION, best="2", frames="1:"
    )
    night.begin(tmp_path / "night")
    ledger = Ledger(tmp_path / "night")
    add(ledger, night, bursts_in([path]))
    (entry,) = ledger.entries.values()
    assert open_entry(night, entry).frame_numbers == range(1, 3)
    assert open_entry(replace(night, best="1"), entry).frame_numbers == range(1, 2)


def test_only_one_of_two_workers_gets_a_burst(night: Path) -> None:
    first, second = Ledger(night), Ledger(night)
    for ledger in (first, second):
        ledger.refresh()
    entries = [next(iter(ledger.entries.values())) for ledger in (first, second)]
    assert first.attempt(entries[0]) == 1
    assert second.attempt(entries[1]) is None
    second.refresh()
    assert second.state(entries[1]) is State.RUNNING


def test_what_a_killed_worker_had_begun_waits_again(night: Path) -> None:
    begin = (
        "import sys, os; from pathlib import Path; from heliorestore.batch.ledger import Ledger;"
        f"ledger = Ledger(Path({str(night)!r})); ledger.refresh();"
        "ledger.attempt(next(iter(ledger.entries.values()))); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", begin], check=False).returncode == -9
    assert states(night) == ["waiting"] * 3
    assert states(night, retries=0) == ["failed", "waiting", "waiting"]
    Worker(night).run()
    assert states(night) == ["done"] * 3
    assert len(list((night / "attempts").iterdir())) == 4


def test_another_hosts_attempt_is_believed_as_long_as_it_gives_signs_of_life(
    night: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger(night)
    ledger.refresh()
    entry = next(iter(ledger.entries.values()))
    monkeypatch.setattr(ledgers, "here", lambda: "elsewhere")
    ledger.attempt(entry)
    monkeypatch.undo()
    assert states(night)[0] == "running"
    path, old = night / "attempts" / f"{entry.id}.1", time.time() - 2 * ledgers.DEAD_S
    os.utime(path, (old, old))
    assert states(night)[0] == "waiting"


def test_a_result_of_a_worker_that_died_before_it_said_so_is_not_made_again(night: Path) -> None:
    Worker(night).run()
    (ledger_file,) = [path for path in (night / "ledger").glob("*.jsonl") if "done" in path.read_text()]
    ledger_file.unlink()
    for path in (night / "attempts").iterdir():
        path.write_text(json.dumps([ledgers.here(), 2**22 + 1, 0.0]))  # no such process
    written = (night / "burst1_restored.fits").stat().st_mtime_ns
    damaged = night / "burst2_restored.fits"
    data = bytearray(damaged.read_bytes())
    data[-3000] ^= 1
    damaged.write_bytes(data)
    assert Worker(night).run() == 3
    assert (night / "burst1_restored.fits").stat().st_mtime_ns == written
    with fits.open(damaged, checksum=True) as hdus:
        assert all(hdu.verify_datasum() == 1 for hdu in hdus)


def test_the_order_in_which_events_are_read_and_half_a_line_do_not_matter(night: Path) -> None:
    ledger = Ledger(night)
    ledger.refresh()
    entry = next(iter(ledger.entries.values()))
    ledger.attempt(entry)
    ledger.say("done", entry.id, attempt=1)
    (file,) = [path for path in (night / "ledger").glob("*.jsonl") if "done" in path.read_text()]
    # Read before the file that adds the burst, and cut off by a full disk.
    first = file.rename(file.with_name("0.jsonl"))
    with first.open("a") as more:
        more.write('{"event": "failed", "burst": ')
    assert states(night)[0] == "done"


def test_lines_that_are_no_events_are_passed_over(night: Path) -> None:
    entry = '"event": "add", "burst": "b", "paths": ["x"], "sizes": [1], "mtimes_ns": [1]'
    lines = [b"\xff\xfe", b"[1]", b"null", b"[" * 100_000, b'{"event": "done", "burst": {}, "attempt": "x"}']
    lines += [f'{{{entry}, "name": "{name}"}}'.encode() for name in ("../x.fits", "/x.fits")]
    (night / "ledger" / "0.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    assert states(night) == ["waiting"] * 3


def test_a_burst_that_cannot_be_restored_fails_with_its_reason_and_the_night_goes_on(
    night: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = night.parent / "in" / "burst1.fits"
    broken.write_bytes(broken.read_bytes()[:3000])
    assert Worker(night, retries=1).run() == 2
    assert states(night, retries=1) == ["done", "failed", "done"]
    assert main(["batch", "status", str(night), "--json", "--retries", "1"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {name: told[name] for name in ("total", "done", "failed", "running", "waiting")} == {
        "total": 3, "done": 2, "failed": 1, "running": 0, "waiting": 0,
    }  # fmt: skip
    assert "has changed since it was added" in told["failures"][str(broken)]
    table = (night / "night.csv").read_text().splitlines()
    assert table[2].split(",")[2] == "failed"
    page = (night / "night.html").read_text()
    assert page.count("data:image/png;base64,") == 4
    assert page.count("<tr>") == 4


def test_the_ledger_tells_how_far_a_burst_is(night: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "PROGRESS_S", 0.0)
    Worker(night).run()
    ledger = Ledger(night)
    ledger.refresh()
    assert [entry.progress for entry in ledger.entries.values()] == [(1, 2, 2)] * 3


def test_what_the_user_thinks_of_results_stands_in_the_ledger_and_is_told(
    night: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger = Ledger(night)
    ledger.refresh()
    first, second, _ = ledger.entries.values()
    ledger.judge(first, "rejected", "")
    ledger.judge(second, "rejected", "clouds <b>")
    ledger.judge(first, "kept", "best of the scan")
    assert main(["batch", "status", str(night)]) == 0
    assert "0 failed, 1 kept, 1 rejected" in capsys.readouterr().out
    assert main(["batch", "status", str(night), "--json"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (told["kept"], told["rejected"]) == (1, 1)
    lines = (night / "night.csv").read_text().splitlines()
    assert [line.split(",")[-2:] for line in lines[1:3]] == [
        ["kept", "best of the scan"],
        ["rejected", "clouds <b>"],
    ]
    page = (night / "night.html").read_text()
    assert "<td>rejected</td><td>clouds &lt;b&gt;</td>" in page


def test_a_worker_without_memory_tries_with_half_of_it(night: Path) -> None:
    worker = Worker(night, memory_gb=8.0)
    worker.night = Night(method="momfbd", settings={}, preparation=PREPARATION)
    worker.ledger.refresh()
    entry = next(iter(worker.ledger.entries.values()))
    assert worker._settings(entry).memory_gb == 8.0
    entry.ends[1] = {"event": "failed", "memory": True}
    assert worker._settings(entry).memory_gb == 4.0
    entry.last = 4  # the second and the third have died without a word, perhaps killed by the system
    assert worker._settings(entry).memory_gb == 2.0


def test_a_burst_larger_than_the_machine_is_tiled(night: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room = [100e9]
    monkeypatch.setattr(work, "room_bytes", lambda gpu: room[0])
    worker, burst = Worker(night, device="cpu"), SimpleNamespace(shape=(1, 12, 2048, 2048))
    _, whole, _ = worker._fitting(burst, MomfbdSettings(memory_gb=50.0))
    room[0] = 0.6 * whole
    settings, need, _ = worker._fitting(burst, MomfbdSettings(memory_gb=50.0))
    assert settings.memory_gb == pytest.approx(0.6 * whole / 1e9)
    assert need < whole


def test_the_workers_of_a_machine_share_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(here_module, "room_bytes", lambda: 16e9)
    assert shared_gb(4) == pytest.approx(4.0)
    assert shared_gb(1000) == 0.2


def test_changed_settings_are_refused_with_the_difference(night: Path) -> None:
    changed = Night(method="richardson-lucy", settings={"iterations": "3"}, preparation=PREPARATION, seed=1)
    with pytest.raises(SettingsError, match=r"iterations 2 and not 3; seed 0 and not 1"):
        changed.begin(night)
    with pytest.raises(SettingsError, match="method richardson-lucy and not momfbd: give another folder"):
        Night(method="momfbd", settings={"patch": "64"}, preparation=PREPARATION).begin(night)
    NIGHT.begin(night)


def test_a_night_gives_one_cube_of_what_is_done_and_kept(night: Path) -> None:
    worker = Worker(night)
    assert worker.run() == 3
    worker.ledger.refresh()
    first, second, third = worker.ledger.entries.values()
    worker.ledger.judge(second, "rejected", "clouds")
    worker.ledger.judge(third, "kept", "")
    (night / "stray.fits").write_bytes((night / second.name).read_bytes())
    assert results_of([night, Path("other.fits")]) == [
        night / first.name,
        night / third.name,
        Path("other.fits"),
    ]
    for path, number in ((first.name, 0), (third.name, 1)):
        fits.setval(night / path, "DATE-BEG", value=f"2020-05-03T09:41:0{number}")
        fits.setval(night / path, "DATE-AVG", value=f"2020-05-03T09:41:0{number}")
    assert main(["cube", str(night), "-o", str(night.parent / "cube.fits")]) == 0
    assert fits.getheader(night.parent / "cube.fits")["NAXIS5"] == 2
    movie = night.parent / "movie.gif"
    assert main(["movie", str(night), "-o", str(movie)]) == 0
    assert movie.exists()
    for entry in (first, third):
        (night / entry.name).unlink()
    with pytest.raises(BurstError, match="no result that is done and kept"):
        results_of([night])


def test_a_night_that_is_done_is_begun_again_without_loading_torch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_bursts(tmp_path / "in", 1)
    line = ["batch", "richardson-lucy", f"{tmp_path}/in", "-o", f"{tmp_path}/night", "--set", "iterations=2"]
    monkeypatch.setattr("heliorestore.commands.batch._run", lambda *given: 0)
    assert main(line) == 0
    assert Worker(tmp_path / "night").run() == 1
    again = f"import sys; from heliorestore.cli import main; print(main({line!r}), 'torch' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", again], capture_output=True, text=True, check=True).stdout
    assert said.splitlines()[-1] == "0 False"
    # What is remembered does not outlive a change of the night.
    file = tmp_path / "night" / "night.toml"
    file.write_text(file.read_text().replace('"2"', '"3"'))
    assert main(line) == 2
    assert "iterations 3 and not 2" in capsys.readouterr().err


def test_a_cancelled_night_is_left_alone_until_it_goes_on(night: Path) -> None:
    assert main(["batch", "cancel", str(night)]) == 0
    assert Worker(night).run() == 0
    ledger = Ledger(night)
    ledger.refresh()
    ledger.turn(cancel=False)
    assert Worker(night).run() == 3


def test_a_night_goes_on_without_its_first_line(night: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["batch", "cancel", str(night)]) == 0
    Worker(night).run()
    assert states(night) == ["waiting"] * 3
    assert main(["batch", "resume", str(night), "--workers", "1", "--quiet"]) == 0
    assert states(night) == ["done"] * 3
    written = (night / "night.toml").read_text()
    (night / "night.toml").write_text(written.replace(f'version = "{__version__}"', 'version = "0.0.1"'))
    assert main(["batch", "resume", str(night)]) == 2
    assert "is a night with version 0.0.1" in capsys.readouterr().err


def test_the_workers_of_a_watched_folder_are_there_before_the_first_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    NIGHT.begin(tmp_path / "night")
    began: list[list[str]] = []
    running = SimpleNamespace(poll=lambda: None)
    monkeypatch.setattr(subprocess, "Popen", lambda words, **known: began.append(words) or running)
    for ready in (False, True):
        there = [here_module.Place("", 1)]
        here_module.Processes(["work"], tmp_path / "log", there, ready).tend(Ledger(tmp_path / "night"))
    assert began == [["work"]]


def test_a_watched_folder_gives_files_that_rest_and_are_whole(tmp_path: Path) -> None:
    NIGHT.begin(tmp_path / "night")
    ledger, watch = Ledger(tmp_path / "night"), Watch(NIGHT, [tmp_path / "in"], settle_s=0.0)
    watch.look(ledger)
    growing, whole = write_bursts(tmp_path / "in", 2)
    complete = growing.read_bytes()
    growing.write_bytes(complete[:4000])

    def look() -> list[str]:
        watch._looked = -1e9
        watch.look(ledger)
        return [Path(entry.paths[0]).name for entry in ledger.entries.values()]

    assert look() == []  # just seen
    assert look() == [whole.name]
    growing.write_bytes(complete)
    look()
    assert look() == [whole.name, growing.name]
    assert look() == [whole.name, growing.name]


def test_inputs_and_names(tmp_path: Path) -> None:
    first, second = write_bursts(tmp_path / "scans", 2)
    frames = tuple(write_bursts(tmp_path / "scans" / "single", 3))
    assert list(bursts_in([tmp_path / "scans"])) == [(first,), (second,), frames]
    assert list(bursts_in([tmp_path / "scans" / "burst?.fits"])) == [(first,), (second,)]
    assert output_name("{date:%H%M%S}_{wavelength}.fits", (first,)) == "094107_6302.fits"
    assert output_name("{stem}.fits", frames) == "single.fits"
    with pytest.raises(SettingsError, match="cannot be filled in"):
        output_name("{when}.fits", (first,))
    with pytest.raises(SettingsError, match="no name of a FITS file"):
        output_name("../{stem}.fits", (first,))


def until_done(night: Path, workers: Workers) -> None:
    ledger, began = Ledger(night), time.monotonic()
    run_night(
        ledger,
        workers,
        report=lambda seen: None,
        asked_to_stop=lambda: time.monotonic() - began > 200,
    )


def test_a_dask_cluster_restores_the_night(night: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed")
    known = night.parent / "scheduler.json"
    words = ["--scheduler-file", str(known), "--no-dashboard"]
    parts = (["scheduler", "--port", "0"], ["worker", "--nthreads", "1", "--no-nanny"])
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.dask_{part}", *more, *words],
            stderr=subprocess.DEVNULL,
            cwd=night.parent,
        )
        for part, *more in parts
    ]
    try:
        while not known.exists():
            assert processes[0].poll() is None
            time.sleep(0.05)
        until_done(night, DaskWorkers(json.loads(known.read_text())["address"], night, retries=2))
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait()
    assert states(night) == ["done"] * 3
    monkeypatch.setattr(cluster, "_ANSWER_S", 0.2)
    with pytest.raises(SettingsError, match="No Dask scheduler answers at tcp"):
        DaskWorkers("tcp://127.0.0.1:1", night)


def test_jobs_of_slurm_restore_the_night(night: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With stand-ins for SLURM's commands: sbatch begins the script, and squeue knows of it while it runs."""
    commands = night.parent / "bin"
    commands.mkdir()
    (commands / "sbatch").write_text('#!/bin/sh\nsetsid sh "$2" >/dev/null 2>&1 &\necho "$!;here"\n')
    (commands / "squeue").write_text('#!/bin/sh\nkill -0 "$3" 2>/dev/null && echo "$3 runs"\n')
    for command in commands.iterdir():
        command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}:{os.environ['PATH']}")
    command = worker_command(night, retries=2, memory_gb=1.5, stay=False)
    until_done(night, SlurmWorkers(None, night, 1, command))
    assert states(night) == ["done"] * 3
    assert f"--output={night}/slurm-%j.log" in (night / "worker.sh").read_text()
    (night / "empty.sh").write_text("#!/bin/sh\n")
    with pytest.raises(SettingsError, match=r"has no \{command\}"):
        SlurmWorkers(night / "empty.sh", night, 1, command)


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (lambda data: data + b"# \xff", "can't decode byte"),
        (lambda data: data.replace(b"seed = 0", b"seed = -1"), "seed is not as it was written"),
        (lambda data: data.replace(b'instrument = ""', b"instrument = 5"), "instrument is not"),
        (lambda data: data.replace(b'iterations = "2"', b"iterations = 2"), "settings is not"),
    ],
)
def test_a_night_that_was_edited_badly_is_said(
    night: Path, edit: Callable[[bytes], bytes], says: str
) -> None:
    path = night / "night.toml"
    path.write_bytes(edit(path.read_bytes()))
    with pytest.raises(SettingsError, match=says):
        Night.read(night)


def test_attempts_that_no_worker_has_begun_are_passed_over(night: Path) -> None:
    ledger = Ledger(night)
    ledger.refresh()
    name = next(iter(ledger.entries))
    ledger.say("failed", name, attempt=2**62)
    for number in (str(2**62), "x"):
        (night / "attempts" / f"{name}.{number}").touch()
    assert states(night) == ["waiting"] * 3

import json
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

import heliorestore
import heliorestore.errors
from heliorestore import cli
from heliorestore.commands import COMMANDS, progress
from heliorestore.methods import METHODS
from heliorestore.samples import sample_path

HMI = str(sample_path("hmi_continuum.fits"))
BURST = str(sample_path("small_burst.fits"))
RL = ("richardson-lucy", HMI, "--device", "cpu")
# a library that prints, as C does, while a file is open
LOUD = """
import os, sys
from heliorestore import storage
from heliorestore.cli import main
flushed = storage.os.fsync
def fsync(descriptor):
    try:
        os.write(2, b"loud")
    except OSError:
        pass
    flushed(descriptor)
storage.os.fsync = fsync
sys.exit(main())
"""
COMMAND = [sys.executable, "-m", "heliorestore.cli"]


def run(*arguments: object) -> int:
    """The exit status of the command."""
    try:
        return cli.main([str(argument) for argument in arguments])
    except SystemExit as exited:
        return int(exited.code or 0)


def test_info_ends_with_one_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("info", BURST, "--json") == 0
    lines = capsys.readouterr().out.splitlines()
    facts = json.loads(lines[-1])
    assert facts["shape"] == [2, 6, 128, 128]
    assert facts["layout"]
    assert any("CRISP 8542" in line for line in lines[:-1])
    assert any("2 x 6 x 128 x 128" in line for line in lines[:-1])


def test_a_scale_far_from_the_cameras_is_refused_until_it_is_confirmed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = tmp_path / "in.fits", tmp_path / "out.fits"
    header = fits.Header(
        {"INSTRUME": "CRISP", "WAVELNTH": 6302.0, "WAVEUNIT": -10, "CDELT1": 1.0, "CUNIT1": "arcsec"}
    )
    fits.PrimaryHDU(np.random.default_rng(0).uniform(1, 2, (3, 32, 32)).astype("f4"), header).writeto(source)
    assert run("info", source, "--json") == 0
    *lines, last = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("warning") and "16.9 times larger" in line]
    assert len(json.loads(last)["doubts"]) == 1
    assert run("richardson-lucy", source, "-o", out, "--iterations", 1) == 2
    said = capsys.readouterr().err
    assert "Pixels of 1 arcsec are 16.9 times larger than those of SST/CRISP (0.059 arcsec)" in said
    assert "confirm it with --instrument pixel_arcsec=1" in said
    for given in ("pixel_arcsec=1", "crisp-6302"):
        arguments = ("richardson-lucy", source, "-o", out, "--iterations", 1, "--instrument", given)
        assert run(*arguments, "--upsampling", 2, "--overwrite") == 0
        assert run("rerun", out, "-o", tmp_path / "again.fits", "--overwrite") == 0
        # What was made with it is believed.
        assert run("richardson-lucy", out, "-o", tmp_path / "c.fits", "--iterations", 1, "--overwrite") == 0
        assert "times larger" not in capsys.readouterr().err
        assert run("info", out, "--json") == 0
        facts = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert (facts["doubts"], facts["pixel_arcsec"]) == ([], 0.5 if given == "pixel_arcsec=1" else 0.0295)
    assert run("info", BURST, "--json") == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["doubts"] == []


def test_info_without_json_has_no_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("info", HMI) == 0
    assert "{" not in capsys.readouterr().out


def test_a_restoration_reports_what_it_did(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.fits"
    assert run(*RL, "-o", out, "--iterations", 4, "--upsampling", 2, "--json") == 0
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    assert report["output"] == str(out)
    assert (report["iterations"], report["stop"]) == (4, "done")
    assert report["contrast_after"][0] > report["contrast_before"][0] > 0
    assert report["seconds"] > 0
    assert set(report["losses"]) == {"residual"}
    assert fits.getdata(out).shape == (1, 400, 400)
    assert run("info", out) == 0
    assert capsys.readouterr().out.startswith(f"file         {out}\n")


def test_the_command_gives_the_pixels_of_python(tmp_path: Path) -> None:
    settings = heliorestore.RichardsonLucySettings(iterations=3, damping=1.0)
    expected = heliorestore.restore(heliorestore.read(HMI), settings, device="cpu").images
    assert run(*RL, "-o", tmp_path / "out.fits", "--iterations", 3, "--damping", 1.0, "--quiet") == 0
    np.testing.assert_array_equal(heliorestore.read(tmp_path / "out.fits").images, expected)


def test_parts_of_a_burst_are_python_slices(tmp_path: Path) -> None:
    out = tmp_path / "out.fits"
    arguments = ("richardson-lucy", BURST, "-o", out, "--iterations", 1, "--quiet")
    assert run(*arguments, "--objects", "1", "--frames=-3:") == 0
    snapshot = heliorestore.read(out)
    assert snapshot.images.shape == (1, 128, 128)
    assert (snapshot.run.object_numbers, snapshot.run.frame_numbers) == (range(1, 2), range(3, 6))


def test_the_sharpest_frames_are_recorded_by_their_numbers(tmp_path: Path) -> None:
    out = tmp_path / "out.fits"
    arguments = ("richardson-lucy", BURST, "-o", out, "--iterations", 1, "--quiet", "--best", "34%")
    assert run(*arguments, "--frames", "1:") == 0
    snapshot = heliorestore.read(out)
    assert len(snapshot.run.frame_numbers) == 2
    numbers = ", ".join(map(str, snapshot.run.frame_numbers))
    assert snapshot.messages[0].startswith("The 2 sharpest of 5 frames were used")
    assert snapshot.messages[0].endswith(f": {numbers}.")
    # A method that chooses by itself counts a percentage.
    assert run("mfbd", *arguments[1:4], "--overwrite", "--committee", 1, "--best", "34%", "--quiet") == 0
    snapshot = heliorestore.read(out)
    assert dict(row[:2] for row in snapshot.run.settings.rows)["best"] == "2"
    assert len(snapshot.run.frame_numbers) == 6


def test_rerun_gives_the_same_pixels(tmp_path: Path) -> None:
    first, again = tmp_path / "first.fits", tmp_path / "again.fits"
    arguments = (
        "--iterations",
        3,
        "--instrument",
        "crisp-8542,pixel_arcsec=0.0605",
        "--frames",
        "1:5:2",
        "--device",
        "cpu",
        "--quiet",
    )
    assert run("richardson-lucy", BURST, "-o", first, *arguments) == 0
    assert run("rerun", first, "-o", again, "--quiet") == 0
    np.testing.assert_array_equal(heliorestore.read(first).images, heliorestore.read(again).images)


def test_rerun_replays_turned_knobs(tmp_path: Path) -> None:
    running = heliorestore.stream(
        heliorestore.read(HMI), heliorestore.RichardsonLucySettings(iterations=9), device="cpu"
    )
    next(running)
    running.send(heliorestore.RichardsonLucySettings(iterations=9, damping=4.0))
    next(running)
    last = running.send(heliorestore.RichardsonLucySettings(iterations=4, damping=2.0))
    assert last.step == 4
    heliorestore.write(last, tmp_path / "turned.fits")
    assert run("rerun", tmp_path / "turned.fits", "-o", tmp_path / "again.fits", "--quiet") == 0
    again = heliorestore.read(tmp_path / "again.fits")
    np.testing.assert_array_equal(again.images, last.images)
    np.testing.assert_array_equal(again.history["damping"], [0, 4, 4, 2])


def test_rerun_refuses_a_changed_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image, out = tmp_path / "image.fits", tmp_path / "out.fits"
    fits.writeto(image, np.ones((20, 20), np.float32))
    assert (
        run("richardson-lucy", image, "-o", out, "--instrument", "hmi-6173", "--iterations", 1, "--quiet")
        == 0
    )
    fits.writeto(image, np.zeros((20, 20), np.float32), overwrite=True)
    assert run("rerun", out, "-o", tmp_path / "again.fits") == 2
    assert "image.fits" in capsys.readouterr().err
    assert not (tmp_path / "again.fits").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((*RL, "-o", "OUT", "--iterations", "0"), "iterations is 0; it must be 1 to 10000"),
        ((*RL, "-o", "OUT", "--iterations", "many"), "must be a whole number"),
        ((*RL, "-o", "OUT", "--upsampling", "3"), "must be one of 1, 2"),
        ((*RL, "-o", "OUT", "--instrument", "crips-8542"), "did you mean crisp-8542"),
        ((*RL, "-o", "OUT", "--device", "tpu"), "device 'tpu' is not available"),
        ((*RL, "-o", "OUT", "--frames", "3:9"), "No frames are left: the burst has 1"),
        ((*RL, "-o", "OUT", "--frames", "a:b"), "write numbers and Python slices"),
        ((*RL, "-o", "OUT", "--speed", "9"), "unrecognized arguments: --speed 9"),
        ((*RL, "-o", "OUT", "--best", "half"), "a number of frames, or a percentage such as 30%"),
        ((*RL, "-o", "OUT", "--dark", "absent.fits"), "absent.fits does not exist"),
        ((*RL, "-o", "OUT", "--flat", BURST), "must be of the same camera"),
        ((*RL,), "required: -o/--output"),
        ((*RL, "-o", "nowhere/out.fits"), "nowhere does not exist"),
        (("info", "absent.fits"), "absent.fits"),
        (("info", __file__), "test_cli.py"),
        (("rerun", HMI, "-o", "OUT"), "hmi_continuum.fits"),
        (("restore", HMI), "invalid choice: 'restore'"),
        ((*RL, "-o", "OUT", "--iterations=--"), "--iterations has no value"),
        ((*RL, "-o--"), "-o has no value"),
        ((*RL, "-o", "OUT", "--iterations=1_0"), "must be a whole number"),
        ((*RL, "-o", "OUT", "--frames", "1_0:"), "write numbers and Python slices"),
        ((*RL, "-o", "OUT", "--seed=-1"), "seed"),
        (("info", "x" * 5000 + ".fits"), "xxx..."),
        (("info", "x\0.fits"), "not text"),
        ((*RL, "-o", "OUT", "--preset", "x" * 5000), "xxx..."),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
def test_a_mistake_is_one_line_and_exit_2(
    arguments: tuple[str, ...], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*(str(tmp_path / "out.fits") if word == "OUT" else word for word in arguments)) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
    assert len(error) < 1000
    assert "Traceback" not in error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "page"),
    [
        (("info", Path(__file__)), "opening.md#when-a-file-is-refused"),
        ((*RL, "-o", "OUT", "--instrument", "crips"), "opening.md#when-the-instrument-is-not-in-the-header"),
        ((*RL, "-o", "OUT", "--iterations", -1), "richardson-lucy.md"),
        ((*RL, "-o", "OUT", "--preset", "none"), "comparing.md#presets"),
        ((*RL, "-o", "OUT", "--dark", Path(__file__)), "opening.md#when-a-file-is-refused"),
        (("sv-momfbd", BURST, "-o", "OUT", "--modes", 0), "sv-momfbd-reference.md"),
        (("weights", "import", Path(__file__)), "emulator.md#published-weights"),
        (("rerun", HMI, "-o", "OUT"), "exporting.md#repeating-a-run"),
        ((*RL, "-o", "nowhere/out.fits"), ""),
    ],
    ids=lambda each: each or "none" if isinstance(each, str) else "",
)
def test_an_error_ends_with_the_page_that_helps(
    arguments: tuple[object, ...], page: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*(tmp_path / "out.fits" if word == "OUT" else word for word in arguments)) == 2
    said = capsys.readouterr().err
    assert ("docs/" in said) == bool(page), said
    assert said.endswith(f" (see docs/{page}).\n" if page else ".\n"), said
    assert ". (" not in said


def test_files_may_come_after_flags(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frames = np.random.default_rng(0).uniform(1, 2, (2, 32, 32)).astype("f4")
    for name in ("a", "b"):
        fits.PrimaryHDU(frames).writeto(tmp_path / f"{name}.fits")
    one, two, night = tmp_path / "a.fits", tmp_path / "b.fits", tmp_path / "night"
    optics = "pixel_arcsec=0.05,diameter_m=1,wavelength_nm=630"
    line = ["--dry-run", "--instrument", optics, "--workers", "1"]
    assert run("batch", "richardson-lucy", "-o", night, one, *line, two) == 0
    assert "2 bursts, 0 of them done" in capsys.readouterr().out
    assert run("info", "--json", one) == 0
    assert run("richardson-lucy", "-o", tmp_path / "out.fits", one, "--no-such", "1") == 2
    assert "unrecognized arguments: --no-such" in capsys.readouterr().err


def test_an_output_is_not_overwritten_by_accident(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.fits"
    out.write_text("precious")
    assert run(*RL, "-o", out) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert out.read_text() == "precious"
    assert run(*RL, "-o", out, "--overwrite", "--iterations", 1, "--quiet") == 0
    assert heliorestore.read(out).step == 1


WRITING = [
    (*RL, "-o", "OUT", "--overwrite"),
    ("sv-momfbd", BURST, "--instrument", "crisp-8542", "-o", "OUT", "--overwrite"),
    ("sv-momfbd", BURST, "--instrument", "crisp-8542", "-o", "out.fits", "--checkpoint", "OUT"),
    ("rerun", "restored.fits", "-o", "OUT", "--overwrite"),
    ("simulate", "-o", "OUT", "--overwrite"),
    ("simulate", "-o", "out.fits", "--truth", "OUT", "--overwrite"),
    ("simulate", "-o", "out.fits", "--psfs", "OUT", "--overwrite"),
    ("quality", HMI, "--plot", "OUT", "--overwrite"),
    ("train", "enhance", "--recipe", "enhance-magnetogram", "-o", "OUT"),
]
UNWRITABLE = ("FIFO", "long name", "folder", "no folder")


@pytest.mark.parametrize(
    ("command", "kind"),
    # A folder is what `train` writes, and makes.
    [(c, k) for c in WRITING for k in UNWRITABLE if c[0] != "train" or not k.endswith("folder")],
    ids=lambda each: each if isinstance(each, str) else " ".join(w for w in each if not w.startswith("/")),
)
def test_an_output_that_cannot_be_written_is_refused_before_the_work(
    command: tuple[str, ...],
    kind: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    if command[0] == "rerun":
        assert run(*RL, "-o", "restored.fits", "--iterations", 1, "--quiet") == 0
    target = tmp_path / {"long name": "x" * 300, "no folder": "nowhere/target"}.get(kind, "target")
    if kind == "FIFO":
        os.mkfifo(target)
    elif kind == "folder":
        target.mkdir()

    def work(*_: object, **__: object) -> None:
        raise AssertionError("this is work")

    for place in (
        "methods.richardson_lucy.average_frames",
        "methods.blind.field_fit.observe",
        "commands.simulate.simulate_burst",
        "commands.quality.measure",
        "train.trainer.weights.build",
    ):
        monkeypatch.setattr(f"heliorestore.{place}", work)
    assert run(*(target if word == "OUT" else word for word in command)) == 2
    error = capsys.readouterr().err
    assert "target" in error or "too long" in error or "nowhere does not exist" in error
    assert error.count("\n") == 1
    assert kind == "long name" or not target.is_file()


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    with pytest.raises(heliorestore.errors.BurstError):
        cli.main(["info", str(tmp_path / "absent.fits"), "--debug"])


def test_a_fault_of_ours_is_one_line_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fault(*args: object) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr("heliorestore.fits.reader.read", fault)
    assert run("info", HMI) == 1
    assert (
        capsys.readouterr().err
        == "heliorestore: internal error, ZeroDivisionError: by zero (--debug shows where)\n"
    )


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out.strip() == f"heliorestore {heliorestore.__version__}"
    assert run("richardson-lucy", "--help") == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "1 to 10000; default 20" in text
    assert "--stop-at-noise, --no-stop-at-noise" in text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_writes_what_there_is(number: signal.Signals, tmp_path: Path) -> None:
    out = tmp_path / "out.fits"
    command = [
        *COMMAND,
        "richardson-lucy",
        BURST,
        "-o",
        str(out),
        "--iterations",
        "10000",
        "--device",
        "cpu",
        "--json",
    ]
    master, slave = pty.openpty()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=slave, text=True)
    os.close(slave)
    shown = ""
    while not re.search(r"\d:\d\d left", shown):  # the bar moves: it is running
        shown += os.read(master, 4096).decode()
    time.sleep(0.2)
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    os.close(master)
    assert process.returncode == 128 + number
    report = json.loads(output)
    assert report["stop"] == "user"
    assert 1 <= report["iterations"] < 10000
    assert heliorestore.read(out).stop is heliorestore.StopReason.USER
    assert re.search(r"richardson-lucy \|.+\| \d+/10000, residual [\d.e-]+, ", shown)


@pytest.mark.parametrize(
    ("terminal", "flags", "bar"), [(True, (), True), (True, ("--quiet",), False), (False, (), False)]
)
def test_a_bar_is_shown_on_a_terminal_that_wants_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, terminal: bool, flags: tuple[str, ...], bar: bool
) -> None:
    command = (*RL, "-o", tmp_path / "out.fits", "--iterations", 3, *flags)
    master, slave = pty.openpty()
    with os.fdopen(slave, "w") as screen, (tmp_path / "stderr").open("w") as file:
        monkeypatch.setattr(sys, "stderr", screen if terminal else file)
        assert run(*command) == 0
        screen.write("end")
        screen.flush()
        shown = os.read(master, 65536).decode() + (tmp_path / "stderr").read_text()
    os.close(master)
    assert ("3/3, residual" in shown) == bar
    assert ("| " in shown) == bar


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let Ctrl-C be pressed when the snapshot of that step is there."""

    def press_at(step: int) -> None:
        show = progress.Progress.show

        def pressed(self: progress.Progress, snapshot: heliorestore.Snapshot) -> None:
            show(self, snapshot)
            if snapshot.step == step:
                os.kill(os.getpid(), signal.SIGINT)

        monkeypatch.setattr(progress.Progress, "show", pressed)

    return press_at


def test_ctrl_c_keeps_the_state_and_says_how_to_go_on(
    slow: Callable[[int], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state, out = tmp_path / "state", tmp_path / "out.fits"
    command = (
        "momfbd",
        BURST,
        "--objects",
        0,
        "--frames",
        "0:2",
        "-o",
        out,
        "--modes",
        4,
        "--iterations",
        4,
        "--device",
        "cpu",
        "--quiet",
        "--checkpoint",
        state,
    )
    slow(1)
    assert run(*command) == 130
    assert f"{state} keeps the state: the same command with --overwrite continues" in capsys.readouterr().err
    assert heliorestore.read(out).history["step"].tolist() == [0, 1]
    slow(4)  # the last one: there is nothing left to go on with
    assert run(*command, "--overwrite") == 130
    assert "keeps the state" not in capsys.readouterr().err
    whole = heliorestore.read(out)
    assert whole.history["step"].tolist() == [0, 1, 2, 3, 4]
    assert whole.stop is heliorestore.StopReason.DONE
    assert not state.exists()


def test_a_result_that_cannot_be_written_leaves_its_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    state, out = tmp_path / "run.state", tmp_path / "out.fits"
    knobs = ("--modes", 6, "--patch", 32, "--psf", 32, "--iterations", 2, "--patch-iterations", 1)
    line = ("sv-momfbd", BURST, "--instrument", "crisp-8542", "-o", out, "--quiet", "--objects", 0, *knobs)
    assert run(*line) == 0
    whole = heliorestore.read(out)

    def full(*given: object, **named: object) -> None:
        raise heliorestore.errors.RestorationError("The disk is full.")

    with monkeypatch.context() as now:
        now.setattr("heliorestore.fits.writer.write", full)
        assert run(*line, "--overwrite", "--checkpoint", state) == 2
    assert "keeps the state: the same command continues there" in capsys.readouterr().err
    assert state.exists()
    assert run(*line, "--overwrite", "--checkpoint", state) == 0
    again = heliorestore.read(out)
    assert again.step in (whole.step, whole.step + 1)  # what is gone on with has one more iteration
    assert np.std(again.images - whole.images) < 0.05 * np.std(whole.images)
    assert not state.exists()


@pytest.mark.parametrize("chosen", [None, "ACTIVE"])
def test_threads_wait_passively_in_a_process_of_ours_unless_the_user_chose(chosen: str | None) -> None:
    check = (
        "import atexit, os, sys; atexit.register(lambda: print(os.environ.get('OMP_WAIT_POLICY'), "
        "'torch' in sys.modules))"
    )
    code = (
        f"{check}\nimport runpy; sys.argv = ['heliorestore', '--version']; "
        f"runpy.run_module('heliorestore.cli', run_name='__main__')"
    )
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    if chosen is not None:
        environment["OMP_WAIT_POLICY"] = chosen
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert ran.stdout.splitlines()[-1] == f"{chosen or 'PASSIVE'} False"


def test_a_host_process_keeps_its_environment() -> None:
    code = (
        "import os; before = dict(os.environ); import heliorestore as h; from heliorestore import cli; "
        "cli.main(['info', {0!r}]);"
        "h.restore(h.read({0!r}), h.RichardsonLucySettings(iterations=1), device='cpu'); assert "
        "dict(os.environ) == before"
    )
    subprocess.run([sys.executable, "-c", code.format(HMI)], check=True, capture_output=True)


def test_output_cut_off_by_the_reader_is_no_error() -> None:
    ran = subprocess.run(
        f"({' '.join(COMMAND)} info {HMI}; echo $? >&2) | true",
        shell=True,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.stderr.split() == ["141"]  # as a shell says it: no fault of ours
    assert "Traceback" not in ran.stderr
    assert "Broken" not in ran.stderr


@pytest.mark.parametrize("closed", ["2>&-", "<&- >&- 2>&-", "2>/dev/full", "2>&1 | head -0"])
def test_a_run_needs_nobody_who_listens(tmp_path: Path, closed: str) -> None:
    """What libraries print does not get into the file either, where one has the number of a stream."""
    out = tmp_path / "out.fits"
    line = [sys.executable, "-c", LOUD, "momfbd", BURST, "-o", str(out), "--modes=4", "--iterations=1"]
    ran = subprocess.run(
        f"{shlex.join(line)} {closed}",
        shell=True,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stdout) == (0, "")
    with fits.open(out, checksum=True) as hdus:
        assert all(hdu.verify_checksum() == 1 for hdu in hdus)
    assert heliorestore.read(out).messages


@pytest.mark.parametrize("name", [b"\xc3\xbc.fits", b"\xff.fits"])
def test_a_name_that_the_terminal_cannot_show_is_escaped(tmp_path: Path, name: bytes) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    path.write_bytes(Path(HMI).read_bytes())
    strict = os.environ | {"PYTHONIOENCODING": "ascii:strict"}
    ran = subprocess.run([*COMMAND, "info", str(path)], env=strict, capture_output=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert ascii(path.name)[1:-1].encode() in ran.stdout


def test_a_folder_that_is_gone_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert run("figure", HMI, "-o", "out.png") == 2
    assert "does not exist any more" in capsys.readouterr().err


def test_a_signal_that_is_ignored_stays_so(tmp_path: Path) -> None:
    """As `nohup` wants it."""
    line = ["richardson-lucy", BURST, "-o", str(tmp_path / "out.fits"), "--iterations=1"]
    code = (
        "import os, signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN);"
        "from heliorestore.cli import main; from heliorestore.commands.progress import Progress;"
        "Progress.show = lambda *each: os.kill(os.getpid(), signal.SIGHUP); sys.exit(main())"
    )
    ran = subprocess.run([sys.executable, "-c", code, *line], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("name", ["preset.toml", "link.toml"])
def test_a_preset_is_an_input(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    preset = tmp_path / "preset.toml"
    preset.write_text('method = "richardson-lucy"\n[settings]\niterations = 1\n')
    (tmp_path / "link.toml").symlink_to(preset)
    assert run(*RL, "-o", tmp_path / name, "--preset", preset, "--overwrite") == 2
    assert "is an input" in capsys.readouterr().err
    assert "richardson-lucy" in preset.read_text()


def test_result_and_checkpoint_have_places_of_their_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run that is stopped would else leave its state where its result belongs, and lose that."""
    out, state = tmp_path / "x", tmp_path / "no" / ".." / "x"
    assert run("momfbd", BURST, "-o", out, "--checkpoint", state) == 2
    assert "same name" in capsys.readouterr().err


def test_view_without_napari_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "heliorestore.plugin.launch", None)
    monkeypatch.setenv("DISPLAY", ":0")
    for command in ("view", "demo"):
        assert run(command) == 2
        assert 'pip install "heliorestore[all]"' in capsys.readouterr().err


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there always is a screen")
def test_view_without_a_screen_is_one_sentence_and_no_abort(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    assert run("view", HMI) == 2
    assert "There is no screen" in capsys.readouterr().err


def test_the_command_alone_shows_the_first_steps(capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    said = capsys.readouterr().out
    steps = re.findall(r"^  heliorestore (\S+)", said, re.MULTILINE)
    known = {**COMMANDS, **METHODS, "--help": ""}
    assert steps[0] == "demo"
    assert not [step for step in steps if step not in known]


def test_sigterm_ends_any_command_as_ctrl_c_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    fsync = os.fsync

    def asked(descriptor: int) -> None:
        fsync(descriptor)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(os, "fsync", asked)
    line = ["simulate", "-o", str(tmp_path / "sun.fits"), "--size", "32", "--frames", "1", "--quiet"]
    assert cli.main(line) == 143
    assert "interrupted" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_result_is_written_though_the_run_is_asked_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it is written: what was computed is not lost."""
    fsync, asked = os.fsync, []

    def ask(descriptor: int) -> None:
        if not asked:
            asked.append(os.kill(os.getpid(), signal.SIGTERM))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", ask)
    out = tmp_path / "out.fits"
    line = ["richardson-lucy", HMI, "-o", str(out), "--iterations", "2", "--quiet"]
    assert cli.main(line) == 143
    assert asked
    assert heliorestore.read(out).step == 2
    assert cli.main(["rerun", str(out), "-o", str(out), "--overwrite"]) == 2  # it is what is read

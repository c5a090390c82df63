"""The command `heliorestore`: every mistake of a user is one line and exit 2, Ctrl-C keeps what there is."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

from heliorestore import __version__
from heliorestore.errors import HeliorestoreError, SettingsError
from heliorestore.methods import METHODS
from heliorestore.output import check_output
from heliorestore.train import TRAINERS

if TYPE_CHECKING:
    from heliorestore.burst import Burst
    from heliorestore.settings import Settings
    from heliorestore.snapshot import Snapshot


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    if argv is None:  # the process is ours: on a busy machine, threads that wait by spinning take the cores from each other
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    arguments = list(sys.argv[1:] if argv is None else argv)
    parsed = _parser(arguments).parse_args(arguments)
    try:
        status: int = parsed.run(parsed)
    except HeliorestoreError as error:
        return _fail(parsed, error, str(error), 2)
    except KeyboardInterrupt:
        return _fail(parsed, None, "interrupted before there was anything to write", 130)
    except BrokenPipeError:  # the reader of our output has gone, as in `heliorestore info FILE | head -1`
        sys.stdout = None  # nothing to flush at exit
        return 1
    except Exception as error:  # a fault of ours: still one line, and how to see more
        return _fail(parsed, error, f"internal error, {type(error).__name__}: {error} (--debug shows where)", 1)
    return status


def _fail(parsed: argparse.Namespace, error: Exception | None, message: str, status: int) -> int:
    if error is not None and parsed.debug:
        raise error
    print("heliorestore:", " ".join(message.split()), file=sys.stderr)
    return status


# -- the parser ------------------------------------------------------------------------------------------------


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    """The parser; only the method that is asked for is loaded, so that `--help` is quick."""
    parser = _Parser(prog="heliorestore", description="Restore images of the Sun.")
    parser.add_argument("--version", action="version", version=f"heliorestore {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    asked = next((word for word in arguments if not word.startswith("-")), None)

    info = _command(commands, "info", "Say what a file holds and what is unknown about it.", _info)
    info.add_argument("file", metavar="FILE", nargs="+", type=Path, help="file, folder, or files of one burst")
    info.add_argument("--json", action="store_true", help="end with one line of JSON")

    for name, entry in METHODS.items():
        command = _command(commands, name, entry.summary, _restore)
        if name == asked:
            _add_method_arguments(command, name)

    simulate = _command(commands, "simulate", "Simulate a burst of the Sun seen through air and telescope, with the truth.", _simulate)
    if asked == "simulate":
        from heliorestore.simulation import add_simulation_arguments

        add_simulation_arguments(simulate)

    rerun = _command(commands, "rerun", "Repeat the run that made a restored file.", _rerun)
    rerun.add_argument("restored", metavar="RESTORED.fits", type=Path, help="a file that heliorestore wrote")
    _add_output_arguments(rerun)
    rerun.add_argument("--device", default="", help="auto, cpu, cuda, cuda:N or mps (default: the one of the first run)")

    quality = _command(commands, "quality", "Measure an image: contrast, noise, power spectrum, and its likeness to a reference.", _quality)
    if asked == "quality":
        from heliorestore.quality_command import add_quality_arguments

        add_quality_arguments(quality)

    train = _command(commands, "train", "Train a network as a recipe says.", _train)
    train.add_argument("method", metavar="METHOD", help=f"the method whose network is trained: {', '.join(TRAINERS)}")
    train.add_argument("--recipe", metavar="RECIPE.toml", required=True, help="a recipe's file, or the name of one that comes along")
    train.add_argument("-o", "--output", metavar="FOLDER", type=Path, help="where checkpoint and weights go (default: training/RECIPE)")
    train.add_argument("--data", metavar="FOLDER", type=Path, default=Path(), help="where the recipe's files lie (default: here)")
    train.add_argument("--resume", action="store_true", help="go on from the checkpoint in the output folder")
    train.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default auto)")

    weights = _command(commands, "weights", "List, show, import, check or compare the weights of networks.", _weights)
    if asked == "weights":
        from heliorestore.weights_command import add_weights_arguments

        add_weights_arguments(weights)

    view = _command(commands, "view", "Open napari with the files.", _view)
    view.add_argument("file", metavar="FILE", nargs="*", type=Path, help="file, folder, or files of one burst")
    view.add_argument("--method", choices=METHODS, help="the method whose form is shown")
    return parser


def _command(commands: Any, name: str, summary: str, run: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=summary, description=summary)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.set_defaults(run=run)
    return parser


def _add_output_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", metavar="OUT", type=Path, required=True, help="the FITS file to write")
    parser.add_argument("--overwrite", action="store_true", help="replace OUT if it exists")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON: output, seconds, iterations, losses, contrast")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def _add_method_arguments(parser: argparse.ArgumentParser, name: str) -> None:
    from heliorestore.instrument import KNOWN
    from heliorestore.methods.base import load
    from heliorestore.settings import add_arguments

    parser.add_argument("input", metavar="IN", nargs="+", type=Path, help="file, folder, or files of one burst")
    _add_output_arguments(parser)
    settings = parser.add_argument_group("settings of the method")
    settings.add_argument("--preset", metavar="NAME|FILE.toml", help="begin with these settings; the flags below win over them")
    add_arguments(settings, load(name).settings)
    common = parser.add_argument_group("data and machine")
    common.add_argument(
        "--instrument", default="", help=f"what took the images: {', '.join(KNOWN)}, and/or pixel_arcsec=0.05,... (default: the header)"
    )
    common.add_argument("--frames", metavar="A:B", type=_slice, default=slice(None), help="frames to use, a Python slice")
    common.add_argument("--objects", metavar="A:B", type=_slice, default=slice(None), help="objects to restore, a Python slice")
    common.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default auto)")
    common.add_argument("--seed", type=int, default=0, help="seed of the random numbers (default 0)")


def _slice(text: str) -> slice:
    """Read `A:B`, `A:B:C` or a single number."""
    parts = text.split(":")
    try:
        numbers = [int(part) if part.strip() else None for part in parts]
    except ValueError:
        numbers = []
    if not 1 <= len(numbers) <= 3 or numbers == [None]:
        raise argparse.ArgumentTypeError(f"{text!r} is no slice; write A:B, as in 0:6")
    if len(numbers) == 1 and (n := numbers[0]) is not None:
        return slice(n, n + 1 or None)
    return slice(*numbers)


# -- the commands ----------------------------------------------------------------------------------------------


def _view(parsed: argparse.Namespace) -> int:
    try:
        from heliorestore.plugin.launch import view
    except ImportError as error:
        raise SettingsError(f'napari is not installed ({error}): pip install "heliorestore[napari]" adds it.') from error
    view(parsed.file, parsed.method)
    return 0


def _restore(parsed: argparse.Namespace) -> int:
    from heliorestore.fits.reader import read_burst
    from heliorestore.methods.base import load, pick_device, stream
    from heliorestore.presets import find_preset
    from heliorestore.settings import from_arguments

    method = load(parsed.command).settings
    preset = find_preset(parsed.preset, parsed.command) if parsed.preset else None
    settings = from_arguments(method, parsed, preset.settings(method) if preset else None)
    pick_device(parsed.device)
    burst = read_burst(parsed.input[0] if len(parsed.input) == 1 else parsed.input)
    burst = burst.with_instrument(parsed.instrument).select(parsed.objects, parsed.frames)
    inputs = [*(source.path for source in burst.sources), *settings.files().values()]
    check_output(parsed.output, overwrite=parsed.overwrite, inputs=inputs)
    notes = (f"Begun with the preset {preset.name}.",) if preset else ()
    return _finish(parsed, burst, settings, stream(burst, settings, device=parsed.device, seed=parsed.seed), notes)


def _simulate(parsed: argparse.Namespace) -> int:
    from heliorestore.simulation import outputs, run

    for output in outputs(parsed):
        check_output(output, overwrite=parsed.overwrite)
    with closing(_Progress(None if parsed.quiet else sys.stderr, "simulate")) as bar:
        facts = run(parsed, bar.show)
    if not parsed.quiet:
        print(*(facts[name] for name in ("output", "truth", "psfs") if name in facts), sep="\n", file=sys.stderr)
    if parsed.json:
        print(json.dumps(facts))
    return 0


def _quality(parsed: argparse.Namespace) -> int:
    from heliorestore.quality_command import lines, run

    if parsed.plot is not None:
        images = [path for path in (parsed.image, parsed.reference) if path is not None]
        check_output(parsed.plot, overwrite=parsed.overwrite, inputs=images)
    facts = run(parsed)
    for line in lines(facts):
        print(line)
    if parsed.json:
        print(json.dumps(facts))
    return 0


def _finish(parsed: argparse.Namespace, burst: Burst, settings: Settings, snapshots: Any, notes: tuple[str, ...] = ()) -> int:
    """Drain the stream with a progress bar, write the last snapshot with the notes, and say what came out."""
    import dataclasses

    from heliorestore.fits.writer import write
    from heliorestore.snapshot import StopReason

    began = time.perf_counter()
    progress = _Progress(None if parsed.quiet else sys.stderr, settings.method)
    snapshot: Snapshot | None = None
    with _interruptible() as interrupted, closing(snapshots), closing(progress):
        for snapshot in snapshots:
            progress.show(snapshot)
            if interrupted and snapshot.stop is None:
                break
    if snapshot is None:
        raise KeyboardInterrupt
    kept = ""
    if interrupted and snapshot.stop is None:
        snapshot = dataclasses.replace(snapshot, stop=StopReason.USER)
        kept = getattr(settings, "checkpoint", "")
    snapshot = dataclasses.replace(snapshot, messages=snapshot.messages + notes)
    for message in dict.fromkeys(snapshot.messages):
        print("heliorestore:", message, file=sys.stderr)
    if kept and Path(kept).expanduser().exists():
        print(f"heliorestore: {kept} keeps the state: the same command with --overwrite goes on from there", file=sys.stderr)
    written = write(snapshot, parsed.output, overwrite=parsed.overwrite)
    if not parsed.quiet:
        print(f"{written}: {snapshot.step} iterations. {snapshot.stop.value if snapshot.stop else ''}", file=sys.stderr)
    if parsed.json:
        print(json.dumps(_report(burst, snapshot, written, time.perf_counter() - began)))
    return 130 if interrupted else 0


def _report(burst: Burst, snapshot: Snapshot, written: Path, seconds: float) -> dict[str, Any]:
    """What `--json` says; contrasts are per object, before for the first frame."""
    from heliorestore.quality import contrast

    return {
        "output": str(written),
        "seconds": round(seconds, 3),
        "iterations": snapshot.step,
        "stop": snapshot.stop.name.lower() if snapshot.stop else None,
        "losses": dict(snapshot.losses),
        "contrast_before": [contrast(burst.image(k, 0)) for k in range(burst.shape[0])],
        "contrast_after": [contrast(image) for image in snapshot.images],
    }


@contextmanager
def _interruptible() -> Iterator[list[int]]:
    """Collect Ctrl-C in a list for the loop to see; a second Ctrl-C ends the program at once."""
    caught: list[int] = []

    def catch(number: int, frame: Any) -> None:
        if caught:
            raise KeyboardInterrupt
        caught.append(number)
        print("\nheliorestore: stopping after this step; once more Ctrl-C gives it up", file=sys.stderr)

    before = signal.signal(signal.SIGINT, catch)
    try:
        yield caught
    finally:
        signal.signal(signal.SIGINT, before)


class _Progress:
    """A bar of tqdm with step, losses and time left; nothing where nobody looks at a terminal."""

    def __init__(self, stream: TextIO | None, title: str) -> None:
        self._stream = stream if stream is not None and stream.isatty() else None
        self._title = title
        self._bar: Any = None

    def show(self, snapshot: Snapshot) -> None:
        if self._stream is None:
            return
        if self._bar is None:
            from tqdm import tqdm

            known = os.get_terminal_size(self._stream.fileno()).columns > 0  # a serial line or a script has no width
            size: dict[str, Any] = {"dynamic_ncols": True} if known else {"ncols": 80, "nrows": 24}
            words = "{desc} |{bar:20}| {n_fmt}/{total_fmt}{postfix}, {remaining} left"
            self._bar = tqdm(desc=self._title, initial=snapshot.step, total=snapshot.total, file=self._stream, bar_format=words, **size)
        self._bar.total = max(snapshot.total, snapshot.step)  # both may grow while it runs
        self._bar.set_postfix_str(", ".join(f"{name} {value:.3g}" for name, value in snapshot.losses.items()), refresh=False)
        self._bar.update(snapshot.step - self._bar.n)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


def _info(parsed: argparse.Namespace) -> int:
    from heliorestore.fits.reader import describe, read

    facts = describe(read(parsed.file[0] if len(parsed.file) == 1 else parsed.file))
    shown = facts | {"files": facts["files"] or [str(file) for file in parsed.file]}
    for name, value in _in_words(shown):
        print(f"{name:<12} {value}")
    if parsed.json:
        print(json.dumps(facts))
    return 0


def _in_words(facts: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The facts of `describe` as lines for a reader; runs of like objects are one line."""
    from heliorestore.fits.layouts import LAYOUTS

    files, times = facts["files"], facts["times"]
    yield "file", files[0] + (f" and {len(files) - 1} more" if len(files) > 1 else "")
    yield "layout", f"{facts['layout']}, {LAYOUTS[facts['layout']]}"
    yield "shape", " x ".join(map(str, facts["shape"])) + " (object, frame, y, x)"
    bad = "too many pixels to count the bad ones" if facts["bad_pixels"] is None else f"{facts['bad_pixels']} bad pixels"
    yield "pixels", f"{facts['dtype']}, {facts['storage']}, {facts['unit'] or 'unit unknown'}, {bad}"
    known = f"{times['first']} to {times['last']}" if times["known"] > 1 else times["first"]
    yield "times", f"{known} UTC, known of {times['known']} of {facts['shape'][1]} frames" if times["known"] else "unknown"
    lines = [f"{label}: {_instrument_text(i)}" for label, i in zip(facts["labels"], facts["instruments"], strict=True)]
    for line in lines if len(lines) < 9 else [*lines[:4], f"... {len(lines) - 8} more ...", *lines[-4:]]:
        yield "object", line
    if unknown := sorted({name for instrument in facts["instruments"] for name in instrument["unknown"]}):
        yield "unknown", f"{', '.join(unknown)}: say it with --instrument"
    for doubt in facts["doubts"]:
        yield "warning", doubt
    for name in ("method", "settings", "step", "stop", "losses", "device", "seed", "messages"):
        if facts.get(name) not in (None, [], {}):
            value = facts[name]
            yield name, ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else str(value)
    for source in facts.get("inputs", ()):
        yield "input", f"{source['file']} (SHA-256 {source['sha256'][:12] or 'unknown'})"


def _instrument_text(instrument: dict[str, Any]) -> str:
    known = [f"{instrument[name]:g} {unit}" for name, unit in _INSTRUMENT_UNITS.items() if instrument[name] is not None]
    return ", ".join([instrument["name"] if instrument["name"] != "unknown" else "instrument unknown", *known])


_INSTRUMENT_UNITS = {"diameter_m": "m aperture", "pixel_arcsec": "arcsec per pixel", "wavelength_nm": "nm"}


def _rerun(parsed: argparse.Namespace) -> int:
    from heliorestore.fits.restored import reopen
    from heliorestore.methods.base import pick_device, replay, settings_of

    burst, snapshot = reopen(parsed.restored)
    run = snapshot.run
    assert run is not None  # `reopen` has checked
    check_output(parsed.output, overwrite=parsed.overwrite, inputs=run.inputs())
    settings, device = settings_of(run), parsed.device or run.device.partition(",")[0]
    pick_device(device)
    return _finish(parsed, burst, settings, replay(burst, settings, snapshot.history, device=device, seed=run.seed))


def _train(parsed: argparse.Namespace) -> int:
    from heliorestore.methods.base import pick_device
    from heliorestore.train.command import run

    device = pick_device(parsed.device)
    folder = parsed.output or Path("training") / Path(parsed.recipe).stem
    written = run(parsed.method, parsed.recipe, folder, data=parsed.data, device=device, resume=parsed.resume, say=_say)
    print(written)
    return 0


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _weights(parsed: argparse.Namespace) -> int:
    from heliorestore.weights_command import run

    for line in run(parsed):
        print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

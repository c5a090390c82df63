"""The command of every method: restore a burst and write the result."""

from __future__ import annotations

import argparse
from pathlib import Path

from heliorestore.commands.output import add_output_arguments, drain, whole_number
from heliorestore.storage import at_home, check_apart, check_output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of a method: files, its settings, data and machine."""
    from heliorestore.methods.base import load
    from heliorestore.preparation import Preparation
    from heliorestore.settings import add_settings, options

    parser.add_argument(
        "input",
        metavar="IN",
        nargs="+",
        type=Path,
        help="file, folder, or files of one burst; or a .cfg of redux",
    )
    add_output_arguments(parser)
    settings = parser.add_argument_group("settings of the method")
    settings.add_argument(
        "--preset", metavar="NAME|FILE.toml", help="begin with these settings; the flags below override them"
    )
    method = load(parser.get_default("command")).settings
    add_settings(settings, method)
    common = parser.add_argument_group("data and machine")
    common.add_argument(
        "--instrument",
        default="",
        help="the instrument: a name that `heliorestore instruments` lists, and/or pixel_arcsec=0.05,... "
        "(default: the header)",
    )
    common.add_argument(
        "--frames", metavar="A:B,C", default=":", help="frames to use: numbers and slices, as 0:12,15,17"
    )
    # A method with a choice of its own has the flag already.
    if "best" not in {option.name for option in options(method)}:
        common.add_argument(
            "--best",
            metavar="N|P%",
            help="use only so many of the sharpest of these frames, or percent",
        )
    common.add_argument("--objects", metavar="A:B,C", default=":", help="objects to restore, likewise")
    add_settings(common, Preparation)
    common.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default auto)")
    common.add_argument("--seed", type=whole_number, default=0, help="seed of the random numbers (default 0)")


def run(parsed: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    from heliorestore.fits.redux_cfg import is_config, read_config
    from heliorestore.methods.base import least_bytes, load, pick_device, stream
    from heliorestore.preparation import Preparation
    from heliorestore.prepare.opening import open_burst
    from heliorestore.prepare.sharpness import how_many, select_best
    from heliorestore.presets import find_preset
    from heliorestore.settings import from_arguments, options

    method = load(parsed.command).settings
    best, chooses = parsed.best, "best" in {option.name for option in options(method)}
    if best is not None:
        how_many(best, 1)  # what is wrong is said before anything is read
        parsed.best = None if best.endswith("%") else best
    preset = find_preset(parsed.preset, parsed.command) if parsed.preset else None
    config = read_config(parsed.input[0]) if is_config(parsed.input[0]) else None
    base = preset.settings(method) if preset else method()
    if config is not None:
        base = base.replace(**config.settings(method))
    settings = from_arguments(method, parsed, base)
    # Before the files are read: a wrong name costs no time.
    pick_device(parsed.device)
    preparation = from_arguments(Preparation, parsed)
    burst = open_burst(parsed.input, preparation)
    burst = burst.with_instrument(parsed.instrument).select(parsed.objects, parsed.frames)
    named = (*settings.files().values(), *preparation.files().values())
    inputs = [*(source.path for source in burst.sources), *named, *([preset.path] if preset else [])]
    if state := getattr(settings, "checkpoint", ""):
        check_apart([parsed.output, at_home(state)], "The result and the checkpoint")
    size = least_bytes(burst if best is None else burst.select(frames=slice(1)), settings)
    check_output(parsed.output, overwrite=parsed.overwrite, inputs=inputs, size=size)
    if best is not None and not chooses:
        burst = select_best(burst, best)
    elif best is not None and parsed.best is None:
        settings = settings.replace(best=how_many(best, burst.shape[1]))
    notes: tuple[str, ...] = (f"Begun with the preset {preset.name}.",) if preset else ()
    if config is not None and (unused := config.unused(method)):
        listed = "; ".join(f"{key}: {reason}" for key, reason in unused.items())
        notes += (f"Of {config.path.name} these were not used ({listed}).",)
    return drain(
        parsed, burst, settings, stream(burst, settings, device=parsed.device, seed=parsed.seed), notes
    )

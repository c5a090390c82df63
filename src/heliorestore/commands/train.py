"""The command `heliorestore train`: train a network by a recipe."""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

from heliorestore.errors import SettingsError
from heliorestore.train import TRAINERS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the command."""
    parser.add_argument(
        "method", metavar="METHOD", help=f"the method whose network is trained: {', '.join(TRAINERS)}"
    )
    parser.add_argument(
        "--recipe",
        metavar="RECIPE.toml",
        required=True,
        help="a recipe's file, or the name of a bundled one",
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="FOLDER",
        type=Path,
        help="folder for checkpoint and weights (default: training/RECIPE)",
    )
    parser.add_argument(
        "--data",
        metavar="FOLDER",
        type=Path,
        default=Path(),
        help="folder of the recipe's files (default: here)",
    )
    parser.add_argument(
        "--resume", action="store_true", help="continue from the checkpoint in the output folder"
    )
    parser.add_argument(
        "--minutes", type=float, help="stop after so many, with a checkpoint that --resume continues"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default auto)")


def run(parsed: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    from heliorestore.methods.base import pick_device
    from heliorestore.train.trainer import run as run_recipe

    device = pick_device(parsed.device)
    folder = parsed.output or Path("training") / Path(parsed.recipe).stem
    if parsed.minutes is not None and not parsed.minutes > 0:
        raise SettingsError(f"--minutes is {parsed.minutes:g}; it must be positive.")
    written = run_recipe(
        *(parsed.method, parsed.recipe, folder),
        data=parsed.data,
        device=device,
        resume=parsed.resume,
        seconds=math.inf if parsed.minutes is None else 60 * parsed.minutes,
        say=_say,
    )
    print(written)
    return 0


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)

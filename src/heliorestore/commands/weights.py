"""The command `heliorestore weights`: its flags and its output."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from heliorestore.errors import WeightsError
from heliorestore.nets import weights
from heliorestore.nets.importing import import_file


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the command."""
    parser.add_argument("action", choices=("list", "show", "import", "check", "compare"), help="what to do")
    parser.add_argument(
        "name",
        metavar="NAME|FILE",
        nargs="?",
        default="",
        help="weights to show, check or compare; the file to import",
    )
    parser.add_argument(
        "--as",
        dest="alias",
        metavar="NAME",
        default="",
        help="the name under which imported weights are saved",
    )
    scale = parser.add_mutually_exclusive_group()
    scale.add_argument(
        "--input-scale", metavar="FACTOR", type=float, help="imported weights take the image times FACTOR"
    )
    scale.add_argument(
        "--input-mean",
        metavar="VALUE",
        type=float,
        help="imported weights take the image scaled to this mean",
    )
    parser.add_argument(
        "--object",
        metavar="IMAGE.fits",
        type=Path,
        help="image on which emulators are compared (default: simulated granulation)",
    )
    parser.add_argument(
        "--instrument",
        default="crisp-8542-paper",
        help="instrument of the blur (default crisp-8542-paper, as it was trained)",
    )


def answers(parsed: argparse.Namespace) -> Iterator[str]:
    """Do the action and yield its output line by line."""
    if parsed.action != "compare":
        return lines(
            parsed.action,
            parsed.name,
            alias=parsed.alias,
            input_scale=parsed.input_scale,
            input_mean=parsed.input_mean,
        )
    from heliorestore.diagnose.emulator_error import LEAST_SIDE, report
    from heliorestore.fits.reader import read_burst
    from heliorestore.instrument import Instrument
    from heliorestore.simulate.photosphere import quiet_sun

    instrument = Instrument.parse(parsed.instrument)
    image = read_burst(parsed.object).image(0, 0) if parsed.object else quiet_sun(instrument, LEAST_SIDE)
    return report(parsed.name, instrument, image)


def run(parsed: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    for line in answers(parsed):
        print(line, flush=True)
    return 0


def lines(
    action: str,
    name: str,
    *,
    alias: str = "",
    input_scale: float | None = None,
    input_mean: float | None = None,
) -> Iterator[str]:
    """List all weights, show the record of one, import a file under the name `alias`, or check one or all."""
    if action in ("show", "import") and not name:
        raise WeightsError(
            f"Name the weights to {action}: heliorestore weights {action} "
            f"{'NAME' if action == 'show' else 'FILE --as NAME'}."
        )
    if action == "list":
        for each in weights.names():
            record = weights.read_record(weights.find(each))
            yield (
                f"{each:<32} {record.architecture:<16} {record.kind or '-':<12} "
                f"{record.origin or record.training}"
            )
    elif action == "show":
        yield from _facts(weights.read_record(weights.find(name)), weights.find(name))
    elif action == "import":
        if not alias:
            raise WeightsError(
                f"Give the name under which to save {name}: heliorestore weights import {name} --as NAME."
            )
        yield str(import_file(Path(name), alias, input_scale=input_scale, input_mean=input_mean))
    else:
        yield from _checked([name] if name else weights.names())


def _facts(record: weights.WeightsRecord, path: Path) -> Iterator[str]:
    yield f"{'file':<14} {path}"
    for fact in (
        "architecture",
        "sha256",
        "kind",
        "normalisation",
        "instrument",
        "seed",
        "data",
        "training",
        "origin",
        "quality_note",
    ):
        if getattr(record, fact) not in ("", None):
            yield f"{fact.replace('_', ' '):<14} {getattr(record, fact)}"
    yield f"{'pixels':<14} {record.pixel_arcsec[0]:g} to {record.pixel_arcsec[1]:g} arcsec"
    for fact, value in record.quality.items():
        yield f"{'quality':<14} {fact.replace('_', ' ')} {value:.4g}"
    for fact, value in record.recipe.items():
        yield f"{'recipe':<14} {fact} = {value}"


def _checked(asked: list[str]) -> Iterator[str]:
    """A line for all weights that are intact; then one error for all that are not."""
    problems = []
    for name in asked:
        try:
            _, record = weights.load(name)
        except WeightsError as error:
            problems.append(str(error))
        else:
            yield f"{name}: intact, sha256 {record.sha256[:12]}..., network {record.architecture}"
    if problems:
        raise WeightsError(" ".join(problems))

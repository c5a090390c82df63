"""Damage files in every way and open them: they end in an array or a BurstError, never in another
exception, a hang, a crash, or a GiB of memory.
"""

from __future__ import annotations

import collections
import gzip
import json
import random
import re
import resource
import signal
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from forked import virtual_bytes

from build_files import seeds, small_snapshot
from heliorestore.burst import Burst
from heliorestore.errors import BurstError
from heliorestore.fits.reader import describe, read
from heliorestore.fits.writer import write

MOST_BYTES = 2**30
MOST_SECONDS = 10  # of the processor
CARD = 80
NUMBERS = [
    b"0",
    b"-1",
    b"1",
    b"7",
    b"1000",
    b"65537",
    b"999",
    b"100000000",
    b"2147483647",
    b"4294967297",
    b"9223372036854775807",
    b"1E400",
    b"NaN",
    b"T",
    b"'x'",
    b"",
]
STRUCTURAL = re.compile(
    rb"(Z?NAXIS\d*|Z?BITPIX|ZTILE\d|[PG]COUNT|TFIELDS|TFORM\d|THEAP|ZVAL\d|TSCAL\d|BZERO|BSCALE|BLANK|CRPIX\d|CDELT\d|STEP|ZOOM|HELIOFMT)\s*="
)


class Hang(BaseException):
    """A case that takes too long; no `except Exception` catches it."""


def numbers_in_header(data: bytearray, rng: random.Random) -> bytearray:
    """Give structural cards other values."""
    places = [m.start() for m in STRUCTURAL.finditer(data) if m.start() % CARD == 0]
    for at in rng.sample(places, min(len(places), rng.choice((1, 1, 1, 2, 3)))):
        value = rng.choice(NUMBERS) if rng.random() < 0.7 else str(rng.randrange(1, 300)).encode()
        if data[at : at + 5] == b"TFORM":
            value = rng.choice(
                (b"'1PB(9999999)'", b"'1QB'", b"'999999999D'", b"'1PI(5)'", b"'A'", b"'0A'", b"''")
            )
        data[at + 10 : at + CARD] = value.rjust(20).ljust(CARD - 10)[: CARD - 10]
    return data


def bytes_in_header(data: bytearray, rng: random.Random) -> bytearray:
    for _ in range(rng.choice((1, 2, 5, 30))):
        data[rng.randrange(min(len(data), 2880 * 2))] = rng.randrange(256)
    return data


def bytes_anywhere(data: bytearray, rng: random.Random) -> bytearray:
    for _ in range(rng.choice((1, 5, 50, 500))):
        data[rng.randrange(len(data))] = rng.choice((0, 255, rng.randrange(256)))
    return data


def data_bytes(data: bytearray, rng: random.Random) -> bytearray:
    """Damage the second half, where pixels, descriptors and compressed streams are."""
    for _ in range(rng.choice((1, 5, 50))):
        data[rng.randrange(len(data) // 2, len(data))] = rng.randrange(256)
    return data


def cut(data: bytearray, rng: random.Random) -> bytearray:
    return data[
        : rng.choice((rng.randrange(len(data)), 2880 * rng.randrange(len(data) // 2880 + 1), len(data) - 1))
    ]


def blocks(data: bytearray, rng: random.Random) -> bytearray:
    """Take a block out, double it, or put rubbish in."""
    at = 2880 * rng.randrange(len(data) // 2880 + 1)
    return rng.choice(
        (
            data[:at] + data[at + 2880 :],
            data[: at + 2880] + data[at:],
            data[:at] + rng.randbytes(2880) + data[at:],
        )
    )


def cards(data: bytearray, rng: random.Random) -> bytearray:
    """Exchange, blank or double cards of the headers."""
    places = [at for at in range(0, len(data) - CARD, CARD) if data[at + 8 : at + 10] == b"= "]
    for _ in range(rng.choice((1, 3))):
        one, other = rng.choice(places), rng.choice(places)
        what = rng.randrange(3)
        first, second = data[one : one + CARD], data[other : other + CARD]
        data[one : one + CARD] = b" " * CARD if what == 0 else second
        if what == 2:
            data[other : other + CARD] = first
    return data


MUTATIONS = (
    numbers_in_header,
    numbers_in_header,
    bytes_in_header,
    bytes_anywhere,
    data_bytes,
    cut,
    blocks,
    cards,
)


def damaged(original: bytes, packed: bool, rng: random.Random) -> bytes:
    inside = gzip.decompress(original) if packed and rng.random() < 0.5 else original
    data = bytearray(inside)
    for _ in range(rng.choice((1, 1, 1, 2))):
        mutation = rng.choice(MUTATIONS)
        if len(data) > 2880 or mutation in (cut, bytes_anywhere):
            data = mutation(data, rng) if data else data
    return gzip.compress(bytes(data), 1) if packed and inside is not original else bytes(data)


def outcome(path: Path) -> str:
    """Open, describe and slice a file as users do: `read`, or the BurstError's sentence."""
    try:
        found = read(path)
        json.dumps(describe(found))
        if isinstance(found, Burst):
            part = found.frames[:1, -1:, ::2, 1:]
            assert part.dtype == np.float32
            assert part.shape == (1, 1, -(-found.shape[2] // 2), found.shape[3] - 1)
            assert not np.isinf(found.image(0, 0)).any()
    except BurstError as error:
        sentence = str(error)
        assert str(path) in sentence or sentence.startswith("A burst has"), sentence
        assert len(sentence) < 1500, sentence
        assert "\n" not in sentence, sentence
        return "refused"
    return "read"


def hang(number: int, frame: object) -> None:
    raise Hang


def attack(folder: Path, cases: range) -> Iterator[tuple[int, str]]:
    """Every case damages one of the files of every layout."""
    seeds(folder)
    write(small_snapshot(folder), folder / "seed-restored.fits")
    originals = sorted(folder.glob("seed-*"))
    contents = {path: path.read_bytes() for path in originals}
    for path in originals:
        outcome(path)  # everything that loads only once is loaded before the limit
    limit = virtual_bytes() + MOST_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    signal.signal(signal.SIGPROF, hang)
    warnings.simplefilter("error")
    counts: collections.Counter[str] = collections.Counter()
    for case in cases:
        rng = random.Random(case)
        original = originals[case % len(originals)]
        path = folder / f"case{case}{''.join(original.suffixes)}"
        path.write_bytes(damaged(contents[original], original.suffix == ".gz", rng))
        signal.setitimer(signal.ITIMER_PROF, MOST_SECONDS)
        wrong = ""
        try:
            counts[outcome(path)] += 1
        except (Exception, Hang):
            wrong = f"{original.name}: {traceback.format_exc()}"
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        path.unlink()
        yield case, wrong
    if len(cases) >= 500:
        damage = "the damage must be neither always deadly nor always harmless"
        assert min(counts.values()) > len(cases) / 10, damage

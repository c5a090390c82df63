"""What a night would do: its bursts with the memory they need, its workers, and its time if that is known."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path

from heliorestore.batch.ledger import Ledger, State
from heliorestore.batch.night import Night, Wanted, identity, output_name
from heliorestore.errors import HeliorestoreError

_SHOWN = 20  # bursts


def dry_run(
    night: Night,
    bursts: Sequence[Wanted],
    folder: Path | None,
    workers: Sequence[str],
    memory_gb: float | None,
) -> Iterator[str]:
    """The lines to print; `workers` are in words, `memory_gb` is that of one of them."""
    ledger = None
    if folder is not None and Night.is_in(folder):
        night.check(folder)
        ledger = Ledger(folder)
        ledger.refresh()
    sizes, most, done = [], 0.0, 0
    for number, wanted in enumerate(bursts):
        need, line = _burst(night, wanted, memory_gb)
        most = max(most, need)
        if number < _SHOWN:
            more = f" and {len(wanted.paths) - 1} more" if len(wanted.paths) > 1 else ""
            yield f"{wanted.paths[0]}{more}: {line}"
        burst, _, bytes_, _ = identity(wanted.paths, wanted.own)
        entry = None if ledger is None else ledger.entries.get(burst)
        if ledger is not None and entry is not None and ledger.state(entry) is State.DONE:
            done += 1
        else:
            sizes.append(sum(bytes_))
    if len(bursts) > _SHOWN:
        yield f"... and {len(bursts) - _SHOWN} more"
    yield from workers
    yield _time(ledger, sizes, len(workers))
    yield (
        f"{len(bursts)} bursts, {done} of them done; {f'at most {most:.2f} GB each' if most else _SMALL}. "
        "Nothing was done."
    )


_SMALL = "the method works on small pieces, besides the frames"


def _burst(night: Night, wanted: Wanted, memory_gb: float | None) -> tuple[float, str]:
    """The memory that a burst needs in GB, and what is to be said of it."""
    from heliorestore.diagnose.memory import memory_need
    from heliorestore.methods.base import load
    from heliorestore.preparation import Preparation
    from heliorestore.prepare.opening import open_burst
    from heliorestore.settings import Settings, from_rows

    own = night.of(wanted.own)
    try:
        name = wanted.name or output_name(night.name, wanted.paths)
        burst = open_burst(wanted.paths, from_rows(Preparation, own.preparation.items()))
        burst = burst.with_instrument(own.instrument).select(own.objects, own.frames)
        settings: Settings = from_rows(load(own.method).settings, own.settings.items())
        if memory_gb is not None and hasattr(settings, "memory_gb"):
            settings = settings.replace(memory_gb=memory_gb)
        need = memory_need(burst.shape, settings)
    except HeliorestoreError as error:
        return 0.0, f"cannot be used: {error}"
    shape = " x ".join(map(str, burst.shape))
    if need is None:
        return 0.0, f"{shape} -> {name}"
    tiles = " x ".join(map(str, need.tiles))
    pieces = "" if need.tiles == (1, 1) else f" in {tiles} tiles"
    return need.peak_bytes / 1e9, f"{shape}, {need.peak_bytes / 1e9:.2f} GB{pieces} -> {name}"


def _time(ledger: Ledger | None, sizes: Sequence[int], workers: int) -> str:
    """The time for files of these sizes, by what bursts of the night have taken."""
    if not workers:
        return "Time: as the cluster has workers."
    known = [
        entry.result["seconds"] / sum(entry.sizes)
        for entry in (ledger.entries.values() if ledger is not None else ())
        if entry.result is not None and entry.last == 1
    ]
    if not known:
        return "Time: not known before bursts of this night (-o NIGHT) are done."
    minutes = statistics.median(known) * sum(sizes) / workers / 60
    took = f"{minutes:.0f} min" if minutes >= 2 else f"{60 * minutes:.0f} s"
    return (
        f"Time: about {took} for the rest, by {len(known)} bursts that are done and the sizes of the files."
    )

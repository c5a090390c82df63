"""The results of `benchmarks/gpu.py`: rows in JSON files that are whole at any moment, cases that cannot harm
each other, a summary."""

from __future__ import annotations

import contextlib
import gc
import json
import math
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from heliorestore.storage import atomic_write

BROKEN = 70
"""Exit status where the device no longer answers this process: a new process may go on with --resume."""
NUDGE = 1e-6  # relative change of the frames that shows what rounding alone does to a result
Row = dict[str, Any]
Case = Callable[[], Row]


@dataclass(frozen=True)
class Options:
    """How the parts are run."""

    device: str
    out: Path
    small: bool
    threads: int
    cases: tuple[str, ...]
    case_seconds: float

    @property
    def on_gpu(self) -> bool:
        return self.device != "cpu"


class Sheet:
    """The rows of a part by their names, in a file that is replaced as a whole whenever one of them
    changes."""

    def __init__(self, part: str, folder: Path, *, resume: bool = False, **about: Any) -> None:
        self.path = folder / f"{part}.json"
        before = (
            json.loads(self.path.read_text(encoding="utf-8"))["rows"] if resume and self.path.exists() else []
        )
        self.rows: dict[str, Row] = {row["case"]: row for row in before}
        for row in self.rows.values():
            if row["status"] == "running":
                row |= {"status": "failed", "reason": "the process died while this ran"}
        self.head: Row = {
            "part": part,
            "status": "running",
            "reason": "",
            "began": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            **about,
        }
        self._clock = time.monotonic()
        folder.mkdir(parents=True, exist_ok=True)
        self.write()

    def put(self, case: str, status: str, **found: Any) -> None:
        self.rows[case] = {"case": case, "status": status, **found}
        self.write()

    def close(self, status: str, reason: str = "") -> None:
        self.head |= {"status": status, "reason": reason}
        self.write()

    def write(self) -> None:
        content = self.head | {
            "seconds": round(time.monotonic() - self._clock, 1),
            "rows": list(self.rows.values()),
        }
        with atomic_write(self.path) as file:
            file.write(json.dumps(_plain(content), indent=1, allow_nan=False).encode() + b"\n")


def _plain(value: Any) -> Any:
    """The same for JSON, which has no NaN, in four digits."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float):
        return float(f"{value:.4g}") if math.isfinite(value) else str(value)
    return value


class Late(BaseException):
    """A case takes too long; no Exception, for what runs may swallow those."""


@contextlib.contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raise Late in what takes longer, and again every second where that did not end it."""

    def late(number: int, frame: FrameType | None) -> None:
        raise Late(f"not done after {seconds:g} s")

    signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def run_cases(sheet: Sheet, cases: Mapping[str, Case], options: Options) -> None:
    """Run one case after the other, whatever happens to any of them; end the process where the device no
    longer answers."""
    for name, case in cases.items():
        if name in sheet.rows or (options.cases and name not in options.cases):
            continue
        sheet.put(name, "running")
        try:
            with at_most(options.case_seconds):
                found = case()
        except (Exception, Late) as error:
            status = "skipped" if isinstance(error, ImportError) else "failed"
            sheet.put(
                name,
                status,
                reason=f"{type(error).__name__}: {error}"[:600],
                traceback=traceback.format_exc()[-6000:],
            )
            if options.on_gpu and not _answers(options.device):
                sheet.close("failed", f"the device no longer answers after {name}")
                sys.exit(BROKEN)
        else:
            sheet.put(name, "done", **found)


def _answers(device: str) -> bool:
    """Whether the device still computes, once what a failed case had in its memory is gone."""
    try:
        import torch

        gc.collect()
        torch.cuda.empty_cache()
        return bool(torch.ones(2, device=device).sum() == 2)
    except Exception:
        return False


COLUMNS = {
    "methods": (
        "device_s",
        "cpu_s",
        "first_s",
        "first_step",
        "difference",
        "rounding",
        "repeated",
        "difference_without_tf32",
        "verdict",
    ),
    "flow": (
        *("iteration_s", "first_s", "fft_share", "peak_gb", "predicted_gb", "tiles"),
        *("slider_ms", "slider_most_ms"),
    ),
    "profile": (
        *("iteration_s", "gb", "transforms_gb", "operations", "copy_gb_per_s", "share_of_copy"),
        *("numbers_read", "copies_back", "copies_there", "waits", "kernels", "busy_share"),
    ),
    "training": ("steps", "step_s", "data_share", "files", "largest_file_mb"),
    "networks": ("images_per_s", "seconds", "committee_s", "row_of_tiles_s", "first_row_after_s", "peak_gb"),
}
NOTES = {
    "methods": "device_s: the second run, first_s: the first one with all start-up. Differences are the "
    "largest of all pixels in units of "
    "the image's standard deviation, after the first_step and of the result; "
    f"rounding: what frames changed by {NUDGE:g} do to the CPU's result; repeated: two runs on the device.",
    "flow": "Medians per iteration, after the first one; fft_share: of the Fourier transforms alone; "
    "predicted_gb: the estimate before the run.",
    "profile": "gb: what all operations read and write; share_of_copy: of the rate of a copy in the device. "
    "One copy back an iteration, no number read and one wait are expected.",
    "training": "data_share: making a batch, over a step; below 1 the data keep up. Continued by another run "
    "with the same folder.",
    "networks": "Medians. Compiled: CUDA graphs. row_of_tiles_s: the network alone; the rest of `seconds` is "
    "work on the CPU.",
}


def summary(folder: Path, parts: Sequence[str]) -> str:
    """The parts that left a file, in the order in which they run."""
    lines = ["# The project on this machine", ""]
    for part in parts:
        path = folder / f"{part}.json"
        if not path.exists():
            lines += [f"## {part}", "", "Not begun.", ""]
            continue
        sheet = json.loads(path.read_text(encoding="utf-8"))
        status = "cut off" if sheet["status"] == "running" else sheet["status"]
        counts = ", ".join(
            f"{sum(r['status'] == s for r in sheet['rows'])} {s}"
            for s in ("done", "failed", "skipped", "running")
        )
        small = ", small sizes" if sheet.get("small") else ""
        lines += [
            f"## {part}: {status}",
            "",
            f"{sheet['reason']} On {sheet.get('device')}{small}; {counts}; {sheet['seconds']} s.".strip(),
            "",
        ]
        lines += _table(part, [row for row in sheet["rows"] if row["status"] == "done"])
        bad = [row for row in sheet["rows"] if row["status"] != "done"]
        lines += [f"* {row['case']}: {row['status']}. {row.get('reason', '')}".strip() for row in bad] + [
            ""
        ] * bool(bad)
    return "\n".join(lines)


def _table(part: str, rows: list[Row]) -> list[str]:
    if part not in COLUMNS:
        said = [", ".join(f"{k} {v}" for k, v in row.items() if k not in ("case", "status")) for row in rows]
        return [f"* {row['case']}: {text}" for row, text in zip(rows, said, strict=True)] + [""]
    columns = [name for name in COLUMNS[part] if any(row.get(name) is not None for row in rows)]
    if not rows:
        return []
    lines = [NOTES[part], "", f"| | {' | '.join(columns)} |", "|---" * (1 + len(columns)) + "|"]
    return (
        lines
        + [f"| {row['case']} | {' | '.join(_cell(row.get(name)) for name in columns)} |" for row in rows]
        + [""]
    )


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)

"""What a night has given, for the eye: a table, and a page of thumbnails that opens without a server."""

from __future__ import annotations

import base64
import csv
import html
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from heliorestore.batch.ledger import Entry, Ledger
from heliorestore.storage import atomic_write

TABLE, PAGE = "night.csv", "night.html"
_SIDE = 160  # pixels of a thumbnail
_FACTS = (
    "name", "seconds", "peak_mb", "iterations", "stop",
    "contrast_before", "contrast_after", "residual", "r0_cm",
)  # fmt: skip
_COLUMNS = ("burst", "input", "state", "reason", *_FACTS, "verdict", "note")


def thumbnail(image: npt.NDArray[np.float32]) -> bytes:
    """A small PNG of an image (y, x), y upwards, between its percentiles 1 and 99."""
    step = max(1, *(-(-n // _SIDE) for n in image.shape))
    rows, columns = (n // step * step for n in image.shape)
    small = np.nanmean(
        np.asarray(image[:rows, :columns], np.float64).reshape(rows // step, step, columns // step, step),
        (1, 3),
    )
    low, high = np.nanpercentile(small, (1, 99)) if np.isfinite(small).any() else (0.0, 1.0)
    grey = np.clip((small - low) / max(high - low, 1e-30) * 255, 0, 255)
    grey = np.nan_to_num(grey).astype(np.uint8)[::-1]
    lines = np.concatenate([np.zeros((len(grey), 1), np.uint8), grey], 1)  # 0: no filter
    header = struct.pack(">IIBBBBB", grey.shape[1], grey.shape[0], 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        _chunk(kind, data)
        for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes())), (b"IEND", b""))
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def write_sheet(ledger: Ledger) -> None:
    """Write the table and the page of a night into its folder."""
    rows = [_row(ledger, entry) for entry in ledger.entries.values()]
    table = io.StringIO()
    writer = csv.DictWriter(table, _COLUMNS)
    writer.writeheader()
    writer.writerows(rows)
    with atomic_write(ledger.night / TABLE) as file:
        file.write(table.getvalue().encode(errors="surrogateescape"))
    with atomic_write(ledger.night / PAGE) as file:
        file.write(_page(ledger.night, rows).encode(errors="backslashreplace"))


def _row(ledger: Ledger, entry: Entry) -> dict[str, object]:
    facts = entry.result or entry.ends.get(entry.last, {})
    known = {name: facts.get(name, "") for name in _FACTS}
    return {
        "burst": entry.id,
        "input": entry.paths[0] + (f" and {len(entry.paths) - 1} more" if len(entry.paths) > 1 else ""),
        "state": ledger.state(entry).value,
        "reason": "" if entry.result else entry.reason,
        **known,
        "verdict": entry.judged.get("verdict", ""),
        "note": entry.judged.get("note", ""),
    }


def _page(night: Path, rows: list[dict[str, object]]) -> str:
    shown = [column for column in _COLUMNS if column != "burst"]
    head = "".join(f'<th onclick="sort({n + 2})">{name}</th>' for n, name in enumerate(shown))
    body = "\n".join(
        "<tr>"
        + "".join(f"<td>{_picture(night, str(row['burst']), when)}</td>" for when in ("before", "after"))
        + "".join(f"<td>{_cell(night, row, name)}</td>" for name in shown)
        + "</tr>"
        for row in rows
    )
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{html.escape(night.name)}</title>
<style>
body {{ font: 14px sans-serif; margin: 1.5em }} table {{ border-collapse: collapse }}
td, th {{ padding: 4px 8px; border-bottom: 1px solid #ccc; vertical-align: top }}
th {{ cursor: pointer; text-align: left; position: sticky; top: 0; background: #fff }}
img {{ width: {_SIDE}px; image-rendering: pixelated }}
</style>
<h1>{html.escape(night.name)}</h1><p>{len(rows)} bursts. A click on a title sorts by it.</p>
<table id="t"><thead><tr><th>before</th><th>after</th>{head}</tr></thead><tbody>
{body}
</tbody></table>
<script>
let up = 1;
function sort(n) {{
  const body = document.querySelector("#t tbody"), value = row => row.cells[n].textContent;
  const number = text => text === "" || isNaN(text) ? null : Number(text);
  [...body.rows].sort((a, b) => {{
    const [x, y] = [number(value(a)), number(value(b))];
    return up * (x !== null && y !== null ? x - y : value(a).localeCompare(value(b)));
  }}).forEach(row => body.append(row));
  up = -up;
}}
</script></html>
"""


def _picture(night: Path, burst: str, when: str) -> str:
    path = night / "thumbnails" / f"{burst}_{when}.png"
    if not path.exists():
        return ""
    return f'<img alt="{when}" src="data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}">'


def _cell(night: Path, row: dict[str, object], name: str) -> str:
    text = html.escape(str("" if row[name] is None else row[name]))
    return f'<a href="{text}">{text}</a>' if name == "name" and row["state"] == "done" else text

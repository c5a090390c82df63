"""Put the figures that benchmarks/momfbd.py and benchmarks/peer_torchmfbd.py measured into benchmarks.md.

python docs/make_momfbd_tables.py results.json peer.json variants.json
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parent / "benchmarks.md"
NAMES = {
    "mean": "mean of the frames",
    "frame": "sharpest frame",
    "momfbd": "`momfbd`",
    "sv-momfbd": "`sv-momfbd`",
    "paper": "`sv-momfbd`, the paper's AdamW",
    "oracle": "true wavefronts, objects solved for",
}
CASES = {
    "ao": "granulation, AO, r0 10 cm, noise 0.2 %",
    "no-ao": "no AO",
    "ao-7cm": "r0 7 cm",
    "ao-15cm": "r0 15 cm",
    "no-ao-15cm": "no AO, r0 15 cm",
    "invariant": "the same blur everywhere",
    "quiet": "noise 0.1 %",
    "noisy": "noise 0.3 %",
    "spot": "sunspot",
    "two-objects": "sunspot, two objects",
}


def results(rows: list[dict[str, Any]]) -> str:
    """One line per case and method."""
    lines = [
        "| burst | method | NMSE | at best | gain | SSIM (one window) | contrast "
        "| power 2-10 / 10-20 / 20-30 % of 1/px | iterations | seconds |",
        "|---" * 10 + "|",
    ]
    known = list(NAMES)
    order = sorted(
        rows,
        key=lambda r: (
            list(CASES).index(r["case"]),
            known.index(r["method"]) if r["method"] in known else len(known),
        ),
    )
    for row in order:
        power = " / ".join(f"{row[key]:.2f}" for key in ("power_0.02_0.1", "power_0.1_0.2", "power_0.2_0.3"))
        best = f"{row['best_nmse']:.4f}" if "best_nmse" in row else ""
        lines.append(
            f"| {CASES[row['case']]} | {NAMES.get(row['method'], row['method'])} | {row['nmse']:.4f} | "
            f"{best} | {row['gain']:.2f} "
            f"| {row['ssim']:.3f} | {row['contrast_ratio']:.2f} | {power} | {row['iterations'] or ''} | "
            f"{seconds(row)} |"
        )
    return "\n".join(lines)


def variants(rows: list[dict[str, Any]]) -> str:
    """One line per variant, the cases side by side."""
    cases = list(dict.fromkeys(row["case"] for row in rows))
    lines = [
        "| | " + " | ".join(f"{CASES[case]}: NMSE | gain | seconds" for case in cases) + " |",
        "|---" * (1 + 3 * len(cases)) + "|",
    ]
    for name in dict.fromkeys(row["method"] for row in rows):
        found = {row["case"]: row for row in rows if row["method"] == name}
        cells = [
            f"{found[c]['nmse']:.4f} | {found[c]['gain']:.2f} | {seconds(found[c])}"
            if c in found
            else " | | "
            for c in cases
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def seconds(row: dict[str, Any]) -> str:
    """The seconds of a method that iterates."""
    return f"{row['seconds']:.1f}" if row["iterations"] else ""


def main() -> None:
    """Fill both tables."""
    measured, peer, varied = (json.loads(Path(name).read_text(encoding="utf-8")) for name in sys.argv[1:4])
    text = PAGE.read_text(encoding="utf-8")
    for name, table in (("results", results(measured + peer)), ("variants", variants(varied))):
        text = re.sub(
            rf"(<!-- {name} -->\n).*?(<!-- end -->)",
            lambda m, t=table: m[1] + t + "\n" + m[2],
            text,
            flags=re.DOTALL,
        )
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

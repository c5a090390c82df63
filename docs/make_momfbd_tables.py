"""Put the figures that benchmarks/momfbd.py measured into docs/sv-momfbd.md.

python docs/make_momfbd_tables.py results.json variants.json
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parent / "sv-momfbd.md"
NAMES = {
    "mean": "mean of the frames",
    "frame": "sharpest frame",
    "momfbd": "`momfbd`",
    "sv-momfbd": "`sv-momfbd`",
    "paper": "`sv-momfbd`, the paper's AdamW",
    "oracle": "true wavefronts, objects solved for",
}
CASES = {"ao": "granulation, AO", "no-ao": "granulation, no AO", "spot": "sunspot, AO", "two-objects": "sunspot, AO, two objects"}
CASES |= {"ao-7cm": "granulation, AO, r0 7 cm", "ao-15cm": "granulation, AO, r0 15 cm"}


def results(rows: list[dict[str, Any]]) -> str:
    """One line per case and method."""
    lines = [
        "| burst | method | NMSE | gain | SSIM | contrast | power 2-10 / 10-20 / 20-30 % of 1/px | iterations | seconds |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        power = " / ".join(f"{row[key]:.2f}" for key in ("power_0.02_0.1", "power_0.1_0.2", "power_0.2_0.3"))
        lines.append(
            f"| {CASES[row['case']]} | {NAMES[row['method']]} | {row['nmse']:.3f} | {row['gain']:.2f} | {row['ssim']:.3f} "
            f"| {row['contrast_ratio']:.2f} | {power} | {row['iterations'] or ''} | {seconds(row)} |"
        )
    return "\n".join(lines)


def variants(rows: list[dict[str, Any]]) -> str:
    """One line per variant, the cases side by side."""
    cases = list(dict.fromkeys(row["case"] for row in rows))
    lines = ["| | " + " | ".join(f"{CASES[case]}: NMSE | gain | seconds" for case in cases) + " |", "|---" * (1 + 3 * len(cases)) + "|"]
    for name in dict.fromkeys(row["method"] for row in rows):
        found = {row["case"]: row for row in rows if row["method"] == name}
        cells = [f"{found[c]['nmse']:.4f} | {found[c]['gain']:.2f} | {seconds(found[c])}" if c in found else " | | " for c in cases]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def seconds(row: dict[str, Any]) -> str:
    """The seconds of a method that iterates."""
    return f"{row['seconds']:.0f}" if row["iterations"] else ""


def main() -> None:
    """Fill both tables."""
    text = PAGE.read_text(encoding="utf-8")
    for name, table, file in (("results", results, sys.argv[1]), ("variants", variants, sys.argv[2])):
        filled = table(json.loads(Path(file).read_text(encoding="utf-8")))
        text = re.sub(rf"(<!-- {name} -->\n).*?(<!-- end -->)", lambda m, t=filled: m[1] + t + "\n" + m[2], text, flags=re.DOTALL)
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

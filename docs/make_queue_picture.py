"""Take the picture of docs/nights.md from the real application.

xvfb-run -a -s '-screen 0 1600x1000x24' python docs/make_queue_picture.py [FOLDER]
"""

import sys
import tempfile
from pathlib import Path

import napari
from make_pictures import SIZE, take

from heliorestore.cli import main as heliorestore
from heliorestore.plugin import launch

R0_CM = (14, 9, 12, 7, 11, 16)


def main() -> None:
    """A night of simulated bursts, of which one is damaged, restored, looked at and judged."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as there:
        raw = Path(there) / "2026-06-21"
        simulate(raw)
        queue(raw, folder / "queue.png")


def simulate(raw: Path) -> None:
    """Bursts of two scenes in air that changes; the copy of one was cut off."""
    raw.mkdir()
    for number, r0_cm in enumerate(R0_CM):
        scene = "granulation" if number % 3 == 2 else "sunspot"
        words = f"--scene {scene} --size 192 --frames 8 --objects 1 --r0-cm {r0_cm} --seed {number} --quiet"
        heliorestore(["simulate", "-o", str(raw / f"scan_09{10 + number}.fits"), *words.split()])
    (raw / "scan_0909.fits").write_bytes((raw / "scan_0910.fits").read_bytes()[:100_000])


def queue(raw: Path, path: Path) -> None:
    """Begin the night, open a result, judge some."""
    viewer = napari.Viewer(title="heliorestore")
    viewer.window.resize(*SIZE)
    _, panel = viewer.window.add_plugin_dock_widget("heliorestore", "Queue")
    new = panel.new
    new.settings.setCurrentIndex(new.settings.findData("method momfbd"))
    new.add([raw])
    launch.wait(new.start_button.isEnabled, "the bursts to be found")
    new.start_button.click()
    launch.wait(lambda: panel.night is not None and "Finished" in panel.status.text(), "the night", 900)
    names = [row.title for row in panel.night.rows]
    for name, verdict, note in (("scan_0911", "kept", ""), ("scan_0913", "rejected", "poor seeing")):
        panel.table.selectRow(names.index(name))
        panel.judge(verdict, note)
    panel.table.selectRow(names.index("scan_0910"))
    panel.open_result(panel.night.rows[names.index("scan_0910")])
    launch.wait(lambda: len(viewer.layers) > 1, "the result")
    panel.judge("kept", "for the paper")
    launch.wait(lambda: sum(bool(row.verdict) for row in panel.night.rows) == 3, "the verdicts")
    launch.process_events(2.0)
    take(viewer, path)
    viewer.close()


if __name__ == "__main__":
    main()

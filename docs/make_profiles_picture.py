"""Take the picture of docs/polarimetry.md from the real application.

xvfb-run -a -s '-screen 0 1600x1000x24' python docs/make_profiles_picture.py [FOLDER]
"""

import sys
import tempfile
from pathlib import Path

import napari
from make_pictures import SIZE, take

from heliorestore.cli import main as heliorestore
from heliorestore.plugin import launch
from heliorestore.plugin.viewer.cube_looks import show_parameter

OFFSETS = "-16,-8,0,8,16"
PLACES = ((2.2, 1.6), (4.2, 3.4))  # arcsec, y and x
REGION = ((70, 10), (70, 28), (85, 28), (85, 10))  # pixels


def main() -> None:
    """A simulated scan through a line: restored, demodulated, and looked at."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "pictures"
    with tempfile.TemporaryDirectory() as there:
        states, truth, restored = (
            str(Path(there) / f"{name}.fits") for name in ("states", "truth", "restored")
        )
        words = (
            f"--instrument crisp-6302-paper --polarimetry --offsets-pm={OFFSETS} --size 96 --frames 80 --ao"
        )
        heliorestore(["simulate", "-o", states, "--truth", truth, *words.split(), "--r0-cm", "15", "--quiet"])
        heliorestore(["momfbd", states, "-o", restored, "--modes", "20", "--iterations", "8", "--quiet"])
        look(restored, truth, folder / "profiles_panel.png")


def look(restored: str, matrix: str, path: Path) -> None:
    """Demodulate in the panel, and keep profiles of two places and of a region."""
    viewer = napari.Viewer(title="heliorestore")
    viewer.window.resize(*SIZE)
    viewer.open(restored, plugin="heliorestore")
    dock, panel = viewer.window.add_plugin_dock_widget("heliorestore", "Demodulate")
    panel.matrix.set_path(matrix)
    panel.start()
    launch.wait(lambda: panel.result is not None, "the Stokes images")
    show_parameter(viewer, "V")
    shown = viewer.layers.selection.active
    viewer.layers.selection = {shown}
    _, profiles = viewer.window.add_plugin_dock_widget("heliorestore", "Profiles")
    for place in PLACES:
        profiles.look(place)
        launch.wait(lambda: bool(profiles.found), "the profiles")
        profiles.keep()
    profiles.draw_region("rectangle")
    viewer.layers["regions of profiles"].add([[list(corner) for corner in REGION]], shape_type="rectangle")
    launch.wait(lambda: bool(profiles.found), "the mean of the region")
    dock.hide()
    viewer.dims.set_current_step(viewer.dims.ndim - 5, 1)  # where V is strong
    viewer.reset_view()
    launch.process_events(3.0)
    take(viewer, path)
    viewer.close()


if __name__ == "__main__":
    main()

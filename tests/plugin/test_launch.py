"""The whole chain in a napari of its own, as the demonstration runs it."""

import subprocess
import sys

import pytest
from astropy.io import fits

import heliorestore
from heliorestore.samples import sample_path
from window import HAS_DISPLAY, wait_for_threads

pytestmark = pytest.mark.skipif(
    not HAS_DISPLAY, reason="napari's window needs a display; under Linux use xvfb-run -a"
)


def test_demo_opens_restores_exports_and_takes_a_picture(tmp_path):
    out, picture = tmp_path / "out.fits", tmp_path / "out.png"
    code = (
        "import torch; torch.set_num_threads(1);"
        "from heliorestore.plugin.launch import demo;"
        f"demo({str(sample_path('hmi_continuum.fits'))!r}, {str(out)!r}, {str(picture)!r}, 'richardson-lucy')"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=200)
    snapshot = heliorestore.read(out)
    assert snapshot.run.settings.method == "richardson-lucy"
    assert fits.getval(out, "PRPROC1")
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_bad_file_is_told_before_a_window_opens(tmp_path):
    from heliorestore.errors import BurstError
    from heliorestore.plugin.launch import view

    with pytest.raises(BurstError, match=r"nothing\.fits"):
        view([tmp_path / "nothing.fits"])


def test_every_panel_makes_the_removal_of_layers_safe(viewer):
    from importlib import import_module, resources

    from npe2 import PluginManifest
    from qtpy.QtOpenGLWidgets import QOpenGLWidget

    from heliorestore.plugin.viewer import gl_context

    manifest = PluginManifest.from_file(resources.files("heliorestore") / "napari.yaml")
    canvas = viewer.window.main_menu.window().centralWidget().findChild(QOpenGLWidget)
    for widget in manifest.contributions.widgets:
        python_name = next(
            command.python_name for command in manifest.contributions.commands if command.id == widget.command
        )
        module, _, name = python_name.partition(":")
        canvas.setProperty(gl_context._GUARDED, False)
        panel = getattr(import_module(module), name)(viewer)
        assert canvas.property(gl_context._GUARDED), name
        viewer.window.add_dock_widget(panel, name=name)  # ends with the window
    viewer.close()
    wait_for_threads()


def test_view_knows_every_panel_that_belongs_to_a_method():
    from importlib import import_module, resources

    from npe2 import PluginManifest

    from heliorestore.plugin.launch import PANELS

    manifest = PluginManifest.from_file(resources.files("heliorestore") / "napari.yaml")
    titles = {}
    for widget in manifest.contributions.widgets:
        python_name = next(
            command.python_name for command in manifest.contributions.commands if command.id == widget.command
        )
        module, _, name = python_name.partition(":")
        method = getattr(getattr(import_module(module), name), "method", None)
        titles |= {method: widget.display_name} if method else {}
    assert titles == PANELS

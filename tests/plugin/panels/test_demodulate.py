"""Demodulating in a real viewer: states and a matrix become one Stokes layer, a file and a command."""

import shlex

import numpy as np
from astropy.io import fits
from qtpy.QtGui import QGuiApplication

import heliorestore
from heliorestore.burst import Burst
from heliorestore.coordinates import WIDE_BAND, Coordinates
from heliorestore.fits.burst_writer import write_burst
from heliorestore.instrument import Instrument
from heliorestore.simulate.polarimeter import TETRAHEDRON

INSTRUMENT = Instrument(name="test", diameter_m=1.0, pixel_arcsec=0.05, wavelength_nm=630.25)


def a_burst(sun):
    """The wide band and four states of a Sun (stokes, y, x), all in one frame."""
    states = np.einsum("ns,syx->nyx", TETRAHEDRON, sun)
    places = (
        Coordinates(camera=WIDE_BAND),
        *(Coordinates(wavelength_nm=630.25, offset_pm=-8.0, state=n) for n in range(4)),
    )
    return Burst(
        frames=np.concatenate([sun[:1], states])[:, None].astype(np.float32),
        instruments=(INSTRUMENT,) * 5,
        labels=tuple(place.label for place in places),
        coordinates=places,
        unit="I/Ic",
    )


def test_states_become_one_stokes_layer_a_file_and_a_command(viewer, qtbot, tmp_path):
    from heliorestore.plugin.panels.demodulate import DemodulateWidget

    smooth = np.sin(np.arange(32) / 5)
    sun = np.array([1.0, 0.0, 0.0, 0.02])[:, None, None] * (1 + 0.1 * smooth * smooth[:, None])
    path = write_burst(a_burst(sun), tmp_path / "states.fits")
    matrix = tmp_path / "matrix.toml"
    matrix.write_text(f"modulation = {np.asarray(TETRAHEDRON).tolist()}\n")
    panel = DemodulateWidget(viewer)
    viewer.window.add_dock_widget(panel, name="Demodulate")
    panel.start()
    assert "No states are chosen" in panel.said.text()
    viewer.open(str(path), plugin="heliorestore")
    panel.start()
    assert "No matrix is given" in panel.said.text()
    panel.matrix.set_path(str(tmp_path / "absent.toml"))
    panel.start()
    qtbot.waitUntil(lambda: "absent.toml" in panel.said.text(), timeout=20_000)
    assert panel.start_button.isEnabled()
    panel.matrix.set_path(str(matrix))
    panel.register.setChecked(False)
    panel.start()
    qtbot.waitUntil(lambda: panel.result is not None, timeout=20_000)
    layer = viewer.layers.selection.active
    assert layer.name == "states states Stokes 1"
    assert layer.data.shape == (1, 4, 1, 32, 32)
    assert layer.axis_labels == ("λ", "Stokes", "t", "y", "x")
    np.testing.assert_allclose(layer.data[0, :, 0], sun, atol=1e-6)
    assert viewer.canvas.overlays["shown of the cube"].text == "V  630.2420 nm (-8 pm)"
    texts = [panel.table.item(3, column).text() for column in range(3)]
    assert texts == ["V", "0.577", "0.866"]
    panel.remove.setChecked(True)
    panel.copy_command()
    assert shlex.split(QGuiApplication.clipboard().text()) == [
        "heliorestore", "demodulate", str(path), "-o", "stokes.fits", "--matrix", str(matrix),
        "--crosstalk", "remove", "--no-register",
    ]  # fmt: skip
    panel.save(tmp_path / "stokes.fits")
    qtbot.waitUntil(lambda: "Written" in panel.said.text(), timeout=20_000)
    written = heliorestore.read(tmp_path / "stokes.fits")
    np.testing.assert_allclose(written.image(3, 0), sun[3], atol=1e-6)
    assert not fits.getheader(tmp_path / "stokes.fits")["XTREMOVE"]  # as the result, not as the panel is now
    panel.states.setCurrentIndex(-1)
    panel.files.setText(str(path))
    panel.start()
    qtbot.waitUntil(lambda: len(viewer.layers) == 4, timeout=20_000)
    assert viewer.layers.selection.active.name == "states Stokes 1"

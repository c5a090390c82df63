"""Views of the frame on the slider: mode maps, the residual, and the PSF at a point."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QObject

from heliorestore.plugin.panels.parts import LivePanel
from heliorestore.plugin.viewer.titles import caption
from heliorestore.plugin.widgets.messages import Clipped
from heliorestore.plugin.widgets.probe_box import ProbeBox, Probed
from heliorestore.plugin.widgets.sections import check
from heliorestore.selection import Numbers
from heliorestore.snapshot import Snapshot

_BESIDE_BAR = "mode map"  # the key of what is said of the colour bar
_RESIDUAL = "residual_frame"  # the setting that says of which frame it is


class FrameViews(QObject):
    """The ticks for maps and residual, and the probe."""

    def __init__(self, panel: LivePanel) -> None:
        super().__init__(panel.widget)
        self._panel = panel
        self.frames: Numbers = range(0)  # numbers in the file of the frames on the slider
        self.modes_on = check(
            "Mode maps",
            "Show the fitted modes over the image, in radian; the slider k chooses the mode.",
            self._toggle_maps,
        )
        self.mode_name = Clipped("The mode on the slider k, by the Noll index and the name of its Zernike.")
        self.residual_on = check(
            "Residual of the frame",
            "Show model minus data of the frame on the slider, from the next iteration on.",
            self._toggle_residual,
        )
        self.probe = ProbeBox(panel.viewer, panel.layer_list.chosen, self._probed)

    def set_enabled(self, has_maps: bool) -> None:
        """Maps can be shown once there is a run that has some."""
        self.modes_on.setEnabled(has_maps)
        self.residual_on.setEnabled(has_maps)

    def frame_moved(self, event: Any = None) -> None:
        """Another frame is on the slider."""
        self._follow_residual()
        self._name_mode()
        self.probe.look_soon()

    def _frame(self, snapshot: Snapshot) -> int | None:
        """Which of the restored frames is on the slider, None where it was not restored."""
        step = self._panel.viewer.dims.current_step
        number = int(step[-3]) if len(step) > 2 else 0
        if snapshot.run is None or not 0 <= number < len(self.frames):
            return None
        frames = snapshot.run.frame_numbers
        return frames.index(self.frames[number]) if self.frames[number] in frames else None

    def _follow_residual(self) -> None:
        """Ask for the residual of the frame on the slider."""
        form, snapshot = self._panel.form, self._panel.run_panel.snapshot
        if form is not None and self.residual_on.isChecked() and snapshot is not None:
            form.fields[_RESIDUAL].set(self._frame(snapshot))

    def _toggle_maps(self, on: bool) -> None:
        self._show_maps("modes", on)
        self._name_mode()

    def _toggle_residual(self, on: bool) -> None:
        self._show_maps("residual", on)
        if on:
            self._follow_residual()
        elif self._panel.form is not None:
            self._panel.form.fields[_RESIDUAL].set(None)

    def _show_maps(self, kind: str, on: bool) -> None:
        shown = self._panel.field_run.layers
        layers = self._panel.viewer.layers
        for (name, object_), layer in (shown.layers if shown is not None else {}).items():
            if name == kind and object_ == 0 and layer in layers:
                layer.visible = on
                layer.colorbar.position = "top_left"  # the other corner says where north is
                layer.colorbar.visible = on
                if on:  # over the images, under the box and the probe
                    layers.move(layers.index(layer), len(layers))
                    self._tools_to_front()

    def _name_mode(self) -> None:
        """Say which mode is shown; only while the maps are."""
        text, snapshot = "", self._panel.run_panel.snapshot
        step = self._panel.viewer.dims.current_step
        if self.modes_on.isChecked() and snapshot is not None and snapshot.run is not None and len(step) > 3:
            from heliorestore.diagnose.fitted_air import names_of_modes  # loaded already: there is a result
            from heliorestore.methods.base import settings_of

            settings: Any = settings_of(snapshot.run)
            names = names_of_modes(snapshot, settings)
            text = f"k = {step[-4]}, like Zernike {names[step[-4]]}" if step[-4] < len(names) else ""
        self.mode_name.setText(text)
        # napari's colour bar has no place for the unit
        caption(self._panel.viewer, _BESIDE_BAR, "top_left", text and f"{text} [rad]\u00a0")

    def _tools_to_front(self) -> None:
        layers, preview = self._panel.viewer.layers, self._panel.preview
        for tool in (preview and preview.box, self.probe.point):
            if tool and tool.stands:
                layers.move(layers.index(tool.layer), len(layers))

    def _probed(self, place: tuple[float, float]) -> Probed | None:
        """The result at a place (y, x): that of the preview box where it is on, else the last run's."""
        snapshot, preview = self._panel.run_panel.snapshot, self._panel.preview
        if preview is not None and preview.snapshot is not None:
            snapshot, outer = preview.snapshot, preview.outer
            place = place[0] - outer.top, place[1] - outer.left
            if not (0 <= place[0] < outer.bottom - outer.top and 0 <= place[1] < outer.right - outer.left):
                return None
        frame = self._frame(snapshot) if snapshot is not None else None
        return None if snapshot is None or frame is None else Probed(snapshot, place, frame)

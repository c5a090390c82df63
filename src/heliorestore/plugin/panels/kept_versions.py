"""The versions of a panel: keep the present result, go back to a version's settings, compare it."""

from __future__ import annotations

from qtpy.QtCore import QObject

from heliorestore.errors import HeliorestoreError
from heliorestore.plugin.panels.parts import Panel
from heliorestore.plugin.runs.versions import Version, keep, pair
from heliorestore.plugin.viewer.failure import explain
from heliorestore.plugin.widgets.sections import Section
from heliorestore.plugin.widgets.version_list import VersionList


class KeptVersions(QObject):
    """The section *Versions* of a panel; what is wrong is said in the panel."""

    def __init__(self, panel: Panel) -> None:
        super().__init__(panel.widget)
        self._panel = panel
        self.version_list = VersionList(
            panel.viewer, keep=self.keep_result, back=self._back_to, compare=self._compare,
            export=lambda version: panel.files.export(snapshot=version.snapshot),
        )  # fmt: skip
        panel.run_panel.ended.connect(lambda _outcome: self.version_list.refresh())
        self.section = Section("Versions", self.version_list)

    def keep_result(self) -> None:
        """Keep the present result as a version: layers that later iterations leave alone."""
        from heliorestore.methods.base import settings_at

        run = self._panel.run_panel
        if (snapshot := run.snapshot) is not None:
            run.report(f"Kept: {keep(self._panel.viewer, snapshot, settings_at(snapshot))}")

    def _back_to(self, version: Version) -> None:
        from heliorestore.methods.base import settings_at

        try:
            self._panel.method_form.show_settings(settings_at(version.snapshot))
        except HeliorestoreError as error:
            self._panel.run_panel.say(explain(error))

    def _compare(self, version: Version) -> None:
        """Compare a version with the result that is not kept, or with the input, in a panel of its own."""
        from heliorestore.plugin.viewer.comparison import How

        viewer = self._panel.viewer
        image, other = pair(version, viewer.layers)
        other = other or next(iter(self._panel.layer_list.chosen()), None)
        if image is not None and other is not None:
            dock, panel = viewer.window.add_plugin_dock_widget("heliorestore", "Compare")
            dock.show()  # it may have been hidden
            dock.raise_()
            panel.compare(How.BLINK, image, other)

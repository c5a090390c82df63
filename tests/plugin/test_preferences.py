"""A new panel follows the user's preferences."""

from heliorestore.plugin.preferences import Preferences
from heliorestore.plugin.viewer.cut_levels import is_lower_left


def test_preferences_set_memory_and_origin_of_a_new_panel(viewer, fake, monkeypatch, qtbot):
    from heliorestore.plugin.panels import method_form, restore
    from heliorestore.plugin.viewer import cut_levels as cuts

    for module in (cuts, method_form):
        monkeypatch.setattr(module, "preferences", lambda: Preferences(memory_gb=3.0, origin_lower_left=True))
    widget = restore.RestoreWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Restore")
    assert is_lower_left(viewer)
    widget.method_choice.setCurrentIndex(widget.method_choice.findData("momfbd"))
    qtbot.waitUntil(lambda: widget.form is not None and "memory_gb" in widget.form.fields, timeout=30_000)
    assert widget.form.settings().memory_gb == 3.0
    widget.form.fields["memory_gb"].set(None)
    widget.reset_button.click()
    assert widget.form.settings().memory_gb == 3.0

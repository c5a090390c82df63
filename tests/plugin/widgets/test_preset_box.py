"""Presets saved, chosen and deleted in a real panel."""

import pytest

from fake_method import FakeSettings
from window import set_fields


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The user's presets, none."""
    monkeypatch.setattr("heliorestore.presets.own_folder", lambda: tmp_path / "own")
    monkeypatch.setattr("heliorestore.plugin.widgets.preset_box.own_folder", lambda: tmp_path / "own")
    return tmp_path / "own"


def test_presets_are_saved_chosen_and_deleted(panel, folder, monkeypatch):
    from heliorestore.plugin.widgets import preset_box as module

    box = panel.preset_box
    monkeypatch.setattr(module.QInputDialog, "getText", lambda *_, **__: ("soft", True))
    set_fields(panel, strength=0.03, kind="b", limit=2.0)
    box.save_button.click()
    assert (folder / "soft.toml").exists()
    panel.reset_button.click()
    assert panel.form.settings() == FakeSettings()
    box.menu.setCurrentIndex(box.menu.findData("soft"))
    box.menu.activated.emit(box.menu.currentIndex())
    assert panel.form.settings() == FakeSettings(strength=0.03, kind="b", limit=2.0)
    (folder / "soft.toml").write_text('method = "fake"\n[settings]\nstrength = 1e9\n')
    box.menu.activated.emit(box.menu.currentIndex())
    assert "must be 1e-06 to 10" in box.problem.text()
    box.delete_button.click()
    assert not (folder / "soft.toml").exists()
    assert box.menu.count() == 1
    monkeypatch.setattr(module.QInputDialog, "getText", lambda *_, **__: ("../evil", True))
    box.save_button.click()
    assert "cannot be called" in box.problem.text()

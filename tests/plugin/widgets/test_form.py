"""The form shows every kind of setting, and gives back exactly what it shows."""

import re

import pytest

from fake_method import FakeSettings
from heliorestore.errors import SettingsError
from heliorestore.methods.base import METHODS, load
from heliorestore.settings import options, to_flags
from window import HAS_DISPLAY

pytestmark = pytest.mark.skipif(not HAS_DISPLAY, reason="widgets need a display; under Linux use xvfb-run -a")


@pytest.fixture
def form(qtbot):
    from heliorestore.plugin.widgets.form import SettingsForm

    made = SettingsForm(FakeSettings)
    qtbot.addWidget(made)
    return made


def test_a_new_form_shows_the_defaults(form):
    assert form.settings() == FakeSettings()


@pytest.mark.parametrize(
    "changes",
    [
        {"iterations": 12},
        {"strength": 1 / 3},
        {"strength": 1.234567890123e-5},
        {"count": 777},
        {"offset": -1 / 3},
        {"offset": 6.02e11},
        {"offset": 1e-10},
        {"kind": "b"},
        {"size": 2},
        {"flag": True},
        {"text": "two words"},
        {"net": "a/file.safetensors"},
        {"limit": 0.1},
        {"limit": None},
        {"limit": 0.0},
    ],
    ids=str,
)
def test_settings_come_back_to_the_last_bit(form, changes):
    settings = FakeSettings(**changes)
    form.set_settings(settings)
    assert form.settings() == settings
    form.reset()
    assert form.settings() == FakeSettings()


def test_labels_and_tooltips_tell_unit_range_default_and_live(form):
    from heliorestore.plugin.widgets.form import tooltip

    assert form.fields["strength"].label.text() == "strength [rad]"
    text = tooltip(form.fields["strength"].option)
    for part in ("What is added.", "1e-06 to 10 rad", "default 0.1 rad", "acts while running"):
        assert part in text
    assert "acts while running" not in tooltip(form.fields["offset"].option)
    assert all(field.label.toolTip() for field in form.fields.values())


def test_typed_numbers_are_taken(form, qtbot):
    from qtpy.QtCore import Qt

    box = form.fields["strength"].editor.box
    box.selectAll()
    qtbot.keyClicks(box, "2.5e-3")
    qtbot.keyClick(box, Qt.Key.Key_Return)
    assert form.settings().strength == 2.5e-3
    slider = form.fields["strength"].editor.slider
    assert slider.minimum() < slider.value() < slider.maximum()


def test_the_logarithmic_slider_covers_the_range(form):
    changes = []
    form.changed.connect(lambda: changes.append(form.settings()))
    slider = form.fields["strength"].editor.slider
    slider.setValue(slider.minimum())
    assert form.settings().strength == 1e-6
    slider.setValue(slider.maximum())
    assert form.settings().strength == 10.0
    slider.setValue((slider.minimum() + slider.maximum()) // 2)
    assert form.settings().strength == pytest.approx(10**-2.5, rel=0.02)
    assert len(changes) == 3
    whole = form.fields["count"].editor.slider
    whole.setValue(whole.maximum() // 2)
    assert form.settings().count == 100


def test_a_wrong_value_is_told_under_its_field(form):
    field = form.fields["limit"]
    form.fields["limit"] = type(field)(
        field.option, field.editor, field.label, lambda: -1.0, field.set, field.error
    )
    with pytest.raises(SettingsError, match="limit is -1"):
        form.settings()
    assert "limit is -1" in field.error.text()
    assert not field.error.isHidden()
    form.fields["limit"] = field
    form.settings()
    assert field.error.isHidden()


def test_only_live_settings_can_be_moved_while_running(form):
    form.set_running(True)
    assert {name for name, field in form.fields.items() if field.editor.isEnabled()} == {
        o.name for o in options(FakeSettings) if o.live
    }
    form.set_running(False)
    assert all(field.editor.isEnabled() for field in form.fields.values())


@pytest.mark.parametrize("method", ["richardson-lucy"])
def test_the_form_of_a_real_method_gives_its_defaults(qtbot, method):
    from heliorestore.methods.base import load
    from heliorestore.plugin.widgets.form import SettingsForm

    made = SettingsForm(load(method).settings)
    qtbot.addWidget(made)
    assert to_flags(made.settings()) == []


def test_the_weights_at_hand_are_listed_when_they_are_asked_for(form, tmp_path, monkeypatch):
    from heliorestore.nets import weights

    monkeypatch.setattr(weights, "folders", lambda: (tmp_path, tmp_path))
    box = form.fields["net"].editor
    box.setEditText("typed")
    changes = []
    form.changed.connect(lambda: changes.append(form.settings().net))
    for name, architecture in (
        ("mine", "mfbd-quarter"),
        ("other", "enhance-small"),
        ("third", "mfbd-recurrent-quarter"),
    ):
        weights.save(
            weights.build(architecture), weights.WeightsRecord(name=name, architecture=architecture), tmp_path
        )
    (tmp_path / "lost.safetensors").write_bytes(b"")  # without a record
    box.look()
    assert [box.itemText(number) for number in range(box.count())] == ["mine", "third"]
    assert box.currentText() == "typed"
    assert changes == []
    box.setCurrentIndex(1)
    box.activated.emit(1)
    assert changes == ["third"]
    assert form.settings().net == "third"


def test_a_number_of_six_digits_is_seen_whole(form, qtbot):
    slide = form.fields["strength"].editor
    form.resize(320, 600)
    form.show()
    slide.setValue(0.00123456)
    box = slide.box
    assert box.lineEdit().width() >= box.fontMetrics().horizontalAdvance("0.00123456")
    assert slide.slider.width() >= 60


@pytest.mark.parametrize("method", METHODS)
def test_tooltips_are_sentences_of_the_window(method):
    from heliorestore.plugin.widgets.form import tooltip

    for option in options(load(method).settings):
        words = tooltip(option)
        assert not re.search(r"--\w|\w_\w|default *[);]|default (None|True|False)|\(\)", words), words
        assert not re.search(r"\b(\w+) \[?\1\b", f"{option.label}\n{words}", re.IGNORECASE), option.label


def test_no_tooltip_of_a_panel_names_a_flag(panel):
    from qtpy.QtWidgets import QWidget

    assert panel.findChildren(QWidget)
    assert [w.toolTip() for w in panel.findChildren(QWidget) if re.search(r"(^|\s)--\w", w.toolTip())] == []

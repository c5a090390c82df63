"""What a panel says has a place of its own."""

import pytest

pytest.importorskip("napari")

from heliorestore.plugin.widgets.messages import MessageStrip

LONG = "The residual has reached the noise: " + 40 * "more iterations would fit the noise, "


def test_no_message_changes_the_size_of_its_place_and_all_can_be_read(qtbot):
    strip = MessageStrip()
    qtbot.addWidget(strip)
    strip.resize(300, strip.sizeHint().height())
    strip.show()
    size = strip.sizeHint()
    for text in ("one", "two", "three"):
        strip.report_more(text)
        assert strip.sizeHint() == size
    strip.report("Read.")
    strip.report_more(LONG)
    strip.say("⚠ It failed.")
    assert strip.sizeHint() == size
    assert strip.minimumSizeHint().width() < 300
    assert strip.messages.text() == f"Read.\n{LONG}"
    assert LONG in strip.messages.toolTip()
    strip.say("")
    assert strip.problem.text() == ""
    strip.open_button.click()
    said = strip._window.text.toPlainText()
    assert said.index("Read.") < said.index(LONG) < said.index("It failed.")
    strip.report("New run.")  # arrives in the open window too
    assert "New run." in strip._window.text.toPlainText()
    assert strip.messages.text() == "New run."
    strip._window.close()


def test_checksums_are_shortened(qtbot):
    from heliorestore.plugin.widgets.messages import MessageStrip

    strip = MessageStrip()
    qtbot.addWidget(strip)
    strip.report(f"Weights w, sha256 {'0123456789abcdef' * 4}.")
    assert strip.messages.text() == "Weights w, sha256 0123456789ab…."

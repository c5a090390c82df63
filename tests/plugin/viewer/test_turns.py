"""Pieces of work are done one by one, and Qt serves its events in between."""


def test_each_piece_has_a_turn_of_its_own_and_one_that_waits_is_done_once(qtbot):
    from qtpy.QtCore import QObject, QTimer

    from heliorestore.plugin.viewer.turns import in_a_turn

    done = []

    class Owner(QObject):
        def act(self):
            done.append("deleted")

    owner = Owner()
    in_a_turn(first := lambda: done.append("first"))
    in_a_turn(lambda: done.append("second"))
    in_a_turn(owner.act)
    in_a_turn(first)  # becomes the last
    owner.deleteLater()
    other = QTimer()
    other.timeout.connect(lambda: done.append("."))
    other.start(0)
    qtbot.waitUntil(lambda: "first" in done, timeout=20_000)
    other.stop()
    assert [each for each in done if each != "."] == ["second", "first"]
    assert "." in done[done.index("second") : done.index("first")]

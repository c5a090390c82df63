"""What is to be drawn is drawn at a bearable rate, and the last of it always."""


def test_the_pace_draws_many_wishes_once_and_rests_until_all_is_handed_over(qtbot):
    from qtpy.QtCore import QObject

    from heliorestore.plugin.runs.redraw_rate import Pace

    drawn, settled = [], [False]
    pace = Pace(parent := QObject(), lambda: drawn.append(1), lambda: settled[0])
    for _ in range(5):
        pace.want()
    qtbot.waitUntil(lambda: bool(drawn), timeout=20_000)
    pace.want()
    qtbot.wait(150)
    assert len(drawn) == 1
    settled[0] = True
    qtbot.waitUntil(lambda: len(drawn) == 2, timeout=20_000)
    pace.want()
    pace.forget()
    qtbot.wait(150)
    assert len(drawn) == 2
    parent.deleteLater()

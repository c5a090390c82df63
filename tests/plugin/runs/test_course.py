"""Where a run stands, in words."""

import numpy as np

from heliorestore.plugin.runs.course import clock, course
from heliorestore.snapshot import Snapshot

STAGES = (("patches", 3), ("whole field", 10))


def after(step, seconds=(), stages=STAGES):
    history = {"step": np.arange(1.0, step + 1), "seconds": np.array(seconds, float)} if seconds else {}
    return Snapshot(step=step, total=10, images=np.zeros((1, 2, 2)), stages=stages, history=history)


def test_the_stage_that_follows_is_named_and_counted_from_its_own_beginning():
    assert str(course(after(1))) == "patches 2 of 3"
    assert course(after(1)).more
    assert str(course(after(3))) == "whole field 1 of 7"
    assert not course(after(3)).more
    assert course(after(10)) is None
    assert str(course(after(4, stages=()))) == "iteration 5 of 10"


def test_the_time_left_is_that_of_the_stage_alone_and_not_of_its_first_iteration():
    slow_first = [1, 2, 3, 33, 43, 53]
    assert course(after(3, slow_first[:3])).left_s(0) is None  # patches say nothing of the field
    assert course(after(4, slow_first[:4])).left_s(0) is None  # it prepared the field
    assert course(after(6, slow_first)).left_s(0) == 40
    assert course(after(6, slow_first)).left_s(5) == 35
    assert course(after(6, slow_first)).left_s(60) is None  # it takes much longer than the others did
    assert course(after(6, [0] * 6)).left_s(0) is None  # a method without a clock
    assert [clock(s) for s in (5, 80, 3700)] == ["0:05", "1:20", "1:01:40"]

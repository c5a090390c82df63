import itertools
from dataclasses import replace

import pytest
import torch

from blind_bursts import CPU, simulate
from heliorestore.methods.blind.air import orders
from heliorestore.methods.blind.patch_fit import advanced, coarse_first, evaluate, initial, make_problem
from heliorestore.prepare.observe import observe


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 24])
@pytest.mark.parametrize("count", [2, 8, 9, 15, 44])
def test_ever_more_whole_orders_move_and_all_of_them_in_the_end(count, steps):
    moving = [coarse_first(step, steps, count) for step in range(steps)]
    assert all(a <= b for a, b in itertools.pairwise(moving))
    assert set(moving) <= {order.stop for order in orders(44)} | {count}
    assert coarse_first(steps, steps, count) == count
    if steps >= 3:
        assert (moving[0], moving[-1]) == (min(9, count), count)


def test_modes_that_wait_stay_where_they_began_and_the_others_move_as_ever():
    case = simulate(noise=2e-3)
    problem = make_problem(observe(case.burst, CPU), case.wavefronts, (32, 16), 1e9)
    begun = initial(problem)
    evaluation = evaluate(problem, begun, torch.ones(2), 1.0)
    few, all_of_them = (advanced(problem, begun, evaluation, 0.1, count) for count in (5, None))
    torch.testing.assert_close(few.modes[..., 5:], begun.modes[..., 5:])
    torch.testing.assert_close(few.modes[..., :5], all_of_them.modes[..., :5])
    assert not torch.allclose(all_of_them.modes[..., 5:], begun.modes[..., 5:])
    later = advanced(problem, replace(few, moments=few.moments), evaluation, 0.1)
    assert not torch.allclose(later.modes[..., 5:], begun.modes[..., 5:])

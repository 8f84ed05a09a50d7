from itertools import pairwise

import pytest

from unblur.training.schedule import Schedule


def test_cosine_rises_then_falls_to_its_floor() -> None:
    schedule = Schedule("cosine", warmup=10, floor=0.1)
    factors = [schedule.factor(step, 100) for step in range(101)]
    assert factors[0] == pytest.approx(1 / 11)
    assert max(factors) == factors[10] == 1
    assert factors[55] == pytest.approx(0.55)
    assert factors[100] == pytest.approx(0.1)
    assert all(a > b for a, b in pairwise(factors[10:]))


def test_exponential_steps_down_once_per_epoch() -> None:
    schedule = Schedule("exponential", warmup=0, floor=0, decay=0.99, every=1500)
    assert schedule.factor(1499, 10**6) == 1
    assert schedule.factor(1500, 10**6) == pytest.approx(0.99)
    assert schedule.factor(15000, 10**6) == pytest.approx(0.99**10)


def test_constant_stays() -> None:
    assert Schedule("constant", warmup=0).factor(12345, 10) == 1


def test_restarts_begin_anew_and_end_at_the_floor() -> None:
    schedule = Schedule("restarts", warmup=0, floor=0.1, periods=[10, 20])
    factors = [schedule.factor(step, 1000) for step in range(40)]
    assert factors[0] == factors[10] == 1
    assert factors[5] == factors[20] == pytest.approx(0.55)
    assert factors[9] < 0.13
    assert factors[29] < 0.11
    assert factors[30:] == pytest.approx([0.1] * 10)
    assert all(a > b for a, b in pairwise(factors[:10]))
    assert all(a > b for a, b in pairwise(factors[10:30]))


def test_restarts_need_periods() -> None:
    with pytest.raises(ValueError, match="periods"):
        Schedule("restarts", periods=[5, 0])

"""The learning rate rises, stays, and falls to nothing; earlier where nothing grows any more."""

import pytest

from ultralytics.slim.recovery.schedule import FAR, NEAR, Schedule, learning_rate


def test_the_farther_the_larger_within_bounds():
    rates = [learning_rate(distance) for distance in (0.0, 0.01, NEAR[0], 0.1, 0.2, FAR[0], 3.0)]
    assert rates == sorted(rates)
    assert rates[0] == rates[2] == pytest.approx(NEAR[1]) and rates[-1] == rates[-2] == pytest.approx(FAR[1])


def test_it_rises_stays_and_falls():
    schedule = Schedule(100)
    shares = [schedule.share(step) for step in range(100)]
    assert shares[0] == pytest.approx(0.2) and shares[5:60] == [1.0] * 55
    assert shares[60:] == sorted(shares[60:], reverse=True) and 0 < shares[-1] < 0.05


@pytest.mark.parametrize("at", [1, 20, 59, 60, 99])
def test_it_falls_early_where_nothing_grows(at):
    schedule = Schedule(100)
    schedule.fall(at)
    assert at < schedule.steps <= 100
    assert schedule.share(schedule.steps - 1) < schedule.share(at) or schedule.steps - 1 == at
    ends = schedule.steps, schedule.fall_from
    schedule.fall(at + 1)  # it falls already
    assert ends == (schedule.steps, schedule.fall_from)


def test_a_single_step_is_made():
    assert Schedule(1).share(0) > 0

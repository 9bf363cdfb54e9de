"""The search for the smallest model that keeps enough, on curves of which the border is known."""

from itertools import count

import pytest

from ultralytics.slim.promise.search import CLOSE, LEAST, TRIES, Try, nearest_short, next_share, smallest


def searched(curve, keep, widths=lambda share: share):
    """Return what is tried on a curve: share of the GFLOPs -> share kept."""
    tries = []
    while share := next_share(tries, keep):
        has = widths(share)
        tries.append(Try(has, curve(has), share))
    return tries


CURVES = {
    "steep": lambda share: 1 - 0.004 / share**2,
    "level": lambda share: min(1.0, 0.9 + 0.1 * share),
    "step": lambda share: float(share >= 0.37),
    "better": lambda share: 1.2 - 0.1 / share,
}


@pytest.mark.parametrize("keep", [0.5, 0.9, 0.97, 0.99])
@pytest.mark.parametrize("curve", CURVES.values(), ids=CURVES)
def test_the_border_is_found(curve, keep):
    tries = searched(curve, keep)
    assert len(tries) <= TRIES and all(LEAST <= t.share < 1 for t in tries)
    border = next(share for i in count() if curve(share := LEAST * 1.001**i) >= keep or share > 1)
    found, short = smallest(tries, keep), nearest_short(tries, keep)
    if border > 0.99:
        assert found is None or found.share > 0.9
        return
    assert found.kept >= keep and (short is None or short.kept < keep)
    assert (
        0.999 * max(border, LEAST) <= found.share <= max(border, LEAST) * (CLOSE + 0.03 if len(tries) < TRIES else 1.15)
    )


def test_widths_that_allow_nothing_in_between_end_it():
    tries = searched(lambda share: share, 0.5, widths=lambda share: 0.8 if share > 0.3 else 0.2)
    assert smallest(tries, 0.5).share == 0.8 and len(tries) <= 4


def test_what_was_tried_serves_another_share_to_keep():
    tries = searched(CURVES["steep"], 0.99)
    assert next_share(tries, 0.99) is None
    assert next_share(tries[:3], 0.9) not in (None, next_share(tries[:3], 0.99))


def test_a_model_that_is_measured_worse_than_a_smaller_one_is_no_border():
    tries = [Try(0.4, 0.98), Try(0.6, 0.96), Try(0.2, 0.5)]
    assert smallest(tries, 0.97).share == 0.4 and nearest_short(tries, 0.97).share == 0.2

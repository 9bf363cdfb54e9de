"""Models take turns, and rest between them."""

from ultralytics.slim.measuring import timing


def test_models_take_turns():
    """Each round is 1 s for a, 3 s for b; the last round is slow for both, which the median forgets."""
    now, order = [0.0], []

    def run(name: str, seconds: float):
        order.append(name)
        now[0] += seconds * (20 if len(order) > 14 else 1)

    turns = {"a": lambda: run("a", 1), "b": lambda: run("b", 3)}
    found = timing.take_turns(turns, lambda: now[0], rounds=5, seconds=1e9)
    assert order[-6:] == ["a", "b"] * 3
    assert found["a"] == timing.Latency(1000, 1000, 1000, 5) and found["b"].median_ms == 3000


def test_a_rest_comes_before_each_turn_and_is_not_timed(monkeypatch):
    """Threads that still wait by spinning would take the cores from the model that is timed next."""
    now, events = [0.0], []
    monkeypatch.setattr(timing.time, "sleep", lambda s: (events.append("rest"), now.__setitem__(0, now[0] + s)))
    found = timing.take_turns({"a": lambda: events.append("a"), "b": lambda: events.append("b")}, lambda: now[0], 5, 3)
    assert events[-12:] == ["rest", "a", "rest", "b"] * 3
    assert found["a"].high_ms == found["b"].high_ms == 0

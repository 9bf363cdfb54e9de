"""What an interrupted recovery leaves to go on with."""

import pytest

from ultralytics.slim.errors import InputError
from ultralytics.slim.recovery.state import Progress, load_state, save_state


def test_a_state_of_a_version_before_is_gone_on_with(tmp_path):
    """Its key has the agreement in the place of what tells the weights."""
    save_state(tmp_path / "r.pt", {"start": 0.8351, "lr0": 0.1}, Progress(10), {})
    progress, state = load_state(tmp_path / "r.pt", {"start": "1a2b", "lr0": 0.1}, "cpu")
    assert progress.steps == 10
    with pytest.raises(InputError, match=r"had lr0=0.1 \(now 0.2\)"):
        load_state(tmp_path / "r.pt", {"start": "1a2b", "lr0": 0.2}, "cpu")

"""What the cells of a table show, and what a call keeps whatever its cells are."""

import numpy as np
import pytest

from ml_logger import ML_Logger


@pytest.fixture
def run(tmp_path):
    made = ML_Logger(tmp_path / "run")
    yield made
    made.close()


@pytest.mark.parametrize(
    ("silent", "is_shown"), [(np.True_, False), (1, False), (np.array(False), True), (None, True), (0, True)]
)
def test_silent_as_a_flag_of_any_kind(run, capsys, silent, is_shown):
    """A flag that is no plain bool is understood as one, and the call keeps its record and its table."""
    run.log(1, hidden=1, silent=silent)
    run.log(1, b=2, flush=True)
    assert ("hidden" in capsys.readouterr().out) == is_shown
    assert len(run.load_metrics()) == 2
    assert not run.failures

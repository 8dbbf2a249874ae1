import math

import numpy as np
import pytest

from rnnlab.evaluation.baselines import guessing_nats


def test_a_guess_is_scored_by_the_frequencies_of_training():
    # Counts 3 and 1 with one added to each: shares 2/3 and 1/3.
    nats = guessing_nats(np.array([0, 0, 0, 1]), np.array([0, 1, 1]), 2)
    assert nats == pytest.approx(-(math.log(2 / 3) + 2 * math.log(1 / 3)) / 3, rel=1e-12)


def test_a_class_that_training_lacks_is_not_impossible():
    assert guessing_nats(np.array([0]), np.array([2]), 3) == pytest.approx(math.log(4), rel=1e-12)


def test_no_targets_no_number():
    assert math.isnan(guessing_nats(np.array([0]), np.array([], dtype=int), 2))

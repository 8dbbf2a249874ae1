"""How many steps a run has, and what is forgotten with a lost best checkpoint."""

import math

import pytest

from rnnlab.config import TrainerConfig
from rnnlab.training.counters import Counters, count_steps


@pytest.mark.parametrize(
    ("max_epochs", "max_steps", "accumulate", "expected"),
    [(3, None, 1, 3 * 7), (3, None, 2, 3 * 4), (3, 5, 1, 5), (None, 5, 1, 5), (1, 100, 1, 7), (None, None, 1, None)],
)
def test_steps_are_those_of_the_passes_or_the_limit(max_epochs, max_steps, accumulate, expected):
    class SevenWindows:
        def train_windows(self, epoch):
            return range(7)

    limits = TrainerConfig(max_epochs=max_epochs, max_steps=max_steps, accumulate=accumulate)
    assert count_steps(SevenWindows(), limits) == expected


def test_a_forgotten_best_gives_way_to_any_score():
    counters = Counters(step=4)
    assert counters.note_score(0.9, higher_is_better=True)
    counters.step = 5
    assert not counters.note_score(0.5, higher_is_better=True)
    counters.forget_best()
    assert (counters.best_step, counters.without_gain, counters.evaluated_at) == (-1, 0, -1)
    assert math.isnan(counters.best_score)
    assert counters.note_score(0.5, higher_is_better=True)


def test_a_best_score_that_there_is_not_is_told_so():
    counters = Counters(step=4)
    counters.note_score(float("inf"), higher_is_better=False)  # a perplexity of more than exp(709)
    assert counters.best("valid/perplexity") == "no evaluation gave a finite valid/perplexity"
    counters.note_score(17.98652, higher_is_better=False)
    assert counters.best("valid/perplexity") == "best valid/perplexity 17.9865 at step 4"

"""One process by itself answers what `Ranks` does."""

import inspect

import pytest

from rnnlab.training.alone import Alone
from rnnlab.training.counters import Counters
from rnnlab.training.ranks import Ranks
from rnnlab.training.signals import StopSignals

METHODS = sorted(name for name in vars(Alone) if callable(getattr(Alone, name)) and not name.startswith("_"))


@pytest.mark.parametrize("method", METHODS)
def test_it_is_called_as_ranks_are(method):
    assert inspect.signature(getattr(Alone, method)) == inspect.signature(getattr(Ranks, method))


def test_what_it_asks_of_others_it_answers_itself():
    alone, signals = Alone(), StopSignals()
    assert (alone.rank, alone.size, alone.is_first) == (0, 1, True)
    assert alone.from_first(lambda: 7) == 7
    assert alone.asked(signals, Counters(seconds=3.0)) == (False, False)
    signals.received, signals.asked_to_save = 15, True
    assert alone.asked(signals, Counters()) == (True, True)
    assert alone.of_the_others(None, 4, {}) == {}, "a checkpoint of one process names no others"

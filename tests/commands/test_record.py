import pytest
from torch import nn

from rnnlab.commands._record import arithmetic_share
from rnnlab.hardware import matrix_rate
from rnnlab.models import Classifier, LanguageModel


@pytest.mark.parametrize("tied", [True, False])
def test_a_language_models_arithmetic_is_that_of_its_recurrence_and_decoder(tied):
    model = LanguageModel(50, cell="lstm", hidden_size=8, embedding_size=8, tie_weights=tied)
    entries = 2 * 32 * 8 + 50 * 8
    assert arithmetic_share(model, 1000.0, 1e8) == round(6 * entries * 1000 / 1e8, 4) > 0


def test_a_classifiers_is_that_of_its_recurrence_and_others_are_not_known():
    model = Classifier(50, 2, cell="gru", hidden_size=8, embedding_size=6)
    assert arithmetic_share(model, 1000.0, 1e7) == round(6 * 24 * (8 + 6) * 1000 / 1e7, 4) > 0
    adaptive = LanguageModel(50, cell="lstm", hidden_size=8, embedding_size=8, decoder="adaptive", cutoffs=[20])
    assert arithmetic_share(adaptive, 1000.0, 1e8) is None
    assert arithmetic_share(nn.Linear(2, 2), 1000.0, 1e8) is None


def test_the_rate_of_a_machine_is_a_number_of_its_size():
    assert 1e6 < matrix_rate() < 1e16  # bounds that no load and no machine reaches

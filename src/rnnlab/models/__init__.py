"""Models: embedding -> recurrent stack -> head."""

from rnnlab.cells import ExtraArguments
from rnnlab.models.classifier import Classifier
from rnnlab.models.language_model import LanguageModel
from rnnlab.models.regressor import Regressor
from rnnlab.models.state import State, detach, reset

__all__ = ["Classifier", "ExtraArguments", "LanguageModel", "Regressor", "State", "detach", "reset"]

"""Models: embedding -> recurrent stack -> head."""

from rnnlab.models.classifier import Classifier
from rnnlab.models.language_model import LanguageModel
from rnnlab.models.layers import StackArguments
from rnnlab.models.regressor import Regressor
from rnnlab.models.state import State, detach, reset

__all__ = ["Classifier", "LanguageModel", "Regressor", "StackArguments", "State", "detach", "reset"]

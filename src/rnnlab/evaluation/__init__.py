"""How good a model is: scores, and how much of what it writes is copied."""

from rnnlab.evaluation.copying import Span, TrainingText
from rnnlab.evaluation.scores import Classification, CrossEntropy

__all__ = ["Classification", "CrossEntropy", "Span", "TrainingText"]

"""What one scores without looking at the input: the bar that a model has to clear first."""

from __future__ import annotations

import numpy as np


def guessing_nats(train: np.ndarray, held_out: np.ndarray, num_classes: int) -> float:
    """Return the cross-entropy of saying, for every target, how frequent each class was in training.

    Args:
        train: <int>(n,) classes of the training targets; one is added to each count, that none is impossible.
        held_out: <int>(m,) those to be guessed.
        num_classes: C.

    Returns:
        Nats per target; nan for none.
    """
    shares = (np.bincount(train, minlength=num_classes) + 1.0) / (len(train) + num_classes)
    counts = np.bincount(held_out, minlength=num_classes)
    return float(-(counts * np.log(shares)).sum() / counts.sum()) if len(held_out) else float("nan")

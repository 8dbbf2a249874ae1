"""Scores that are a sum over a count: the batch size, the window length and the order of batches cannot change them.

A mean of batch means is not such a score: a short last batch would weigh as much as a full one. Sums stay on the device
of what was added, so that adding does not wait for a GPU; reading a score does.

Legend: T steps, B rows, V vocabulary, C classes.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional


class CrossEntropy:
    """Cross-entropy of next-token predictions, summed in float64.

    Example:
        >>> score = CrossEntropy()
        >>> score.add(torch.zeros(5, 2, 4), torch.zeros(5, 2, dtype=torch.int64))
        >>> score.count, round(score.perplexity, 6)
        (10, 4.0)
    """

    def __init__(self) -> None:
        """Start empty."""
        self._sum: Tensor | None = None
        self._count: Tensor | int = 0

    def add(self, logits: Tensor, targets: Tensor, mask: Tensor | None = None) -> None:
        """Count the predictions of one window.

        Args:
            logits: scores before softmax, (..., V), for example (T, B, V).
            targets: <int64>(...) the ids that came.
            mask: <bool>(...) which targets count; None counts all. A target that does not count may hold any valid id.

        Raises:
            ValueError: the shapes of logits, targets and mask do not fit together.
        """
        if logits.shape[:-1] != targets.shape:
            raise ValueError(
                f"targets must be {tuple(logits.shape[:-1])}, one for each row of logits, got {tuple(targets.shape)}"
            )
        if mask is not None and mask.shape != targets.shape:
            raise ValueError(f"mask must be {tuple(targets.shape)} as the targets, got {tuple(mask.shape)}")
        nats = functional.cross_entropy(
            logits.detach().flatten(0, -2).float(), targets.flatten(), reduction="none"
        ).double()
        if mask is None:
            self.add_sum(nats.sum(), targets.numel())
        else:
            # where, not a product: nan * 0 is nan, and a padded step may overflow.
            self.add_sum(torch.where(mask.flatten(), nats, 0.0).sum(), mask.sum())

    def add_sum(self, nats: Tensor | float, count: Tensor | int) -> None:
        """Count predictions whose loss is known already.

        Args:
            nats: summed (not mean) cross-entropy, a scalar.
            count: how many predictions it sums over.
        """
        nats = torch.as_tensor(nats).detach().double()
        self._sum = nats if self._sum is None else self._sum + nats.to(self._sum.device)
        self._count = self._count + (count.detach().to(self._sum.device) if isinstance(count, Tensor) else count)

    @property
    def count(self) -> int:
        """Predictions counted."""
        return int(self._count)

    @property
    def sum(self) -> float:
        """Nats, summed over all predictions."""
        return 0.0 if self._sum is None else float(self._sum)

    @property
    def nats(self) -> float:
        """Nats per token; nan while nothing was counted."""
        return self.sum / self.count if self.count else math.nan

    @property
    def perplexity(self) -> float:
        """exp(nats per token); infinity where that overflows."""
        try:
            return math.exp(self.nats)
        except OverflowError:
            return math.inf

    @property
    def bits_per_char(self) -> float:
        """Nats per token over ln 2: bits per character where the tokens are characters."""
        return self.nats / math.log(2)


class Classified(NamedTuple):
    """What a classifier said of every example.

    Attributes:
        labels: names of the classes.
        targets: <int64>(N,) true classes.
        probabilities: <float32>(N, C).
    """

    labels: list[str]
    targets: np.ndarray
    probabilities: np.ndarray

    @property
    def confusion(self) -> np.ndarray:
        """<int64>(C, C) counts, a row for each true class."""
        counts = np.zeros((len(self.labels), len(self.labels)), dtype=np.int64)
        np.add.at(counts, (self.targets, self.probabilities.argmax(1)), 1)
        return counts


class Classification:
    """Accuracy and F1 from a confusion matrix that counts in int64.

    A class that was never predicted, or never occurred, has F1 0. `macro_f1` is the mean over the classes that occurred
    or were predicted; a class that did neither says nothing about the model and is left out.

    Example:
        >>> score = Classification(num_classes=2)
        >>> score.add(torch.tensor([[2.0, 1.0], [0.0, 3.0], [1.0, 0.0]]), torch.tensor([0, 1, 1]))
        >>> score.confusion.tolist(), round(score.accuracy, 3)
        ([[1, 0], [1, 1]], 0.667)
    """

    def __init__(self, num_classes: int) -> None:
        """Start empty.

        Args:
            num_classes: C, at least 2; a yes or no question has two classes.

        Raises:
            ValueError: fewer than two classes.
        """
        if num_classes < 2:
            raise ValueError(f"num_classes must be at least 2, got {num_classes}")
        self.num_classes = num_classes
        self._confusion: Tensor | None = None

    def add(self, predictions: Tensor, targets: Tensor) -> None:
        """Count one batch.

        Args:
            predictions: logits or probabilities (B, C), of which the largest counts; or predicted classes, <int64>(B,).
            targets: <int64>(B,) true classes.

        Raises:
            ValueError: the shapes do not fit together, or a class is outside 0..C-1.
        """
        wanted = (*targets.shape, self.num_classes)
        if predictions.shape == wanted:
            predictions = predictions.detach().argmax(dim=-1)
        elif predictions.shape != targets.shape or predictions.is_floating_point():
            raise ValueError(
                f"predictions must be {wanted} scores or {tuple(targets.shape)} classes, "
                f"got {predictions.dtype} {tuple(predictions.shape)}"
            )
        # One flat histogram: cell (true, predicted) is true * C + predicted.
        for name, classes in (("targets", targets), ("predictions", predictions)):
            if classes.numel() and not 0 <= int(classes.min()) <= int(classes.max()) < self.num_classes:
                raise ValueError(
                    f"{name} must be classes 0 to {self.num_classes - 1}, "
                    f"got {int(classes.min())} to {int(classes.max())}"
                )
        cells = (targets * self.num_classes + predictions).flatten()
        counts = torch.bincount(cells, minlength=self.num_classes**2).reshape(self.num_classes, self.num_classes)
        self._confusion = counts if self._confusion is None else self._confusion + counts.to(self._confusion.device)

    @property
    def confusion(self) -> Tensor:
        """<int64>(C, C) counts, a row for each true class, a column for each predicted one; on the CPU."""
        if self._confusion is None:
            return torch.zeros(self.num_classes, self.num_classes, dtype=torch.int64)
        return self._confusion.cpu()

    @property
    def count(self) -> int:
        """Examples counted."""
        return int(self.confusion.sum())

    @property
    def accuracy(self) -> float:
        """Share of examples whose class was predicted, 0 to 1; nan while nothing was counted."""
        return float(self.confusion.diagonal().sum()) / self.count if self.count else math.nan

    @property
    def f1(self) -> list[float]:
        """For each class, the harmonic mean of precision and recall: 2 right / (predicted + occurred)."""
        confusion = self.confusion
        return _ratio(2 * confusion.diagonal(), confusion.sum(dim=0) + confusion.sum(dim=1))

    @property
    def macro_f1(self) -> float:
        """Mean F1 over the classes that occurred or were predicted; nan while nothing was counted."""
        confusion = self.confusion
        seen = (confusion.sum(dim=0) + confusion.sum(dim=1)) > 0
        scores = [score for score, there in zip(self.f1, seen.tolist(), strict=True) if there]
        return sum(scores) / len(scores) if scores else math.nan


def _ratio(numerators: Tensor, denominators: Tensor) -> list[float]:
    """Divide elementwise in float64; 0 where the denominator is 0."""
    return (numerators.double() / denominators.clamp(min=1).double()).tolist()

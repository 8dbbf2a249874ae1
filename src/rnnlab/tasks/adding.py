"""task=adding: read numbers of which two are marked, say their sum at the end. What is learned must last.

Solved is a sequence whose sum is told to within 0.04, Hochreiter & Schmidhuber's bound (1997, section 5.4).
"""

from __future__ import annotations

import numpy as np
from torch import Tensor, nn

from rnnlab.config import AddingConfig, TrainerConfig
from rnnlab.data import synthetic
from rnnlab.tasks.synthetic import RegressionTask

SOLVED_BELOW = 0.04


class Adding(RegressionTask):
    """Add the two marked numbers."""

    name = "adding"
    num_features, num_outputs, every_step = 2, 1, False
    solved_below = SOLVED_BELOW
    baseline = 1 / 6  # variance of the sum of two numbers from U(0, 1): always saying 1

    def __init__(self, config: AddingConfig, trainer: TrainerConfig, seed: int) -> None:
        """Keep the settings; see `SyntheticTask`."""
        super().__init__(config, trainer, seed)
        self._seq_len = config.seq_len

    def draw(self, generator: np.random.Generator, count: int) -> tuple[Tensor, Tensor]:
        """Draw sequences."""
        return synthetic.adding(generator, count, self._seq_len)

    def samples(self, model: nn.Module, count: int, length: int, seed: int) -> list[str]:
        """Sums with what the model says of them."""
        inputs, targets = self._some(count, seed)
        said = self._say(model, inputs)[:, 0].tolist()
        lines = []
        for row, total in enumerate(targets.tolist()):
            one, other = inputs[inputs[:, row, 1] == 1, row, 0].tolist()
            lines.append(f"{one:.3f} + {other:.3f} = {total:.3f}, says {said[row]:.3f}")
        return lines

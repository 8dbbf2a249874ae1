"""task=ball: see a ball in a box step by step, say where it is next.

Beside the error of the next position, a roll-out is scored: the model sees the first half of a flight, then its own
predictions; the score is how far they are from the ball, in ball radii, on the mean of the second half.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from rnnlab.config import BallConfig, TrainerConfig
from rnnlab.data import synthetic
from rnnlab.tasks.base import Scores
from rnnlab.tasks.synthetic import RegressionScores, RegressionTask

ROWS = 256  # flights rolled out at most


class Ball(RegressionTask):
    """Say where the ball goes."""

    name = "ball"
    num_features, num_outputs, every_step = 2, 2, True

    def __init__(self, config: BallConfig, trainer: TrainerConfig, seed: int) -> None:
        """Keep the settings; see `SyntheticTask`."""
        super().__init__(config, trainer, seed)
        self._config = config
        # Staying where it is: a step's square, shared by two numbers; where a wall throws the ball back it is less.
        self.baseline = config.speed**2 / 2

    def draw(self, generator: np.random.Generator, count: int) -> tuple[Tensor, Tensor]:
        """Draw flights."""
        return synthetic.ball(generator, count, self._config.seq_len, self._config.radius, self._config.speed)

    def after_scoring(self, model: nn.Module, split: str, scores: Scores, device: torch.device) -> None:
        """Add `rollout_radii`."""
        assert isinstance(scores, RegressionScores)
        window = self.score_windows(split, ROWS)[0].to(device)
        half = self._config.seq_len // 2
        predicted = roll_out(model, window.inputs[:half], self._config.seq_len - half + 1)
        distance = (predicted - window.targets[half - 1 :]).norm(dim=-1).mean()
        scores.more["rollout_radii"] = float(distance) / self._config.radius

    def samples(self, model: nn.Module, count: int, length: int, seed: int) -> list[str]:
        """Where the ball is at the end of a flight whose second half was not shown, and where the model puts it."""
        inputs, targets = self._some(count, seed)
        half = self._config.seq_len // 2
        was_training = model.training
        model.eval()
        seen = inputs[:half].to(next(model.parameters()).device)
        ends = roll_out(model, seen, self._config.seq_len - half + 1)[-1].cpu().tolist()
        model.train(was_training)
        texts = []
        for (x, y), (true_x, true_y) in zip(ends, targets[-1].tolist(), strict=True):
            place = f"({true_x:+.2f}, {true_y:+.2f})"
            texts.append(f"{self._config.seq_len - half} steps unseen: at {place}, says ({x:+.2f}, {y:+.2f})")
        return texts


@torch.no_grad()
def roll_out(model: nn.Module, seen: Tensor, steps: int) -> Tensor:
    """Let a model see positions (T, B, 2) and then its own predictions; return `steps` of them, the first from T on."""
    outputs, state = model(seen)
    predicted = [outputs[-1]]
    for _ in range(steps - 1):
        outputs, state = model(predicted[-1][None], state)
        predicted.append(outputs[0])
    return torch.stack(predicted)

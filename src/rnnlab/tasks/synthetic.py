"""What the tasks share whose sequences are drawn from the seed: no corpus, no file, new sequences at every pass."""

from __future__ import annotations

import hashlib
import math
from abc import abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from rnnlab.config import ModelConfig, SyntheticConfig, TrainerConfig
from rnnlab.data.synthetic import DrawnBatches
from rnnlab.data.windows import Window
from rnnlab.models import Regressor
from rnnlab.tasks.base import Task, log, stack_settings


class SyntheticTask(Task):
    """Sequences of one length, drawn by `draw`.

    Attributes:
        baseline: loss of the best guess that remembers nothing.
    """

    has_lengths = False
    higher_is_better = False
    baseline: float

    def __init__(self, config: SyntheticConfig, trainer: TrainerConfig, seed: int) -> None:
        """Keep the settings; nothing is drawn yet.

        Args:
            config: how many sequences; how long is said by `draw`.
            trainer: batch size and window length.
            seed: of all sequences.
        """
        super().__init__()
        self._sizes = config
        self._trainer = trainer
        self._seed = seed

    @abstractmethod
    def draw(self, generator: Any, count: int) -> tuple[Tensor, Tensor]:
        """Draw `count` sequences: inputs (S, N, ...) and targets."""

    def read_corpus(self) -> None:
        """Note what will be drawn; a hash of the sequences that are scored names it."""
        digest = hashlib.sha256(self.name.encode())
        for split in ("valid", "test"):
            window = self.score_windows(split, self._sizes.score_sequences)[0]
            for part in (window.inputs, window.targets):
                digest.update(part.numpy().tobytes())
        sizes = self._sizes
        self.corpus = {
            "name": self.name,
            "train_sequences": sizes.train_sequences,
            "score_sequences": sizes.score_sequences,
            "sha256": digest.hexdigest(),
        }
        log.info(
            "%s: %s sequences a pass, %s to score; loss without memory %.4f %s",
            self.name,
            f"{sizes.train_sequences:,}",
            f"{sizes.score_sequences:,}",
            self.baseline,
            self.loss_unit,
        )

    def train_windows(self, epoch: int) -> DrawnBatches:
        """New sequences for each pass."""
        return DrawnBatches(
            self.draw,
            self._sizes.train_sequences,
            self._trainer.batch_size,
            seed=self._seed,
            split="train",
            epoch=epoch,
            bptt_len=self._trainer.bptt_len,
        )

    def score_windows(self, split: str, batch_size: int) -> DrawnBatches:
        """The same sequences always."""
        sizes = self._sizes
        count = sizes.train_sequences if split == "train" else sizes.score_sequences
        return DrawnBatches(self.draw, count, batch_size, seed=self._seed, split=split)

    def baseline_loss(self) -> float:
        """Of the best guess that remembers nothing."""
        return self.baseline

    def hits(self, outputs: Tensor, window: Window) -> int:
        """Not asked for in training."""
        return 0

    def dump(self) -> dict[str, Any]:
        """Whose run it is."""
        return self._head() if not self.has_vocabulary else super().dump()

    def restore(self, content: dict[str, Any]) -> None:
        """Check whose run it is; there is nothing to take."""
        self._check_head(content)

    def _some(self, count: int, seed: int) -> tuple[Tensor, Tensor]:
        """Draw sequences to show, other ones than are scored."""
        window = DrawnBatches(self.draw, count, count, seed=seed, split="train", epoch=2**31)[0]
        return window.inputs, window.targets

    @torch.no_grad()
    def _say(self, model: nn.Module, inputs: Tensor) -> Tensor:
        """What a model makes of sequences, without dropout; on the CPU."""
        was_training = model.training
        model.eval()
        try:
            outputs, _ = model(inputs.to(next(model.parameters()).device))
        finally:
            model.train(was_training)
        return outputs.float().cpu()


class RegressionScores:
    """Mean squared error, and the share of predictions that are near enough."""

    def __init__(self, baseline: float, solved_below: float | None) -> None:
        """Start empty.

        Args:
            baseline: error of the best constant.
            solved_below: largest error of a solved sequence; None: not asked.
        """
        self._baseline, self._solved_below = baseline, solved_below
        self._sum: Tensor | float = 0.0
        self._solved: Tensor | int = 0
        self._count = 0
        self.more: dict[str, float] = {}

    def add(self, outputs: Tensor, window: Window, nats: Tensor) -> None:
        """Count one window, whose squared errors are summed already."""
        self._sum = self._sum + nats.detach().double()
        self._count += window.num_targets
        if self._solved_below is not None:
            errors = (outputs.float().view_as(window.targets) - window.targets).abs()
            self._solved = self._solved + (errors < self._solved_below).sum()

    def results(self) -> dict[str, float]:
        """`loss` and `mse`, which are the same, and `solved_share` if asked."""
        mse = float(self._sum) / self._count if self._count else math.nan
        solved = {} if self._solved_below is None else {"solved_share": int(self._solved) / max(1, self._count)}
        return {"loss": mse, "mse": mse, **solved, **self.more}

    def details(self) -> dict[str, Any]:
        """How many predictions the scores sum over, and the error to beat."""
        return {"targets": self._count, "baseline": self._baseline}


class RegressionTask(SyntheticTask):
    """Real numbers in, real numbers to be told: one a sequence, or some at every step."""

    metric = "mse"
    loss_unit = "squared error"
    num_features: ClassVar[int]
    num_outputs: ClassVar[int]
    every_step: ClassVar[bool]
    solved_below: ClassVar[float | None] = None

    def build_model(self, config: ModelConfig) -> nn.Module:
        """Build a regressor."""
        return Regressor(
            self.num_features,
            self.num_outputs,
            every_step=self.every_step,
            **stack_settings(config),
        )

    def nats(self, model: nn.Module, outputs: Tensor, window: Window) -> Tensor:
        """Summed squared error, the mean over the numbers of one target."""
        targets = window.targets
        return (outputs.float().view_as(targets) - targets.float()).square().sum() / self.num_outputs

    def new_scores(self) -> RegressionScores:
        """Empty scores."""
        return RegressionScores(self.baseline, self.solved_below)

    def measures(self, loss: float, hit_share: float) -> dict[str, float]:
        """The mean squared error."""
        return {"mse": loss}

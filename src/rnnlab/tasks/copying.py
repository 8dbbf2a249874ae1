"""task=copy: read ten symbols, wait, repeat them. Accuracy is that of the symbols; the loss counts all steps."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from rnnlab.config import CopyConfig, ModelConfig, TrainerConfig
from rnnlab.data import Vocabulary, synthetic
from rnnlab.data.windows import Window
from rnnlab.evaluation.scores import CrossEntropy
from rnnlab.tasks.language import build_language_model
from rnnlab.tasks.synthetic import SyntheticTask

TOKENS = "abcdefgh_|"  # symbols, blank, mark
CHANCE = 1 / synthetic.NUM_SYMBOLS


class CopyScores:
    """Nats a step, and how many of the remembered symbols are right."""

    def __init__(self, baseline: float) -> None:
        """Start empty."""
        self._baseline = baseline
        self._entropy = CrossEntropy()
        self._right: Tensor | int = 0
        self._asked: Tensor | int = 0

    def add(self, outputs: Tensor, window: Window, nats: Tensor) -> None:
        """Count one window; logits (T, B, V)."""
        self._entropy.add_sum(nats, window.num_targets)
        is_symbol = window.targets < synthetic.NUM_SYMBOLS
        self._right = self._right + ((outputs.argmax(-1) == window.targets) & is_symbol).sum()
        self._asked = self._asked + is_symbol.sum()

    def results(self) -> dict[str, float]:
        """`loss` in nats a step, and `accuracy` of the symbols, 0 to 1."""
        asked = int(self._asked)
        return {"loss": self._entropy.nats, "accuracy": int(self._right) / asked if asked else math.nan}

    def details(self) -> dict[str, Any]:
        """How many predictions the loss sums over, and what guessing gives."""
        return {"targets": self._entropy.count, "baseline": self._baseline, "chance": CHANCE}


class Copy(SyntheticTask):
    """Repeat the symbols."""

    name = "copy"
    metric = "loss"

    def __init__(self, config: CopyConfig, trainer: TrainerConfig, seed: int) -> None:
        """Keep the settings; see `SyntheticTask`."""
        super().__init__(config, trainer, seed)
        self._vocabulary = Vocabulary(TOKENS)
        self._delay = config.delay
        memory = synthetic.MEMORY_LEN
        self.baseline = memory * math.log(synthetic.NUM_SYMBOLS) / (config.delay + 2 * memory)

    def draw(self, generator: np.random.Generator, count: int) -> tuple[Tensor, Tensor]:
        """Draw sequences."""
        return synthetic.copying(generator, count, self._delay)

    def build_model(self, config: ModelConfig) -> nn.Module:
        """Build a model that scores the ten tokens at every step."""
        return build_language_model(len(self.vocabulary), config)

    def nats(self, model: nn.Module, outputs: Tensor, window: Window) -> Tensor:
        """Summed cross-entropy of all steps; logits (T, B, V)."""
        return functional.cross_entropy(outputs.flatten(0, 1).float(), window.targets.flatten(), reduction="sum")

    def new_scores(self) -> CopyScores:
        """Empty scores."""
        return CopyScores(self.baseline)

    def measures(self, loss: float, hit_share: float) -> dict[str, float]:
        """Share of the loss that is left of the one without memory."""
        return {"loss_share": loss / self.baseline}

    @torch.no_grad()
    def samples(self, model: nn.Module, count: int, length: int, seed: int) -> list[str]:
        """Symbols, and what the model repeats."""
        inputs, targets = self._some(count, seed)
        said = self._say(model, inputs).argmax(-1)[-synthetic.MEMORY_LEN :]
        wanted = targets[-synthetic.MEMORY_LEN :]
        texts = ["".join(self.vocabulary.decode(row)) for row in wanted.T.tolist()]
        repeated = ["".join(self.vocabulary.decode(row)) for row in said.T.tolist()]
        return [f"{text}, {self._delay} steps later: {again}" for text, again in zip(texts, repeated, strict=True)]

"""All that the trainer knows of a task.

A task has two lives. In training and evaluation it reads a corpus, or draws its sequences from the seed; in `predict`
and `generate` it is restored from a run's vocabulary alone, so that a finished run can be used where its corpus is not.

What is learned may be tokens, classes or real numbers: a task says what its loss sums over, and everybody else adds it
up and divides by the number of targets.
"""

from __future__ import annotations

import hashlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from rnnlab.config import ModelConfig
from rnnlab.data import Vocabulary
from rnnlab.data.progress import bar
from rnnlab.data.windows import Window, WindowSource
from rnnlab.errors import CheckpointError
from rnnlab.evaluation.scores import Classified
from rnnlab.models import State, reset

log = logging.getLogger("rnnlab")

SPLITS = ("train", "valid", "test")
FORMAT = 1


class Scores(Protocol):
    """Sums over a count, filled window by window."""

    def add(self, outputs: Tensor, window: Window, nats: Tensor) -> None:
        """Count one window: what `Task.forward` gave, and the summed loss that `Task.nats` gave for it."""
        ...

    def results(self) -> dict[str, float]:
        """The scores by name, `loss` (per target, in the task's `loss_unit`) among them."""
        ...

    def details(self) -> dict[str, Any]:
        """What is no single number, JSON-able: a confusion matrix."""
        ...


class Sound(NamedTuple):
    """A sound of one channel: <int16>(samples,), and how many of them a second."""

    samples: np.ndarray
    sample_rate: int


class Task(ABC):
    """What is learned from which data, and how it is scored.

    Attributes:
        name: as in `task=`.
        metric: the score that chooses the best checkpoint.
        higher_is_better: whether a larger score is an improvement.
        loss_unit: of the loss of a target: nats, or "squared error".
        has_lengths: whether windows hold rows of different lengths, which the choice of a backend depends on.
        vocabulary: tokens and their ids; None before a corpus was read or a run restored, and of real numbers.
        corpus: facts for run.json: name, counts, SHA-256 of the encoded splits.
    """

    name: ClassVar[str]
    metric: ClassVar[str]
    higher_is_better: ClassVar[bool]
    loss_unit: ClassVar[str] = "nats"
    has_lengths: ClassVar[bool] = True

    def __init__(self) -> None:
        """Start without corpus and vocabulary."""
        self._vocabulary: Vocabulary | None = None
        self.corpus: dict[str, Any] = {}

    @property
    def vocabulary(self) -> Vocabulary:
        """Tokens and their ids."""
        assert self._vocabulary is not None, "read_corpus or restore comes first"
        return self._vocabulary

    @property
    def has_vocabulary(self) -> bool:
        """Whether a corpus was read or a run restored."""
        return self._vocabulary is not None

    @property
    def vocabulary_hash(self) -> str:
        """The vocabulary's SHA-256; "none" of a task that has none."""
        return self.vocabulary.sha256 if self.has_vocabulary else "none"

    @abstractmethod
    def read_corpus(self) -> None:
        """Make all splits ready; builds the vocabulary from the training split unless one was restored.

        Raises:
            DataError: the corpus is missing, malformed or too small.
        """

    @abstractmethod
    def build_model(self, config: ModelConfig) -> nn.Module:
        """Build a model for this vocabulary; weights are drawn from torch's global generator."""

    @abstractmethod
    def train_windows(self, epoch: int) -> WindowSource:
        """The windows of one pass over the training split, a pure function of (seed, epoch)."""

    @abstractmethod
    def score_windows(self, split: str, batch_size: int) -> WindowSource:
        """The windows of a split in a fixed order; every target stands in exactly one."""

    @abstractmethod
    def nats(self, model: nn.Module, outputs: Tensor, window: Window) -> Tensor:
        """Summed loss of a window's targets, a scalar; `outputs` is what `forward` gave for this model.

        Cross-entropy in nats; of real numbers their squared errors.
        """

    @abstractmethod
    def new_scores(self) -> Scores:
        """Empty scores."""

    def baseline_loss(self) -> float | None:
        """Loss per target, on the validation split, of the best guess that looks at no input; None: not known."""
        return None

    @abstractmethod
    def hits(self, outputs: Tensor, window: Window) -> Tensor | int:
        """Right predictions among a training window's targets; 0 for tasks whose measure does not ask.

        A scalar tensor is read later: asking it at once would wait for the device at every step.
        """

    @abstractmethod
    def measures(self, loss: float, hit_share: float) -> dict[str, float]:
        """What TensorBoard shows beside the training loss, from loss per target and share of right predictions."""

    @abstractmethod
    def samples(self, model: nn.Module, count: int, length: int, seed: int) -> list[str]:
        """Texts that show what the model does; uses no global RNG."""

    def classified(self, scores: Scores) -> Classified | None:
        """What a classifier said of every example that was scored; None for a task that is no classification."""
        return None

    def sound(self, text: str) -> Sound | None:
        """A sample as it sounds; None for a task whose texts have no sound, and for a text that cannot be played."""
        return None

    def after_scoring(self, model: nn.Module, split: str, scores: Scores, device: torch.device) -> None:
        """Add to the scores what one pass over the windows cannot tell; the model is in eval mode. Nothing by default.

        Args:
            model: on `device`.
            split: the one that was scored.
            scores: of that split.
            device: where inputs go.
        """
        return

    def forward(self, model: nn.Module, window: Window, state: State) -> tuple[Tensor, State]:
        """Run a model over a window; returns what `nats`, `hits` and the scores need of it, and the state."""
        return model(window.inputs, state, window.lengths)

    def dump(self) -> dict[str, Any]:
        """What vocabulary.json holds: all that `restore` needs."""
        return {**self._head(), "tokens": list(self.vocabulary.tokens)}

    def restore(self, content: dict[str, Any]) -> None:
        """Take the vocabulary of a finished run.

        Raises:
            CheckpointError: the content is not what `dump` gives, or is another task's.
        """
        self._check_head(content)
        try:
            self._vocabulary = Vocabulary(content["tokens"])
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"vocabulary.json is damaged: {error}") from error

    def _head(self) -> dict[str, Any]:
        """What tells one task's vocabulary.json from another's."""
        return {"format": FORMAT, "task": self.name}

    def _check_head(self, content: dict[str, Any]) -> None:
        if content.get("format") != FORMAT or content.get("task") != self.name:
            raise CheckpointError(
                f"vocabulary.json is of task {content.get('task')!r} and format {content.get('format')!r}; "
                f"wanted {self.name!r} and {FORMAT}"
            )

    def _describe(self, name: str, counts: dict[str, Any], encoded: Iterable[np.ndarray]) -> dict[str, Any]:
        """What `corpus` holds; its hash covers every id of every split: another text or split is another hash."""
        digest = hashlib.sha256(self.vocabulary.sha256.encode())
        for ids in encoded:
            digest.update(len(ids).to_bytes(8, "little"))
            digest.update(np.ascontiguousarray(ids, dtype="<i4").tobytes())
        return {"name": name, **counts, "sha256": digest.hexdigest()}


# Told of each window: its place in the source, the window, and what `Task.forward` gave for it.
Visit = Callable[[int, Window, Tensor], None]


def score(
    task: Task,
    model: nn.Module,
    split: str,
    *,
    batch_size: int,
    device: torch.device,
    autocast: AbstractContextManager[Any] | None = None,
    between_windows: Callable[[], None] | None = None,
) -> Scores:
    """Score a model on a split: state carried, nothing dropped, sums over a count.

    The model is left in the mode it came in, whatever `between_windows` raises; no random number is drawn.
    """
    scores = task.new_scores()

    def add(index: int, window: Window, outputs: Tensor) -> None:
        scores.add(outputs, window, task.nats(model, outputs, window))
        if between_windows is not None and index + 1 < len(windows):
            between_windows()

    windows = task.score_windows(split, batch_size)
    was_training = model.training
    model.eval()
    try:
        visit_windows(task, model, windows, add, device=device, autocast=autocast, what=f"scoring {split}")
        task.after_scoring(model, split, scores, device)
    finally:
        model.train(was_training)
    return scores


@torch.no_grad()
def visit_windows(
    task: Task,
    model: nn.Module,
    windows: WindowSource,
    visit: Visit,
    *,
    device: torch.device,
    autocast: AbstractContextManager[Any] | None = None,
    what: str,
) -> None:
    """Run a model over windows in their order, state carried, without gradients; a bar shows how far it is.

    Args:
        task: whose `forward` runs the model.
        model: left in the mode it came in.
        windows: as `Task.score_windows` gives them.
        visit: told of each window, inside `autocast`.
        device: of the model.
        autocast: the precision, entered anew for each window.
        what: what is done, for the bar.
    """
    state = None
    was_training = model.training
    model.eval()
    try:
        for index in bar(range(len(windows)), what, "window"):
            window = windows[index]
            state = reset(state, window.starts)
            window = window.to(device)
            with autocast or nullcontext():
                outputs, state = task.forward(model, window, state)
                visit(index, window, outputs)
    finally:
        model.train(was_training)


def stack_settings(config: ModelConfig) -> dict[str, Any]:
    """Return the settings that every model hands on to its recurrent layers, as `rnnlab.models` names them."""
    return {
        "cell": config.cell.value,
        "hidden_size": config.hidden_size,
        "num_layers": config.num_layers,
        "dropout": config.dropout,
        "nonlinearity": config.nonlinearity.value,
        "initialisation": config.initialisation.value,
        "init_range": config.init_range,
        "forget_gate_bias": config.forget_gate_bias,
        "backend": config.backend.value,
        "recurrent_dropout": config.recurrent_dropout,
        "weight_drop": config.weight_drop,
        "zoneout": config.zoneout if config.zoneout_cell is None else (config.zoneout, config.zoneout_cell),
        "layer_norm": config.layer_norm,
        "clip_state_grad": config.clip_state_grad,
        "recompute": config.recompute,
    }

"""What TensorBoard shows of a run beside the numbers of training: settings, charts, pictures, sound, distributions.

All of it is written at evaluations and bounded in size, and none of it depends on the clock or on chance: a resumed run
writes what the uninterrupted one does.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from rnnlab.config import NO_HYPERPARAMETERS, TrainConfig
from rnnlab.data.windows import Window
from rnnlab.errors import CannotWriteError
from rnnlab.inspection.chains import can_unroll
from rnnlab.inspection.gates import gate_activations, saturation
from rnnlab.schema import plain, walk
from rnnlab.tasks.base import Scores, Task
from rnnlab.training.console import log
from rnnlab.training.events import EventLog
from rnnlab.training.figures import can_draw, confusion_figure, gates_figure, reliability_figure
from rnnlab.training.projector import shown_token, write_projector

# Engines give the same numbers: no columns of TensorBoard's table of settings.
_ENGINES = {"model.backend", "model.recompute"}
_MAX_CURVES = 10  # classes with a curve of their own
_MAX_ENTRIES = 100_000  # of a tensor whose distribution is shown
_GATE_ROWS, _GATE_STEPS = 8, 64  # of the window whose gates are read
_DRAWN_STEPS = 48


class Board:
    """Writes one run's summaries."""

    def __init__(self, events: EventLog, task: Task, config: TrainConfig, run: Path, device: torch.device) -> None:
        """Keep the parts; nothing is written yet."""
        self._events, self._task, self._settings = events, task, config
        self._config = config.trainer
        self._run, self._device = run, device
        self._is_told = False

    def begin(self) -> None:
        """Write what a new run has once: its settings, and which charts belong side by side."""
        shown = {}
        for setting, value in walk(self._settings):
            if setting.key not in NO_HYPERPARAMETERS | _ENGINES and value is not None:
                # A bool would be shown as 0.0000, a list not at all.
                shown[setting.key] = str(value).lower() if isinstance(value, bool | list) else plain(value)
        metric = self._task.metric
        # The loss, too: of runs of several tasks TensorBoard shows the scores that one of them names.
        scores = (metric, "loss")
        self._events.settings(shown, [f"{split}/{name}" for name in scores for split in ("valid", "test")])
        self._events.charts(
            {
                "learning": {
                    "loss, nats: train and valid": ["^train/loss$", "^valid/loss$"],
                    f"{metric}: train and valid": [f"^train/{metric}$", f"^valid/{metric}$"],
                },
                "optimizer": {
                    "gradient norm": ["^optim/grad_norm$"],
                    "share of clipped steps": ["^optim/clipped_share$"],
                    "learning rate": ["^optim/lr$"],
                },
                "gates": {
                    "share nearly closed (below 0.1)": ["^saturation/.*_left$"],
                    "share nearly open (above 0.9)": ["^saturation/.*_right$"],
                },
            }
        )

    def end(self) -> None:
        """Mark the run as done in the table of settings."""
        self._events.settings_done()

    def samples(self, texts: list[str], step: int) -> None:
        """Write texts, and their sound where they have one."""
        for number, text in enumerate(texts):
            self._events.text(f"samples/{number}", text, step)
            if (sound := self._task.sound(text)) is not None:
                self._events.audio(f"samples/{number}", sound.samples, sound.sample_rate, step)

    def scores(self, split: str, scores: Scores, step: int) -> None:
        """Draw a classifier's mistakes: confusion, how sure it is, precision against recall."""
        classified = self._task.classified(scores) if self._config.figures else None
        if classified is None:
            return
        labels, targets, probabilities = classified
        classes = range(len(labels)) if len(labels) > 2 else [1]  # of two, the curves are one another's mirror
        for index in list(classes)[:_MAX_CURVES]:
            tag = f"{split}/precision_recall/{labels[index]}"
            self._events.precision_recall(tag, targets == index, probabilities[:, index], step)
        if can_draw():
            self._events.image(f"{split}/confusion", confusion_figure(labels, classified.confusion), step)
            self._events.image(f"{split}/reliability", reliability_figure(targets, probabilities), step)

    def gradients(self, trained: nn.Module, step: int) -> None:
        """Write the distributions of the last step's gradients."""
        for name, parameter in trained.named_parameters() if self._config.histograms else ():
            if parameter.grad is not None:
                self._histogram(f"gradients/{name}", parameter.grad.to_dense(), step)

    def inside(self, trained: nn.Module, scored: nn.Module, step: int) -> None:
        """Write what is in the model: distributions of weights and gates, a picture of gates, embeddings.

        Args:
            trained: the model that the optimizer changes.
            scored: the same, or its average: whose gates and embeddings are shown.
            step: the x axis.
        """
        if self._config.histograms:
            for name, parameter in trained.named_parameters():
                self._histogram(f"weights/{name}", parameter, step)
            if can_unroll(scored):
                self._gates(scored, step)
        if self._config.figures:
            embedding = getattr(scored, "embedding", None)
            if isinstance(embedding, nn.Embedding) and self._task.has_vocabulary:
                self._project(embedding.weight)

    def _project(self, vectors: Tensor) -> None:
        """Write the embedding projector's files; a disk that is full costs them, not the run."""
        try:
            write_projector(self._run, self._task.vocabulary.tokens, vectors)
        except CannotWriteError as error:
            if not self._is_told:
                log.warning("%s; training goes on", error)
            self._is_told = True

    def _gates(self, model: nn.Module, step: int) -> None:
        """Read the gates on the beginning of the validation split."""
        window = self._task.score_windows("valid", min(_GATE_ROWS, self._config.eval_batch_size))[0]
        inputs, lengths = _beginning(window, _GATE_ROWS, _GATE_STEPS)
        activations = gate_activations(model, inputs.to(self._device), lengths.to(self._device))
        for name, values in activations.items():
            self._histogram(f"gates/{name}", values, step)
        shares = {f"saturation/{name}": share for name, share in saturation(activations).items()}
        self._events.scalars(shares, step)
        if self._config.figures and self._task.has_vocabulary and can_draw():
            self._draw_gates(model, inputs, lengths, step)

    def _draw_gates(self, model: nn.Module, inputs: Tensor, lengths: Tensor, step: int) -> None:
        """Draw the gates of every layer while the longest of a few texts is read."""
        row = int(lengths.argmax())
        read = inputs[: min(int(lengths[row]), _DRAWN_STEPS), row : row + 1]
        tokens = [shown_token(token) for token in self._task.vocabulary.decode(read[:, 0].tolist())]
        layers: dict[str, dict[str, Tensor]] = {}
        for name, values in gate_activations(model, read.to(self._device)).items():
            layer, _, gate = name.rpartition("/")
            layers.setdefault(layer, {})[gate] = values
        for layer, gates in layers.items():
            self._events.image(f"gates/{layer}", gates_figure(gates, tokens), step)

    def _histogram(self, tag: str, values: Tensor, step: int) -> None:
        """Write a distribution; of a large tensor, of entries that are evenly spaced in it."""
        flat = values.detach().flatten()
        self._events.histogram(tag, flat[:: 1 + (flat.numel() - 1) // _MAX_ENTRIES], step)


def _beginning(window: Window, num_rows: int, num_steps: int) -> tuple[Tensor, Tensor]:
    """The first steps of the first rows, and the rows' lengths in them."""
    inputs = window.inputs[:num_steps, :num_rows]
    if window.lengths is None:
        return inputs, torch.full((inputs.shape[1],), inputs.shape[0])
    lengths = window.lengths[:num_rows].clamp(max=inputs.shape[0])
    return inputs, lengths

"""Pictures of an evaluation, drawn with matplotlib: what was taken for what, how far to trust it, what the gates did.

matplotlib comes with the extra `plots`. It is loaded at the first picture, and only its renderer: no window opens.

Legend: N examples, C classes, T steps, H hidden_size.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from rnnlab.inspection.figures import has_matplotlib

if TYPE_CHECKING:
    from matplotlib.figure import Figure

log = logging.getLogger("rnnlab")

NUM_BINS = 10  # of confidence
SHOWN_UNITS = 48  # rows of a picture of gates
_MAX_LABELLED = 12  # classes whose counts can still be read
_DPI = 100
_STEP_PIXELS, _UNIT_PIXELS = 16, 3  # of a picture of gates
_INK = "#1f4e79"


@cache
def can_draw() -> bool:
    """Whether matplotlib is there; says once how to get it."""
    if has_matplotlib():
        return True
    log.info('no figures in TensorBoard: they need matplotlib: pip install "rnnlab[plots]"')
    return False


def confusion_figure(labels: Sequence[str], counts: np.ndarray) -> Tensor:
    """Draw a confusion matrix, coloured by the share of each true class.

    Args:
        labels: names of the classes.
        counts: <int64>(C, C), a row for each true class.

    Returns:
        <uint8>(3, height, width).
    """
    num_classes = len(labels)
    side = 2.6 + 0.55 * min(num_classes, 16)
    figure = _new_figure(side + 0.6, side)
    axes = figure.add_subplot()
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if num_classes <= _MAX_LABELLED:
        for row, column in np.ndindex(*counts.shape):
            text = f"{counts[row, column]:,}\n{shares[row, column]:.0%}"
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=9)
    axes.set_xticks(range(num_classes), labels, rotation=45 if num_classes > 4 else 0)
    axes.set_yticks(range(num_classes), labels)
    axes.set_xlabel("predicted (colour: share of the true class)")
    axes.set_ylabel("true")
    accuracy = counts.trace() / max(int(counts.sum()), 1)
    axes.set_title(f"{accuracy:.1%} of {int(counts.sum()):,} right", fontsize=11)
    return _pixels(figure)


def reliability_figure(targets: np.ndarray, probabilities: np.ndarray) -> Tensor:
    """Draw how often the model is right against how sure it says it is, and how often it says so.

    Args:
        targets: <int64>(N,) true classes.
        probabilities: (N, C).

    Returns:
        <uint8>(3, height, width).
    """
    sure, right, count = reliability(targets, probabilities)
    error = float((count * np.abs(sure - right)).sum() / max(count.sum(), 1))
    figure = _new_figure(5, 4.6)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    edges = (np.arange(NUM_BINS) + 0.5) / NUM_BINS
    filled = count > 0
    upper.plot([0, 1], [0, 1], color="#999999", linestyle="--", linewidth=1, label="as sure as right")
    upper.bar(edges[filled], right[filled], width=0.9 / NUM_BINS, color="#9ec5e8", label="share right")
    upper.plot(sure[filled], right[filled], marker="o", color=_INK, linewidth=1.5)
    upper.set_ylabel("share right")
    upper.set_ylim(0, 1)
    upper.legend(loc="upper left", fontsize=8, frameon=False)
    upper.set_title(f"expected calibration error {error:.3f}", fontsize=11)
    lower.bar(edges, count, width=0.9 / NUM_BINS, color=_INK)
    lower.set_xlim(0, 1)
    lower.set_xlabel("probability given to the predicted class")
    lower.set_ylabel("examples")
    return _pixels(figure)


def reliability(targets: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sort predictions into equal bins of confidence.

    Args:
        targets: <int64>(N,) true classes.
        probabilities: (N, C).

    Returns:
        For each of the bins: the mean probability of the predicted class, the share that is right (both 0 in an empty
        bin), and how many there are.

    Source: Guo, Pleiss, Sun & Weinberger 2017, section 2.
    """
    confidence = probabilities.max(1)
    bins = np.minimum((confidence * NUM_BINS).astype(np.int64), NUM_BINS - 1)
    count = np.bincount(bins, minlength=NUM_BINS)
    divisor = np.maximum(count, 1)
    sure = np.bincount(bins, confidence, NUM_BINS) / divisor
    right = np.bincount(bins, probabilities.argmax(1) == targets, NUM_BINS) / divisor
    return sure, right, count


def gates_figure(gates: Mapping[str, Tensor], tokens: Sequence[str]) -> Tensor:
    """Draw what the gates of one layer do over the steps of one text, a row for each of the first units.

    Args:
        gates: name -> values, (T, H).
        tokens: what is read at each step, T of them.

    Returns:
        <uint8>(3, height, width).
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    # Pixels and words are placed by hand: four axes with a tick for each token would take three times as long.
    wide = max(_STEP_PIXELS, 400 // len(tokens))
    tall = _UNIT_PIXELS * min(SHOWN_UNITS, next(iter(gates.values())).shape[1])
    left, gap, bottom = 85, 20, 65
    size = np.array([left + wide * len(tokens) + gap, (gap + tall) * len(gates) + bottom])
    figure = Figure(figsize=tuple(size / _DPI), dpi=_DPI)  # no axes, no margins, which few units have no room for
    pictures = {}
    for row, (name, values) in enumerate(gates.items()):
        shown = values[:, :SHOWN_UNITS].T.float().cpu().numpy()
        is_open = name in ("input", "forget", "output", "reset", "update")
        colours = (
            colormaps["viridis"](shown, bytes=True) if is_open else colormaps["RdBu_r"]((shown + 1) / 2, bytes=True)
        )
        top = gap + row * (tall + gap)
        pictures[top] = torch.from_numpy(colours[..., :3].repeat(_UNIT_PIXELS, 0).repeat(wide, 1)).permute(2, 0, 1)
        label = f"{name}\n{'0 dark, 1 bright' if is_open else '-1 blue, 1 red'}"
        x, y = (left - 8, size[1] - top - tall / 2) / size
        figure.text(x, y, label, rotation=90, ha="right", va="center", ma="center", fontsize=8)
    rotation = 90 if max(map(len, tokens)) > 2 else 0
    for step, token in enumerate(tokens):
        x, y = (left + wide * (step + 0.5), bottom - 5) / size
        # A dollar sign would begin a formula.
        figure.text(x, y, token.replace("$", r"\$"), rotation=rotation, ha="center", va="top", fontsize=8)
    drawn = _pixels(figure)
    for top, picture in pictures.items():
        drawn[:, top : top + tall, left : left + picture.shape[2]] = picture
    return drawn


def _new_figure(width: float, height: float) -> Figure:
    """An empty figure, in inches. Its margins are set: to find them, matplotlib would lay it out twice."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=_DPI)
    figure.subplots_adjust(left=0.85 / width, right=1 - 0.2 / width, bottom=0.65 / height, top=1 - 0.4 / height)
    return figure


def _pixels(figure: Figure) -> Tensor:
    """Render; the same figure gives the same pixels."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    with warnings.catch_warnings():
        # Tokens of the user's: letters that the font lacks are drawn as boxes.
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from", UserWarning)
        canvas.draw()
    return torch.from_numpy(np.asarray(canvas.buffer_rgba())[..., :3].copy()).permute(2, 0, 1)

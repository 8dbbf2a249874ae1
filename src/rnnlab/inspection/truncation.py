"""The truncation meter: how well the gradient of truncated BPTT agrees with the whole one.

The same windows, the same loss, but the state passes on its values alone every k steps, as between the windows of
training. The pieces are counted from the end, so that a loss at the end reaches back k steps.

Shapes: T steps, B rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

COSINE, NORM_RATIO = 0.95, 0.1


@dataclass(frozen=True, slots=True)
class Agreement:
    """Of one layer's truncated gradient with the whole one.

    Attributes:
        cosine: of the angle between them; nan where one is 0.
        norm_ratio: length of the truncated one over that of the whole.
    """

    cosine: float
    norm_ratio: float

    @property
    def passes(self) -> bool:
        """Whether the direction is within a cosine of 0.95 and the length within a tenth."""
        return self.cosine >= COSINE and abs(self.norm_ratio - 1) <= NORM_RATIO


def truncation_meter(
    model: nn.Module, loss: Callable[[], Tensor], num_steps: int, lengths: list[int] | None = None
) -> dict[int, dict[str, Agreement]]:
    """Compare truncated gradients with the whole one.

    Args:
        model: with `recurrent`, not bidirectional; its own gradients stay as they are.
        loss: the loss of a window of `num_steps` steps; runs the model once.
        num_steps: T.
        lengths: k to try; None: 1, 2, 4, ... below T.

    Returns:
        By k, and then by layer: `layer_0` for the weights of the recurrent stack's first layer and so on, and the names
        of the model's other parts.
    """
    if lengths is None:
        lengths = [2**power for power in range(num_steps.bit_length()) if 2**power < num_steps]
    whole = _gradients(model, loss)
    found: dict[int, dict[str, Agreement]] = {}
    for steps in lengths:
        with _truncated(model, steps):
            cut = _gradients(model, loss)
        found[steps] = {name: _agreement(cut[name], whole[name]) for name in whole}
    return found


def shortest_that_passes(found: dict[int, dict[str, Agreement]], num_steps: int) -> int:
    """Return the smallest k from which on every layer of the recurrent stack passes; T where none but it does."""
    shortest = num_steps
    for steps in sorted(found, reverse=True):
        layers = (agreement for name, agreement in found[steps].items() if name.startswith("layer_"))
        if not all(agreement.passes for agreement in layers):
            break
        shortest = steps
    return shortest


@contextmanager
def _truncated(model: nn.Module, steps: int) -> Iterator[None]:
    """Make a model's recurrent stack run in pieces between which no gradient passes."""
    recurrent: Any = model.recurrent
    forward = recurrent.forward

    def in_pieces(x: Tensor, state: Any = None, lengths: Tensor | None = None) -> tuple[Tensor, Any]:
        num_steps = x.shape[0]
        edges = [*range(num_steps, 0, -steps), 0][::-1]
        outputs = []
        for first, last in pairwise(edges):
            here = None if lengths is None else (lengths - first).clamp(0, last - first)
            y, state = forward(x[first:last], _cut(state), here)
            outputs.append(y)
        return torch.cat(outputs), state

    recurrent.forward = in_pieces
    try:
        yield
    finally:
        del recurrent.forward  # the class's own again


def _cut(state: Any) -> Any:
    if isinstance(state, tuple):
        return tuple(part.detach() for part in state)
    return None if state is None else state.detach()


def _gradients(model: nn.Module, loss: Callable[[], Tensor]) -> dict[str, Tensor]:
    """Return the gradient of each part as one vector."""
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    with torch.enable_grad():
        grads = torch.autograd.grad(loss(), [p for _, p in named], allow_unused=True, materialize_grads=True)
    parts: dict[str, list[Tensor]] = {}
    for (name, _), grad in zip(named, grads, strict=True):
        parts.setdefault(_part(name), []).append(grad.flatten().double())
    return {name: torch.cat(vectors) for name, vectors in parts.items()}


def _part(name: str) -> str:
    """Return the layer of a recurrent parameter ("weight_hh_l0" -> "layer_0"), else the part of the model it is in."""
    first, _, rest = name.partition(".")
    if first == "recurrent":
        return "layer_" + rest.rpartition("_l")[2]
    return first.removesuffix("_weight").removesuffix("_bias")


def _agreement(cut: Tensor, whole: Tensor) -> Agreement:
    lengths = cut.norm() * whole.norm()
    cosine = float(cut @ whole / lengths) if float(lengths) > 0 else float("nan")
    return Agreement(cosine, float(cut.norm() / whole.norm()) if float(whole.norm()) > 0 else float("nan"))

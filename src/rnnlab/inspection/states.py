"""What every unit of a model holds after every token of many texts: hidden and cell states, and gates.

Legend: T steps, B texts read side by side, H hidden_size, L layers, N tokens of all texts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from rnnlab.cells import GRU, LSTM, RNN, KeptWeights

ROWS = 64


class Quantity(NamedTuple):
    """One kind of number that a layer has for each unit: h, c (LSTM), or a gate by its name in `layer.gates`."""

    layer: int
    name: str

    @property
    def is_state(self) -> bool:
        """Whether the next step starts from it: h and c, which can be held."""
        return self.name in ("h", "c")


@torch.no_grad()
def read_activations(model: nn.Module, texts: Sequence[np.ndarray]) -> dict[Quantity, Tensor]:
    """Read texts, each from an all-zero state and without dropout, and note every quantity after every token.

    States come from the model's own steps with the state carried along; gates from one product a layer.

    Args:
        model: with `embedding` and `recurrent`, of one direction, in evaluation mode.
        texts: token ids of each.

    Returns:
        For each quantity (N, H), text after text, on the CPU; N is the sum of the texts' lengths.
    """
    stack = recurrent_of(model)
    device = next(model.parameters()).device
    found: list[dict[Quantity, Tensor]] = [{} for _ in texts]
    for rows, inputs, lengths in padded(texts):
        lengths = lengths.to(device)
        assert callable(model.embedding)
        x = model.embedding(inputs.to(device))
        values = {Quantity(layer, name): state for name, states in _states(stack, x).items() for layer, state in states}
        for layer, gates in enumerate(stack.gates(x, None, lengths).values()):
            # An RNN's only "gate" is h itself.
            values |= {Quantity(layer, name): gate for name, gate in gates.items() if name != "hidden"}
        for column, row in enumerate(rows):
            for quantity, value in values.items():
                found[row][quantity] = value[: len(texts[row]), column].float().cpu()
    return {quantity: torch.cat([one[quantity] for one in found]) for quantity in sorted(found[0], key=_order)}


def padded(texts: Sequence[np.ndarray]) -> Iterator[tuple[list[int], Tensor, Tensor]]:
    """Yield texts of like length side by side: their numbers, ids <int64>(T, B), and lengths <int64>(B,)."""
    order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
    for start in range(0, len(order), ROWS):
        rows = order[start : start + ROWS]
        lengths = torch.tensor([len(texts[row]) for row in rows])
        inputs = torch.zeros(int(lengths.max()), len(rows), dtype=torch.int64)
        for column, row in enumerate(rows):
            inputs[: len(texts[row]), column] = torch.from_numpy(texts[row])
        yield rows, inputs, lengths


def recurrent_of(model: nn.Module) -> RNN | LSTM | GRU:
    """Return the recurrent layers of a model."""
    stack = model.recurrent
    assert isinstance(stack, RNN | LSTM | GRU)
    return stack


def _states(stack: RNN | LSTM | GRU, x: Tensor) -> dict[str, Iterator[tuple[int, Tensor]]]:
    """Step through x (T, B, I): for h, and c of an LSTM, the layers' states, each (T, B, H).

    Past a text's end the steps go on over padding, which nothing reads.
    """
    seen: list[tuple[Tensor, ...]] = []
    state = None
    with KeptWeights():
        for t in range(len(x)):
            _, state = stack(x[t : t + 1], state)
            seen.append(state if isinstance(state, tuple) else (state,))
    kinds = zip(*seen, strict=True)
    return {name: enumerate(torch.stack(steps, 1)) for name, steps in zip(("h", "c"), kinds, strict=False)}


def _order(quantity: Quantity) -> tuple[int, bool]:
    return quantity.layer, not quantity.is_state

"""Hold a unit at a value and let the model run on: what the unit does, not only what it goes along with.

Legend: T steps, B rows, H hidden_size, L layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from rnnlab.inspection.states import Quantity, recurrent_of


class Unit(NamedTuple):
    """One unit's state in one layer; both count from 0.

    Attributes:
        quantity: h or c of a layer.
        number: 0 to H-1.
    """

    quantity: Quantity
    number: int


class Clamped(nn.Module):
    """A model some of whose units are held at a value; takes the model's place in `generation.sampling.sample`.

    Each step is the model's own, layer by layer: h is set in what the layer above (or the decoder) sees and in the
    state that the next step starts from; c only in that state, so that the unit's own h sees it through forget gate
    and new input. Weights are shared with the model and nothing in it is changed; run it in evaluation mode.
    """

    def __init__(self, model: nn.Module, held: Mapping[Unit, float]) -> None:
        """Hold the units.

        Args:
            model: with `embedding` and `recurrent`, of one direction; and `decode` where logits are wanted.
            held: value of each unit.

        Raises:
            ValueError: a unit or state that the model does not have.
        """
        super().__init__()
        stack = recurrent_of(model)
        if stack.bidirectional:
            raise ValueError("a unit is held from step to step, and a bidirectional model has no step that comes next")
        self.model = model
        self.layers = nn.ModuleList(stack.single_layer(layer) for layer in range(stack.num_layers))
        self._held: list[list[tuple[int, int, float]]] = [[] for _ in self.layers]  # state (h 0, c 1), unit, value
        names = ("h", "c")[: len(stack.state_names)]
        for unit, value in held.items():
            layer, name = unit.quantity
            if not 0 <= layer < stack.num_layers:
                raise ValueError(f"there is no layer {layer}; layers are 0 to {stack.num_layers - 1}")
            if name not in names:
                raise ValueError(f"{name!r} cannot be held; {' and '.join(names)} can")
            if not 0 <= unit.number < stack.hidden_size:
                raise ValueError(f"there is no unit {unit.number}; units are 0 to {stack.hidden_size - 1}")
            self._held[layer].append((names.index(name), unit.number, value))

    def forward(self, inputs: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Return logits (T, B, V) for <int64>(T, B), and the state, as the language model does."""
        h, state = self.hidden(inputs, state)
        return self.model.decode(h), state  # pyright: ignore[reportCallIssue]

    def hidden(self, inputs: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Return the top layer's outputs (T, B, H), and the state in the layout of the model's."""
        before = [None] * len(self.layers) if state is None else _by_layer(state)
        outputs = []
        for x in self.model.embedding(inputs).split(1):  # pyright: ignore[reportCallIssue]
            for number, layer in enumerate(self.layers):
                x, after = layer(x, before[number])
                x, before[number] = _hold(x, after, self._held[number])
            outputs.append(x)
        return torch.cat(outputs), _together(before)


def _hold(y: Tensor, state: Any, held: list[tuple[int, int, float]]) -> tuple[Tensor, Any]:
    """Set units in a layer's output (1, B, H) and in its state, each (1, B, H)."""
    if not held:
        return y, state
    states = [s.clone() for s in (state if isinstance(state, tuple) else (state,))]
    for which, unit, value in held:
        states[which][..., unit] = value
    return states[0], tuple(states) if isinstance(state, tuple) else states[0]


def _by_layer(state: Any) -> list[Any]:
    """Take (L, B, H), or a pair, apart into L states of one layer."""
    if isinstance(state, tuple):
        return list(zip(*(s.split(1) for s in state), strict=True))
    return list(state.split(1))


def _together(states: list[Any]) -> Any:
    if isinstance(states[0], tuple):
        return tuple(torch.cat(parts) for parts in zip(*states, strict=True))
    return torch.cat(states)

"""A recurrent stack as chains: each layer in each direction, unrolled over a window by the equations.

A layer's state at one step reaches its state at a later one through that layer alone: nothing below sees it, and
nothing above hands anything back. So a chain with its inputs held fixed has the exact derivatives of states by earlier
states.

Shapes: T steps, B rows, I input features of a layer, H hidden_size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rnnlab.cells import GRU, LSTM, RNN
from rnnlab.cells.extras import Extras
from rnnlab.cells.reference import States, Weights, run_direction

Stack = RNN | LSTM | GRU
State = Tensor | tuple[Tensor, Tensor] | None


@dataclass(frozen=True, slots=True)
class Chain:
    """One layer in one direction over a window, in the order in which it reads.

    Attributes:
        name: "layer_0", "layer_0_reverse" and so on.
        cell: 'rnn_tanh', 'rnn_relu', 'lstm' or 'gru'.
        weights: detached.
        extras: what the cell does besides, as in evaluation; None: nothing.
        x: its inputs, (T, B, I); 0 past a row's length.
        states: before the first step and after each, T + 1 of them; each (h,) or (h, c) of (B, H). Past a row's length
            they stay.
        lengths: steps of each row, <int64>(B,).
        order: which step of the window each of its steps is, <int64>(T, B): another than its own in reverse.
    """

    name: str
    cell: str
    weights: Weights
    extras: Extras | None
    x: Tensor
    states: list[States]
    lengths: Tensor
    order: Tensor

    @property
    def hidden_size(self) -> int:
        """H."""
        return self.states[0][0].shape[1]

    @property
    def num_steps(self) -> int:
        """T."""
        return self.x.shape[0]

    def step(self, x_t: Tensor, before: States, weights: Weights | None = None) -> States:
        """Take one step from any state; differentiable as often as one likes."""
        more = () if self.extras is None else (self.extras,)
        return run_direction(self.cell, x_t[None], before, weights or self.weights, None, False, *more)[1]

    def run(self, first: int, last: int, start: States, between: Callable[[States], States] | None = None) -> States:
        """Take steps `first` to `last` - 1 from a state; `between` may change the state before each of them."""
        state = start
        for t in range(first, last):
            state = self.step(self.x[t], state if between is None else between(state))
        return state


def can_unroll(model: nn.Module) -> bool:
    """Whether a model has what is looked into: the model of another package's task may have a recurrence of its own."""
    return isinstance(getattr(model, "recurrent", None), Stack) and callable(getattr(model, "embedding", None))


@torch.no_grad()
def unroll(stack: Stack, x: Tensor, state: State = None, lengths: Tensor | None = None) -> list[Chain]:
    """Unroll a stack over a window, without dropout and with the mean of zoneout, as in evaluation.

    Args:
        stack: any backend; the equations are what runs here.
        x: its input, (T, B, I).
        state: before the first step; None is all zero.
        lengths: <int64>(B,) valid steps of each row; None is T for all.

    Returns:
        A chain for each layer and direction, the lowest layer first.
    """
    num_steps, num_rows = x.shape[:2]
    if lengths is None:
        lengths = torch.full((num_rows,), num_steps, device=x.device)
    time = torch.arange(num_steps, device=x.device)[:, None]
    alive = time < lengths
    given = () if state is None else state if isinstance(state, tuple) else (state,)
    chains = []
    for layer in range(stack.num_layers):
        outputs = []
        for direction in range(stack.num_directions):
            row = layer * stack.num_directions + direction
            order = (lengths - 1 - time).clamp(min=0) if direction == 1 else time.expand(-1, num_rows)
            own = torch.take_along_dim(x, order[..., None], 0).masked_fill(~alive[..., None], 0)
            zero = x.new_zeros(num_rows, stack.hidden_size)
            before = tuple(s[row] for s in given) or (zero,) * len(stack.state_names)
            given_weights = (None if w is None else w.detach() for w in stack.layer_weights(layer, direction))
            weights = Weights(*given_weights)  # pyright: ignore[reportArgumentType]
            chain = Chain(
                f"layer_{layer}{'_reverse' if direction else ''}",
                stack.cell,
                weights,
                _extras(stack, layer, direction, x),
                own,
                [before],
                lengths,
                order,
            )
            for t in range(num_steps):
                after = chain.step(own[t], chain.states[t])
                keep = alive[t][:, None]
                chain.states.append(
                    tuple(torch.where(keep, new, old) for new, old in zip(after, chain.states[t], strict=True))
                )
            h = torch.stack([states[0] for states in chain.states[1:]])
            outputs.append(torch.take_along_dim(h, order[..., None], 0).masked_fill(~alive[..., None], 0))
            chains.append(chain)
        x = torch.cat(outputs, dim=-1)
    return chains


def _extras(stack: Stack, layer: int, direction: int, x: Tensor) -> Extras | None:
    settings = stack.extras
    if not set(settings.asked_for()) & {"zoneout", "layer_norm"}:
        return None
    norm = stack.layer_norms(layer, direction)
    drawn = settings.draw(x, stack.hidden_size, len(stack.state_names), norm, training=False)
    # The derivatives are those of the values: a clipped gradient is none, and nothing is recomputed here.
    return drawn._replace(clip_state_grad=None, recompute=False)

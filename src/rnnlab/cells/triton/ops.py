"""One custom op a recurrence and pass around the kernels: rnnlab::triton_rnn, triton_lstm, triton_gru, and _backward.

To torch they are opaque, so `torch.compile(fullgraph=True)` and `opcheck` hold; they cannot be differentiated twice.
Arguments and results: `rnnlab.cells.triton.passes`.

Triton is imported when an op first runs, not with this file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rnnlab.cells.bptt.common import compute_dtype
from rnnlab.cells.define import define_op
from rnnlab.cells.triton.plan import padded_size
from rnnlab.cells.triton.settings import SCHEMA, Settings

_COUNT = len(Settings._fields)
_TENSORS = Settings._fields.index("zoneout_h_share")
"""How many of the settings are tensors, which come first."""


class Recurrence(NamedTuple):
    """What tells the three pairs of ops apart.

    Attributes:
        name: 'rnn', 'lstm' or 'gru'.
        states: 'h', or 'hc' of an LSTM.
        flags: further arguments of both passes, 'relu' of an RNN.
        saved: what is kept for the backward pass, each tensor by its blocks: (T, B, D, *blocks, S) wide.
        rebuilt: how many of those, from the first, the backward pass can compute anew.
        num_biases: gradients of biases that the backward pass tells apart.
    """

    name: str
    states: str
    flags: tuple[str, ...] = ()
    saved: tuple[tuple[int, ...], ...] = ()
    rebuilt: int = 1
    num_biases: int = 1

    @property
    def num_results(self) -> int:
        """Of the forward pass: outputs, final states, what is saved."""
        return 1 + len(self.states) + len(self.saved)

    @property
    def _inputs(self) -> list[str]:
        states = [f"Tensor {s}_0" for s in self.states]
        return ["Tensor x", *states, "Tensor weight_ih, Tensor weight_hh, Tensor? bias_ih, Tensor? bias_hh"]

    @property
    def forward_schema(self) -> str:
        """The forward op's arguments and results."""
        parts = [*self._inputs, SCHEMA, *(f"bool {flag}" for flag in self.flags), "bool save, bool recompute"]
        return f"({', '.join(parts)}) -> ({', '.join(['Tensor'] * self.num_results)})"

    @property
    def backward_schema(self) -> str:
        """The backward op's arguments and results."""
        parts = ["Tensor grad_y", *(f"Tensor? grad_{s}_n" for s in self.states), *self._inputs, "Tensor y"]
        parts += [f"Tensor saved_{i}" for i in range(len(self.saved))]
        parts += [SCHEMA, *(f"bool {flag}" for flag in self.flags), "bool recompute, bool needs_grad_x"]
        results = ["Tensor"] * (3 + len(self.states) + self.num_biases)
        return f"({', '.join(parts)}) -> ({', '.join(results)})"

    def run(self, which: str, x: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
        """Run a pass, 'forward' or 'backward', without autocast: passes mix two widths on purpose."""
        from rnnlab.cells.triton import passes

        end = len(arguments) - len(self.flags) - 2  # of the settings, which lie before flags and two more
        settings = Settings(*arguments[end - _COUNT : end])
        with torch.autocast(x.device.type, enabled=False):
            run = getattr(passes, f"{self.name}_{which}")
            return run(x, *arguments[: end - _COUNT], settings, *arguments[end:])

    def forward_fake(self, x: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
        """Return what the forward pass returns, without its values."""
        count = len(self.states)
        states, weight_hh, settings = (
            arguments[:count],
            arguments[count + 1],
            Settings(*arguments[count + 4 :][:_COUNT]),
        )
        directions, _, hidden_size = weight_hh.shape
        y = x.new_empty(*x.shape[:2], directions * hidden_size)
        final = [x.new_empty(state.shape) for state in states]
        kept = []
        for number, blocks in enumerate(self.saved):
            is_kept = self._is_kept(number, settings, *arguments[-2:])
            shape = (*x.shape[:2], directions, *blocks, padded_size(hidden_size)) if is_kept else (0,)
            kept.append(x.new_empty(shape, dtype=compute_dtype(x)))
        return y, *final, *kept

    def _is_kept(self, number: int, settings: Settings, save: bool, recompute: bool) -> bool:
        if self.name == "rnn" and not settings.zones_out_h:
            return False  # its outputs say all
        return save or (recompute and number >= self.rebuilt)

    def backward_fake(self, grad_y: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
        """Return what the backward pass returns, without its values."""
        count = len(self.states)
        x, *states, weight_ih, weight_hh = arguments[count : 2 * count + 3]
        grad_x = torch.empty_like(x, memory_format=torch.contiguous_format) if arguments[-1] else x.new_empty(0)
        like = [x.new_empty(tensor.shape) for tensor in (*states, weight_ih, weight_hh)]
        return grad_x, *like, *(x.new_empty(weight_ih.shape[:2]) for _ in range(self.num_biases))

    def setup(self, ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        """Save what the backward pass reads."""
        count = 3 + len(self.states)
        *flags, _, ctx.recompute = inputs[count + 2 + _COUNT :]
        settings = Settings(*inputs[count + 2 :][:_COUNT])
        ctx.numbers, ctx.flags, ctx.has_bias = settings[_TENSORS:], flags, inputs[count] is not None
        ctx.set_materialize_grads(False)
        biases = inputs[count : count + 2] if ctx.recompute else (None, None)
        kept = output[0], *output[1 + len(self.states) :]
        ctx.save_for_backward(*inputs[:count], *biases, *kept, *settings[:_TENSORS])

    def gradients(self, ctx: Any, grad_y: Tensor | None, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        """Run the backward op and give each input its gradient."""
        count = len(self.states)
        y = ctx.saved_tensors[count + 5]
        backward = getattr(torch.ops.rnnlab, f"triton_{self.name}_backward")
        grad_x, *rest = backward(
            torch.zeros_like(y) if grad_y is None else grad_y, *grads[:count], *ctx.saved_tensors, *ctx.numbers,
            *ctx.flags, ctx.recompute, ctx.needs_input_grad[0],
        )  # fmt: skip
        weights_and_states, biases = rest[: count + 2], rest[count + 2 :]
        if not ctx.has_bias:
            biases = [None, None]
        elif len(biases) == 1:
            biases = [biases[0], biases[0].clone()]  # never one tensor twice: .grad is changed in place later
        nothing = [None] * (_COUNT + len(self.flags) + 2)
        return grad_x if ctx.needs_input_grad[0] else None, *weights_and_states, *biases, *nothing


def _refuse_second_gradient(ctx: Any, *grads: Any) -> None:
    raise RuntimeError(
        "backend 'triton' has no second derivatives (create_graph=True); build the layer with backend='reference'"
    )


def _keep_nothing(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    pass


def _bind(recurrence: Recurrence, which: str) -> Callable[..., tuple[Tensor, ...]]:
    def run(x: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
        return recurrence.run(which, x, *arguments)

    return run


def _register(recurrence: Recurrence) -> None:
    name = f"rnnlab::triton_{recurrence.name}"
    backward = f"{name}_backward"
    define_op(name, recurrence.forward_schema, _bind(recurrence, "forward"))
    define_op(backward, recurrence.backward_schema, _bind(recurrence, "backward"))
    torch.library.register_fake(name, recurrence.forward_fake)
    torch.library.register_fake(backward, recurrence.backward_fake)
    torch.library.register_autograd(name, recurrence.gradients, setup_context=recurrence.setup)
    torch.library.register_autograd(backward, _refuse_second_gradient, setup_context=_keep_nothing)


for _recurrence in (
    Recurrence("rnn", "h", flags=("relu",), saved=((),)),
    Recurrence("lstm", "hc", saved=((4,), ())),
    Recurrence("gru", "h", saved=((4,),), num_biases=2),
):
    _register(_recurrence)

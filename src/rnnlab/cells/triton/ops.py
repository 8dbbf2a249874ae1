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


class Recurrence(NamedTuple):
    """What tells the three pairs of ops apart.

    Attributes:
        name: 'rnn', 'lstm' or 'gru'.
        states: 'h', or 'hc' of an LSTM.
        flag: name of the forward pass's last argument: 'relu', or 'save' where gates are kept for the backward pass.
        saved: what is kept, each tensor by its blocks: (T, B, D, *blocks, S) wide.
        num_biases: gradients of biases that the backward pass tells apart.
    """

    name: str
    states: str
    flag: str
    saved: tuple[tuple[int, ...], ...] = ()
    num_biases: int = 1

    @property
    def num_results(self) -> int:
        """Of the forward pass: outputs, final states, what is saved."""
        return 1 + len(self.states) + len(self.saved)

    @property
    def forward_schema(self) -> str:
        """The forward op's arguments and results."""
        states = ", ".join(f"Tensor {s}_0" for s in self.states)
        return (
            f"(Tensor x, {states}, Tensor weight_ih, Tensor weight_hh, Tensor? bias_ih, Tensor? bias_hh,"
            f" Tensor? lengths, bool reverse, bool {self.flag}) -> ({', '.join(['Tensor'] * self.num_results)})"
        )

    @property
    def backward_schema(self) -> str:
        """The backward op's arguments and results."""
        parts = ["Tensor grad_y", *(f"Tensor? grad_{s}_n" for s in self.states), "Tensor x"]
        parts += [f"Tensor {s}_0" for s in self.states]
        parts += ["Tensor weight_ih", "Tensor weight_hh", "Tensor? lengths", "Tensor y"]
        parts += [f"Tensor saved_{i}" for i in range(len(self.saved))]
        parts += ["bool reverse", *(["bool relu"] if self.flag == "relu" else []), "bool needs_grad_x"]
        results = ["Tensor"] * (3 + len(self.states) + self.num_biases)
        return f"({', '.join(parts)}) -> ({', '.join(results)})"

    def run(self, which: str, x: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
        """Run a pass, 'forward' or 'backward', without autocast: passes mix two widths on purpose."""
        from rnnlab.cells.triton import passes

        with torch.autocast(x.device.type, enabled=False):
            return getattr(passes, f"{self.name}_{which}")(x, *arguments)

    def forward_fake(self, x: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
        """Return what the forward pass returns, without its values."""
        states, weight_hh, save = arguments[: len(self.states)], arguments[len(self.states) + 1], arguments[-1]
        directions, _, hidden_size = weight_hh.shape
        y = x.new_empty(*x.shape[:2], directions * hidden_size)
        final = [x.new_empty(state.shape) for state in states]
        layout, wide = (*x.shape[:2], directions), compute_dtype(x)
        size = padded_size(hidden_size)
        kept = [x.new_empty((*layout, *blocks, size) if save else (0,), dtype=wide) for blocks in self.saved]
        return y, *final, *kept

    def backward_fake(self, grad_y: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
        """Return what the backward pass returns, without its values."""
        count = len(self.states)
        x, *states, weight_ih, weight_hh = arguments[count : 2 * count + 3]
        grad_x = torch.empty_like(x, memory_format=torch.contiguous_format) if arguments[-1] else x.new_empty(0)
        like = [x.new_empty(tensor.shape) for tensor in (*states, weight_ih, weight_hh)]
        return grad_x, *like, *(x.new_empty(weight_ih.shape[:2]) for _ in range(self.num_biases))

    def setup(self, ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        """Save what the backward pass reads."""
        x, *states = inputs[: 1 + len(self.states)]
        weight_ih, weight_hh, bias_ih, _, lengths, ctx.reverse, flag = inputs[1 + len(self.states) :]
        ctx.flags = (flag,) if self.flag == "relu" else ()
        ctx.has_bias = bias_ih is not None
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, *states, weight_ih, weight_hh, lengths, output[0], *output[1 + len(self.states) :])

    def gradients(self, ctx: Any, grad_y: Tensor | None, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        """Run the backward op and give each input its gradient."""
        count = len(self.states)
        y = ctx.saved_tensors[count + 4]
        backward = getattr(torch.ops.rnnlab, f"triton_{self.name}_backward")
        grad_x, *rest = backward(
            torch.zeros_like(y) if grad_y is None else grad_y,
            *grads[:count], *ctx.saved_tensors, ctx.reverse, *ctx.flags, ctx.needs_input_grad[0],
        )  # fmt: skip
        weights_and_states, biases = rest[: count + 2], rest[count + 2 :]
        if not ctx.has_bias:
            biases = [None, None]
        elif len(biases) == 1:
            biases = [biases[0], biases[0].clone()]  # never one tensor twice: .grad is changed in place later
        return grad_x if ctx.needs_input_grad[0] else None, *weights_and_states, *biases, None, None, None


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
    Recurrence("rnn", "h", "relu"),
    Recurrence("lstm", "hc", "save", saved=((4,), ())),
    Recurrence("gru", "h", "save", saved=((4,),), num_biases=2),
):
    _register(_recurrence)

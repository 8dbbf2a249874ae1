"""The recurrence as one custom op: a whole window in, outputs and final state out, gradients by hand-written BPTT.

To torch the op is opaque, so `torch.compile(fullgraph=True)`, `opcheck` and `gradcheck` hold, and what runs behind it
may be exchanged without anyone noticing: the C++ engine of `cpu/` where it is built and the numbers stand in its
memory, else the loops of `bptt/` in PyTorch. The op cannot be differentiated twice; backend 'reference' can.

Shapes: T steps, B batch, I input_size, H hidden_size, G gates per cell.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from rnnlab.cells import bptt
from rnnlab.cells.bptt.common import compute_dtype
from rnnlab.cells.cpu import engine
from rnnlab.cells.define import define_op
from rnnlab.cells.extras import NO_EXTRAS, Extras
from rnnlab.cells.gates import GATES
from rnnlab.cells.reference import States, Weights

# What both passes are told beside the tensors they differentiate.
_SETTINGS = (
    "Tensor? lengths, Tensor? recurrent_mask, Tensor? zoneout_h, Tensor? zoneout_c, float zoneout_h_share,"
    " float zoneout_c_share, float clip_state_grad, bool reverse, ScalarType? factors"
)


def run_direction(
    cell: str,
    x: Tensor,
    state: States,
    weights: Weights,
    lengths: Tensor | None,
    reverse: bool,
    extras: Extras = NO_EXTRAS,
    *,
    factors: torch.dtype | None = None,
) -> tuple[Tensor, States]:
    """Run one layer in one direction through the op; arguments and results as in `reference.run_direction`.

    `factors` is the dtype that the products' factors are rounded to, where the processor multiplies it itself; nothing
    else is. It is for the engine alone.

    Padded steps of `x` must hold finite numbers, which the layers see to.
    """
    h_0, c_0 = state if len(state) == 2 else (state[0], None)
    save = needs_grad(x, *state, *weights)
    # Where nobody traces there is little that torch must know, and its way to an op costs as much as a small step.
    plain = type(x) is Tensor and not is_watched()
    run: Any = torch.ops.rnnlab.recurrence if not plain else Recurrence.apply if save else _run
    y, h_n, c_n, _, _ = run(
        cell, x, h_0, c_0, *weights, lengths, extras.recurrent_mask, *_zoneout(extras), extras.clip_state_grad or 0.0,
        reverse, factors, save and not extras.recompute, save and extras.recompute,
    )  # fmt: skip
    return y, (h_n,) if c_0 is None else (h_n, c_n)


def needs_grad(*tensors: Tensor | None) -> bool:
    """Return whether a backward pass through any of the tensors may follow."""
    return torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in tensors)


def have_tangents(*tensors: Tensor | None) -> bool:
    """Return whether forward-mode differentiation (torch.func.jvp, dual tensors) has seen any of the tensors."""
    if torch.compiler.is_compiling() or forward_ad._current_level < 0:
        return False
    return any(t is not None and forward_ad.unpack_dual(t).tangent is not None for t in tensors)


FORWARD_MODE, FUNC_GRAD, FUNC_VMAP = "forward-mode differentiation", "torch.func.grad", "torch.func.vmap"
"""What `transform` finds; torch refuses to take a custom op with gradients of its own through the first two."""


def transform(*tensors: Tensor | None) -> str:
    """Name what goes through the call that autograd alone would not do, or return ''."""
    if have_tangents(*tensors):
        return FORWARD_MODE
    if torch.compiler.is_compiling() or not _is_transformed():
        return ""
    tracks = torch._C._functorch.is_gradtrackingtensor  # pyright: ignore[reportAttributeAccessIssue]
    return FUNC_GRAD if any(t is not None and tracks(t) for t in tensors) else FUNC_VMAP


def is_watched() -> bool:
    """Return whether torch looks at what a call does: torch.compile, torch.jit.trace, or a transform such as vmap."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing():  # pyright: ignore[reportPrivateImportUsage]
        return True
    return _is_transformed()


def is_batched(tensor: Tensor) -> bool:
    """Return whether a tensor stands for many: in a backward pass with `is_grads_batched`, unseen by `is_watched`."""
    functorch = torch._C._functorch  # pyright: ignore[reportAttributeAccessIssue]
    return functorch.is_legacy_batchedtensor(tensor) or functorch.is_batchedtensor(tensor)


def _is_transformed() -> bool:
    return torch._C._functorch.maybe_current_level() is not None  # pyright: ignore[reportAttributeAccessIssue]


def _zoneout(extras: Extras) -> tuple[Tensor | None, Tensor | None, float, float]:
    """Split zoneout into masks and shares, for h and for c."""
    h, c = (*(extras.zoneout or ()), None, None)[:2]
    masks = (value if isinstance(value, Tensor) else None for value in (h, c))
    shares = (0.0 if value is None or isinstance(value, Tensor) else float(value) for value in (h, c))
    return (*masks, *shares)  # pyright: ignore[reportReturnType]


def _run(
    cell: str,
    x: Tensor,
    h_0: Tensor,
    c_0: Tensor | None,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None,
    bias_hh: Tensor | None,
    *options: Any,
) -> tuple[Tensor, ...]:
    """Return y, h_n and c_n, and what the backward pass needs: gates (T, B, G*H), and c, q or nothing (T, B, H).

    c_n is empty but for an LSTM; the last two are empty unless `save`.
    """
    *settings, save, _ = options
    if engine.runs(x):
        return engine.forward(cell, x, h_0, c_0, weight_ih, weight_hh, bias_ih, bias_hh, *settings, save=save)
    with torch.autocast(x.device.type, enabled=False):  # the loops mix two widths on purpose
        return bptt.forward(cell, x, h_0, c_0, weight_ih, weight_hh, bias_ih, bias_hh, *settings[:-1], save=save)


define_op(
    "rnnlab::recurrence",
    "(str cell, Tensor x, Tensor h_0, Tensor? c_0, Tensor weight_ih, Tensor weight_hh, Tensor? bias_ih,"
    f" Tensor? bias_hh, {_SETTINGS}, bool save, bool recompute) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
    _run,
)


def _recurrence_backward(
    cell: str, grad_y: Tensor, grad_h_n: Tensor | None, grad_c_n: Tensor | None, x: Tensor, *rest: Any
) -> tuple[Tensor, ...]:
    """Return gradients of x, h_0, c_0, weight_ih, weight_hh, bias_ih and bias_hh; those that nobody wants are empty."""
    *arguments, needs_grad_x = rest
    if engine.runs(x):
        return engine.backward(cell, grad_y, grad_h_n, grad_c_n, x, *arguments, needs_grad_x=needs_grad_x)
    with torch.autocast(x.device.type, enabled=False):
        return bptt.backward(cell, grad_y, grad_h_n, grad_c_n, x, *arguments[:-1], needs_grad_x=needs_grad_x)


define_op(
    "rnnlab::recurrence_backward",
    "(str cell, Tensor grad_y, Tensor? grad_h_n, Tensor? grad_c_n, Tensor x, Tensor h_0, Tensor? c_0,"
    f" Tensor weight_ih, Tensor weight_hh, Tensor y, Tensor gates, Tensor saved, {_SETTINGS}, bool needs_grad_x)"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    _recurrence_backward,
)


@torch.library.register_fake("rnnlab::recurrence")
def _(
    cell: str, x: Tensor, h_0: Tensor, c_0: Tensor | None, weight_ih: Tensor, weight_hh: Tensor, *rest: Any
) -> tuple[Tensor, ...]:
    zoneout_h, zoneout_h_share, save = rest[4], rest[6], rest[-2]
    gates, dtype = len(GATES[cell]), compute_dtype(x)
    shape = (*x.shape[:2], h_0.shape[1])
    empty = x.new_empty(0, dtype=dtype)
    # A simple cell's outputs say all about its gate, unless zoneout stands between.
    keeps_saved = save and (gates > 1 or zoneout_h is not None or zoneout_h_share > 0)
    return (
        x.new_empty(shape),
        x.new_empty(h_0.shape),
        x.new_empty(0 if c_0 is None else c_0.shape),
        x.new_empty(*shape[:2], gates * shape[2], dtype=dtype) if save and gates > 1 else empty,
        x.new_empty(shape, dtype=dtype) if keeps_saved else empty.clone(),
    )


@torch.library.register_fake("rnnlab::recurrence_backward")
def _(
    cell: str,
    grad_y: Tensor,
    grad_h_n: Tensor | None,
    grad_c_n: Tensor | None,
    x: Tensor,
    h_0: Tensor,
    c_0: Tensor | None,
    weight_ih: Tensor,
    weight_hh: Tensor,
    *rest: Any,
) -> tuple[Tensor, ...]:
    shapes = [x.shape if rest[-1] else (0,), h_0.shape, (0,) if c_0 is None else c_0.shape]
    of_weights = [weight_ih.shape, weight_hh.shape, weight_ih.shape[:1], weight_ih.shape[:1]]
    return *(x.new_empty(shape) for shape in shapes), *(weight_ih.new_empty(shape) for shape in of_weights)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    cell, x, h_0, c_0, weight_ih, weight_hh, bias_ih, bias_hh, lengths, mask, zoneout_h, zoneout_c, *numbers = inputs
    *ctx.numbers, _, ctx.recompute = numbers
    ctx.cell, ctx.has_bias = cell, bias_ih is not None
    ctx.set_materialize_grads(False)
    biases = (bias_ih, bias_hh) if ctx.recompute else (None, None)
    kept = (None, None, None) if ctx.recompute else (output[0], *output[3:])
    masks = (lengths, mask, zoneout_h, zoneout_c)
    ctx.save_for_backward(x, h_0, c_0, weight_ih, weight_hh, *biases, *masks, *kept)


def _gradients(ctx: Any, *grads: Tensor | None, by_torch: bool = True) -> tuple[Tensor | None, ...]:
    """Return gradients of the op's arguments, from torch's own ops or from what they run."""
    grad_y, grad_h_n, grad_c_n, *_ = grads
    x, h_0, c_0, weight_ih, weight_hh, bias_ih, bias_hh, *masks, y, gates, saved = ctx.saved_tensors
    settings = (*masks, *ctx.numbers)
    forward: Any = torch.ops.rnnlab.recurrence if by_torch else _run
    backward: Any = torch.ops.rnnlab.recurrence_backward if by_torch else _recurrence_backward
    if ctx.recompute:
        y, _, _, gates, saved = forward(
            ctx.cell, x, h_0, c_0, weight_ih, weight_hh, bias_ih, bias_hh, *settings, True, False
        )
    grad_y = torch.zeros_like(y) if grad_y is None else grad_y
    grad_x, grad_h_0, grad_c_0, *of_weights = backward(
        ctx.cell, grad_y, grad_h_n, None if c_0 is None else grad_c_n, x, h_0, c_0, weight_ih, weight_hh,
        y, gates, saved, *settings, ctx.needs_input_grad[1],
    )  # fmt: skip
    if not ctx.has_bias:
        of_weights[2:] = None, None
    head = (grad_x if ctx.needs_input_grad[1] else None, grad_h_0, None if c_0 is None else grad_c_0)
    return None, *head, *of_weights, *[None] * 11


def _refuse_second_gradient(ctx: Any, *grads: Any) -> None:
    raise RuntimeError(
        "backend 'cpu' has no second derivatives (create_graph=True); build the layer with backend='reference'"
    )


def _keep_nothing(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    pass


torch.library.register_autograd("rnnlab::recurrence", _gradients, setup_context=_setup)
torch.library.register_autograd("rnnlab::recurrence_backward", _refuse_second_gradient, setup_context=_keep_nothing)


class Recurrence(torch.autograd.Function):
    """The op where nobody traces it."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, ...]:
        """Return what the op does, and keep what its gradient needs."""
        output = _run(*inputs)
        _setup(ctx, inputs, output)
        return output

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:  # pyright: ignore
        """Return the arguments' gradients; by the ops where somebody may differentiate them again: they refuse."""
        is_plain = all(grad is None or (type(grad) is Tensor and not is_batched(grad)) for grad in grads)
        return _gradients(ctx, *grads, by_torch=not is_plain or torch.is_grad_enabled() or is_watched())

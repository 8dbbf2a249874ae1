"""The recurrence on the CPU engine: what `rnnlab.cells.ops` asks for, on whole windows in C++.

Shapes: T steps, B batch, I input_size, H hidden_size, G gates per cell. What the backward pass needs is laid out as in
`bptt/`. Half-width inputs are computed in float32; where the processor multiplies bfloat16 itself, their products take
bfloat16 factors. Weights may be wider than the inputs: their gradients then are, too.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rnnlab.cells.cpu.kept import kept_weights
from rnnlab.cells.cpu.library import Dropout, Product, Window, address, call, library

CELLS = {"rnn_tanh": (0, 1), "rnn_relu": (1, 1), "lstm": (2, 4), "gru": (3, 3)}
"""Cells by name: their number in src/engine.h, and how many gates they have."""
_FLOAT32, _FLOAT64, _BFLOAT16 = range(3)
_FEW_ROWS = 4
"""Up to so many, reading the weights as they stand, by all threads, is as fast as reading packed ones."""

Arrays = dict[str, Tensor | None]
"""Tensors by the names that `Window` gives their addresses."""


def runs(x: Tensor) -> bool:
    """Return whether the engine can work on the tensor: it is built, and the tensor's numbers stand in its memory."""
    return x.device.type == "cpu" and library().functions is not None


def arithmetic(x: Tensor, factors: torch.dtype | None = None) -> int:
    """Return how products are formed: of numbers rounded to `factors`, or else as x has them, as src/engine.h counts.

    Only bfloat16 is rounded to, and only where the processor multiplies it itself.
    """
    if x.dtype == torch.float64:
        return _FLOAT64
    narrow = (factors or x.dtype) == torch.bfloat16
    return _BFLOAT16 if narrow and library().multiplies_bfloat16 else _FLOAT32


def forward(
    cell: str,
    x: Tensor,
    h_0: Tensor,
    c_0: Tensor | None,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None,
    bias_hh: Tensor | None,
    lengths: Tensor | None,
    recurrent_mask: Tensor | None,
    zoneout_h: Tensor | None,
    zoneout_c: Tensor | None,
    zoneout_h_share: float,
    zoneout_c_share: float,
    clip_state_grad: float,
    reverse: bool,
    factors: torch.dtype | None = None,
    *,
    save: bool,
) -> tuple[Tensor, ...]:
    """Run a window: y, h_n, c_n (empty but for an LSTM), and for `backward` gates and c, q or h' (else empty).

    Products are formed of numbers rounded to `factors`, or else to x's dtype, if that is bfloat16.
    """
    dtype = _wide_dtype(x)
    arrays = _inputs(dtype, x, h_0, c_0, weight_ih, weight_hh, lengths, recurrent_mask, zoneout_h, zoneout_c)
    arrays |= {"bias_ih": _wide(bias_ih, dtype), "bias_hh": _wide(bias_hh, dtype)}
    steps, batch, hidden_size, num_gates = x.shape[0], x.shape[1], weight_hh.shape[1], CELLS[cell][1]
    y = x.new_empty(steps, batch, hidden_size, dtype=dtype)
    final = [x.new_empty(batch, hidden_size, dtype=dtype) for _ in range(1 if c_0 is None else 2)]
    arrays |= {"y": y} | dict(zip(("h_n", "c_n"), final, strict=False))
    gates, saved = (x.new_empty(0, dtype=dtype) for _ in range(2))
    if save and num_gates > 1:
        gates = arrays["gates"] = x.new_empty(steps, batch, num_gates * hidden_size, dtype=dtype)
    if save and (num_gates > 1 or zoneout_h is not None or zoneout_h_share > 0):
        saved = arrays["saved"] = torch.empty_like(y)
    window = _window(cell, x, arrays, reverse, factors, (zoneout_h_share, zoneout_c_share, clip_state_grad))
    weights = (weight_ih, weight_hh, bias_ih, bias_hh)
    many = steps * batch > _FEW_ROWS
    if not save and many and weight_hh.dtype == dtype and (kept := kept_weights(*weights)) is not None:
        window.packed = kept.find(window, weights).handle
    call("rnnlab_forward", window)
    results = [as_dtype(tensor, x.dtype) for tensor in (y, *final)]
    return *results, *([x.new_empty(0)] if c_0 is None else []), gates, saved


def backward(
    cell: str,
    grad_y: Tensor,
    grad_h_n: Tensor | None,
    grad_c_n: Tensor | None,
    x: Tensor,
    h_0: Tensor,
    c_0: Tensor | None,
    weight_ih: Tensor,
    weight_hh: Tensor,
    y: Tensor,
    gates: Tensor,
    saved: Tensor,
    lengths: Tensor | None,
    recurrent_mask: Tensor | None,
    zoneout_h: Tensor | None,
    zoneout_c: Tensor | None,
    zoneout_h_share: float,
    zoneout_c_share: float,
    clip_state_grad: float,
    reverse: bool,
    factors: torch.dtype | None = None,
    *,
    needs_grad_x: bool,
) -> tuple[Tensor, ...]:
    """Undo `forward`: gradients of x, h_0, c_0 (empty but for an LSTM), both weights and both biases."""
    dtype = _wide_dtype(x)
    arrays = _inputs(dtype, x, h_0, c_0, weight_ih, weight_hh, lengths, recurrent_mask, zoneout_h, zoneout_c)
    given = {"y": y, "grad_y": grad_y, "grad_h_n": grad_h_n, "grad_c_n": grad_c_n}
    arrays |= {name: _wide(tensor, dtype) for name, tensor in given.items()}
    arrays |= {"gates": gates, "saved": saved}
    like = {"grad_x": x if needs_grad_x else None, "grad_h_0": h_0, "grad_c_0": c_0}
    like |= {"grad_weight_ih": weight_ih, "grad_weight_hh": weight_hh}
    grads = {name: x.new_empty(0 if tensor is None else tensor.shape, dtype=dtype) for name, tensor in like.items()}
    grads |= {f"grad_bias_{side}": x.new_empty(weight_hh.shape[0], dtype=dtype) for side in ("ih", "hh")}
    arrays |= {name: tensor for name, tensor in grads.items() if tensor.numel() > 0}
    width = weight_hh.shape[0] + (weight_hh.shape[1] if cell == "gru" else 0)
    arrays["workspace"] = x.new_empty(x.shape[0] * x.shape[1] * width, dtype=dtype)
    window = _window(cell, x, arrays, reverse, factors, (zoneout_h_share, zoneout_c_share, clip_state_grad))
    call("rnnlab_backward", window)
    dtypes = (x.dtype,) * 3 + (weight_hh.dtype,) * 4
    return tuple(as_dtype(grad, dtype) for grad, dtype in zip(grads.values(), dtypes, strict=True))


def multiply(a: Tensor, b: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return a b + bias: (M, K), (K, N), (N,), float32 or float64; transposed views are read in place.

    Raises:
        ValueError: shapes or dtypes do not fit.
    """
    if a.shape[1] != b.shape[0] or a.dtype != b.dtype or (bias is not None and bias.shape != b.shape[1:]):
        raise ValueError(f"cannot multiply {a.dtype} {tuple(a.shape)} by {b.dtype} {tuple(b.shape)} with this bias")
    (a, a_transposed), (b, b_transposed) = _laid_out(a), _laid_out(b)
    depth, rows = a.shape if a_transposed else reversed(a.shape)
    c = a.new_empty(rows, b.shape[0] if b_transposed else b.shape[1])
    bias = _wide(bias, a.dtype)  # a name of its own: only its address goes on
    product = Product(
        arithmetic(a), torch.get_num_threads(), a_transposed, b_transposed, rows, c.shape[1], depth,
        address(a), address(b), address(bias), address(c),
    )  # fmt: skip
    call("rnnlab_multiply", product)
    return c


def drop(x: Tensor, seed: int, p: float) -> Tensor:
    """Return x with entries zeroed with probability p, below 1, and the others divided by 1 - p."""
    wide = as_dtype(x, _wide_dtype(x)).contiguous()
    wide = wide.resolve_neg() if wide.is_neg() else wide
    y = torch.empty_like(wide)
    call(
        "rnnlab_drop", Dropout(arithmetic(wide), torch.get_num_threads(), x.numel(), seed, p, address(wide), address(y))
    )
    return as_dtype(y, x.dtype)


def as_dtype(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Return `tensor.to(dtype)`, without asking torch where there is nothing to do: in a small step that is felt."""
    return tensor if tensor.dtype == dtype else tensor.to(dtype)


def _laid_out(matrix: Tensor) -> tuple[Tensor, bool]:
    """Return the matrix as it stands in memory, row by row, and whether that is its transpose."""
    if matrix.t().is_contiguous() and not matrix.is_contiguous():
        return matrix.t(), True
    return matrix.contiguous(), False


def _wide_dtype(x: Tensor) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def _wide(tensor: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    return None if tensor is None else as_dtype(tensor, dtype).contiguous()


def _inputs(
    dtype: torch.dtype,
    x: Tensor,
    h_0: Tensor,
    c_0: Tensor | None,
    weight_ih: Tensor,
    weight_hh: Tensor,
    lengths: Tensor | None,
    recurrent_mask: Tensor | None,
    zoneout_h: Tensor | None,
    zoneout_c: Tensor | None,
) -> Arrays:
    """Name what both passes read, contiguous and in the width that the engine computes in."""
    numbers = {"x": x, "h_0": h_0, "c_0": c_0, "weight_ih": weight_ih, "weight_hh": weight_hh}
    numbers["recurrent_mask"] = recurrent_mask
    arrays = {name: _wide(tensor, dtype) for name, tensor in numbers.items()}
    whole = {
        "lengths": (lengths, torch.int64),
        "zoneout_h": (zoneout_h, torch.bool),
        "zoneout_c": (zoneout_c, torch.bool),
    }
    return arrays | {name: _wide(tensor, kind) for name, (tensor, kind) in whole.items()}


def _check(cell: str, x: Tensor, arrays: Arrays) -> int:
    """Return the hidden size, after a look at every shape: from here on there are only addresses.

    The values of lengths are checked here too, since while torch.compile traces nobody could.

    Raises:
        ValueError: an array has another shape or device than it must have, or a length is out of range.
    """
    weight_hh, lengths = arrays["weight_hh"], arrays.get("lengths")
    assert weight_hh is not None
    (steps, batch, input_size), hidden_size = x.shape, weight_hh.shape[1]
    rows = CELLS[cell][1] * hidden_size
    state, sequence = (batch, hidden_size), (steps, batch, hidden_size)
    wanted = {"weight_ih": (rows, input_size), "weight_hh": (rows, hidden_size), "bias_ih": (rows,), "bias_hh": (rows,)}
    wanted |= dict.fromkeys(("h_0", "c_0", "recurrent_mask", "grad_h_n", "grad_c_n"), state)
    wanted |= dict.fromkeys(("zoneout_h", "zoneout_c", "y", "grad_y"), sequence) | {"lengths": (batch,)}
    for name, shape in wanted.items():
        array = arrays.get(name)
        if array is not None and (tuple(array.shape) != shape or array.device != x.device):
            raise ValueError(f"{name} must be {shape} on {x.device}, got {tuple(array.shape)} on {array.device}")
    if lengths is not None and batch > 0:
        low, high = (int(value) for value in torch.aminmax(lengths))
        if low < 0 or high > steps:
            raise ValueError(f"lengths must be between 0 and the input's {steps} steps, got {low if low < 0 else high}")
    return hidden_size


def _window(
    cell: str,
    x: Tensor,
    arrays: Arrays,
    reverse: bool,
    factors: torch.dtype | None,
    numbers: tuple[float, float, float],
) -> Window:
    """Describe a call to the engine, once every shape has been looked at."""
    hidden_size = _check(cell, x, arrays)
    return Window(
        cell=CELLS[cell][0],
        arithmetic=arithmetic(x, factors),
        reverse=reverse,
        threads=torch.get_num_threads(),
        steps=x.shape[0],
        batch=x.shape[1],
        input_size=x.shape[2],
        hidden_size=hidden_size,
        zoneout_h_share=numbers[0],
        zoneout_c_share=numbers[1],
        clip_state_grad=numbers[2],
        **{name: address(tensor) for name, tensor in arrays.items()},
    )

"""Fused CUDA kernels in Triton: a whole window of one layer in one launch, in one direction or both.

Triton comes with torch's CUDA wheels for Linux and compiles each kernel when it first runs; users need no CUDA
compiler. Importing this package imports no triton.

    tiles.py           what the kernels share
    rnn.py lstm.py gru.py   the kernels, one body a pass
    plan.py launch.py  block sizes, and one launch for all steps or one a step
    extras.py          what dropout, zoneout and clipping do inside a step
    settings.py        lengths, direction and extras as the passes get them
    window.py passes.py rebuild.py   what stands before and after the loop, as torch's matrix products
    ops.py             the passes as custom ops, with their gradients
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rnnlab.cells.gates import GATES
from rnnlab.cells.reference import States, Weights
from rnnlab.cells.triton.plan import Device, Shape, choose_plan, interpreting
from rnnlab.cells.triton.settings import Settings, stacked

if TYPE_CHECKING:
    from rnnlab.cells.extras import Extras

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
"""What the kernels run on; half-width operands meet float32 states, gates and sums."""


def why_unavailable() -> str | None:
    """Return why no kernel can run on this machine, one phrase, or None."""
    if importlib.util.find_spec("triton") is None:
        return "needs the package triton, which comes with torch's CUDA builds for Linux"
    if interpreting():
        return None
    if not torch.cuda.is_available():
        return "needs a CUDA device"
    if torch.version.hip is None and torch.cuda.get_device_capability() < (8, 0):
        return f"needs a GPU of compute capability 8.0 or newer, got {torch.cuda.get_device_name()}"
    return None


def check_input(x: Tensor) -> None:
    """Refuse an input that no kernel takes.

    Raises:
        ValueError: triton or a CUDA device is missing, or the input is on another device or of another type; names
            what to use instead.
    """
    reason = why_unavailable()
    if reason is None and not interpreting():
        if not x.is_cuda:
            reason = f"needs its input on a CUDA device, got {x.device}"
        elif x.dtype not in DTYPES:
            reason = f"runs on float32, bfloat16 or float16, got {str(x.dtype).removeprefix('torch.')}"
    if reason is not None:
        raise ValueError(f"backend 'triton' {reason}; use backend='auto'")


def run_direction(
    cell: str,
    x: Tensor,
    state: States,
    weights: Weights,
    lengths: Tensor | None,
    reverse: bool,
    extras: Extras | None = None,
) -> tuple[Tensor, States]:
    """Run one layer in one direction; arguments and results as in `rnnlab.cells.reference.run_direction`.

    Padded steps of `x` must hold finite numbers, which the layers see to.

    Raises:
        ValueError: as `check_input`, or layer norm is asked for, which the kernels do not have.
    """
    y, final = _run(cell, x, [state], [weights], lengths, reverse, None if extras is None else [extras])
    return y, final[0]


def run_layer(
    cell: str,
    x: Tensor,
    states: tuple[States, States],
    weights: tuple[Weights, Weights],
    lengths: Tensor | None,
    extras: tuple[Extras, Extras] | None = None,
) -> tuple[Tensor, tuple[States, States]]:
    """Run one layer in both directions, in one launch where the GPU runs all their programs at once.

    Args:
        cell: 'rnn_tanh', 'rnn_relu', 'lstm' or 'gru'.
        x: inputs, (T, B, I), finite at padding.
        states: of either direction, forward first: (h_0,) or (h_0, c_0), each (B, H).
        weights: of either direction, forward first.
        lengths: valid steps of each row, <int64>(B,), 0..T; None: all T.
        extras: of either direction, with masks of its own; None: nothing beyond torch.nn.

    Returns:
        Outputs (T, B, 2*H), forward first, zero past each row's length, and either direction's final state.

    Raises:
        ValueError: as `run_direction`.
    """
    if _together(cell, x, weights[0].weight_hh.shape[1], extras is not None):
        both = None if extras is None else list(extras)
        y, (forward, backward) = _run(cell, x, list(states), list(weights), lengths, False, both)
        return y, (forward, backward)
    each = extras or (None, None)
    y, forward = run_direction(cell, x, states[0], weights[0], lengths, False, each[0])
    y_reverse, backward = run_direction(cell, x, states[1], weights[1], lengths, True, each[1])
    return torch.cat((y, y_reverse), dim=2), (forward, backward)


def _run(
    cell: str,
    x: Tensor,
    states: list[States],
    weights: list[Weights],
    lengths: Tensor | None,
    reverse: bool,
    extras: list[Extras] | None,
) -> tuple[Tensor, list[States]]:
    """Run all given directions in one op: the first as `reverse` says, a second in reverse."""
    if extras is not None and extras[0].norm is not None:
        raise ValueError("backend 'triton' has no layer_norm; use backend='reference' or 'auto'")
    check_input(x)
    from rnnlab.cells.ops import needs_grad
    from rnnlab.cells.triton import ops  # noqa: F401  (registers them)

    both = [stacked(tensors) for tensors in zip(*weights, strict=True)]
    initial = [stacked(tensors) for tensors in zip(*states, strict=True)]
    if extras is None:
        settings, recompute = Settings(lengths, reverse=reverse), False
    else:
        settings, recompute = Settings.of(extras, lengths, reverse), extras[0].recompute
    name = "rnn" if cell.startswith("rnn") else cell
    flags = [cell == "rnn_relu"] if name == "rnn" else []
    save = needs_grad(x, *initial, *both)
    op = getattr(torch.ops.rnnlab, f"triton_{name}")
    results = op(x, *initial, *both, *settings, *flags, save and not recompute, save and recompute)
    final = results[1 : 1 + len(initial)]
    return results[0], [tuple(state[direction] for state in final) for direction in range(len(weights))]


def _together(cell: str, x: Tensor, hidden_size: int, has_extras: bool) -> bool:
    """Whether both directions in one launch run as well as one alone."""
    device = Device.of(x.device)
    shape = Shape.of(x, len(GATES[cell]), hidden_size, 2, backward=True, extras=has_extras)
    alone, both = choose_plan(shape._replace(directions=1), device), choose_plan(shape, device)
    return (both.mode, both.resident) == (alone.mode, alone.resident)

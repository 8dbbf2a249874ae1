"""How long a layer of rnnlab takes beside torch.nn's, once both have been shown to compute the same.

Shapes: T steps, B batch, I input_size.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence

from rnnlab.benchmarks.cases import Case
from rnnlab.benchmarks.load import busy_cores
from rnnlab.benchmarks.parity import BASE, Contender, Data, check_parity, contenders, make_data
from rnnlab.benchmarks.timing import Quartiles, interleave, quartiles, ratios
from rnnlab.cells import KeptWeights


@dataclass(frozen=True, slots=True)
class Measured:
    """How one contender did.

    Attributes:
        name: the contender's.
        backend: what of rnnlab ran.
        rounds: how often it was timed, in turns with the others.
        seconds: of one call (mode token: one token).
        gflops: GFLOP/s at the median, counting matrix products alone.
        speedup: how many times faster than torch.nn; None for torch.nn itself.
        errors: relative norm error to torch.nn by result ('y', 'h_n', 'gradient of x'); empty for torch.nn.
        loaded_seconds: of one call while every core is busy, if that was measured.
        slowdown: `loaded_seconds` over `seconds`, medians.
    """

    name: str
    backend: str
    rounds: int
    seconds: Quartiles
    gflops: float
    speedup: Quartiles | None
    errors: dict[str, float]
    loaded_seconds: Quartiles | None = None
    slowdown: float | None = None


def measure(
    case: Case, *, seconds: float, clock: Callable[[], float] = time.process_time, busy: int = 0
) -> list[Measured]:
    """Check a case's contenders against torch.nn and time them in turns.

    Args:
        case: what to measure.
        seconds: wall time for the rounds, at least.
        clock: as in `interleave`.
        busy: cores to keep busy in a second measurement; 0: there is none.

    Returns:
        One for each contender, torch.nn first.

    Raises:
        ParityError: results differ by more than rounding.
    """
    ways, data = contenders(case), make_data(case)
    errors = check_parity(case, ways, data)
    calls = {way.name: timed_call(case, way, data) for way in ways}
    times = interleave(calls, seconds=seconds, clock=clock)
    loaded: dict[str, list[float]] = {}
    if busy:
        with busy_cores(busy):
            loaded = interleave(calls, seconds=seconds, clock=clock)
    gflop = case.gflop(data.num_steps) / case.calls
    found = []
    for way in ways:
        taken, taken_busy = ([t / case.calls for t in some.get(way.name, [])] for some in (times, loaded))
        middle = quartiles(taken)
        middle_busy = quartiles(taken_busy) if busy else None
        found.append(
            Measured(
                name=way.name,
                backend=way.backend,
                rounds=len(taken),
                seconds=middle,
                gflops=gflop / max(middle.median, 1e-9),
                speedup=None if way.name == BASE else ratios(times[BASE], times[way.name]),
                errors=errors.get(way.name, {}),
                loaded_seconds=middle_busy,
                slowdown=middle_busy.median / middle.median if middle_busy else None,
            )
        )
    return found


def timed_call(case: Case, way: Contender, data: Data) -> Callable[[], object]:
    """Return what is timed: a training step, a forward pass, or a loop of tokens, each from an all-zero state.

    A PackedSequence is made beforehand: torch.nn is not charged for sorting and packing.
    """
    layer, width, (x, lengths, _, (grad, *_)) = way.layer, way.width, data
    if case.mode == "token":
        steps = x.split(1)

        def draw_tokens() -> None:
            state = None
            with torch.inference_mode(), KeptWeights():
                for step in steps:
                    _, state = layer(step, state)

        return draw_tokens
    if not case.learns:

        def infer() -> None:
            with torch.no_grad():
                layer(x)

        return infer
    return _training_step(layer, width, x, lengths, grad)


def _training_step(
    layer: torch.nn.Module,
    width: Callable[[], AbstractContextManager[Any]],
    x: Tensor,
    lengths: Tensor | None,
    grad: Tensor,
) -> Callable[[], object]:
    """Return a step: forward, then the gradients of the input and of all parameters."""
    parameters = list(layer.parameters())
    if lengths is not None and isinstance(layer, torch.nn.RNNBase):
        packed = pack_padded_sequence(x, lengths, enforce_sorted=False)
        leaf = packed.data.clone().requires_grad_()
        packed, grad = packed._replace(data=leaf), pack_padded_sequence(grad, lengths, enforce_sorted=False).data

        def packed_step() -> None:
            y, _ = layer(packed)
            torch.autograd.grad(y.data, [leaf, *parameters], grad)

        return packed_step
    leaf = x.clone().requires_grad_()
    arguments = () if lengths is None else (None, lengths)

    def step() -> None:
        with width():
            y, _ = layer(leaf, *arguments)
        torch.autograd.grad(y, [leaf, *parameters], grad.to(y.dtype))

    return step

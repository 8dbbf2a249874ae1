"""The layers of a case with the same weights, and whether they compute the same.

Shapes: T steps, B batch, I input_size, H hidden_size, L layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from rnnlab.benchmarks.cases import Case
from rnnlab.cells import GRU, LSTM, RNN
from rnnlab.cells.auto import Asked, choose_backend

BASE = "torch.nn"
"""What the others are compared with."""

TOLERANCE = 1e-4
"""Largest relative norm error between two float32 ways: rounding gives 1e-6, a wrong term 1e-2 and more."""

BFLOAT16_TOLERANCE = 5e-2
"""The same to float32 where factors have 8 bits, some 0.004 each, over a window of steps."""

_RNNLAB = {"lstm": LSTM, "gru": GRU, "rnn": RNN}
_TORCH = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn": torch.nn.RNN}
_SEED = 1


class ParityError(Exception):
    """Two ways that should give the same numbers do not; one line that says which."""


class Contender(NamedTuple):
    """One way to compute a case.

    Attributes:
        name: 'torch.nn', 'cpu' or 'auto' of rnnlab, or 'torch.nn bf16' where torch's CPU kernels can.
        backend: what of rnnlab runs; 'torch.nn' for torch's own layers.
        layer: with the same weights as all others.
        bfloat16: whether its products take bfloat16, by autocast.
    """

    name: str
    backend: str
    layer: torch.nn.Module
    bfloat16: bool = False

    def width(self) -> AbstractContextManager[Any]:
        """Return the context that it runs in."""
        return torch.autocast("cpu", dtype=torch.bfloat16) if self.bfloat16 else nullcontext()


class Data(NamedTuple):
    """What all contenders of a case are given.

    Attributes:
        x: (T, B, I).
        lengths: <int64>(B,), 1 to T, in mode packed; else None.
        state: h_0, and c_0 of an LSTM, each (L, B, H).
        grads: of the output (T, B, H) and of each final state (L, B, H).
    """

    x: Tensor
    lengths: Tensor | None
    state: tuple[Tensor, ...]
    grads: tuple[Tensor, ...]

    @property
    def num_steps(self) -> int:
        """Valid steps of all rows together."""
        return self.x.shape[0] * self.x.shape[1] if self.lengths is None else int(self.lengths.sum())


def contenders(case: Case) -> list[Contender]:
    """Build the layers of a case with one set of weights: torch.nn's, rnnlab's cpu, and auto if that is another."""
    _, _, _, input_size, hidden_size, num_layers = case.shape
    sizes = (input_size, hidden_size, num_layers)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        base = _TORCH[case.cell](*sizes).train(case.learns)
        layers = {name: _RNNLAB[case.cell](*sizes, backend=name).train(case.learns) for name in ("cpu", "auto")}
    for layer in layers.values():
        layer.load_state_dict(base.state_dict())
    half = case.mode == "bf16"
    ways = [Contender(BASE, BASE, base), Contender("cpu", "cpu", layers["cpu"], half)]
    chosen = choose_backend("auto", _asked(case)).name
    if chosen != "cpu":
        ways.append(Contender("auto", chosen, layers["auto"], half))
    if half and torch.ops.mkldnn._is_mkldnn_bf16_supported():
        ways.append(Contender(f"{BASE} bf16", BASE, base, bfloat16=True))
    return ways


def _asked(case: Case) -> Asked:
    """Describe a case's calls as `auto` sees them."""
    return Asked(
        cell="rnn_tanh" if case.cell == "rnn" else case.cell,
        device=torch.device("cpu"),
        dtype=torch.bfloat16 if case.mode == "bf16" else torch.float32,
        needs_grad=case.learns,
        has_lengths=case.mode == "packed",
        shape=(1 if case.mode == "token" else case.shape.steps, case.shape.batch_size),
        keeps_weights=case.mode == "token",
    )


def make_data(case: Case) -> Data:
    """Draw what the layers are given; the same for the same case."""
    _, batch, steps, input_size, hidden_size, num_layers = case.shape
    generator = torch.Generator().manual_seed(_SEED)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    lengths = torch.randint(1, steps + 1, (batch,), generator=generator) if case.mode == "packed" else None
    num_states = 2 if case.cell == "lstm" else 1
    state, grads = (tuple(draw(num_layers, batch, hidden_size) for _ in range(num_states)) for _ in range(2))
    return Data(draw(steps, batch, input_size), lengths, state, (draw(steps, batch, hidden_size), *grads))


def check_parity(case: Case, ways: Sequence[Contender], data: Data) -> dict[str, dict[str, float]]:
    """Hold what each contender computes against torch.nn.

    Returns:
        Relative norm errors, by contender and result.

    Raises:
        ParityError: one is larger than the tolerance, or not a number.
    """
    expected = results(case, ways[0], data)
    found: dict[str, dict[str, float]] = {}
    for way in ways[1:]:
        got, tolerance = results(case, way, data), BFLOAT16_TOLERANCE if way.bfloat16 else TOLERANCE
        found[way.name] = {name: relative_error(got[name], value) for name, value in expected.items()}
        for name, error in found[way.name].items():
            if not error <= tolerance:
                raise ParityError(
                    f"{case}: {name} of {way.name} ({way.backend}) is {error:.1e} away from torch.nn's,"
                    f" wanted at most {tolerance:.0e}; its times would mean nothing"
                )
    return found


def relative_error(got: Tensor, expected: Tensor) -> float:
    """Return |got - expected| / |expected|, Euclidean norms; where all of expected is 0, the norm of got."""
    got, expected = got.double(), expected.double()
    size = float(expected.norm())
    return float((got - expected).norm()) / (size or 1.0)


def results(case: Case, way: Contender, data: Data) -> dict[str, Tensor]:
    """Compute everything a case is about, from a state that is not zero: outputs, final states, all gradients."""
    x = data.x.clone().requires_grad_(case.learns)
    state = tuple(s.clone().requires_grad_(case.learns) for s in data.state)
    names = ["h", "c"][: len(state)]
    with torch.set_grad_enabled(case.learns):
        with way.width():
            y, final = _run(case, way.layer, x, state, data.lengths)
        found = {"y": y, **{f"{name}_n": value for name, value in zip(names, final, strict=True)}}
        if case.learns:
            given = {"x": x, **{f"{name}_0": value for name, value in zip(names, state, strict=True)}}
            given |= dict(way.layer.named_parameters())
            outputs = list(found.values())
            grads = [grad.to(output.dtype) for grad, output in zip(data.grads, outputs, strict=True)]
            gradients = torch.autograd.grad(outputs, list(given.values()), grads)
            found |= {f"gradient of {name}": grad for name, grad in zip(given, gradients, strict=True)}
    return {name: value.detach() for name, value in found.items()}


def _run(
    case: Case, layer: torch.nn.Module, x: Tensor, state: Any, lengths: Tensor | None
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Run a layer as the case uses it; outputs are 0 past each row's length."""
    given = state if len(state) == 2 else state[0]
    if case.mode == "token":
        outputs = []
        for step in x.split(1):
            y, given = layer(step, given)
            outputs.append(y)
        y = torch.cat(outputs)
    elif lengths is None:
        y, given = layer(x, given)
    elif isinstance(layer, torch.nn.RNNBase):
        packed, given = layer(pack_padded_sequence(x, lengths, enforce_sorted=False), given)
        y, _ = pad_packed_sequence(packed, total_length=x.shape[0])
    else:
        y, given = layer(x, given, lengths=lengths)
    return y, given if len(state) == 2 else (given,)

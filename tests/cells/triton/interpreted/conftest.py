"""Collected only under TRITON_INTERPRET=1; tests/cells/triton/test_interpreted.py runs this folder so."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from rnnlab.cells.extras import Extras
from rnnlab.cells.gates import GATES
from rnnlab.cells.reference import States, Weights
from rnnlab.cells.triton.plan import interpreting

collect_ignore_glob = [] if interpreting() else ["test_*.py"]

Inputs = tuple[Tensor, States, Weights]


def _make_inputs(
    cell: str, num_steps: int, batch: int, input_size: int, hidden_size: int, bias: bool = True, seed: int = 0
) -> Inputs:
    generator = torch.Generator().manual_seed(seed)

    def leaf(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator).mul_(0.5).requires_grad_()

    rows = len(GATES[cell]) * hidden_size
    state = tuple(leaf(batch, hidden_size) for _ in range(2 if cell == "lstm" else 1))
    biases = [leaf(rows), leaf(rows)] if bias else []
    return leaf(num_steps, batch, input_size), state, Weights(leaf(rows, input_size), leaf(rows, hidden_size), *biases)


@pytest.fixture
def make_inputs() -> Callable[..., Inputs]:
    """Leaves that ask for gradients, float64: x, the state, the weights of one direction."""
    return _make_inputs


def _make_extras(cell: str, num_steps: int, batch: int, hidden_size: int, seed: int = 1, **shares: float) -> Extras:
    generator, states = torch.Generator().manual_seed(seed), 2 if cell == "lstm" else 1

    def draw(*shape: int) -> Tensor:
        return torch.rand(*shape, dtype=torch.float64, generator=generator)

    zoneout: tuple[Tensor | float, ...] = tuple(draw(num_steps, batch, hidden_size) < 0.4 for _ in range(states))
    if shares:
        zoneout = tuple(shares.values())[:states]
    return Extras((draw(batch, hidden_size) < 0.7) / 0.7, zoneout, clip_state_grad=0.3)


@pytest.fixture
def make_extras() -> Callable[..., Extras]:
    """A mask of dropout, masks of zoneout (or the shares given as h=, c=), and a limit that is reached."""
    return _make_extras


def _gradients(outputs: list[Tensor], leaves: list[Tensor]) -> list[Tensor]:
    # Each output has its own weights in the loss, so that a swap of two rows or steps shows.
    loss = sum((out * torch.arange(1, out.numel() + 1).view_as(out).sin()).sum() for out in outputs)
    return [out.detach() for out in outputs] + list(torch.autograd.grad(loss, leaves))  # pyright: ignore


@pytest.fixture
def results_and_gradients() -> Callable[..., list[Tensor]]:
    """Outputs, final states, and the gradient of every input and parameter, of one run in one direction."""

    def run_and_differentiate(run, cell, inputs: Inputs, lengths=None, reverse=False, extras=None) -> list[Tensor]:
        x, state, weights = inputs
        y, final = run(cell, x, state, weights, lengths, reverse, extras)
        return _gradients([y, *final], [x, *state, *(w for w in weights if w is not None)])

    return run_and_differentiate


@pytest.fixture
def gradients() -> Callable[[list[Tensor], list[Tensor]], list[Tensor]]:
    """The given outputs and the gradients of the given leaves."""
    return _gradients


@pytest.fixture(autouse=True)
def nan_in_fresh_memory() -> Iterator[None]:
    """What a kernel forgets to write shows as nan."""
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = True
    yield
    torch.use_deterministic_algorithms(False)

"""Small models in float64 on the equations, and what autograd says of them in full."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from rnnlab.inspection.chains import Chain
from rnnlab.models import LanguageModel

CELLS = {
    "rnn": {"cell": "rnn"},
    "irnn": {"cell": "rnn", "nonlinearity": "relu", "initialisation": "identity"},
    "lstm": {"cell": "lstm"},
    "gru": {"cell": "gru"},
}


def small(kind: str, *, scale: float = 2.0, num_layers: int = 1, **settings) -> LanguageModel:
    """A language model of 7 tokens and 5 units; larger weights, so that lags matter."""
    torch.manual_seed(0)
    arguments = {**CELLS[kind], "hidden_size": 5, "embedding_size": 4, "backend": "reference", **settings}
    model = LanguageModel(7, num_layers=num_layers, **arguments).double().eval()
    with torch.no_grad():
        if kind == "irnn":  # its inputs start near 0, where nothing would happen
            nn.init.normal_(model.recurrent.weight_ih_l0, std=0.5)
        else:
            for parameter in model.parameters():
                parameter.mul_(scale)
    return model


def full_jacobian(chain: Chain, end: int, lag: int, row: int) -> Tensor:
    """dh_end/dh_{end-lag} of one row by autograd, (H, H); the rest of the state held fixed at the start."""
    start = chain.states[end - lag]

    def run(h: Tensor) -> Tensor:
        rows = torch.cat([start[0][:row], h[None], start[0][row + 1 :]])
        return chain.run(end - lag, end, (rows, *start[1:]))[0][row]

    return torch.autograd.functional.jacobian(run, start[0][row])  # pyright: ignore[reportReturnType]


def on_zero(weight_hh: Tensor, steps: int, rows: int = 1) -> Chain:
    """A tanh RNN that stays at 0: tanh' is 1 there, so that it is linear, and each step's Jacobian is W_hh."""
    from rnnlab.cells import RNN
    from rnnlab.inspection.chains import unroll

    size = len(weight_hh)
    layer = RNN(2, size, bias=False, backend="reference").double()
    with torch.no_grad():
        layer.weight_hh_l0.copy_(weight_hh)  # pyright: ignore[reportCallIssue]
    (chain,) = unroll(layer, torch.zeros(steps, rows, 2, dtype=torch.float64))
    return chain


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture(name="small")
def small_fixture():
    return small


@pytest.fixture(name="full_jacobian")
def full_jacobian_fixture():
    return full_jacobian


@pytest.fixture(name="on_zero")
def on_zero_fixture():
    return on_zero

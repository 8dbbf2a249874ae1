"""Gates read in one product a layer equal those of the equations, one step at a time."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import pack_sequence

from rnnlab.cells import GRU, LSTM, RNN, Extras
from rnnlab.cells.gates import GATES
from rnnlab.cells.reference import gru_gates, lstm_gates, run_direction

LAYERS = {"RNN": RNN, "LSTM": LSTM, "GRU": GRU}
every_layer = pytest.mark.parametrize("cell", LAYERS)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def gates_step_by_step(layer, x: Tensor, state: tuple[Tensor, ...], length: int, row: int) -> dict[str, Tensor]:
    """The gates of the last layer that `row` names, of one sequence (T, 1, I), carrying the state by hand."""
    weights, norm = layer.layer_weights(0, row), layer.layer_norms(0, row)
    extras = Extras(norm=norm, zoneout=(layer.zoneout,) * len(state) if layer.zoneout else None)
    found: dict[int, tuple[Tensor, ...]] = {}
    for t in reversed(range(length)) if row == 1 else range(length):
        gates = {"lstm": lstm_gates, "gru": gru_gates}.get(layer.cell)
        y, after = run_direction(layer.cell, x[t : t + 1], state, weights, None, False, extras)
        found[t] = gates(x[t], state[0], weights, extras) if gates else (y[0],)
        state = after
    columns = zip(*(found[t] for t in range(length)), strict=True)
    return {name: torch.cat(column) for name, column in zip(GATES[layer.cell], columns, strict=True)}


@pytest.mark.parametrize("backend", ["reference", "cpu", "torch"])
@pytest.mark.parametrize("extras", [{}, {"layer_norm": True, "zoneout": 0.3}])
@every_layer
def test_gates_equal_the_equations_with_lengths_states_and_both_directions(
    cell: str, extras: dict, backend: str
) -> None:
    backend = "auto" if extras else backend
    layer = LAYERS[cell](3, 4, bidirectional=True, dtype=torch.float64, backend=backend, **extras)
    x, lengths = torch.randn(5, 3, 3, dtype=torch.float64), torch.tensor([5, 2, 3])
    state = tuple(torch.randn(2, 3, 4, dtype=torch.float64) for _ in layer.state_names)
    found = layer.gates(x, state if cell == "LSTM" else state[0], lengths)
    assert list(found) == ["layer_0", "layer_0_reverse"]
    for row, gates in enumerate(found.values()):
        assert tuple(gates) == GATES[layer.cell]
        for column, length in enumerate(lengths.tolist()):
            own = tuple(s[row, column : column + 1] for s in state)
            wanted = gates_step_by_step(layer, x[:, column : column + 1], own, length, row)
            for name, values in gates.items():
                # the same sums in another order: rounding of a few float64 steps
                torch.testing.assert_close(values[:length, column], wanted[name], rtol=1e-12, atol=1e-13)
                assert not values[length:, column].any()


@every_layer
def test_the_second_layer_reads_the_outputs_of_the_first(cell: str) -> None:
    layer, upper = (LAYERS[cell](3, 4, 2, bidirectional=True), LAYERS[cell](8, 4, bidirectional=True))
    lower = LAYERS[cell](3, 4, bidirectional=True)
    lower.load_state_dict({name: p for name, p in layer.state_dict().items() if "_l0" in name})
    upper.load_state_dict({name.replace("_l1", "_l0"): p for name, p in layer.state_dict().items() if "_l1" in name})
    x = torch.randn(5, 2, 3)
    found, wanted = layer.gates(x), upper.gates(lower(x)[0])
    for below, above in (("layer_0", "layer_1"), ("layer_0_reverse", "layer_1_reverse")):
        for gate in GATES[layer.cell]:
            torch.testing.assert_close(found[above][gate], wanted[below][gate])


@every_layer
def test_gates_come_in_the_layout_of_the_input(cell: str) -> None:
    layer = LAYERS[cell](3, 4, batch_first=True)
    x = torch.randn(2, 5, 3)
    batched, single = layer.gates(x)["layer_0"], layer.gates(x[1])["layer_0"]
    for gate in GATES[layer.cell]:
        assert batched[gate].shape == (2, 5, 4)
        torch.testing.assert_close(single[gate], batched[gate][1])


@every_layer
def test_gates_are_read_as_in_eval_and_draw_nothing(cell: str) -> None:
    layer = LAYERS[cell](3, 4, 2, dropout=0.5, recurrent_dropout=0.5, weight_drop=0.5, zoneout=0.5)
    x, before = torch.randn(5, 2, 3), torch.get_rng_state()
    found = layer.gates(x)
    assert torch.equal(torch.get_rng_state(), before)
    wanted = layer.eval().gates(x)
    for name, gates in found.items():
        for gate, values in gates.items():
            assert torch.equal(values, wanted[name][gate])


def test_gates_take_gradients() -> None:
    layer, x = LSTM(3, 4), torch.randn(5, 2, 3, requires_grad=True)
    layer.gates(x)["layer_0"]["forget"].sum().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0


@every_layer
@pytest.mark.parametrize("backend", ["auto", "cpu", "reference"])
def test_gates_under_autocast_are_rounded_and_no_more(cell: str, backend: str) -> None:
    layer, x = LAYERS[cell](5, 8, 2, backend=backend), torch.randn(6, 3, 5)
    exact = layer.gates(x)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = layer.gates(x)
    for name, gates in exact.items():
        for gate, value in gates.items():
            assert rounded[name][gate].dtype == torch.bfloat16
            # Operands rounded at 2^-9, two layers of six steps.
            torch.testing.assert_close(rounded[name][gate].float(), value, atol=0.03, rtol=0)


def test_a_packed_input_is_refused() -> None:
    with pytest.raises(TypeError, match="a padded input with lengths, got a PackedSequence; pad it first"):
        GRU(3, 4).gates(pack_sequence([torch.zeros(2, 3)]))  # pyright: ignore[reportArgumentType]

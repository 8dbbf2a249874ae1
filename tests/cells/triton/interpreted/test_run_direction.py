"""The kernels, in triton's interpreter, against the equations and torch.nn in float64: values and every gradient."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from rnnlab.cells import reference
from rnnlab.cells import triton as engine
from rnnlab.cells.reference import Weights
from rnnlab.cells.triton.plan import overridden
from rnnlab.cells.triton.settings import Settings

CELLS = ["rnn_tanh", "rnn_relu", "lstm", "gru"]
# float64 sums in another order: some hundred terms of size 1.
CLOSE = {"rtol": 1e-11, "atol": 1e-12}


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(
    ("sizes", "bias", "lengths", "reverse"),
    [
        ((4, 3, 4, 7), True, None, True),
        ((4, 3, 2, 5), True, [2, 0, 4], False),
        ((4, 3, 2, 17), False, [1, 4, 0], True),
        ((1, 1, 1, 1), True, None, False),
    ],
)
def test_values_and_every_gradient_equal_the_equations(
    cell, sizes, bias, lengths, reverse, make_inputs, results_and_gradients
) -> None:
    inputs = make_inputs(cell, *sizes, bias=bias)
    lengths = None if lengths is None else torch.tensor(lengths)
    ours = results_and_gradients(engine.run_direction, cell, inputs, lengths, reverse)
    theirs = results_and_gradients(reference.run_direction, cell, inputs, lengths, reverse)
    torch.testing.assert_close(ours, theirs, **CLOSE)


@pytest.mark.parametrize("cell", ["rnn_tanh", "lstm", "gru"])
def test_a_hidden_size_cut_into_many_programs_and_chunks_gives_the_same(
    cell, make_inputs, results_and_gradients
) -> None:
    inputs, lengths = make_inputs(cell, 2, 18, 2, 40), torch.arange(18) % 3
    theirs = results_and_gradients(reference.run_direction, cell, inputs, lengths, True)
    with overridden(mode="step", block_batch=16, block_units=16, chunks=(32, 16, 16), resident=True):
        ours = results_and_gradients(engine.run_direction, cell, inputs, lengths, True)
    torch.testing.assert_close(ours, theirs, **CLOSE)


@pytest.mark.parametrize("cell", ["rnn_tanh", "lstm", "gru"])
def test_both_directions_in_one_grid_equal_a_packed_layer_of_torch(cell, gradients) -> None:
    torch.manual_seed(0)
    module = {"rnn_tanh": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}[cell]
    layer = module(3, 5, bidirectional=True).double()
    count = 2 if cell == "lstm" else 1
    x = torch.randn(4, 3, 3, dtype=torch.float64, requires_grad=True)
    state = [torch.randn(2, 3, 5, dtype=torch.float64, requires_grad=True) for _ in range(count)]
    lengths = torch.tensor([4, 2, 1])
    packed, final = layer(pack_padded_sequence(x, lengths), tuple(state) if count == 2 else state[0])
    final = final if count == 2 else (final,)
    leaves = [x, *state, *layer.parameters()]
    theirs = gradients([pad_packed_sequence(packed)[0], *final], leaves)
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    weights = tuple(Weights(*(getattr(layer, name + end) for name in names)) for end in ("", "_reverse"))
    states = tuple(tuple(s[direction] for s in state) for direction in range(2))
    y, after = engine.run_layer(cell, x, states, weights, lengths)
    ours = gradients([y, *(torch.stack(pair) for pair in zip(*after, strict=True))], leaves)
    torch.testing.assert_close(ours, theirs, **CLOSE)


@pytest.mark.parametrize("cell", ["rnn_relu", "lstm", "gru"])
def test_one_launch_without_a_barrier_equals_one_launch_a_step_bit_for_bit(
    cell, make_inputs, results_and_gradients
) -> None:
    inputs, lengths = make_inputs(cell, 3, 2, 2, 9), torch.tensor([3, 2])
    results = []
    for mode in ("solo", "step"):
        with overridden(mode=mode):
            results.append(results_and_gradients(engine.run_direction, cell, inputs, lengths, True))
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("cell", ["rnn_tanh", "lstm", "gru"])
def test_half_width_operands_meet_float32_states_and_gates(cell, dtype, make_inputs, results_and_gradients) -> None:
    x, state, weights = make_inputs(cell, 4, 2, 3, 16)
    narrow = [t.detach().to(dtype).requires_grad_() for t in (x, *state, *weights)]
    count = len(state)

    def as_inputs(tensors):
        return tensors[0], tuple(tensors[1 : 1 + count]), Weights(*tensors[1 + count :])

    exact = results_and_gradients(
        reference.run_direction, cell, as_inputs([t.detach().double().requires_grad_() for t in narrow])
    )
    ours = results_and_gradients(engine.run_direction, cell, as_inputs(narrow))
    assert {t.dtype for t in ours} == {dtype}
    for value, wanted in zip(ours, exact, strict=True):
        # bfloat16 rounds the input's product, h and da at 2^-9 = 0.002 each, and they add up over four steps.
        assert (value.double() - wanted).norm() / wanted.norm() < 0.02
    if cell != "rnn_tanh":
        op = getattr(torch.ops.rnnlab, f"triton_{cell}")
        kept = op(narrow[0], *(t.unsqueeze(0) for t in narrow[1:]), *Settings(), True, False)[1 + count :]
        assert {t.dtype for t in kept} == {torch.float32}


@pytest.mark.parametrize("cell", ["rnn_relu", "lstm", "gru"])
def test_nan_in_one_sample_stays_there(cell, make_inputs, results_and_gradients) -> None:
    x, state, weights = make_inputs(cell, 3, 3, 2, 4)
    clean, _ = engine.run_direction(cell, x, state, weights, None, False)
    spoilt = x.detach().clone()
    spoilt[1, 1] = torch.nan
    spoilt.requires_grad_()
    y, _ = engine.run_direction(cell, spoilt, state, weights, None, False)
    (grad,) = torch.autograd.grad(y[:, [0, 2]].sum(), spoilt)
    assert y[1:, 1].isnan().all()
    assert torch.equal(y[:, [0, 2]], clean[:, [0, 2]])
    assert grad[:, [0, 2]].isfinite().all()


def test_a_sequence_in_two_chunks_with_carried_state_is_the_whole(make_inputs) -> None:
    x, state, weights = make_inputs("lstm", 5, 2, 3, 6)
    whole, final = engine.run_direction("lstm", x, state, weights, None, False)
    first, between = engine.run_direction("lstm", x[:2], state, weights, None, False)
    second, after = engine.run_direction("lstm", x[2:], between, weights, None, False)
    assert torch.equal(torch.cat((first, second)), whole)
    assert all(torch.equal(a, b) for a, b in zip(after, final, strict=True))


# Where a GPU goes to infinity in silence, numpy warns.
@pytest.mark.filterwarnings("ignore:overflow encountered in exp:RuntimeWarning")
def test_gates_saturate_and_do_not_overflow(make_inputs) -> None:
    x, state, weights = make_inputs("lstm", 2, 1, 2, 3)
    y, (_, c) = engine.run_direction("lstm", x.detach() * 1e4, state, weights, None, False)
    wanted, (_, c_wanted) = reference.run_direction("lstm", x.detach() * 1e4, state, weights, None, False)
    torch.testing.assert_close((y, c), (wanted, c_wanted), **CLOSE)

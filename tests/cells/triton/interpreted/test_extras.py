"""Recurrent dropout, zoneout, clipping and recomputing in the kernels, against the equations in float64."""

from __future__ import annotations

import pytest
import torch

from rnnlab.cells import GRU, LSTM, RNN, reference
from rnnlab.cells import triton as engine
from rnnlab.cells.backends import ENGINES
from rnnlab.cells.triton import ops  # noqa: F401  (registers them)
from rnnlab.cells.triton.plan import overridden
from rnnlab.cells.triton.settings import Settings

CELLS = ["rnn_tanh", "rnn_relu", "lstm", "gru"]
# float64 sums in another order: some hundred terms of size 1.
CLOSE = {"rtol": 1e-12, "atol": 1e-12}
SHARES = {"h": 0.3, "c": 0.6}


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(
    ("sizes", "lengths", "reverse", "shares", "changes"),
    [
        ((4, 3, 2, 5), [2, 0, 4], False, {}, {}),
        ((4, 3, 2, 17), [1, 4, 0], True, SHARES, {"recompute": True}),
        ((4, 3, 2, 5), [1, 4, 2], True, {}, {"recompute": True}),
        ((3, 2, 2, 7), None, True, {}, {"zoneout": None}),
        ((3, 2, 2, 5), None, False, {}, {"recurrent_mask": None, "clip_state_grad": None}),
        ((3, 2, 2, 5), [3, 1], False, SHARES, {"recurrent_mask": None, "clip_state_grad": None}),
        ((3, 2, 2, 5), [1, 3], True, {}, {"recurrent_mask": None, "zoneout": None}),
        ((1, 1, 1, 1), None, False, {}, {"recompute": True}),
    ],
)
def test_values_and_every_gradient_equal_the_equations(
    cell, sizes, lengths, reverse, shares, changes, make_inputs, make_extras, results_and_gradients
) -> None:
    inputs, (steps, batch, _, hidden_size) = make_inputs(cell, *sizes), sizes
    extras = make_extras(cell, steps, batch, hidden_size, **shares)._replace(**changes)
    lengths = None if lengths is None else torch.tensor(lengths)
    ours = results_and_gradients(engine.run_direction, cell, inputs, lengths, reverse, extras)
    theirs = results_and_gradients(reference.run_direction, cell, inputs, lengths, reverse, extras)
    torch.testing.assert_close(ours, theirs, **CLOSE)


@pytest.mark.parametrize("cell", ["rnn_tanh", "lstm", "gru"])
def test_the_limit_of_these_tests_is_reached(cell, make_inputs, make_extras, results_and_gradients) -> None:
    inputs, extras = make_inputs(cell, 3, 2, 2, 5), make_extras(cell, 3, 2, 5)
    ours = results_and_gradients(engine.run_direction, cell, inputs, None, False, extras)
    free = results_and_gradients(engine.run_direction, cell, inputs, None, False, extras._replace(clip_state_grad=None))
    states = slice(2 if cell != "lstm" else 3, None)
    assert all(not torch.allclose(a, b) for a, b in zip(ours[states], free[states], strict=True))


@pytest.mark.parametrize("zone", ["h", "c"])
def test_an_lstm_zones_out_either_state_alone(zone, make_inputs, make_extras, results_and_gradients) -> None:
    inputs, extras = make_inputs("lstm", 4, 3, 2, 5), make_extras("lstm", 4, 3, 5)
    extras = extras._replace(zoneout=(extras.zoneout[0], None) if zone == "h" else (None, 0.25))
    results = [
        results_and_gradients(run, "lstm", inputs, torch.tensor([4, 1, 3]), True, extras)
        for run in (engine.run_direction, reference.run_direction)
    ]
    torch.testing.assert_close(*results, **CLOSE)


@pytest.mark.parametrize("cell", ["rnn_relu", "lstm", "gru"])
def test_all_launches_give_the_same_bit_for_bit(cell, make_inputs, make_extras, results_and_gradients) -> None:
    inputs, extras, lengths = make_inputs(cell, 3, 18, 2, 40), make_extras(cell, 3, 18, 40), torch.arange(18) % 4
    theirs = results_and_gradients(reference.run_direction, cell, inputs, lengths, True, extras)
    results = []
    for changes in (
        {"mode": "solo", "block_units": 64, "chunks": (64,)},
        {"mode": "step", "block_units": 64, "chunks": (64,)},
        {"mode": "step", "block_batch": 16, "block_units": 16, "chunks": (32, 16, 16), "resident": True},
    ):
        with overridden(**changes):
            results.append(results_and_gradients(engine.run_direction, cell, inputs, lengths, True, extras))
        torch.testing.assert_close(results[-1], theirs, **CLOSE)
    assert all(torch.equal(a, b) for a, b in zip(*results[:2], strict=True))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("layer", [RNN, LSTM, GRU])
def test_a_layer_draws_the_masks_of_the_reference_and_repeats_itself(layer, training, monkeypatch) -> None:
    monkeypatch.setitem(ENGINES, "triton", ENGINES["triton"]._replace(devices=None, dtypes=None))
    extras = {"recurrent_dropout": 0.3, "zoneout": 0.2, "clip_state_grad": 0.1, "weight_drop": 0.3, "recompute": True}
    found, gates = [], []
    for backend in ("reference", "triton", "triton"):
        torch.manual_seed(0)
        net = layer(3, 5, 2, bidirectional=True, dtype=torch.float64, backend=backend, **extras).train(training)
        x, lengths = torch.randn(4, 3, 3, dtype=torch.float64, requires_grad=True), torch.tensor([4, 0, 2])
        y, _ = net(x, None, lengths)
        found.append([y, *torch.autograd.grad(y.square().sum(), [x, *net.parameters()])])
        gates.append(net.gates(x, None, lengths))
    torch.testing.assert_close(found[1], found[0], **CLOSE)
    torch.testing.assert_close(gates[1], gates[0], **CLOSE)
    assert all(torch.equal(a, b) for a, b in zip(found[1], found[2], strict=True))


@pytest.mark.parametrize(("cell", "kept"), [("rnn_relu", [0]), ("gru", [0]), ("lstm", [0, 3 * 2 * 16])])
def test_recomputing_keeps_no_gates(cell, kept, make_inputs, make_extras) -> None:
    x, state, weights = make_inputs(cell, 3, 2, 2, 5)
    stacked = [tensor.unsqueeze(0) for tensor in (*state, *weights)]
    settings, relu = Settings.of([make_extras(cell, 3, 2, 5)], None, False), [True] if cell == "rnn_relu" else []
    op = getattr(torch.ops.rnnlab, f"triton_{cell.split('_')[0]}")
    results = op(x, *stacked, *settings, *relu, False, True)
    assert [tensor.numel() for tensor in results[1 + len(state) :]] == kept


@pytest.mark.parametrize("cell", ["rnn_relu", "lstm", "gru"])
def test_nan_in_one_sample_stays_there(cell, make_inputs, make_extras) -> None:
    x, state, weights = make_inputs(cell, 3, 3, 2, 4)
    extras = make_extras(cell, 3, 3, 4)._replace(recompute=True)
    clean, _ = engine.run_direction(cell, x, state, weights, None, False, extras)
    spoilt = x.detach().clone()
    spoilt[1, 1] = torch.nan
    spoilt.requires_grad_()
    y, _ = engine.run_direction(cell, spoilt, state, weights, None, False, extras)
    (grad,) = torch.autograd.grad(y.nan_to_num().sum(), spoilt)
    assert y[:, 1].isnan().any()
    assert torch.equal(y[:, [0, 2]], clean[:, [0, 2]])
    assert grad[:, [0, 2]].isfinite().all()


# Where a GPU goes to infinity in silence, numpy warns.
@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
def test_a_unit_that_is_kept_is_spared_the_infinity_that_it_would_become(
    make_inputs, make_extras, results_and_gradients
) -> None:
    x, state, weights = make_inputs("rnn_relu", 3, 2, 2, 4)
    huge = (
        x.detach().abs().mul(1e200).requires_grad_(),
        state,
        weights._replace(weight_ih=weights.weight_ih.detach().abs().mul(1e200).requires_grad_()),
    )
    keep = torch.ones(3, 2, 4, dtype=torch.bool)
    extras = make_extras("rnn_relu", 3, 2, 4)._replace(zoneout=(keep,), clip_state_grad=None)
    ours = results_and_gradients(engine.run_direction, "rnn_relu", huge, None, False, extras)
    assert all(value.isfinite().all() for value in ours)
    assert torch.equal(ours[1], state[0])


@pytest.mark.parametrize("cell", ["rnn_tanh", "lstm", "gru"])
def test_half_width_operands_meet_extras_in_float32(cell, make_inputs, make_extras, results_and_gradients) -> None:
    x, state, weights = make_inputs(cell, 4, 2, 3, 16)
    extras = make_extras(cell, 4, 2, 16)._replace(clip_state_grad=None, recompute=True)

    def inputs(dtype):
        leaves = [t.detach().bfloat16().to(dtype).requires_grad_() for t in (x, *state, *weights)]
        return leaves[0], tuple(leaves[1 : 1 + len(state)]), type(weights)(*leaves[1 + len(state) :])

    exact = results_and_gradients(reference.run_direction, cell, inputs(torch.float64), None, False, extras)
    narrow = extras._replace(recurrent_mask=extras.recurrent_mask.bfloat16())
    ours = results_and_gradients(engine.run_direction, cell, inputs(torch.bfloat16), None, False, narrow)
    assert {t.dtype for t in ours} == {torch.bfloat16}
    for value, wanted in zip(ours, exact, strict=True):
        # bfloat16 rounds the input's product, h, da, and here the mask and rebuilt gates too, at 2^-9 = 0.002 each.
        assert (value.double() - wanted).norm() / wanted.norm() < 0.02

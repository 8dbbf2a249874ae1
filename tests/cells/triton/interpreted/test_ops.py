"""The ops around the kernels, as good citizens of torch.library."""

from __future__ import annotations

import pytest
import torch

from rnnlab.cells import triton as engine
from rnnlab.cells.triton import ops  # noqa: F401  (registers them)
from rnnlab.cells.triton.settings import Settings


@pytest.mark.parametrize("which", ["plain", "save", "recompute"])
@pytest.mark.parametrize("cell", ["rnn_tanh", "lstm", "gru"])
def test_opcheck_accepts_the_ops(cell, which, make_inputs, make_extras) -> None:
    x, state, weights = make_inputs(cell, 2, 2, 2, 3)
    stacked = [tensor.detach().unsqueeze(0).requires_grad_() for tensor in (*state, *weights)]
    op = getattr(torch.ops.rnnlab, f"triton_{cell.split('_')[0]}").default
    settings = Settings(torch.tensor([2, 1]))
    if which != "plain":
        settings = Settings.of([make_extras(cell, 2, 2, 3)], torch.tensor([2, 1]), True)
    relu = [False] if cell == "rnn_tanh" else []
    torch.library.opcheck(op, (x, *stacked, *settings, *relu, which != "recompute", which == "recompute"))


@pytest.mark.parametrize("with_extras", [False, True])
def test_a_compiled_call_has_no_graph_break_and_the_same_gradients(
    with_extras, make_inputs, make_extras, results_and_gradients
) -> None:
    inputs = make_inputs("gru", 2, 2, 2, 3)
    extras = make_extras("gru", 2, 2, 3)._replace(recompute=True) if with_extras else None
    compiled = torch.compile(engine.run_direction, fullgraph=True, backend="aot_eager")
    ours = results_and_gradients(compiled, "gru", inputs, None, False, extras)
    eager = results_and_gradients(engine.run_direction, "gru", inputs, None, False, extras)
    assert all(torch.equal(a, b) for a, b in zip(ours, eager, strict=True))


def test_nothing_is_saved_when_no_gradient_can_follow(make_inputs) -> None:
    x, state, weights = make_inputs("lstm", 2, 2, 2, 3)
    stacked = [tensor.unsqueeze(0) for tensor in (*state, *weights)]
    with torch.no_grad():
        results = torch.ops.rnnlab.triton_lstm(x, *stacked, *Settings(), False, False)
        y, final = engine.run_direction("lstm", x, state, weights, None, False)
    assert [kept.numel() for kept in results[3:]] == [0, 0]
    assert torch.equal(results[0], y)
    assert y.shape == (2, 2, 3)
    assert [s.shape for s in final] == [(2, 3), (2, 3)]


def test_a_loss_on_the_final_state_alone_has_gradients_and_those_not_wanted_are_skipped(make_inputs) -> None:
    x, state, weights = make_inputs("gru", 3, 2, 2, 4)
    leaves = [*state, *weights]
    grads = []
    for inputs in (x, x.detach()):
        _, (h_n,) = engine.run_direction("gru", inputs, state, weights, torch.tensor([3, 1]), False)
        grads.append(torch.autograd.grad(h_n.square().sum(), leaves))
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))
    assert all(grad.abs().sum() > 0 for grad in grads[0])


def test_a_second_derivative_is_refused_and_the_backend_that_has_it_is_named(make_inputs) -> None:
    x, state, weights = make_inputs("rnn_tanh", 2, 1, 2, 3)
    y, _ = engine.run_direction("rnn_tanh", x, state, weights, None, False)
    (grad,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match=r"no second derivatives.*backend='reference'"):
        grad.sum().backward()


def test_the_two_biases_never_share_one_gradient_tensor(make_inputs) -> None:
    x, state, weights = make_inputs("lstm", 2, 1, 2, 3)
    engine.run_direction("lstm", x, state, weights, None, False)[0].sum().backward()
    assert torch.equal(weights.bias_ih.grad, weights.bias_hh.grad)
    assert weights.bias_ih.grad.data_ptr() != weights.bias_hh.grad.data_ptr()

"""The whole-window ops: against the equations, by numeric gradient, and as good citizens of torch.library."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rnnlab.cells import ops, reference
from rnnlab.cells.cpu import engine
from rnnlab.cells.cpu.library import library
from rnnlab.cells.extras import Extras
from rnnlab.cells.reference import Weights

CELLS = {"rnn_tanh": 1, "rnn_relu": 1, "lstm": 4, "gru": 3}


BEHIND = ["C++", "PyTorch"]
behind_the_op = pytest.mark.parametrize("behind", BEHIND)


def run_behind(behind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Choose what runs behind the op."""
    if behind == "PyTorch":
        monkeypatch.setattr(engine, "runs", lambda x: False)
    elif library().functions is None:
        pytest.skip(f"the C++ engine is {library().detail}")


def op_arguments(cell: str, x: Tensor, state, weights: Weights, lengths: Tensor | None, save: bool):
    """Arguments of torch.ops.rnnlab.recurrence, forward in time, without extras."""
    h_0, c_0 = (*state, None)[:2]
    return (cell, x, h_0, c_0, *weights, lengths, None, None, None, 0.0, 0.0, 0.0, False, None, save, False)


def make_inputs(
    cell: str, num_steps: int, batch: int, input_size: int, hidden_size: int, bias: bool = True, seed: int = 0
) -> tuple[Tensor, tuple[Tensor, ...], Weights]:
    """Leaves that ask for gradients, float64: x, the state, the weights."""
    generator = torch.Generator().manual_seed(seed)

    def leaf(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator).mul_(0.6).requires_grad_()

    rows = CELLS[cell] * hidden_size
    biases = [leaf(rows), leaf(rows)] if bias else []
    state = tuple(leaf(batch, hidden_size) for _ in range(2 if cell == "lstm" else 1))
    return leaf(num_steps, batch, input_size), state, Weights(leaf(rows, input_size), leaf(rows, hidden_size), *biases)


def results_and_gradients(run, cell: str, x: Tensor, state, weights: Weights, lengths, reverse: bool) -> list[Tensor]:
    y, final = run(cell, x, state, weights, lengths, reverse)
    outputs = [y, *final]
    # Each output has its own weights in the loss, so that a swap of two rows or steps shows.
    loss = sum((out * torch.arange(1, out.numel() + 1).view_as(out).sin()).sum() for out in outputs)
    return outputs + list(torch.autograd.grad(loss, [x, *state, *(w for w in weights if w is not None)]))


@settings(max_examples=100)
@given(data=st.data())
def test_values_and_every_gradient_equal_the_equations(data: st.DataObject) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        run_behind(data.draw(st.sampled_from(BEHIND[library().functions is None :])), monkeypatch)
        check_against_the_equations(data)


def check_against_the_equations(data: st.DataObject) -> None:
    cell = data.draw(st.sampled_from(sorted(CELLS)))
    num_steps, batch, input_size, hidden_size = (data.draw(st.integers(1, top)) for top in (7, 20, 5, 19))
    lengths = data.draw(st.none() | st.lists(st.integers(0, num_steps), min_size=batch, max_size=batch))
    lengths = None if lengths is None else torch.tensor(lengths)
    inputs = make_inputs(cell, num_steps, batch, input_size, hidden_size, bias=data.draw(st.booleans()))
    arguments = (cell, *inputs, lengths, data.draw(st.booleans()))
    for ours, theirs in zip(
        results_and_gradients(ops.run_direction, *arguments),
        results_and_gradients(reference.run_direction, *arguments),
        strict=True,
    ):
        # float64 sums in another order: a few hundred terms as large as the largest sum, which a ReLU lets grow.
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-13 * max(1.0, float(theirs.detach().abs().max())))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("lengths", [None, [3, 0, 1]])
@behind_the_op
def test_gradients_match_numeric_ones(
    cell: str, reverse: bool, lengths: list[int] | None, behind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_behind(behind, monkeypatch)
    x, state, weights = make_inputs(cell, 3, 3, 2, 2)
    rows = None if lengths is None else torch.tensor(lengths)

    def run(x: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        y, final = ops.run_direction(cell, x, rest[: len(state)], Weights(*rest[len(state) :]), rows, reverse)
        return y, *final

    torch.autograd.gradcheck(run, (x, *state, *weights))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(("lengths", "grad"), [(None, True), ([3, 0, 1], True), ([3, 0, 1], False)])
@behind_the_op
def test_opcheck_accepts_the_op(
    cell: str, lengths: list[int] | None, grad: bool, behind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_behind(behind, monkeypatch)
    x, state, weights = make_inputs(cell, 3, 3, 2, 4, bias=grad)
    rows = None if lengths is None else torch.tensor(lengths)
    if not grad:
        x, state, weights = x.detach(), tuple(s.detach() for s in state), Weights(*(w.detach() for w in weights[:2]))
    torch.library.opcheck(torch.ops.rnnlab.recurrence.default, op_arguments(cell, x, state, weights, rows, grad))


@pytest.mark.parametrize("cell", CELLS)
def test_a_loss_on_the_final_state_alone_has_the_right_gradients(cell: str) -> None:
    x, state, weights = make_inputs(cell, 4, 2, 3, 3)
    wanted = []
    for run in (ops.run_direction, reference.run_direction):
        final = run(cell, x, state, weights, torch.tensor([4, 2]), False)[1]
        wanted.append(torch.autograd.grad(sum(s.square().sum() for s in final), [x, *state, *weights]))
    torch.testing.assert_close(wanted[0], wanted[1], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("cell", CELLS)
@behind_the_op
def test_nothing_is_saved_when_no_gradient_can_follow(cell: str, behind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run_behind(behind, monkeypatch)
    x, state, weights = make_inputs(cell, 3, 2, 2, 4)
    with torch.no_grad():
        y, _ = ops.run_direction(cell, x, state, weights, None, False)
        kept = torch.ops.rnnlab.recurrence(*op_arguments(cell, x, state, weights, None, save=False))[3:]
        assert [tensor.numel() for tensor in kept] == [0, 0]
    # The engine forms a few rows' products without packing, in another order: float64 roundings.
    torch.testing.assert_close(
        y, ops.run_direction(cell, x, state, weights, None, False)[0].detach(), rtol=1e-14, atol=1e-15
    )


def test_the_gradient_of_the_input_is_skipped_when_nobody_wants_it() -> None:
    x, state, weights = make_inputs("lstm", 3, 2, 2, 4)
    y, _ = ops.run_direction("lstm", x.detach(), state, weights, None, False)
    wanted, _ = ops.run_direction("lstm", x, state, weights, None, False)
    leaves = [*state, *weights]
    assert all(
        torch.equal(a, b)
        for a, b in zip(torch.autograd.grad(y.sum(), leaves), torch.autograd.grad(wanted.sum(), leaves), strict=True)
    )


def test_a_second_derivative_is_refused_and_the_backend_that_has_it_is_named() -> None:
    x, state, weights = make_inputs("gru", 3, 2, 2, 4)
    y, _ = ops.run_direction("gru", x, state, weights, None, False)
    (grad,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match=r"no second derivatives.*backend='reference'"):
        grad.sum().backward()


def test_the_two_biases_never_share_one_gradient_tensor() -> None:
    x, state, weights = make_inputs("lstm", 3, 2, 2, 4)
    ops.run_direction("lstm", x, state, weights, None, False)[0].sum().backward()
    assert weights.bias_ih is not None
    assert weights.bias_hh is not None
    assert weights.bias_ih.grad is not None
    assert weights.bias_hh.grad is not None
    assert weights.bias_ih.grad.data_ptr() != weights.bias_hh.grad.data_ptr()
    assert torch.equal(weights.bias_ih.grad, weights.bias_hh.grad)


@pytest.mark.parametrize("cell", ["rnn_tanh", "lstm", "gru"])
@behind_the_op
def test_half_width_operands_keep_gates_and_cell_state_in_float32(
    cell: str, behind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_behind(behind, monkeypatch)
    x, state, weights = make_inputs(cell, 40, 2, 8, 16)
    narrow = [(0.3 * t.detach()).to(torch.bfloat16) for t in (x, *state, *weights)]  # small weights: it contracts
    x_n, state_n, weights_n = narrow[0], tuple(narrow[1 : 1 + len(state)]), Weights(*narrow[1 + len(state) :])
    y, _ = ops.run_direction(cell, x_n, state_n, weights_n, None, False)
    exact = [t.double() for t in narrow]
    wanted, _ = reference.run_direction(
        cell, exact[0], tuple(exact[1 : 1 + len(state)]), Weights(*exact[1 + len(state) :]), None, False
    )
    assert y.dtype == torch.bfloat16
    # bfloat16 rounds h and each product at 2^-9 = 0.002; a contracting net forgets old roundings.
    assert (y.double() - wanted).norm() / wanted.norm() < 0.01
    if cell != "rnn_tanh":
        kept = torch.ops.rnnlab.recurrence(*op_arguments(cell, x_n, state_n, weights_n, None, save=True))[3:]
        assert {tensor.dtype for tensor in kept} == {torch.float32}


@pytest.mark.parametrize("cell", CELLS)
@behind_the_op
def test_recomputing_keeps_nothing_and_gives_the_same_gradients(
    cell: str, behind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_behind(behind, monkeypatch)
    x, state, weights = make_inputs(cell, 4, 3, 2, 5)
    saved: list[int] = []
    results = []
    for recompute in (False, True):
        with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t.numel()) or t, lambda t: t):
            y, _ = ops.run_direction(cell, x, state, weights, None, False, Extras(recompute=recompute))
        results.append([y, *torch.autograd.grad(y.square().sum(), [x, *state, *weights])])
        saved.append(-1)
    kept, recomputed = (saved[: saved.index(-1)], saved[saved.index(-1) + 1 : -1])
    assert 4 * 3 * 5 in kept
    assert 4 * 3 * 5 * CELLS[cell] not in recomputed
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_extras_that_the_loops_in_pytorch_lack_are_refused_and_not_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    run_behind("PyTorch", monkeypatch)
    x, state, weights = make_inputs("gru", 3, 2, 2, 4)
    with pytest.raises(RuntimeError, match="C\\+\\+ engine.*backend='reference'"):
        ops.run_direction("gru", x, state, weights, None, False, Extras(clip_state_grad=0.1))

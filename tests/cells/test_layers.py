"""The layers: equal to torch.nn, indifferent to padding and batch-mates, clear about misuse."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pack_sequence, pad_packed_sequence

from rnnlab.cells import GRU, LSTM, RNN, dropout

PAIRS = {"RNN": (RNN, nn.RNN), "LSTM": (LSTM, nn.LSTM), "GRU": (GRU, nn.GRU)}
WORKING = ["reference", "cpu", "torch", "auto"]
every_cell = pytest.mark.parametrize("cell", PAIRS)
every_backend = pytest.mark.parametrize("backend", WORKING)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def as_tuple(state: Tensor | Sequence[Tensor]) -> tuple[Tensor, ...]:
    return (state,) if isinstance(state, Tensor) else tuple(state)


def make_state(layer: nn.Module, batch: int, dtype: torch.dtype = torch.float64):
    rows = layer.num_layers * (2 if layer.bidirectional else 1)
    h, c = torch.randn(2, rows, batch, layer.hidden_size, dtype=dtype).unbind(0)
    return (h, c) if type(layer).__name__ == "LSTM" else h


def padding(lengths: Tensor, num_steps: int) -> Tensor:
    return torch.arange(num_steps).view(-1, 1, 1) >= lengths.view(1, -1, 1)


def loss_of(y: Tensor, state: Tensor | Sequence[Tensor]) -> Tensor:
    """A loss with another weight for every number, so that a swap shows."""
    parts = [y, *as_tuple(state)]
    return torch.stack([(p * torch.arange(1, p.numel() + 1).view_as(p).sin()).sum() for p in parts]).sum()


def everything(layer: nn.Module, x: Tensor, state, lengths: Tensor | None) -> list[Tensor]:
    """Outputs, final state, and the gradients of input, initial state and parameters, of either library."""
    x = x.clone().requires_grad_()
    leaves = [s.clone().requires_grad_() for s in as_tuple(state)]
    given_state = tuple(leaves) if len(leaves) == 2 else leaves[0]
    if lengths is None:
        y, final = layer(x, given_state)
    elif isinstance(layer, (RNN, LSTM, GRU)):
        y, final = layer(x.masked_fill(padding(lengths, len(x)), torch.nan), given_state, lengths)
    else:
        packed, final = layer(pack_padded_sequence(x, lengths, enforce_sorted=False), given_state)
        y, _ = pad_packed_sequence(packed, total_length=len(x))
    gradients = torch.autograd.grad(loss_of(y, final), [x, *leaves, *layer.parameters()])
    return [y, *as_tuple(final), *gradients]


@settings(max_examples=120)
@given(data=st.data())
def test_outputs_states_and_every_gradient_equal_torch_nn(data: st.DataObject) -> None:
    ours, theirs = PAIRS[data.draw(st.sampled_from(sorted(PAIRS)))]
    num_steps, batch, input_size, hidden_size, num_layers = (data.draw(st.integers(1, n)) for n in (6, 4, 3, 5, 3))
    arguments = {"bias": data.draw(st.booleans()), "bidirectional": data.draw(st.booleans()), "dtype": torch.float64}
    if ours is RNN:
        arguments["nonlinearity"] = data.draw(st.sampled_from(["tanh", "relu"]))
    layer = ours(input_size, hidden_size, num_layers, **arguments, backend=data.draw(st.sampled_from(WORKING)))
    wanted = theirs(input_size, hidden_size, num_layers, **arguments)
    wanted.load_state_dict(layer.state_dict())
    drawn = data.draw(st.none() | st.lists(st.integers(1, num_steps), min_size=batch, max_size=batch))
    lengths = None if drawn is None else torch.tensor(drawn)
    x, state = torch.randn(num_steps, batch, input_size, dtype=torch.float64), make_state(layer, batch)
    for a, b in zip(everything(layer, x, state, lengths), everything(wanted, x, state, lengths), strict=True):
        # float64 sums in another order; relative to the largest number, as single ones may cancel.
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12 * max(1.0, b.abs().max().item()))


@every_cell
@every_backend
def test_rows_of_length_zero_hand_their_state_through(cell: str, backend: str) -> None:
    layer = PAIRS[cell][0](3, 4, 2, bidirectional=True, dtype=torch.float64, backend=backend)
    lengths, x, state = torch.tensor([0, 3, 0, 1]), torch.randn(3, 4, 3, dtype=torch.float64), make_state(layer, 4)
    results = everything(layer, x, state, lengths)
    oracle = PAIRS[cell][0](3, 4, 2, bidirectional=True, dtype=torch.float64, backend="reference")
    oracle.load_state_dict(layer.state_dict())
    for a, b in zip(results, everything(oracle, x, state, lengths), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-13)
    final = results[1 : 1 + len(as_tuple(state))]
    for before, after in zip(as_tuple(state), final, strict=True):
        assert torch.equal(after[:, [0, 2]], before[:, [0, 2]])


@every_cell
@every_backend
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_neither_the_amount_nor_the_content_of_padding_matters(cell: str, backend: str, dtype: torch.dtype) -> None:
    layer = PAIRS[cell][0](3, 8, 2, bidirectional=True, dtype=dtype, backend=backend)
    lengths, x, state = torch.tensor([2, 0, 5, 1]), torch.randn(5, 4, 3, dtype=dtype), make_state(layer, 4, dtype)
    y, final = layer(x, state, lengths)
    poisoned = torch.cat(
        [x.masked_fill(padding(lengths, 5), torch.inf), torch.full((20, 4, 3), torch.nan, dtype=dtype)]
    )
    longer, final_longer = layer(poisoned.requires_grad_(), state, lengths)
    # The same arithmetic on more steps; a matrix product of another height may round differently.
    tolerance = {"rtol": 0.0, "atol": 8 * torch.finfo(dtype).eps}
    torch.testing.assert_close(longer[:5], y, **tolerance)
    torch.testing.assert_close(as_tuple(final_longer), as_tuple(final), **tolerance)
    assert torch.equal(longer.eq(0).all(2, keepdim=True), padding(lengths, 25))  # exactly 0 there, nowhere else
    loss_of(longer, final_longer).backward()
    assert poisoned.grad is not None
    assert not poisoned.grad.masked_select(padding(lengths, 25)).any()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in layer.parameters())


@every_cell
@every_backend
@pytest.mark.parametrize("lengths", [None, [4, 4, 2]])
def test_nan_in_one_row_stays_in_that_row(cell: str, backend: str, lengths: list[int] | None) -> None:
    layer = PAIRS[cell][0](3, 4, 2, bidirectional=True, backend=backend)
    rows = None if lengths is None else torch.tensor(lengths)
    x = torch.randn(4, 3, 3, requires_grad=True)
    clean, clean_state = layer(x, None, rows)
    (clean_grad,) = torch.autograd.grad(loss_of(clean, clean_state), x)
    with torch.no_grad():
        x[1, 0] = torch.nan
    y, state = layer(x, None, rows)
    (grad,) = torch.autograd.grad(loss_of(y, state), x)
    assert y[:, 0].isnan().any()
    assert grad[:, 0].isnan().any()
    assert torch.equal(grad[:, 1:], clean_grad[:, 1:])
    assert torch.equal(y[:, 1:], clean[:, 1:])
    for a, b in zip(as_tuple(state), as_tuple(clean_state), strict=True):
        assert torch.equal(a[:, 1:], b[:, 1:])


@every_cell
@every_backend
def test_permuting_the_batch_permutes_the_result(cell: str, backend: str) -> None:
    layer = PAIRS[cell][0](3, 4, bidirectional=True, dtype=torch.float64, backend=backend)
    x, lengths, order = (
        torch.randn(5, 4, 3, dtype=torch.float64),
        torch.tensor([5, 1, 0, 3]),
        torch.tensor([2, 0, 3, 1]),
    )
    state = make_state(layer, 4)
    moved_state = tuple(s[:, order] for s in as_tuple(state))
    y, final = layer(x, state, lengths)
    moved, moved_final = layer(x[:, order], moved_state if cell == "LSTM" else moved_state[0], lengths[order])
    torch.testing.assert_close(moved, y[:, order], rtol=1e-13, atol=1e-15)
    for a, b in zip(as_tuple(moved_final), as_tuple(final), strict=True):
        torch.testing.assert_close(a, b[:, order], rtol=1e-13, atol=1e-15)


@every_cell
@every_backend
def test_a_sequence_in_chunks_with_carried_state_is_the_whole(cell: str, backend: str) -> None:
    layer = PAIRS[cell][0](3, 4, num_layers=2, dtype=torch.float64, backend=backend)
    x, lengths = torch.randn(7, 3, 3, dtype=torch.float64), torch.tensor([7, 4, 2])
    whole, wanted = layer(x, None, lengths)
    first, state = layer(x[:3], None, lengths.clamp(max=3))
    middle, state = layer(x[3:4], state, (lengths - 3).clamp(0, 1))
    last, state = layer(x[4:], state, (lengths - 4).clamp(min=0))
    torch.testing.assert_close(torch.cat([first, middle, last]), whole, rtol=1e-13, atol=1e-15)
    torch.testing.assert_close(as_tuple(state), as_tuple(wanted), rtol=1e-13, atol=1e-15)


@every_cell
@every_backend
def test_one_step_at_a_time_is_the_whole_in_float32(cell: str, backend: str) -> None:
    layer = PAIRS[cell][0](3, 16, num_layers=2, backend=backend)
    x, state, outputs = torch.randn(6, 1, 3), None, []
    for t in range(6):
        y, state = layer(x[t : t + 1], state)
        outputs.append(y)
    # float32, another kernel for a single step, contracting nets.
    torch.testing.assert_close(torch.cat(outputs), layer(x)[0], rtol=1e-5, atol=1e-6)


@every_cell
@every_backend
@pytest.mark.parametrize("enforce_sorted", [True, False])
def test_packed_in_and_out_equals_torch_nn(cell: str, backend: str, enforce_sorted: bool) -> None:
    ours, theirs = PAIRS[cell]
    layer = ours(3, 4, 2, bidirectional=True, dtype=torch.float64, backend=backend)
    wanted = theirs(3, 4, 2, bidirectional=True, dtype=torch.float64)
    wanted.load_state_dict(layer.state_dict())
    rows = [torch.randn(n, 3, dtype=torch.float64) for n in ((5, 3, 1) if enforce_sorted else (3, 5, 1))]
    packed, state = pack_sequence(rows, enforce_sorted=enforce_sorted), make_state(layer, 3)
    (y, final), (y_wanted, final_wanted) = layer(packed, state), wanted(packed, state)
    assert isinstance(y, PackedSequence)
    torch.testing.assert_close(y.data, y_wanted.data, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(as_tuple(final), as_tuple(final_wanted), rtol=1e-12, atol=1e-14)
    assert torch.equal(y.batch_sizes, packed.batch_sizes)
    padded, lengths = pad_packed_sequence(y)
    assert lengths.tolist() == [len(row) for row in rows]
    torch.testing.assert_close(padded, pad_packed_sequence(y_wanted)[0], rtol=1e-12, atol=1e-14)


@every_cell
@every_backend
def test_batch_first_and_unbatched_input_keep_torchs_shapes(cell: str, backend: str) -> None:
    ours, theirs = PAIRS[cell]
    layer, wanted = ours(3, 4, 2, batch_first=True, backend=backend), theirs(3, 4, 2, batch_first=True)
    wanted.load_state_dict(layer.state_dict())
    for x in (torch.randn(5, 6, 3), torch.randn(6, 3)):
        (y, final), (y_wanted, final_wanted) = layer(x), wanted(x)
        torch.testing.assert_close(y, y_wanted)
        torch.testing.assert_close(as_tuple(final), as_tuple(final_wanted))
        y, final = layer(x, final)
        y_wanted, final_wanted = wanted(x, final_wanted)
        torch.testing.assert_close(y, y_wanted)
        torch.testing.assert_close(as_tuple(final), as_tuple(final_wanted))


@every_cell
@every_backend
def test_batch_first_takes_lengths_a_row(cell: str, backend: str) -> None:
    layer = PAIRS[cell][0](3, 4, batch_first=True, backend=backend)
    y, _ = layer(torch.randn(2, 5, 3), lengths=torch.tensor([2, 5]))
    assert not y[0, 2:].any()
    assert y[1].all()


@every_cell
def test_state_dict_moves_both_ways(cell: str) -> None:
    ours, theirs = PAIRS[cell]
    layer, other = ours(3, 4, 2, bidirectional=True), theirs(3, 4, 2, bidirectional=True)
    assert list(layer.state_dict()) == list(other.state_dict())
    layer.load_state_dict(other.state_dict())
    assert torch.equal(layer.weight_hh_l1_reverse, other.weight_hh_l1_reverse)
    theirs(3, 4, 2, bidirectional=True).load_state_dict(layer.state_dict())


@pytest.mark.parametrize("backend", ["reference", "cpu", "auto"])
@every_cell
def test_dropout_acts_between_layers_while_training_only(cell: str, backend: str) -> None:
    ours, theirs = PAIRS[cell]
    layer, first, second = ours(3, 4, 2, dropout=0.5, backend=backend), theirs(3, 4), theirs(4, 4)
    for number, one in enumerate((first, second)):
        names = {name: name.replace("l0", f"l{number}") for name in one.state_dict()}
        one.load_state_dict({name: layer.state_dict()[names[name]] for name in names})
    x = torch.randn(5, 2, 3)
    torch.manual_seed(1)
    y, _ = layer(x)
    torch.manual_seed(1)
    torch.testing.assert_close(y, second(dropout(first(x)[0], 0.5))[0])
    torch.testing.assert_close(layer.eval()(x)[0], second(first(x)[0])[0])
    assert not torch.equal(layer(x)[0], y)


@every_cell
@every_backend
@pytest.mark.parametrize("lengths", [None, [4, 0, 2]])
def test_autocast_runs_in_bfloat16_and_gradients_come_back_in_float32(
    cell: str, backend: str, lengths: list[int] | None
) -> None:
    layer = PAIRS[cell][0](8, 16, 2, bidirectional=True, backend=backend)
    x, rows = torch.randn(4, 3, 8, requires_grad=True), None if lengths is None else torch.tensor(lengths)
    exact, _ = layer(x, None, rows)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, final = layer(x, None, rows)
    assert {y.dtype, *(s.dtype for s in as_tuple(final))} == {torch.bfloat16}
    # Operands rounded at 2^-9, two layers of four steps.
    assert (y.float() - exact).norm() / exact.norm() < 0.03
    y.float().sum().backward()
    assert x.grad is not None
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in layer.parameters())


@every_cell
@every_backend
def test_a_layer_that_stays_wide_gives_what_it_rounds_to(cell: str, backend: str) -> None:
    layer = PAIRS[cell][0](8, 16, 2, backend=backend)
    x, found = torch.randn(4, 3, 8), []
    for layer.stays_wide in (False, True):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y, final = layer(x)
        found.append([y, *as_tuple(final)])
    is_wide = layer.backend_in_use().name == "cpu"  # the other engines have nothing wider
    assert {tensor.dtype for tensor in found[1]} == {torch.float32 if is_wide else torch.bfloat16}
    for wide, narrow in zip(found[1], found[0], strict=True):
        assert torch.equal(wide.bfloat16(), narrow)


@every_cell
@pytest.mark.parametrize("lengths", [None, [4, 0, 2]])
def test_the_whole_layer_compiles_without_a_graph_break(cell: str, lengths: list[int] | None) -> None:
    layer = PAIRS[cell][0](3, 4, 2, bidirectional=True)
    rows = None if lengths is None else torch.tensor(lengths)
    x = torch.randn(4, 3, 3, requires_grad=True)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    results = []
    for run in (layer, compiled):
        y, final = run(x, None, rows)
        results.append([y, *torch.autograd.grad(loss_of(y, final), [x, *layer.parameters()])])
    torch.testing.assert_close(results[1], results[0], rtol=1e-4, atol=1e-5)  # float32


@every_cell
@every_backend
def test_no_rows_give_no_outputs(cell: str, backend: str) -> None:
    y, final = PAIRS[cell][0](3, 4, backend=backend)(torch.zeros(2, 0, 3), lengths=torch.zeros(0, dtype=torch.int64))
    assert y.shape == (2, 0, 4)
    assert as_tuple(final)[0].shape == (1, 0, 4)


@every_cell
def test_a_layer_can_be_copied_moved_and_printed(cell: str) -> None:
    layer = copy.deepcopy(PAIRS[cell][0](3, 4, 2, dropout=0.1, initialisation="uniform", init_range=0.1).double())
    assert layer.weight_ih_l0.dtype == torch.float64
    assert (
        repr(layer) == f"{cell}(3, 4, num_layers=2, dropout=0.1, backend=auto, initialisation=uniform, init_range=0.1)"
    )
    before = layer.weight_ih_l0.detach().clone()
    layer.reset_parameters()
    assert not torch.equal(layer.weight_ih_l0, before)
    assert layer.weight_ih_l0.abs().max() <= 0.1


def test_parameters_may_live_on_the_meta_device() -> None:
    assert LSTM(3, 4, device="meta", initialisation="orthogonal").weight_hh_l0.is_meta


def test_the_weights_a_call_sees_can_be_reparametrised() -> None:
    class Doubled(nn.Module):
        def forward(self, weight: Tensor) -> Tensor:
            return 2 * weight

    layer, x = GRU(3, 4, backend="cpu"), torch.randn(2, 1, 3)
    wanted = copy.deepcopy(layer)
    with torch.no_grad():
        wanted.weight_hh_l0.mul_(2)
    nn.utils.parametrize.register_parametrization(layer, "weight_hh_l0", Doubled())
    assert torch.equal(layer(x)[0], wanted(x)[0])


@every_cell
@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")  # torch's own, in its first jvp
def test_forward_mode_differentiation_is_right_or_refused(cell: str) -> None:
    layer = PAIRS[cell][0](3, 4, backend="auto").double()
    x, tangent = torch.randn(5, 2, 3).double(), torch.randn(5, 2, 3).double()
    _, got = torch.func.jvp(lambda x: layer(x)[0], (x,), (tangent,))
    step = 1e-6
    with torch.no_grad():
        wanted = (layer(x + step * tangent)[0] - layer(x - step * tangent)[0]) / (2 * step)
    # Central differences: an error of step squared, and roundings of 1e-16 over the step.
    torch.testing.assert_close(got, wanted, rtol=1e-6, atol=1e-8)
    for backend in ("cpu", "torch"):
        layer.backend = backend
        with pytest.raises(ValueError, match=f"backend '{backend}' has no forward-mode differentiation"):
            torch.func.jvp(lambda x: layer(x)[0], (x,), (tangent,))


@every_cell
def test_a_single_layer_shares_the_parameters_of_the_stack(cell):
    stack = PAIRS[cell][0](3, 4, num_layers=3, bidirectional=True, dropout=0.5, layer_norm=True).double().eval()
    x = torch.randn(5, 2, 3, dtype=torch.float64)
    expected, _ = stack(x)
    for layer in range(3):
        alone = stack.single_layer(layer)
        assert alone.weight_hh_l0_reverse is getattr(stack, f"weight_hh_l{layer}_reverse")
        x, _ = alone(x)
    torch.testing.assert_close(x, expected, rtol=0, atol=1e-12)
    assert stack.num_layers == 3
    assert len(list(stack.parameters())) == 3 * len(list(alone.parameters()))
    with pytest.raises(ValueError, match="layer must be from 0 to 2, got 3"):
        stack.single_layer(3)

"""What the recurrences can do beyond torch.nn's: each extra by another way to the same numbers."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from rnnlab.cells import GRU, LSTM, RNN, Extras, dropout, lstm_step, rnn_step
from rnnlab.cells.extras import Norm, clip_gradient
from rnnlab.cells.reference import Weights, run_direction

LAYERS = {"RNN": RNN, "LSTM": LSTM, "GRU": GRU}
CELLS = {"rnn_tanh": 1, "rnn_relu": 1, "lstm": 4, "gru": 3}
STEPS, BATCH, INPUT, HIDDEN = 4, 3, 2, 5
ALL = {"recurrent_dropout": 0.3, "zoneout": 0.2, "layer_norm": True, "clip_state_grad": 1e3, "recompute": True}
every_layer = pytest.mark.parametrize("cell", LAYERS)
every_cell = pytest.mark.parametrize("cell", CELLS)
# float64, the same arithmetic in another order
CLOSE = {"rtol": 1e-12, "atol": 1e-13}


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def randn(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64).mul_(0.6).requires_grad_()


def make(cell: str) -> tuple[Tensor, tuple[Tensor, ...], Weights]:
    """Inputs, state and weights of one direction, all leaves."""
    rows = CELLS[cell] * HIDDEN
    state = tuple(randn(BATCH, HIDDEN) for _ in range(2 if cell == "lstm" else 1))
    return randn(STEPS, BATCH, INPUT), state, Weights(randn(rows, INPUT), randn(rows, HIDDEN), randn(rows), randn(rows))


def make_norm(cell: str) -> Norm:
    rows = CELLS[cell] * HIDDEN
    parts = [1 + randn(rows), 1 + randn(rows)]
    if cell == "lstm":
        parts += [1 + randn(HIDDEN), randn(HIDDEN)]
    return Norm(*(part.detach().requires_grad_() for part in parts))


def make_extras(cell: str, **changes) -> Extras:
    """All of them, with a limit that is out of reach."""
    states = 2 if cell == "lstm" else 1
    keep = tuple(torch.rand(STEPS, BATCH, HIDDEN) < 0.4 for _ in range(states))
    mask = (torch.rand(BATCH, HIDDEN, dtype=torch.float64) < 0.7) / 0.7
    return Extras(mask, keep, 1e6, make_norm(cell), recompute=True)._replace(**changes)


def layer_of(cell: str, num_layers: int = 2, bidirectional: bool = True, **arguments):
    return LAYERS[cell](INPUT, HIDDEN, num_layers, bidirectional=bidirectional, dtype=torch.float64, **arguments)


def twin(layer, **arguments):
    """The same weights with other extras."""
    other = layer_of(type(layer).__name__, layer.num_layers, layer.bidirectional, **arguments)
    other.load_state_dict(layer.state_dict())
    return other.train(layer.training)


def results(layer, x: Tensor, lengths: Tensor | None = None) -> list[Tensor]:
    """Outputs, final state and every gradient of one call, drawn from one seed."""
    torch.manual_seed(1)
    x = x.detach().requires_grad_()
    y, state = layer(x, None, lengths)
    outputs = [y, *(state if isinstance(state, tuple) else (state,))]
    loss = sum((out * torch.arange(1, out.numel() + 1).view_as(out).sin()).sum() for out in outputs)
    return outputs + list(torch.autograd.grad(loss, [x, *layer.parameters()]))


# ------------------------------------------------------------------------------------------- recurrent dropout


@every_cell
def test_recurrent_dropout_of_a_row_is_that_row_with_other_recurrent_weights(cell: str) -> None:
    x, state, weights = make(cell)
    mask = (torch.rand(BATCH, HIDDEN, dtype=torch.float64) < 0.5) * 2.0
    y, final = run_direction(cell, x, state, weights, None, False, Extras(recurrent_mask=mask))
    for row in range(BATCH):
        # W (s * h) = (W s) h; a GRU's z * h does not pass through W and so sees the whole state in both.
        folded = weights._replace(weight_hh=weights.weight_hh * mask[row])
        alone = tuple(s[row : row + 1] for s in state)
        y_row, final_row = run_direction(cell, x[:, row : row + 1], alone, folded, None, False)
        torch.testing.assert_close(y[:, row], y_row[:, 0], **CLOSE)
        torch.testing.assert_close(tuple(s[row] for s in final), tuple(s[0] for s in final_row), **CLOSE)


def test_recurrent_masks_are_drawn_once_a_call_for_each_row_layer_and_direction(monkeypatch) -> None:
    seen: list[Tensor] = []
    real = run_direction

    def spy(*arguments):
        seen.append(arguments[6].recurrent_mask)
        return real(*arguments)

    monkeypatch.setattr("rnnlab.cells.stack.direction_runner", lambda name: spy)
    layer = LSTM(INPUT, 400, 2, bidirectional=True, recurrent_dropout=0.25)
    layer(torch.randn(STEPS, BATCH, INPUT))
    assert [tuple(mask.shape) for mask in seen] == [(BATCH, 400)] * 4
    masks = torch.stack(seen).flatten(0, 1)
    assert masks.unique().tolist() == [0, pytest.approx(4 / 3)]
    assert len({tuple(mask.tolist()) for mask in masks}) == 4 * BATCH
    # 4,800 draws: a share is within 0.03 (five standard deviations) of its probability.
    assert (masks == 0).double().mean().item() == pytest.approx(0.25, abs=0.03)


# --------------------------------------------------------------------------------------------------- weight drop


@pytest.mark.parametrize("backend", ["reference", "cpu", "torch", "auto"])
@every_layer
def test_weight_drop_is_the_same_layer_with_zeroed_and_scaled_recurrent_weights(cell: str, backend: str) -> None:
    layer, x = layer_of(cell, weight_drop=0.5, backend=backend), randn(STEPS, BATCH, INPUT)
    dropped, names = twin(layer, backend=backend), [name for name, _ in layer.named_parameters()]
    found = results(layer, x)
    torch.manual_seed(1)
    with torch.no_grad():
        for name in filter(lambda name: name.startswith("weight_hh"), names):
            weight = getattr(dropped, name)
            weight.copy_(dropout(weight, 0.5))
    torch.testing.assert_close(found[0], dropped(x)[0], **CLOSE)
    for name, gradient in zip(names, found[-len(names) :], strict=True):
        if name.startswith("weight_hh"):
            assert torch.equal(gradient == 0, getattr(dropped, name) == 0)  # a dropped weight learns nothing


@every_layer
def test_weight_drop_renames_no_parameter(cell: str) -> None:
    layer = layer_of(cell, weight_drop=0.5)
    layer(randn(STEPS, BATCH, INPUT))[0].sum().backward()
    assert list(layer.state_dict()) == list(layer_of(cell).state_dict())


# ------------------------------------------------------------------------------------------------------- zoneout


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("lengths", [None, [4, 0, 2]])
@every_layer
def test_full_zoneout_keeps_the_initial_state(cell: str, lengths: list[int] | None, training: bool) -> None:
    layer = layer_of(cell, 1, zoneout=1.0).train(training)
    rows = None if lengths is None else torch.tensor(lengths)
    states = tuple(randn(2, BATCH, HIDDEN).detach() for _ in layer.state_names)
    y, final = layer(randn(STEPS, BATCH, INPUT), states if cell == "LSTM" else states[0], rows)
    for before, after in zip(states, final if cell == "LSTM" else (final,), strict=True):
        assert torch.equal(before, after)
    kept = states[0].transpose(0, 1).reshape(1, BATCH, 2 * HIDDEN).expand(STEPS, -1, -1)
    if rows is not None:
        kept = kept.masked_fill(torch.arange(STEPS).view(-1, 1, 1) >= rows.view(1, -1, 1), 0)
    assert torch.equal(y, kept)


@every_layer
def test_zoneout_of_zero_is_off(cell: str) -> None:
    plain, x = layer_of(cell), randn(STEPS, BATCH, INPUT)
    off = twin(plain, zoneout=(0.0, 0.0) if cell == "LSTM" else 0.0)
    assert all(map(torch.equal, results(plain, x), results(off, x)))


@every_cell
def test_training_keeps_a_units_value_where_the_mask_says_so(cell: str) -> None:
    x, state, weights = make(cell)
    extras = Extras(zoneout=tuple(torch.rand(STEPS, BATCH, HIDDEN) < 0.5 for _ in state))
    y, final = run_direction(cell, x, state, weights, None, False, extras)
    assert extras.zoneout is not None
    wanted = state
    for t in range(STEPS):
        _, after = run_direction(cell, x[t : t + 1], wanted, weights, None, False)
        wanted = tuple(k[t] * s + ~k[t] * a for k, s, a in zip(extras.zoneout, wanted, after, strict=True))
        torch.testing.assert_close(y[t], wanted[0], **CLOSE)
    torch.testing.assert_close(final, wanted, **CLOSE)


@every_layer
def test_eval_takes_the_mean_over_all_masks_of_one_step(cell: str) -> None:
    layer, x = layer_of(cell, 1, False, zoneout=0.25), randn(1, BATCH, INPUT)
    h_0, c_0 = randn(1, BATCH, HIDDEN), randn(1, BATCH, HIDDEN)
    before = (h_0, c_0) if cell == "LSTM" else h_0
    _, after = twin(layer)(x, before)
    _, mean = layer.eval()(x, before)
    for b, a, m in zip(before, after, mean, strict=True) if cell == "LSTM" else [(before, after, mean)]:
        torch.testing.assert_close(m, 0.25 * b + 0.75 * a, **CLOSE)


def test_a_pair_zones_out_hidden_and_cell_state_apart_and_h_sees_the_new_cell_state() -> None:
    layer, x = layer_of("LSTM", 1, False, zoneout=(0.0, 1.0)), randn(1, BATCH, INPUT)
    state = (randn(1, BATCH, HIDDEN), randn(1, BATCH, HIDDEN))
    _, (h_n, c_n) = layer(x, state)
    assert torch.equal(c_n, state[1])
    h, _ = lstm_step(x[0], (state[0][0], state[1][0]), layer.layer_weights(0, 0))
    torch.testing.assert_close(h_n[0], h, **CLOSE)


# ---------------------------------------------------------------------------------------------------- layer norm


def normalised(a: Tensor) -> Tensor:
    return (a - a.mean(-1, keepdim=True)) / (a.var(-1, keepdim=True, unbiased=False) + 1e-5).sqrt()


def test_a_simple_network_normalises_each_product_before_its_bias() -> None:
    x, (h,), weights = make("rnn_tanh")
    norm = make_norm("rnn_tanh")
    a = normalised(x[0] @ weights.weight_ih.t()) * norm.ih + weights.bias_ih
    a = a + normalised(h @ weights.weight_hh.t()) * norm.hh + weights.bias_hh
    torch.testing.assert_close(rnn_step(x[0], h, weights, extras=Extras(norm=norm)), a.tanh(), **CLOSE)


def test_an_lstm_normalises_the_cell_state_that_it_shows_and_not_the_one_it_carries() -> None:
    x, (h, c), weights = make("lstm")
    norm = make_norm("lstm")
    a = normalised(x[0] @ weights.weight_ih.t()) * norm.ih + weights.bias_ih
    i, f, g, o = (a + normalised(h @ weights.weight_hh.t()) * norm.hh + weights.bias_hh).chunk(4, 1)
    wanted = f.sigmoid() * c + i.sigmoid() * g.tanh()
    h_1, c_1 = lstm_step(x[0], (h, c), weights, Extras(norm=norm))
    torch.testing.assert_close(c_1, wanted, **CLOSE)
    shown = normalised(wanted) * norm.cell + norm.cell_bias
    torch.testing.assert_close(h_1, o.sigmoid() * shown.tanh(), **CLOSE)


def test_a_gru_scales_the_normalised_product_by_its_reset_gate() -> None:
    x, (h,), weights = make("gru")
    norm = make_norm("gru")
    a = (normalised(x[0] @ weights.weight_ih.t()) * norm.ih + weights.bias_ih).chunk(3, 1)
    b = (normalised(h @ weights.weight_hh.t()) * norm.hh + weights.bias_hh).chunk(3, 1)
    z, n = (a[1] + b[1]).sigmoid(), (a[2] + (a[0] + b[0]).sigmoid() * b[2]).tanh()
    y, _ = run_direction("gru", x[:1], (h,), weights, None, False, Extras(norm=norm))
    torch.testing.assert_close(y[0], (1 - z) * n + z * h, **CLOSE)


@pytest.mark.parametrize("bias", [True, False])
@every_layer
def test_layer_norm_adds_gains_of_one_and_biases_of_zero_beside_torchs_parameters(cell: str, bias: bool) -> None:
    layer, plain = layer_of(cell, bias=bias, layer_norm=True, initialisation="orthogonal"), layer_of(cell, bias=bias)
    added = {name: p for name, p in layer.named_parameters() if name not in plain.state_dict()}
    rows = layer.num_gates * HIDDEN
    shapes = {"norm_ih": (rows,), "norm_hh": (rows,)}
    if cell == "LSTM":
        shapes |= {"norm_cell": (HIDDEN,)} | ({"norm_cell_bias": (HIDDEN,)} if bias else {})
    ends = ("l0", "l0_reverse", "l1", "l1_reverse")
    assert {name: tuple(p.shape) for name, p in added.items()} == {
        f"{k}_{e}": s for k, s in shapes.items() for e in ends
    }
    assert len(layer.state_dict()) == len(plain.state_dict()) + len(added)
    for _ in range(2):
        for name, parameter in added.items():
            assert parameter.unique().tolist() == [0.0 if "bias" in name else 1.0], name
        with torch.no_grad():
            for parameter in added.values():
                parameter.fill_(7)
        layer.reset_parameters()


@every_layer
def test_layer_norm_does_not_see_the_scale_of_the_weights(cell: str) -> None:
    layer = layer_of(cell, layer_norm=True, initialisation="uniform", init_range=20.0)
    x = randn(STEPS, BATCH, INPUT)
    y, _ = layer(x)
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            if name.startswith("weight"):
                parameter.mul_(10)
    # A scale shows only beside epsilon, 1e-5 to variances of about 100; h_0 = 0 gives exactly 0 in both.
    torch.testing.assert_close(layer(x)[0], y, rtol=1e-3, atol=1e-4)


# ------------------------------------------------------------------------------------------------ state clipping


def test_the_gradient_of_the_state_is_clipped_at_every_step_of_a_doubling_network() -> None:
    weights = Weights(torch.ones(1, 1), torch.full((1, 1), 2.0))
    x, h_0 = torch.ones(4, 1, 1), torch.ones(1, 1, requires_grad=True)
    gradients = {}
    for limit in (None, 3.0):
        y, _ = run_direction("rnn_relu", x, (h_0,), weights, None, False, Extras(clip_state_grad=limit))
        gradients[limit] = torch.autograd.grad(y[-1].sum(), h_0)[0].item()
    assert gradients == {None: 16.0, 3.0: 3.0}
    x.requires_grad_()
    y, _ = run_direction("rnn_relu", x, (h_0,), weights, None, False, Extras(clip_state_grad=3.0))
    # Each step's own output adds 1 behind the clip: 1, then 2 + 1, then min(6, 3) + 1, and again.
    assert torch.autograd.grad(y.sum(), x)[0].flatten().tolist() == [4.0, 4.0, 3.0, 1.0]


@every_layer
def test_a_limit_out_of_reach_changes_nothing_and_a_near_one_only_gradients(cell: str) -> None:
    plain, x = layer_of(cell, backend="reference"), randn(STEPS, BATCH, INPUT)
    lengths = torch.tensor([4, 0, 2])
    wanted = results(plain, x, lengths)
    assert all(map(torch.equal, wanted, results(twin(plain, clip_state_grad=1e6, backend="reference"), x, lengths)))
    near = results(twin(plain, clip_state_grad=1e-3, backend="reference"), x, lengths)
    assert torch.equal(near[0], wanted[0])
    assert not any(map(torch.equal, near[-8:], wanted[-8:]))


def test_padding_does_not_clip_what_crosses_it() -> None:
    layer = LSTM(INPUT, HIDDEN, clip_state_grad=0.5)
    h_0, c_0 = torch.zeros(1, 2, HIDDEN, requires_grad=True), torch.zeros(1, 2, HIDDEN, requires_grad=True)
    _, (h_n, c_n) = layer(torch.randn(6, 2, INPUT), (h_0, c_0), torch.tensor([0, 3]))
    for grad in torch.autograd.grad(9 * h_n.sum() + 9 * c_n.sum(), (h_0, c_0)):
        assert grad[0, 0].tolist() == [9.0] * HIDDEN  # no step, no clip
        assert grad[0, 1].abs().max() <= 0.5


def test_clipped_chunks_have_the_gradients_of_the_clipped_whole() -> None:
    layer, x = layer_of("GRU", 2, False, clip_state_grad=0.05), randn(6, BATCH, INPUT)
    whole, _ = layer(x)
    first, state = layer(x[:2])
    second, _ = layer(x[2:], state)
    wanted = torch.autograd.grad(whole.square().sum(), x)[0]
    got = torch.autograd.grad(first.square().sum() + second.square().sum(), x)[0]
    torch.testing.assert_close(got, wanted, **CLOSE)


def test_a_clipped_gradient_keeps_nan_and_clamps_entry_by_entry() -> None:
    a = torch.zeros(4, requires_grad=True)
    clip_gradient(a, 2.0).backward(torch.tensor([-5.0, 1.0, math.inf, math.nan]))
    assert a.grad is not None
    torch.testing.assert_close(a.grad, torch.tensor([-2.0, 1.0, 2.0, math.nan]), rtol=0, atol=0, equal_nan=True)


# ----------------------------------------------------------------------------------------------------- recompute


@pytest.mark.parametrize("steps", [1, 3, 36])
@every_layer
def test_recomputing_changes_no_number_and_keeps_less(cell: str, steps: int) -> None:
    extras = {"backend": "reference", "dropout": 0.5, "recurrent_dropout": 0.5, "zoneout": 0.5}
    plain = layer_of(cell, **extras)
    x, lengths, found, kept = randn(steps, BATCH, INPUT), torch.tensor([steps, 0, 1]), [], []
    for layer in (plain, twin(plain, **extras, recompute=True)):
        found.append(results(layer, x, lengths))
        blocks: dict[int, int] = {}

        def count(tensor: Tensor, blocks: dict[int, int] = blocks) -> Tensor:
            blocks[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            held = layer(x, None, lengths)  # so that no block is used twice
        kept.append(sum(blocks.values()))
        del held
    assert all(map(torch.equal, *found))
    if steps == 36:
        assert kept[1] < kept[0] / 2


# ---------------------------------------------------------------------------------------------- all of them at once


@pytest.mark.parametrize("reverse", [False, True])
@every_cell
def test_a_padded_row_equals_the_same_row_alone_with_every_extra(cell: str, reverse: bool) -> None:
    x, state, weights = make(cell)
    extras, lengths = make_extras(cell), torch.tensor([2, 4, 0])
    y, final = run_direction(cell, x, state, weights, lengths, reverse, extras)
    assert extras.zoneout is not None
    assert extras.recurrent_mask is not None
    for row, length in enumerate(lengths.tolist()):
        alone = tuple(s[row : row + 1] for s in state)
        if length:
            own = extras._replace(
                recurrent_mask=extras.recurrent_mask[row : row + 1],
                zoneout=tuple(keep[:length, row : row + 1] for keep in extras.zoneout),
            )
            y_alone, alone = run_direction(cell, x[:length, row : row + 1], alone, weights, None, reverse, own)
            torch.testing.assert_close(y[:length, row], y_alone[:, 0], **CLOSE)
        assert not y[length:, row].any()
        for ours, theirs in zip(final, alone, strict=True):
            torch.testing.assert_close(ours[row], theirs[0], **CLOSE)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("cell", ["rnn_tanh", "lstm", "gru"])
def test_first_and_second_derivatives_match_numeric_ones_with_every_extra(cell: str, training: bool) -> None:
    x, state, weights = (part for part in make(cell))
    x, lengths = x[:2].detach().requires_grad_(), torch.tensor([2, 1, 0])
    extras = make_extras(cell)
    assert extras.norm is not None
    if not training:
        extras = extras._replace(recurrent_mask=None, zoneout=(0.3,) * len(state))
    norm = [part for part in extras.norm if part is not None]

    def loss(x: Tensor, *rest: Tensor) -> Tensor:
        own, rest = Norm(*rest[: len(norm)]), rest[len(norm) :]
        state_, weights_ = rest[: len(state)], Weights(*rest[len(state) :])
        y, final = run_direction(cell, x, state_, weights_, lengths, True, extras._replace(norm=own))
        return y.square().sum() + sum(s.sin().sum() for s in final)

    torch.autograd.gradcheck(loss, (x, *norm, *state, *weights))
    # fast_mode: a random projection of the second derivatives, for all of some 200 numbers at once.
    torch.autograd.gradgradcheck(loss, (x, *norm, *state, *weights), fast_mode=True)


@every_layer
def test_in_eval_only_layer_norm_and_zoneout_act(cell: str) -> None:
    layer, x = layer_of(cell, **ALL, weight_drop=0.5).eval(), randn(STEPS, BATCH, INPUT)
    before = torch.get_rng_state()
    y, _ = layer(x)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(twin(layer, layer_norm=True, zoneout=0.2)(x)[0], y)


@pytest.mark.parametrize("batch", [1, 2])
@every_layer
def test_eval_with_every_extra_sees_neither_padding_nor_batch_mates(cell: str, batch: int) -> None:
    layer, x = layer_of(cell, **ALL).eval(), randn(STEPS, 3, INPUT).detach()
    lengths = torch.tensor([4, 2, 3])
    y, final = layer(x, None, lengths)
    longer = torch.cat([x, torch.full((5, 3, INPUT), torch.nan, dtype=torch.float64)])
    y_longer, final_longer = layer(longer[:, :batch], None, lengths[:batch])
    torch.testing.assert_close(y_longer[:STEPS], y[:, :batch], **CLOSE)
    for a, b in zip(final_longer, final, strict=True) if cell == "LSTM" else [(final_longer, final)]:
        torch.testing.assert_close(a, b[:, :batch], **CLOSE)


@every_layer
def test_extras_that_are_off_draw_nothing_and_on_the_draws_follow_the_seed(cell: str) -> None:
    x = randn(STEPS, BATCH, INPUT)
    before = torch.get_rng_state()
    layer = layer_of(cell)
    torch.set_rng_state(before)
    layer(x)
    assert torch.equal(torch.get_rng_state(), before)
    layer = layer_of(cell, **ALL, weight_drop=0.5)
    assert all(map(torch.equal, results(layer, x), results(layer, x)))
    assert not torch.equal(layer(x)[0], layer(x)[0])


@every_layer
def test_autocast_runs_every_extra_in_bfloat16(cell: str) -> None:
    layer = LAYERS[cell](8, 16, 2, **ALL, weight_drop=0.1)
    x = torch.randn(STEPS, BATCH, 8, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, _ = layer(x, lengths=torch.tensor([4, 0, 2]))
    assert y.dtype == torch.bfloat16
    y.float().square().sum().backward()
    for parameter in layer.parameters():
        assert parameter.grad is not None
        assert parameter.grad.dtype == torch.float32
        assert parameter.grad.isfinite().all()


# Dynamo itself makes an instance of the function that clips.
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
@every_layer
def test_a_layer_with_extras_compiles_without_a_graph_break(cell: str) -> None:
    # Those that draw nothing, since a compiled graph may draw in another order.
    extras = {"layer_norm": True, "clip_state_grad": 0.1, "recompute": True, "zoneout": 0.2}
    layer = layer_of(cell, 1, False, **extras).eval()
    x, lengths = randn(3, BATCH, INPUT), torch.tensor([3, 1, 2])
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    found = []
    for each in (compiled, layer):
        y, _ = each(x, None, lengths)
        found.append([y, *torch.autograd.grad(y.square().sum(), [x, *layer.parameters()])])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, **CLOSE)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"recurrent_dropout": -0.1}, "recurrent_dropout must be between 0 and 1, got -0.1"),
        ({"recurrent_dropout": True}, "recurrent_dropout must be between 0 and 1, got True"),
        ({"weight_drop": 1.5}, "weight_drop must be between 0 and 1, got 1.5"),
        ({"weight_drop": math.nan}, "weight_drop must be between 0 and 1, got nan"),
        ({"zoneout": 2}, "zoneout must be between 0 and 1, or a pair of such numbers for h and c, got 2"),
        ({"zoneout": (0.1, 0.2, 0.3)}, r"or a pair of such numbers for h and c, got \(0.1, 0.2, 0.3\)"),
        ({"clip_state_grad": 0}, "clip_state_grad must be greater than 0 and finite, or None, got 0"),
        ({"clip_state_grad": math.inf}, "clip_state_grad must be greater than 0 and finite, or None, got inf"),
    ],
)
def test_an_extra_out_of_range_is_named(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LSTM(3, 4, **arguments)


@pytest.mark.parametrize("layer", [RNN, GRU])
def test_a_pair_of_shares_is_refused_where_there_is_one_state(layer) -> None:
    with pytest.raises(ValueError, match=r"zoneout must be one number for a cell with one state, got \(0.1, 0.2\)"):
        layer(3, 4, zoneout=(0.1, 0.2))
    with pytest.raises(ValueError, match="zoneout must be between 0 and 1, got -1$"):
        layer(3, 4, zoneout=-1)


def test_extras_that_are_on_are_printed() -> None:
    assert repr(GRU(3, 4, zoneout=0.1, layer_norm=True)) == "GRU(3, 4, zoneout=0.1, layer_norm=True, backend=auto)"

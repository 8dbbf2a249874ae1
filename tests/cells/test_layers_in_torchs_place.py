"""The layers in the place of torch.nn's: torch's own sample inputs, and what else its callers are used to."""

from __future__ import annotations

import copy
import importlib.util
import pickle
import sys
import types
import unittest
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.nn.utils.rnn import PackedSequence, pack_sequence

from rnnlab.cells import GRU, LSTM, RNN

PAIRS = {"RNN": (RNN, nn.RNN), "LSTM": (LSTM, nn.LSTM), "GRU": (GRU, nn.GRU)}
every_cell = pytest.mark.parametrize("cell", PAIRS)
every_backend = pytest.mark.parametrize("backend", ["reference", "cpu", "torch", "auto"])
# float64: the same sums in another order
CLOSE = {"rtol": 1e-12, "atol": 1e-13}


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def sample_inputs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What makes torch's sample inputs, by name of the layer, out of the wheel of torch."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        if importlib.util.find_spec("expecttest") is None:
            # torch's test tools subclass its TestCase and use nothing else of it here.
            stand_in = types.ModuleType("expecttest")
            stand_in.TestCase = unittest.TestCase  # pyright: ignore[reportAttributeAccessIssue]
            patch.setitem(sys.modules, "expecttest", stand_in)
        # Their import would set it for good.
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path_factory.mktemp("inductor")))
        from torch.testing._internal.common_modules import module_db

        yield {info.module_cls.__name__: info for info in module_db if info.module_cls in (nn.RNN, nn.LSTM, nn.GRU)}


def tensors_of(value: Any) -> list[Tensor]:
    """Every tensor of nested tuples, in order; of a packed sequence its data."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, PackedSequence):
        return [value.data]
    return [tensor for part in value for tensor in tensors_of(part)] if isinstance(value, tuple) else []


@pytest.mark.parametrize("training", [True, False])
@every_backend
@every_cell
def test_torchs_sample_inputs_give_torchs_outputs_and_gradients(
    cell: str, backend: str, training: bool, sample_inputs: dict[str, Any]
) -> None:
    ours, theirs = PAIRS[cell]
    info = sample_inputs[cell]
    more = {} if cell == "LSTM" else {"with_packed_sequence": True}
    samples = info.module_inputs_func(
        info, device="cpu", dtype=torch.float64, requires_grad=True, training=training, **more
    )
    assert len(samples) >= 32
    projections = 0
    for sample in samples:
        arguments, given = sample.constructor_input.kwargs, sample.forward_input.args
        if arguments.get("proj_size"):
            projections += 1
            with pytest.raises(ValueError, match="proj_size must be 0, got 2; use torch.nn.LSTM for projections"):
                ours(**arguments)
            continue
        wanted = theirs(**arguments, dtype=torch.float64).train(training)
        layer = ours(**arguments, dtype=torch.float64, backend=backend).train(training)
        layer.load_state_dict(wanted.state_dict())
        found = []
        for each in (layer, wanted):
            outputs = tensors_of(each(*given))
            leaves = [tensor for tensor in tensors_of(given) if tensor.requires_grad] + list(each.parameters())
            loss = sum((out * torch.arange(1, out.numel() + 1).view_as(out).sin()).sum() for out in outputs)
            found.append([*outputs, *torch.autograd.grad(loss, leaves)])
        for a, b in zip(*found, strict=True):
            torch.testing.assert_close(a, b, **CLOSE)
    assert projections == (16 if cell == "LSTM" else 0)


@every_backend
@every_cell
def test_a_graph_that_is_kept_gives_the_same_gradients_twice(cell: str, backend: str) -> None:
    layer = PAIRS[cell][0](3, 4, 2, bidirectional=True, backend=backend)
    loss = layer(torch.randn(5, 2, 3))[0].square().sum()
    first = torch.autograd.grad(loss, list(layer.parameters()), retain_graph=True)
    assert all(map(torch.equal, first, torch.autograd.grad(loss, list(layer.parameters()))))


@every_backend
@every_cell
def test_no_rows_give_gradients_of_zero(cell: str, backend: str) -> None:
    layer = PAIRS[cell][0](3, 4, 2, backend=backend)
    y, _ = layer(torch.zeros(5, 0, 3))
    assert y.shape == (5, 0, 4)
    y.sum().backward()
    for parameter in layer.parameters():
        assert parameter.grad is not None
        assert not parameter.grad.any()


@every_backend
@every_cell
def test_dropout_may_be_changed_between_two_calls(cell: str, backend: str) -> None:
    layer, x = PAIRS[cell][0](3, 50, 2, backend=backend), torch.randn(5, 2, 3)
    plain, _ = layer(x)
    layer.dropout = 1.0
    silent, _ = layer(x)
    # Nothing of the first layer arrives: the second sees zeros, whatever the input was.
    torch.testing.assert_close(silent, layer(torch.randn(5, 2, 3))[0])
    assert not torch.equal(silent, plain)
    layer.dropout = 0.0
    torch.testing.assert_close(layer(x)[0], plain)


@every_backend
@every_cell
def test_each_call_draws_its_own_dropout_and_a_seed_repeats_it(cell: str, backend: str) -> None:
    layer, x = PAIRS[cell][0](3, 50, 2, dropout=0.5, backend=backend), torch.randn(5, 2, 3)
    torch.manual_seed(7)
    first, second = layer(x)[0], layer(x)[0]
    assert not torch.equal(first, second)
    torch.manual_seed(7)
    assert torch.equal(layer(x)[0], first)
    assert torch.equal(layer(x)[0], second)


@every_backend
@every_cell
def test_two_layers_may_share_their_weights(cell: str, backend: str) -> None:
    tied = PAIRS[cell][0](4, 4, 2, dtype=torch.float64, backend=backend)
    single = PAIRS[cell][1](4, 4, dtype=torch.float64)
    for name, parameter in single.named_parameters():
        setattr(tied, name, nn.Parameter(parameter.detach().clone()))
        setattr(tied, name.replace("_l0", "_l1"), getattr(tied, name))
    assert len(list(tied.parameters())) == 4
    x = torch.randn(5, 2, 4, dtype=torch.float64)
    y, wanted = tied(x)[0], single(single(x)[0])[0]
    torch.testing.assert_close(y, wanted, **CLOSE)
    y.square().sum().backward()
    wanted.square().sum().backward()
    for name, parameter in single.named_parameters():
        torch.testing.assert_close(getattr(tied, name).grad, parameter.grad, **CLOSE)


@every_backend
@every_cell
def test_weight_norm_on_the_recurrent_weights_acts_in_every_call(cell: str, backend: str) -> None:
    layer = PAIRS[cell][0](3, 4, dtype=torch.float64, backend=backend)
    x = torch.randn(5, 2, 3, dtype=torch.float64)
    before, _ = layer(x)
    parametrizations.weight_norm(layer, "weight_hh_l0")
    torch.testing.assert_close(layer(x)[0], before, **CLOSE)  # weight norm starts at the same weights
    parameters = layer.parametrizations.weight_hh_l0
    with torch.no_grad():
        parameters.original0.mul_(2)
    after, _ = layer(x)
    assert not torch.allclose(after, before)
    after.sum().backward()
    assert parameters.original1.grad.any()


@every_cell
def test_a_layer_survives_deepcopy_and_pickle(cell: str) -> None:
    layer, x = PAIRS[cell][0](3, 4, 2, bidirectional=True, zoneout=0.1, layer_norm=True).eval(), torch.randn(5, 2, 3)
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(other(x)[0], layer(x)[0])


@every_backend
@every_cell
def test_inputs_that_are_not_contiguous_change_nothing(cell: str, backend: str) -> None:
    layer = PAIRS[cell][0](3, 4, bidirectional=True, backend=backend)
    x, h = torch.randn(3, 2, 5).permute(2, 1, 0), torch.randn(4, 2, 2).permute(1, 2, 0)
    assert not x.is_contiguous()
    assert not h.is_contiguous()
    state = (h, h) if cell == "LSTM" else h
    plain = (h.contiguous(), h.contiguous()) if cell == "LSTM" else h.contiguous()
    torch.testing.assert_close(layer(x, state)[0], layer(x.contiguous(), plain)[0])


@every_cell
def test_no_grad_and_frozen_weights_give_the_same_outputs(cell: str) -> None:
    layer, x = PAIRS[cell][0](3, 4, 2, dtype=torch.float64), torch.randn(5, 2, 3, dtype=torch.float64)
    wanted, _ = layer(x)
    with torch.no_grad():
        torch.testing.assert_close(layer(x)[0], wanted, **CLOSE)
    with torch.inference_mode():
        torch.testing.assert_close(layer(x)[0].clone(), wanted, **CLOSE)
    layer.requires_grad_(False)
    y, _ = layer(x)
    assert not y.requires_grad
    torch.testing.assert_close(y, wanted, **CLOSE)


@every_cell
def test_an_input_on_another_device_is_named(cell: str) -> None:
    with pytest.raises(ValueError, match="input is on meta but the weights are on cpu"):
        PAIRS[cell][0](3, 4)(torch.zeros(2, 1, 3, device="meta"))


@pytest.mark.parametrize(
    "argument", [{"hidden_size": 2.5}, {"hidden_size": -1}, {"num_layers": 0}, {"num_layers": 1.5}]
)
@every_cell
def test_sizes_that_torch_refuses_are_refused(cell: str, argument: dict) -> None:
    for layer in PAIRS[cell]:
        with pytest.raises((ValueError, TypeError)):
            layer(**{"input_size": 3, "hidden_size": 4} | argument)


@every_backend
@every_cell
def test_a_packed_single_row_and_rows_of_one_step(cell: str, backend: str) -> None:
    ours, theirs = PAIRS[cell]
    layer, wanted = ours(3, 4, backend=backend), theirs(3, 4)
    wanted.load_state_dict(layer.state_dict())
    for lengths in ((4,), (1, 1, 1), (1, 3)):
        packed = pack_sequence([torch.randn(n, 3) for n in lengths], enforce_sorted=False)
        y, final = layer(packed)
        y_wanted, final_wanted = wanted(packed)
        torch.testing.assert_close(y.data, y_wanted.data)
        torch.testing.assert_close(tensors_of(final), tensors_of(final_wanted))


@every_backend
@every_cell
def test_the_state_may_be_given_under_torchs_name(cell: str, backend: str) -> None:
    ours, theirs = PAIRS[cell]
    layer, wanted = ours(3, 4, dtype=torch.float64, backend=backend), theirs(3, 4, dtype=torch.float64)
    wanted.load_state_dict(layer.state_dict())
    x, h = torch.randn(5, 2, 3, dtype=torch.float64), torch.randn(1, 2, 4, dtype=torch.float64)
    state = (h, h + 1) if cell == "LSTM" else h
    for a, b in zip(tensors_of(layer(x, hx=state)), tensors_of(wanted(x, hx=state)), strict=True):
        torch.testing.assert_close(a, b, **CLOSE)


@every_cell
def test_what_a_layer_was_built_with_is_read_as_from_torchs(cell: str) -> None:
    ours, theirs = PAIRS[cell]
    variants = [{}, {"nonlinearity": "relu"}] if cell == "RNN" else [{}]
    for more in variants:
        arguments = {"num_layers": 2, "bias": False, "batch_first": True, "dropout": 0.25, "bidirectional": True} | more
        layer, wanted = ours(3, 4, **arguments), theirs(3, 4, **arguments)
        for name in ("input_size", "hidden_size", *arguments, "proj_size", "mode"):
            assert getattr(layer, name) == getattr(wanted, name), name


@every_cell
def test_all_weights_are_listed_as_in_torch(cell: str) -> None:
    for bias in (True, False):
        layer, wanted = (kind(3, 4, 2, bias=bias, bidirectional=True) for kind in PAIRS[cell])
        shapes = [[w.shape for w in row] for row in layer.all_weights]
        assert shapes == [[w.shape for w in row] for row in wanted.all_weights]
        assert layer.all_weights[0][0] is layer.weight_ih_l0


@pytest.mark.parametrize("switch", ["bias", "batch_first", "bidirectional"])
@every_cell
def test_a_number_in_the_place_of_a_switch_is_refused(cell: str, switch: str) -> None:
    # LSTM(8, 16, 2, 0.5): a dropout meant, and a bias given.
    with pytest.raises(TypeError, match=f"{switch} must be True or False, got 0.5"):
        PAIRS[cell][0](3, 4, **{switch: 0.5})


@every_backend
@every_cell
def test_a_state_of_another_width_is_refused(cell: str, backend: str) -> None:
    layer, h = PAIRS[cell][0](3, 4, backend=backend), torch.zeros(1, 2, 4, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"h_0 is torch.float64 but the input is torch.float32; use h_0.to\(torch"):
        layer(torch.zeros(5, 2, 3), (h, h) if cell == "LSTM" else h)


@pytest.mark.parametrize("given", [None, [1.0], "x"])
@every_cell
def test_an_input_that_is_no_tensor_is_refused(cell: str, given: object) -> None:
    with pytest.raises(TypeError, match="input must be a tensor or a PackedSequence, got"):
        PAIRS[cell][0](3, 4)(given)


@every_cell
def test_the_transforms_of_torch_func_go_through_as_in_torch(cell: str) -> None:
    layer, wanted = (kind(3, 4, dtype=torch.float64) for kind in PAIRS[cell])
    wanted.load_state_dict(layer.state_dict())
    xs = torch.randn(6, 5, 2, 3, dtype=torch.float64)
    parameters = {name: parameter.detach() for name, parameter in layer.named_parameters()}

    def loss(parameters: dict[str, Tensor], x: Tensor, module: nn.Module = layer) -> Tensor:
        return torch.func.functional_call(module, parameters, (x,))[0].sin().sum()

    each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(parameters, xs)
    for place, x in enumerate(xs):
        for name, grad in torch.func.grad(loss)(parameters, x, wanted).items():
            torch.testing.assert_close(each[name][place], grad, **CLOSE)
    hessian = torch.func.jacrev(torch.func.grad(lambda x: layer(x)[0].square().sum()))(xs[0])
    theirs = torch.autograd.functional.hessian(lambda x: wanted(x)[0].square().sum(), xs[0])
    torch.testing.assert_close(hessian, theirs, **CLOSE)
    layer.backend = "cpu"
    with pytest.raises(ValueError, match="backend 'cpu' has no torch.func.grad; use backend='reference' or 'auto'"):
        torch.func.grad(loss)(parameters, xs[0])


@every_cell
def test_complex_numbers_go_where_they_can_be_computed_with(cell: str) -> None:
    layer, wanted = (kind(3, 4, dtype=torch.complex128) for kind in PAIRS[cell])
    wanted.load_state_dict(layer.state_dict())
    x = torch.randn(5, 2, 3, dtype=torch.complex128)
    torch.testing.assert_close(layer(x)[0], wanted(x)[0], **CLOSE)
    layer.backend = "cpu"
    with pytest.raises(ValueError, match="backend 'cpu' has no complex128; use backend='auto'"):
        layer(x)


@pytest.mark.parametrize("grad", [True, False])
@every_backend
@every_cell
def test_a_view_with_turned_signs_is_read_with_them(cell: str, backend: str, grad: bool) -> None:
    layer = PAIRS[cell][0](1, 4, backend=backend).requires_grad_(grad)
    x = torch.tensor([[[1 + 2j]]]).conj().imag  # contiguous, having one entry; its memory holds 2
    assert x.is_neg()
    assert x.is_contiguous()
    torch.testing.assert_close(layer(x)[0], layer(torch.tensor([[[-2.0]]]))[0])

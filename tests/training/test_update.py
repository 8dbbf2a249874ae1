"""One optimizer update: clipping, and what is not finite, read at once or later."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from rnnlab.config import AdamConfig, RMSpropConfig, SGDConfig
from rnnlab.training.optimizers import build_optimizer
from rnnlab.training.update import SAMPLED, Made, Update

CPU = torch.device("cpu")
OPTIMIZERS = {
    "sgd": SGDConfig(name="sgd", lr=0.1),
    "nesterov": SGDConfig(name="sgd", lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    "adam": AdamConfig(name="adam", lr=0.1),
    "adamw": AdamConfig(name="adamw", lr=0.1, weight_decay=0.1),
    "rmsprop": RMSpropConfig(name="rmsprop", lr=0.1),
}
FUSED = ("sgd", "nesterov", "adam", "adamw")


def weights() -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(1)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in ((3, 4), (5,), ())]


def give_gradients(parameters, seed: int, size: float = 1.0) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in parameters:
        parameter.grad = size * torch.randn(parameter.shape, generator=generator)


def step(update: Update, nats: float = 1.0) -> Made:
    made = Made(0, 0.1, [torch.tensor(nats)], [0], 1, update.gradient_norm())
    update.apply(update.clip(made), made.spoiled() if update.defers else None)
    return made


def make(name: str, *, defers: bool = False, max_norm: float | None = None, max_value: float | None = None):
    """Weights and what updates them; deferring, which is meant for a GPU, works on a CPU's fused optimizers too."""
    parameters = weights()
    update = Update(build_optimizer(parameters, OPTIMIZERS[name]), device=CPU, max_norm=max_norm, max_value=max_value)
    assert not update.defers
    update.defers = defers
    return parameters, update


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("max_value", [None, 0.05])
@pytest.mark.parametrize("max_norm", [None, 0.5])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_it_is_torchs_clipping_and_torchs_step(name, max_norm, max_value, size):
    parameters, update = make(name, max_norm=max_norm, max_value=max_value)
    expected = weights()
    optimizer = build_optimizer(expected, OPTIMIZERS[name])
    for seed in range(4):
        for some in (parameters, expected):
            give_gradients(some, seed, size)
        made = step(update)
        norm = nn.utils.clip_grad_norm_(expected, math.inf if max_norm is None else max_norm)
        largest = max(float(p.grad.abs().max()) for p in expected)
        if max_value is not None:
            nn.utils.clip_grad_value_(expected, max_value)
            assert made.largest is not None
        optimizer.step()
        assert float(made.norm) == float(norm)
        clipped = float(norm) > (max_norm or math.inf) or largest > (max_value or math.inf)
        assert update.was_clipped(float(made.norm), None if made.largest is None else float(made.largest)) == clipped
    for one, other in zip(parameters, expected, strict=True):
        # torch multiplies by the rounded 1 / s where a fused optimizer divides by s: a last bit, which Adam and
        # RMSprop divide by its own size.
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-5, atol=0)  # what histograms show


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_below_the_limit_nothing_changes_in_the_last_bit(name):
    ends = []
    for max_norm, defers in ((None, False), (1e6, False), (1e6, name in FUSED)):
        parameters, update = make(name, max_norm=max_norm, defers=defers)
        for seed in range(3):
            give_gradients(parameters, seed)
            step(update)
        ends.append(torch.cat([p.detach().flatten() for p in parameters]))
    assert ends[0].equal(ends[1])
    assert ends[0].equal(ends[2])


@pytest.mark.parametrize("max_value", [None, 0.05])
@pytest.mark.parametrize("name", FUSED)
def test_read_later_it_makes_the_same_steps_to_the_last_bit(name, max_value):
    ends = []
    for defers in (False, True):
        parameters, update = make(name, max_norm=0.5, max_value=max_value, defers=defers)
        for seed in range(4):
            give_gradients(parameters, seed)
            step(update)
        ends.append(torch.cat([p.detach().flatten() for p in parameters]))
    assert ends[0].equal(ends[1])


@pytest.mark.parametrize(("nats", "gradient"), [(math.nan, 1.0), (math.inf, 1.0), (1.0, math.nan), (1.0, math.inf)])
@pytest.mark.parametrize("name", FUSED)
@pytest.mark.parametrize("first", [True, False])
def test_a_step_that_is_not_finite_changes_neither_weights_nor_state(name, first, nats, gradient):
    ends = []
    for is_spoiled in (True, False):
        parameters, update = make(name, max_norm=0.5, defers=True)
        for seed in range(0 if first else 2):
            give_gradients(parameters, seed)
            step(update)
        if is_spoiled:
            before = copy.deepcopy(parameters)
            give_gradients(parameters, 7)
            parameters[1].grad[2] *= gradient
            step(update, nats)
            assert all(one.equal(other) for one, other in zip(parameters, before, strict=True))
        for seed in range(3, 5):
            give_gradients(parameters, seed)
            step(update)
        ends.append(torch.cat([p.detach().flatten() for p in parameters]))
    assert ends[0].equal(ends[1])


def test_the_optimizer_is_left_as_it_was_even_when_a_step_fails(monkeypatch):
    parameters, update = make("sgd", max_norm=0.5, defers=True)
    give_gradients(parameters, 0)
    step(update)
    optimizer = update._optimizer
    monkeypatch.setattr(optimizer, "step", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        step(update)
    assert not {"grad_scale", "found_inf"} & set(vars(optimizer))


def test_only_fused_optimizers_on_a_gpu_defer():
    parameters = [nn.Parameter(torch.zeros(2, device="meta"))]
    for device, fused, defers in (("cuda", True, True), ("cuda", False, False), ("cpu", True, False)):
        optimizer = torch.optim.SGD(parameters, lr=0.1)
        optimizer.param_groups[0]["fused"] = fused
        # No GPU is asked: only the flag would live there.
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch, "zeros", lambda shape, device: None)
            update = Update(optimizer, device=torch.device(device), max_norm=None, max_value=None)
        assert update.defers == defers


def test_the_update_ratio_is_the_length_of_the_change_by_that_of_the_weights():
    parameters, update = make("sgd")
    before = update.sample_weights()
    old = torch.cat([parameter.detach().flatten().clone() for parameter in parameters])
    give_gradients(parameters, 3)
    step(update)
    new = torch.cat([parameter.detach().flatten() for parameter in parameters])
    assert float(update.update_ratio(before)) == pytest.approx(float((new - old).norm() / old.norm()), rel=1e-6)


def test_of_a_large_tensor_evenly_spaced_entries_stand_for_all():
    parameter = nn.Parameter(torch.randn(5 * SAMPLED + 7, generator=torch.Generator().manual_seed(0)))
    update = Update(torch.optim.SGD([parameter], lr=1.0), device=CPU, max_norm=None, max_value=None)
    before = update.sample_weights()
    assert SAMPLED <= len(before[0]) <= 2 * SAMPLED
    old = parameter.detach().clone()
    with torch.no_grad():
        parameter += 0.01 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    whole = float((parameter.detach() - old).norm() / old.norm())
    assert float(update.update_ratio(before)) == pytest.approx(whole, rel=0.02)  # 65,000 samples: 0.4 % of noise


@pytest.mark.parametrize(("name", "takes"), [("sgd", True), ("nesterov", False), ("adam", False), ("rmsprop", False)])
def test_only_plain_sgd_takes_rows(name, takes):
    assert make(name, max_norm=1.0)[1].takes_rows == takes
    assert not make(name, max_value=0.1)[1].takes_rows
    assert not make(name, defers=True)[1].takes_rows


@pytest.mark.parametrize("max_norm", [None, 0.5])
def test_rows_change_as_with_a_dense_gradient(max_norm):
    parameters, update = make("sgd", max_norm=max_norm)
    expected, dense = make("sgd", max_norm=max_norm)
    rows, values = torch.tensor([[2, 0, 2]]), torch.arange(12.0).reshape(3, 4) - 5
    for seed in range(3):
        give_gradients(parameters, seed)
        give_gradients(expected, seed)
        parameters[0].grad = torch.sparse_coo_tensor(rows, values, (3, 4), check_invariants=False)
        expected[0].grad = parameters[0].grad.to_dense()
        norms = [float(step(one).norm) for one in (update, dense)]
        assert norms[0] == pytest.approx(norms[1], rel=1e-6)  # sums of the same squares in another order
        assert parameters[0].grad.is_sparse, "it is there to be looked at after the step"
    for parameter, other in zip(parameters, expected, strict=True):
        torch.testing.assert_close(parameter, other, rtol=1e-6, atol=1e-6)
    assert torch.equal(parameters[0][1], weights()[0][1]), "a row that was not seen stays as it was"

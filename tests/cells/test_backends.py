"""Which backend runs: names, the choice of auto, and what is said about it."""

from __future__ import annotations

import re

import pytest
import torch

from rnnlab.cells import BACKENDS, GRU, LSTM, RNN, backend_report
from rnnlab.cells.backends import ENGINES, direction_runner

CPU = torch.device("cpu")
EXTRAS = {
    "recurrent_dropout": 0.3,
    "weight_drop": 0.3,
    "zoneout": 0.3,
    "layer_norm": True,
    "clip_state_grad": 0.01,
    "recompute": True,
}


@pytest.mark.parametrize("layer", [RNN, LSTM, GRU])
def test_a_backend_asked_for_by_name_is_the_one_that_runs(layer) -> None:
    for name in ("reference", "cpu", "torch"):
        assert layer(2, 3, backend=name).backend_in_use().name == name


def test_triton_says_what_it_needs_where_it_cannot_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENGINES, "triton", ENGINES["triton"]._replace(why_unavailable=lambda: "needs a CUDA device"))
    with pytest.raises(ValueError, match=r"^backend 'triton' needs a CUDA device; use backend='auto'$"):
        LSTM(2, 3, backend="triton")
    assert ("triton", False, "needs a CUDA device") in backend_report()


def test_an_unknown_backend_is_refused() -> None:
    with pytest.raises(ValueError, match="expected one of auto, reference, cpu, triton, torch, got 'fused'"):
        GRU(2, 3, backend="fused")


def test_the_report_covers_every_backend_and_is_true() -> None:
    report = {status.name: status for status in backend_report()}
    assert ["auto", *report] == list(BACKENDS)
    assert report["triton"].works == (ENGINES["triton"].why_unavailable() is None)
    for name, status in report.items():
        assert status.detail
        if status.works and name != "triton":
            y, _ = LSTM(2, 3, backend=name)(torch.zeros(2, 1, 2))
            assert y.shape == (2, 1, 3)
            assert callable(direction_runner(name))
            assert ("second derivatives" in status.detail) == ENGINES[name].differentiates_twice
            for extra in ENGINES[name].extras:
                assert extra in status.detail or "extras: all" in status.detail


@pytest.mark.parametrize("extra", EXTRAS)
@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("layer", [RNN, LSTM, GRU])
def test_an_engine_has_an_extra_with_the_references_numbers_or_is_refused(layer, name: str, extra: str) -> None:
    arguments = {extra: EXTRAS[extra], "num_layers": 2, "bidirectional": True, "dtype": torch.float64}
    if extra not in ENGINES[name].extras:
        here = [other for other in BACKENDS[1:] if ENGINES[other].why_unavailable() is None]
        able = [f"'{other}'" for other in here if extra in ENGINES[other].extras]
        wanted = f"backend '{name}' has no {extra}; use backend={', '.join(able)} or 'auto'"
        with pytest.raises(ValueError, match=re.escape(wanted)):
            layer(2, 3, backend=name, **arguments)
        return
    if name == "triton":
        pytest.skip("its kernels have tests of their own")
    oracle = layer(2, 3, backend="reference", **arguments)
    ours = layer(2, 3, backend=name, **arguments)
    ours.load_state_dict(oracle.state_dict())
    x, lengths = torch.randn(4, 3, 2, dtype=torch.float64, requires_grad=True), torch.tensor([4, 0, 2])
    found = []
    for each in (ours, oracle):
        torch.manual_seed(1)
        y, _ = each(x, None, lengths)
        found.append([y, *torch.autograd.grad(y.square().sum(), [x, *each.parameters()])])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-13)  # float64 sums in another order


@pytest.mark.parametrize("name", [name for name in ENGINES if name != "triton"])
@pytest.mark.parametrize("layer", [RNN, LSTM, GRU])
def test_an_engine_differentiates_twice_or_says_which_one_does(layer, name: str) -> None:
    net = layer(2, 3, dtype=torch.float64, backend=name)
    x = torch.randn(3, 2, 2, dtype=torch.float64, requires_grad=True)
    (first,) = torch.autograd.grad(net(x)[0].sin().sum(), x, create_graph=True)
    if ENGINES[name].differentiates_twice:
        torch.autograd.gradgradcheck(lambda x: net(x)[0].sin().sum(), (x,))
    elif name == "cpu":
        with pytest.raises(RuntimeError, match="has no second derivatives .*backend='reference'"):
            first.sum().backward()


def test_an_extra_set_later_is_refused_by_an_engine_without_it() -> None:
    layer = LSTM(2, 3, backend="torch")
    layer.zoneout = 0.5
    with pytest.raises(ValueError, match="backend 'torch' has no zoneout; use backend='reference'"):
        layer(torch.zeros(2, 1, 2))

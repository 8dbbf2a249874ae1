"""Which backend runs: names, the choice of auto, and what is said about it."""

from __future__ import annotations

import pytest
import torch

from rnnlab.cells import BACKENDS, GRU, LSTM, RNN, backend_report
from rnnlab.cells.backends import choose_backend, direction_runner

CPU = torch.device("cpu")


@pytest.mark.parametrize("layer", [RNN, LSTM, GRU])
def test_a_backend_asked_for_by_name_is_the_one_that_runs(layer) -> None:
    for name in ("reference", "cpu", "torch"):
        assert layer(2, 3, backend=name).backend_in_use().name == name


def test_triton_is_refused_and_the_backends_that_work_are_named() -> None:
    with pytest.raises(
        ValueError, match="'triton' is not in this build of rnnlab; use one of auto, reference, cpu, tor"
    ):
        LSTM(2, 3, backend="triton")


def test_an_unknown_backend_is_refused() -> None:
    with pytest.raises(ValueError, match="expected one of auto, reference, cpu, triton, torch, got 'fused'"):
        GRU(2, 3, backend="fused")


def test_auto_trains_an_lstm_with_torch_and_the_others_with_the_ops() -> None:
    assert LSTM(2, 3).backend_in_use().name == "torch"
    assert GRU(2, 3).backend_in_use().name == "cpu"
    assert RNN(2, 3).backend_in_use().name == "cpu"


def test_auto_runs_torchs_loop_where_no_gradient_is_wanted() -> None:
    with torch.no_grad():
        assert GRU(2, 3).backend_in_use().name == "torch"


def test_auto_takes_the_traceable_op_under_compile_and_torch_on_cuda() -> None:
    compiled = choose_backend("auto", "lstm", CPU, torch.float32, needs_grad=True, compiling=True)
    assert compiled.name == "cpu"
    cuda = choose_backend("auto", "gru", torch.device("cuda"), torch.float32, needs_grad=True)
    assert str(cuda) == "torch (CUDA, float32: cuDNN)"


def test_the_choice_names_device_and_dtype_for_the_log() -> None:
    assert str(GRU(2, 3, dtype=torch.float64).backend_in_use()).startswith("cpu (CPU, float64: ")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert "bfloat16" in GRU(2, 3).backend_in_use().reason


def test_the_report_covers_every_backend_and_is_true() -> None:
    report = {status.name: status for status in backend_report()}
    assert ["auto", *report] == list(BACKENDS)
    assert not report["triton"].works
    for name, status in report.items():
        assert status.detail
        if status.works:
            y, _ = LSTM(2, 3, backend=name)(torch.zeros(2, 1, 2))
            assert y.shape == (2, 1, 3)
            assert callable(direction_runner(name))

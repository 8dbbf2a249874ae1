"""What `auto` chooses, and what is said about it."""

from __future__ import annotations

import pytest
import torch

from rnnlab.cells import GRU, LSTM, auto, backends
from rnnlab.cells.auto import Asked, choose_backend
from rnnlab.cells.backends import ENGINES, Engine
from rnnlab.cells.cpu.library import Library

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
PLAIN = Asked("gru", CPU, torch.float32)


@pytest.fixture(params=["avx2", "avx512", "none"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A machine with this engine; only the choice is looked at."""
    found = Library(None, "not built") if request.param == "none" else Library(object(), request.param)  # pyright: ignore
    monkeypatch.setattr(auto, "library", lambda: found)
    return request.param


def chosen(**changes: object) -> str:
    return choose_backend("auto", PLAIN._replace(**changes)).name


def test_training_takes_the_engine_where_it_is_built(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen(cell="gru") == "cpu"
    assert chosen(cell="rnn_relu", has_lengths=True) == "cpu"
    # On any number of threads: a run that goes on with another must go on with the same bits.
    for threads in (1, 2):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        assert chosen(cell="lstm") == ("torch" if engine == "none" else "cpu")
    assert chosen(cell="lstm", has_lengths=True) == ("torch" if engine == "none" else "cpu")
    assert chosen(cell="lstm", dtype=torch.float64) == ("torch" if engine == "none" else "cpu")


def test_one_step_without_gradient_goes_where_it_costs_least(engine: str) -> None:
    token = {"needs_grad": False, "shape": (1, 1)}
    built = "torch" if engine == "none" else "cpu"
    assert chosen(cell="rnn_tanh", **token) == "torch"
    assert chosen(cell="gru", **token) == built
    assert chosen(cell="lstm", **token) == built
    assert chosen(cell="lstm", needs_grad=False, shape=(1, 64)) == "torch"
    assert chosen(cell="lstm", needs_grad=False, shape=(1, 64), keeps_weights=True) == built
    assert chosen(cell="gru", needs_grad=False, shape=(50, 64)) == ("torch" if engine == "none" else "cpu")


def test_compiling_takes_the_traceable_op_and_cuda_takes_cudnn(engine: str) -> None:
    assert chosen(cell="lstm", compiling=True) == "cpu"
    assert str(choose_backend("auto", PLAIN._replace(device=CUDA))) == "torch (CUDA, float32: cuDNN)"


def test_a_backend_asked_for_by_name_is_not_exchanged(engine: str) -> None:
    for name in ("reference", "cpu", "torch"):
        choice = choose_backend(name, PLAIN)
        assert choice.name == name
        assert choice.reason in ("asked for", "asked for; no C++ engine: not built")


def test_the_choice_names_device_dtype_and_reason_for_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto, "library", lambda: Library(object(), "avx2"))  # pyright: ignore
    assert str(LSTM(2, 3).backend_in_use()) == "cpu (CPU, float32: C++ engine, avx2)"
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert "bfloat16" in GRU(2, 3).backend_in_use().reason


def test_an_engine_without_the_extra_is_passed_over_and_named() -> None:
    choice = LSTM(2, 3, layer_norm=True).backend_in_use()
    assert choice.name == "reference"
    assert choice.reason.endswith("has no layer_norm")
    # What does not act in a call is no reason to avoid an engine.
    with torch.no_grad():
        assert LSTM(2, 3, clip_state_grad=0.1, recompute=True).backend_in_use() == LSTM(2, 3).backend_in_use()
    assert LSTM(2, 3, recurrent_dropout=0.1).eval().backend_in_use() == LSTM(2, 3).backend_in_use()


def test_extras_of_the_engine_are_not_promised_on_other_devices() -> None:
    assert chosen(device=CUDA, extras=("zoneout",)) == "reference"
    assert chosen(device=CUDA, extras=("recompute",)) == "cpu"


def test_an_engine_is_neither_chosen_nor_run_where_the_table_says_it_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    narrow = Engine(ENGINES["torch"].run, "a test", (), devices=("cuda",), dtypes=(torch.float32,))
    monkeypatch.setitem(backends.ENGINES, "torch", narrow)
    monkeypatch.setattr(auto, "library", lambda: Library(None, "not built"))
    with pytest.raises(ValueError, match="backend 'torch' has no CPU kernels; use backend='auto'"):
        LSTM(2, 3, backend="torch")(torch.zeros(2, 1, 2))
    with pytest.raises(ValueError, match="backend 'torch' has no float64; use backend='auto'"):
        choose_backend("torch", Asked("lstm", CUDA, torch.float64))
    assert str(LSTM(2, 3).backend_in_use()) == "cpu (CPU, float32: torch has no CPU kernels)"


def test_auto_passes_over_an_engine_that_torch_compile_cannot_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(backends.ENGINES, "cpu", ENGINES["cpu"]._replace(extras=()))
    assert chosen(extras=["weight_drop"]) == "torch"
    assert chosen(extras=["weight_drop"], compiling=True) == "reference"

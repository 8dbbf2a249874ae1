"""What is said where no kernel can run, and that nobody pays for triton who does not use it."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from rnnlab.cells import RNN
from rnnlab.cells import triton as engine
from rnnlab.cells.extras import Extras, Norm
from rnnlab.cells.reference import Weights


@pytest.fixture(autouse=True)
def _compiled(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)


def run(**keywords):
    x, h, weight = torch.zeros(2, 1, 3), torch.zeros(1, 4), torch.zeros(4, 3)
    return engine.run_direction("rnn_tanh", x, (h,), Weights(weight, torch.zeros(4, 4)), None, False, **keywords)


def test_without_triton_the_message_names_the_package(monkeypatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"^backend 'triton' needs the package triton.*; use backend='auto'$"):
        run()


def test_without_a_gpu_the_message_says_so(monkeypatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"^backend 'triton' needs a CUDA device; use backend='auto'$"):
        run()


def test_an_input_that_is_not_on_the_gpu_is_refused_with_its_device(monkeypatch) -> None:
    monkeypatch.setattr(engine, "why_unavailable", lambda: None)
    with pytest.raises(ValueError, match=r"needs its input on a CUDA device, got cpu; use backend='auto'"):
        run()


def test_layer_norm_is_refused() -> None:
    with pytest.raises(ValueError, match=r"backend 'triton' has no layer_norm; use backend='reference' or 'auto'"):
        run(extras=Extras(norm=Norm(torch.ones(4), torch.ones(4))))
    with pytest.raises(ValueError, match=r"^backend 'triton' has no layer_norm; use backend='reference' or 'auto'$"):
        RNN(2, 3, backend="triton", layer_norm=True, zoneout=0.1)


def test_importing_the_engine_imports_no_triton() -> None:
    code = "import sys, rnnlab.cells.triton.ops; sys.exit(any(m.partition('.')[0] == 'triton' for m in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rnnlab.benchmarks.steps import worker as module
from rnnlab.benchmarks.steps.worker import Worker, peak_mb, reset_peak


@pytest.mark.parametrize("contender", ["plain", "tuned", "rnnlab", "bf16"])
def test_a_worker_builds_steps_and_tells_the_parts(made, monkeypatch, contender):
    tuned = []
    monkeypatch.setattr(module, "tune_allocator", lambda: tuned.append(1) or True)  # it would stay for other tests
    case, _feed, folder = made("ptb_650")
    worker = Worker(case, contender, folder, threads=1)
    about = worker.answer({"do": "build", "dropout": 0.0, "rate": 1.0})
    assert bool(tuned) == (contender != "plain")
    assert about["allocator"] == ("as it comes" if contender == "plain" else "keeps freed memory")
    assert (about["backend"] == "torch.nn") == (contender in ("plain", "tuned"))
    first = worker.answer({"do": "step"})
    assert first["tokens"] == case.batch_size * 5
    assert first["loss"] == pytest.approx(3.4, abs=0.1)  # a guess among 30: ln 30 = 3.40
    second = worker.answer({"do": "step"})["loss"]
    worker.answer({"do": "build", "dropout": 0.0, "rate": 1.0})
    assert worker.answer({"do": "step"})["loss"] == pytest.approx(first["loss"], rel=1e-6), "from the first weights"
    assert second != first["loss"]
    (parts,) = worker.answer({"do": "parts", "steps": 1})["parts"]
    assert {"data", "forward recurrent", "backward recurrent", "clip", "optimizer"} <= set(parts)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory can be reset on Linux alone")
def test_the_peak_of_memory_begins_anew():
    before = peak_mb()
    large = torch.ones(50_000_000)
    with_it = peak_mb()
    del large
    reset_peak()
    after = peak_mb()
    assert before is not None
    assert with_it is not None
    assert after is not None
    assert with_it - after > 190  # of 200 MB

"""What of the GPU check can be checked without one: that it says so, that it survives errors, and that its cases run.

Its sections run here on a CPU with the equations in the kernels' place and a stand-in for the clock of the device.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path

import pytest
import torch

from rnnlab.cells import reference
from rnnlab.cells.triton.plan import overridden

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "gpu_check.py"
needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="the package triton is not installed"
)


def load():
    spec = importlib.util.spec_from_file_location("gpu_check", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["gpu_check"] = module
    spec.loader.exec_module(module)
    return module


gpu_check = load()


@pytest.fixture
def on_a_cpu(monkeypatch):
    """Equations for kernels, the CPU for the GPU, one call for a captured graph."""
    monkeypatch.setattr(gpu_check, "DEVICE", "cpu")
    monkeypatch.setattr(gpu_check.engine, "run_direction", reference.run_direction)
    monkeypatch.setattr(gpu_check, "captured", lambda call: call)

    def once(call, repeats=15) -> float:
        call()
        return 1.0

    monkeypatch.setattr(gpu_check, "median_ms", once)


def test_without_a_gpu_it_ends_with_one_line(monkeypatch, capsys) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(gpu_check.engine, "why_unavailable", lambda: None)
    assert gpu_check.main([]) == 1
    assert capsys.readouterr().err == "gpu_check needs a CUDA device; nothing was checked\n"


def test_an_error_is_a_row_and_the_end_of_the_time_ends_the_section(capsys) -> None:
    def measure(number: int) -> dict[str, float]:
        return {"inverse": 1 / number}

    rows = gpu_check.run_cases([{"number": 0}, {"number": 4}], gpu_check.Clock(60), measure)
    assert rows == [{"number": 0, "error": "ZeroDivisionError: division by zero"}, {"number": 4, "inverse": 0.25}]
    assert gpu_check.run_cases([{"number": 4}], gpu_check.Clock(-1), measure) == [
        {"number": 4, "skipped": "out of time"}
    ]
    assert "inverse=0.25" in capsys.readouterr().out


@needs_triton
@pytest.mark.parametrize(
    ("cell", "precision", "extras"),
    [
        ("lstm", "float32", None),
        ("gru", "bfloat16", None),
        ("rnn_relu", "tf32", None),
        ("lstm", "float32", "masks"),
        ("gru", "float32", "shares"),
    ],
)
def test_a_correctness_case_passes_with_the_equations_and_fails_with_a_wrong_kernel(
    cell, precision, extras, on_a_cpu, monkeypatch
) -> None:
    case = {"cell": cell, "precision": precision, "hidden_size": 8, "mode": None, "reverse": True, "extras": extras}
    row = gpu_check.check_one(**case)
    assert row["ok"]
    assert ("cudnn_error" in row) == (extras is None)

    def wrong(*arguments):
        y, final = reference.run_direction(*arguments)
        return y * 1.05, final

    monkeypatch.setattr(gpu_check.engine, "run_direction", wrong)
    row = gpu_check.check_one(**case)
    assert not row["ok"]
    assert row["error"] == pytest.approx(0.05, rel=0.1)
    assert row["repeats_agree"]


@needs_triton
@pytest.mark.parametrize("cell", ["rnn_tanh", "lstm", "gru"])
@pytest.mark.parametrize("field", ["recurrent_mask", "zoneout", "clip_state_grad"])
def test_a_case_with_extras_fails_if_a_kernel_forgets_one(cell, field, on_a_cpu, monkeypatch) -> None:
    def forgetful(*arguments):
        *before, extras = arguments
        return reference.run_direction(*before, extras._replace(**{field: None}))

    monkeypatch.setattr(gpu_check.engine, "run_direction", forgetful)
    row = gpu_check.check_one(cell, "float32", 8, None, True, "masks")
    assert (row["ok"], row["repeats_agree"]) == (False, True)


def test_every_cell_is_checked_with_extras_in_every_mode(monkeypatch) -> None:
    seen: list[dict] = []
    monkeypatch.setattr(gpu_check, "check_one", lambda **case: seen.append(case) or {"ok": True})
    gpu_check.check_correctness(gpu_check.Clock(60))
    with_extras = {(row["cell"], row["mode"], row["extras"]) for row in seen if row.get("extras")}
    assert len(with_extras) == len(gpu_check.CELLS) * 2 * len(gpu_check.EXTRAS)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn_tanh"])
def test_a_timing_case_runs_both_stacks(cell, packed, on_a_cpu) -> None:
    row = gpu_check.time_one(cell, "float32", (3, 4, 5), 2, packed)
    assert row["cudnn_over_ours"] == 1.0
    assert row["us_per_step_forward"] == 1000 / 4 / 2
    assert ("ours_train_graph" in row) is not packed


def test_both_stacks_that_are_timed_compute_the_same(on_a_cpu) -> None:
    torch.manual_seed(0)
    layer = torch.nn.GRU(5, 5, 2).double()
    x = torch.randn(4, 3, 5, dtype=torch.float64)
    ours, theirs = gpu_check.our_stack("gru", layer, x, None)(), gpu_check.cudnn_stack(layer, x, None)()
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-13)


def test_the_report_holds_every_section_and_fails_if_a_check_does(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(gpu_check.engine, "why_unavailable", lambda: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    for section in ("compile_ahead", "time_against_cudnn", "time_blocks"):
        monkeypatch.setattr(gpu_check, section, lambda clock: [])
    monkeypatch.setattr(gpu_check, "check_correctness", lambda clock: [{"ok": True}, {"error": "no"}])
    out = tmp_path / "new" / "report.json"
    assert gpu_check.main(["--out", str(out)]) == 2
    report = json.loads(out.read_text())
    assert report["gpu"] == "a GPU"
    assert [report[name] for name in ("compile", "times", "blocks")] == [[], [], []]
    assert "a GPU: 1 of 2 checks failed" in capsys.readouterr().out


def test_no_kernel_is_compiled_twice_ahead() -> None:
    kernels = list(gpu_check.all_kernels())
    assert len(kernels) == len(set(kernels))
    assert sum(gpu_check.SHARES.values()) == pytest.approx(1.0)


@needs_triton
@pytest.mark.parametrize(
    "blocks",
    gpu_check.BLOCKS if os.environ.get("RNNLAB_COMPILE_ALL") == "1" else gpu_check.BLOCKS[:1],
    ids=str,
)
def test_the_block_sizes_that_are_swept_spill_nothing(blocks, tmp_path, monkeypatch) -> None:
    from rnnlab.cells.triton.offline import compile_pass

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    with overridden(**blocks.changes):
        compiled = compile_pass("lstm", blocks.hidden_size, blocks.batch, torch.bfloat16, backward=blocks.backward)
    assert compiled is not None
    assert (compiled.stack, compiled.spills) == (0, 0)
    assert compiled.plan.mode == "grid"

"""The kernels compiled for an H100 that is not there: what they take of it, and that W_hh is read before the loop."""

from __future__ import annotations

import importlib.util
import os
import re

import pytest
import torch

from rnnlab.cells.triton.plan import overridden, shared_memory

if importlib.util.find_spec("triton") is None:
    pytest.skip("the package triton is not installed", allow_module_level=True)

LARGEST = 227 * 1024
HALF, SINGLE = torch.bfloat16, torch.float32
# Cell, H, B, dtype, backward, multiplication of float32.
CASES = [
    ("lstm", 650, 32, HALF, False, "highest"),
    ("lstm", 1150, 20, HALF, True, "highest"),
    ("lstm", 128, 32, HALF, True, "highest"),
    ("gru", 256, 64, HALF, True, "highest"),
    ("rnn", 512, 64, SINGLE, True, "high"),
    ("lstm", 1150, 20, SINGLE, True, "highest"),
]
# All shapes that are measured: some minutes, so asked for by RNNLAB_COMPILE_ALL=1.
SHAPES = [(650, 32), (1150, 20), (256, 64), (512, 64), (1024, 64), (128, 32), (64, 32)]
MULTIPLICATIONS = [(HALF, "highest"), (torch.float16, "highest"), (SINGLE, "high"), (SINGLE, "highest")]
ALL_CASES = [
    (cell, hidden_size, batch, dtype, backward, multiplication)
    for cell in ("lstm", "gru", "rnn")
    for hidden_size, batch in SHAPES
    for dtype, multiplication in MULTIPLICATIONS
    for backward in (False, True)
]


@pytest.fixture
def compile_pass(tmp_path, monkeypatch):
    from rnnlab.cells.triton.offline import compile_pass

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    before = torch.get_float32_matmul_precision()
    yield compile_pass
    torch.set_float32_matmul_precision(before)


def loads_inside_the_time_loop(layout: str) -> list[str]:
    """Element types and shapes of the tensors that are loaded inside the outermost loop over time."""
    lines = layout.splitlines()
    start = next(number for number, line in enumerate(lines) if "scf.for" in line)
    depth = len(lines[start]) - len(lines[start].lstrip())
    end = next(n for n in range(start + 1, len(lines)) if re.match(rf" {{{depth}}}\}}", lines[n]))
    loads = [line for line in lines[start:end] if "tt.load" in line]
    return [re.findall(r"tensor<([\dx]+)x!tt\.ptr", line)[0] for line in loads]


EXTRAS = ("recurrent_dropout", "zoneout", "clip_state_grad")
EXTRA_CASES = [
    ("lstm", 650, 32, HALF, True, EXTRAS),
    ("gru", 256, 64, HALF, True, ("recurrent_dropout", "zoneout_share", "clip_state_grad")),
    ("lstm", 128, 32, HALF, True, EXTRAS),
    ("rnn", 1150, 20, SINGLE, True, EXTRAS),
]
ALL_EXTRA_CASES = [
    (cell, hidden_size, batch, dtype, backward, extras)
    for cell in ("lstm", "gru", "rnn")
    for hidden_size, batch in SHAPES
    for dtype in (HALF, SINGLE)
    for backward in (False, True)
    for extras in (EXTRAS, ("zoneout_share",))
]


@pytest.mark.parametrize("case", ALL_CASES if os.environ.get("RNNLAB_COMPILE_ALL") == "1" else CASES, ids=str)
def test_the_planned_block_sizes_fit_an_h100_and_spill_nothing(case, compile_pass) -> None:
    cell, hidden_size, batch, dtype, backward, multiplication = case
    torch.set_float32_matmul_precision(multiplication)
    compiled = compile_pass(cell, hidden_size, batch, dtype, backward=backward)
    assert (compiled.stack, compiled.spills) == (0, 0)
    assert compiled.registers <= 255
    assert compiled.shared_memory <= LARGEST
    # The plan's estimate leaves out what conversions between layouts take: some kilobytes.
    assert compiled.shared_memory <= shared_memory(compiled.plan, compiled.shape) + 16 * 1024
    blocks = 1 if cell == "rnn" else 4
    share = compiled.plan.chunks[0] * blocks * compiled.plan.block_units
    inside = [torch.Size(map(int, shape.split("x"))).numel() for shape in loads_inside_the_time_loop(compiled.layout)]
    exchanged = compiled.plan.block_batch * compiled.plan.chunks[0] * (blocks if backward else 1)
    assert exchanged in inside
    if compiled.plan.resident and share != exchanged:
        assert share not in inside
    if not compiled.plan.resident:
        assert share in inside


@pytest.mark.parametrize(
    "case", ALL_EXTRA_CASES if os.environ.get("RNNLAB_COMPILE_ALL") == "1" else EXTRA_CASES, ids=str
)
def test_extras_spill_nothing_and_fit_an_h100(case, compile_pass) -> None:
    cell, hidden_size, batch, dtype, backward, extras = case
    torch.set_float32_matmul_precision("high")  # three products of TF32 keep no weights and take the fewest registers
    compiled = compile_pass(cell, hidden_size, batch, dtype, backward=backward, with_lengths=True, extras=extras)
    assert (compiled.stack, compiled.spills) == (0, 0)
    assert compiled.registers <= 255
    assert compiled.shared_memory <= LARGEST


def test_rows_of_lengths_and_both_directions_in_one_grid_spill_nothing_either(compile_pass) -> None:
    compiled = compile_pass("lstm", 650, 32, HALF, backward=True, directions=2, with_lengths=True)
    assert compiled.plan.mode == "grid"
    assert compiled.plan.num_programs(656, 32, 2) == 82
    assert (compiled.stack, compiled.spills) == (0, 0)


def test_one_launch_a_step_compiles_to_less_shared_memory_than_one_for_all(compile_pass) -> None:
    with overridden(mode="step", resident=False, chunks=(64,) * 4):
        compiled = compile_pass("gru", 256, 64, HALF, backward=False)
    assert compiled.shared_memory < 32 * 1024
    assert (compiled.stack, compiled.spills) == (0, 0)

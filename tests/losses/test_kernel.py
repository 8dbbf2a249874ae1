"""The CUDA kernel without a GPU: in triton's interpreter, in a process of its own, and compiled for an H100."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")


def test_the_kernel_passes_its_tests_in_the_interpreter(interpret) -> None:
    interpret(Path(__file__).parent / "interpreted")


@pytest.mark.parametrize("save", [False, True])
def test_it_compiles_for_an_h100_within_its_registers(
    save: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from rnnlab.cells.triton.offline import resources
    from rnnlab.losses import kernel

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    constants = {"BIAS": True, "SAVE": save, "LANES": kernel.LANES}
    source = ASTSource(fn=kernel.judge_row, signature=kernel.signature(), constexprs=constants)
    compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": kernel.NUM_WARPS})
    registers, stack, spills, shared = resources(compiled)
    assert (stack, spills) == (0, 0)
    assert registers <= 128  # two programs of 256 threads share a processor's 65536
    assert shared <= 1024  # what the warps exchange for a row's maximum and sum

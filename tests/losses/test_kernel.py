"""The CUDA kernel without a GPU: in triton's interpreter, in a process of its own, and compiled for an H100."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "interpreted"

pytestmark = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")


def test_the_kernel_passes_its_tests_in_the_interpreter() -> None:
    command = [sys.executable, "-m", "pytest", "-W", "error", "-q", "-p", "no:cacheprovider", str(FOLDER)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment |= {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=FOLDER.parents[2])
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout


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

"""Compile the CPU engine: `python -m rnnlab.cells.cpu.build`, and what installing the package does.

Needs a C++17 compiler that knows vector extensions (g++ 12 or clang++ 14 and later). The engine holds one copy of its
kernels for each instruction set that the compiler can make; which one runs is decided when it is loaded. This file
imports nothing of rnnlab, so that the package can be built before it is installed.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

SOURCES = Path(__file__).with_name("src")
FLAGS = ("-std=c++17", "-O2", "-fPIC", "-fvisibility=hidden", "-ffp-contract=fast", "-fno-math-errno")
WARNINGS = ("-Wall", "-Wextra", "-Wno-psabi", "-Wno-ignored-attributes", "-Wno-unknown-pragmas")


class InstructionSet(NamedTuple):
    """How one copy of the kernels is compiled.

    Attributes:
        name: as engine.cpp knows it.
        vector_bytes: width of a vector.
        block_rows: rows of a register block; two vectors of each must fit into the registers beside the factors.
        prefetch_bytes: how far ahead packed weights are fetched.
        flags: what lets the compiler use the instructions.
    """

    name: str
    vector_bytes: int
    block_rows: int
    prefetch_bytes: int
    flags: tuple[str, ...]


class BuildError(Exception):
    """The engine could not be built; one line that says why."""


def instruction_sets(machine: str) -> list[InstructionSet]:
    """Return the sets worth compiling for a machine as `platform.machine()` names it, the best first."""
    if machine not in ("x86_64", "AMD64"):
        return [InstructionSet("portable", 16, 12, 1024, ("-DRNNLAB_IMITATE_BFLOAT16=1",))]
    avx2 = ("-mavx2", "-mfma", "-mf16c")
    avx512 = (*avx2, "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl")
    return [
        InstructionSet("avx512bf16", 64, 14, 4096, (*avx512, "-mavx512bf16")),
        InstructionSet("avx512", 64, 14, 4096, avx512),
        InstructionSet("avx2", 32, 6, 2048, avx2),
        InstructionSet("portable", 16, 6, 1024, ("-DRNNLAB_IMITATE_BFLOAT16=1",)),
    ]


def find_compiler() -> list[str]:
    """Return the compiler's command: $CXX, or the first of c++, g++ and clang++ on the path.

    Raises:
        BuildError: none of them is there.
    """
    if named := os.environ.get("CXX"):
        return named.split()
    for name in ("c++", "g++", "clang++"):
        if path := shutil.which(name):
            return [path]
    raise BuildError("no C++ compiler: none of c++, g++ and clang++ is on the path, and CXX is not set")


def build(target: Path) -> list[str]:
    """Compile the engine into `target`, which is replaced only once all has gone well.

    Args:
        target: the shared library.

    Returns:
        Names of the instruction sets inside, the best first. Those that the compiler does not know are left out.

    Raises:
        BuildError: there is no compiler, or it failed.
    """
    compiler = find_compiler()
    with tempfile.TemporaryDirectory(prefix="rnnlab-build-") as folder:
        openmp = _openmp_flags(compiler, Path(folder))
        common = [*compiler, *FLAGS, *WARNINGS, *openmp]
        objects, built, error = [], [], ""
        jobs = []
        for chosen in instruction_sets(platform.machine()):
            out = Path(folder, f"{chosen.name}.o")
            defines = [
                f"-DRNNLAB_SETS=X({chosen.name})",
                f"-DRNNLAB_ISA={chosen.name}",
                f"-DRNNLAB_VECTOR_BYTES={chosen.vector_bytes}",
                f"-DRNNLAB_BLOCK_ROWS={chosen.block_rows}",
                f"-DRNNLAB_PREFETCH_BYTES={chosen.prefetch_bytes}",
            ]
            command = [*common, *defines, *chosen.flags, "-c", str(SOURCES / "kernels.cpp"), "-o", str(out)]
            jobs.append((chosen.name, out, subprocess.Popen(command, stderr=subprocess.PIPE, text=True)))
        for name, out, process in jobs:
            message = process.communicate()[1]
            if process.returncode == 0:
                objects.append(str(out))
                built.append(name)
            else:
                error = _first_error(message)
        if "portable" not in built:
            raise BuildError(f"{compiler[0]} failed: {error}")
        sets = "-DRNNLAB_SETS=" + " ".join(f"X({name})" for name in built)
        library = Path(folder, target.name)
        # The linker keeps the first copy of what the sets share: it must be one that any processor runs.
        _run([*common, sets, "-shared", str(SOURCES / "engine.cpp"), *reversed(objects), "-o", str(library)])
        _put_in_place(library, target)
    return built


def _put_in_place(library: Path, target: Path) -> None:
    """Replace the target in one step: another process may have the old one loaded."""
    beside = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        shutil.copy(library, beside)
        beside.replace(target)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise BuildError(f"cannot write {target}: {error.strerror}") from None


def _openmp_flags(compiler: list[str], folder: Path) -> list[str]:
    """Return what turns OpenMP on; nothing where the compiler has none: the engine then uses one thread."""
    probe = folder / "probe.cpp"
    probe.write_text("#include <omp.h>\nint main() { return omp_get_max_threads() == 0; }\n")
    command = [*compiler, "-fopenmp", str(probe), "-o", str(folder / "probe")]
    try:
        done = subprocess.run(command, capture_output=True)
    except OSError as error:
        raise BuildError(f"{compiler[0]} cannot be run: {error}") from None
    return ["-fopenmp"] if done.returncode == 0 else []


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise BuildError(f"{command[0]} failed: {_first_error(done.stderr)}")


def _first_error(message: str) -> str:
    lines = [line for line in message.splitlines() if "error" in line] or message.splitlines() or ["it said nothing"]
    return lines[0]


if __name__ == "__main__":
    try:
        print("built for " + ", ".join(build(Path(__file__).with_name("librnnlab_cells.so"))))
    except BuildError as failure:
        sys.exit(f"error: {failure}")

"""Which implementation runs a recurrence: the names, what each can do here, and how `auto` chooses.

    reference   the equations under autograd: the slowest and the oracle, differentiable any number of times
    cpu         whole-window ops with hand-written backpropagation through time (also runs on CUDA tensors)
    torch       torch.nn's own kernels: oneDNN on a CPU, cuDNN on CUDA
    triton      fused kernels for CUDA

What each can do stands once, in `ENGINES`; how `auto` chooses among them, in `auto.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import NamedTuple

import torch

from rnnlab.cells import ops, reference, torch_backend, triton
from rnnlab.cells.cpu.library import library
from rnnlab.cells.extras import ExtraSettings

BACKENDS = ("auto", "reference", "cpu", "triton", "torch")
"""Every name the setting `backend` takes."""

_ALL_EXTRAS = ExtraSettings._fields
_OP_EXTRAS = ("weight_drop", "recompute")
_ENGINE_EXTRAS = tuple(name for name in _ALL_EXTRAS if name != "layer_norm")


class Engine(NamedTuple):
    """What runs under one backend's name, and what it can do.

    Attributes:
        run: runs one layer in one direction, with `reference.run_direction`'s arguments and results.
        about: one phrase.
        extras: settings beyond torch.nn that it honours, names of `rnnlab.cells.extras.ExtraSettings`.
        extras_off_cpu: those of them that it honours on other devices too; None: all.
        devices: types of device it runs on; None: any.
        dtypes: types of numbers it runs on; None: any floating.
        differentiates_twice: whether gradients can be differentiated again (create_graph=True).
        compiles: whether torch.compile can trace a call without a graph break.
        why_unavailable: says what it needs that this machine lacks, or None.
    """

    run: Callable[..., tuple[torch.Tensor, reference.States]]
    about: str
    extras: tuple[str, ...]
    devices: tuple[str, ...] | None = None
    dtypes: tuple[torch.dtype, ...] | None = None
    differentiates_twice: bool = False
    compiles: bool = False
    extras_off_cpu: tuple[str, ...] | None = None
    why_unavailable: Callable[[], str | None] = lambda: None

    def lacks(self, device: torch.device, dtype: torch.dtype, extras: Collection[str]) -> str | None:
        """Return what of a call it cannot do, or None."""
        everywhere = self.extras if self.extras_off_cpu is None else self.extras_off_cpu
        able = self.extras if device.type == "cpu" else everywhere
        if missing := [name for name in extras if name not in able]:
            return ", ".join(missing)
        if self.devices is not None and device.type not in self.devices:
            return f"{device.type.upper()} kernels"
        if self.dtypes is not None and dtype not in self.dtypes:
            return str(dtype).removeprefix("torch.")
        return None


# In the order in which `auto` looks for one that can, after the one it prefers. weight_drop asks nothing of an engine:
# it gets other weights.
ENGINES = {
    "cpu": Engine(
        run=ops.run_direction,
        about="hand-written backpropagation through time",
        extras=_OP_EXTRAS if library().functions is None else _ENGINE_EXTRAS,
        extras_off_cpu=_OP_EXTRAS,
        dtypes=(torch.float32, torch.float64, torch.float16, torch.bfloat16),
        compiles=True,
    ),
    "torch": Engine(
        run=torch_backend.run_direction,
        about="torch.nn's kernels",
        extras=("weight_drop",),
    ),
    "reference": Engine(
        run=reference.run_direction,
        about="equations under autograd, any device",
        extras=_ALL_EXTRAS,
        differentiates_twice=True,
        compiles=True,
    ),
    "triton": Engine(
        run=triton.run_direction,
        about="fused CUDA kernels",
        extras=_ENGINE_EXTRAS,
        devices=("cuda",),
        dtypes=triton.DTYPES,
        compiles=True,
        why_unavailable=triton.why_unavailable,
    ),
}
"""Every engine of this build and what it can do: the only place that says so."""


class BackendStatus(NamedTuple):
    """Whether a backend works on this machine.

    Attributes:
        name: one of `BACKENDS` without 'auto'.
        works: whether layers may be built with it.
        detail: what it runs on, or why it does not work.
    """

    name: str
    works: bool
    detail: str


def check_backend(backend: str, extras: Collection[str] = ()) -> str:
    """Return the name if layers can be built with it.

    Args:
        backend: one of `BACKENDS`.
        extras: names of the extras that the layer asks for.

    Raises:
        ValueError: unknown, without one of the extras, or not for this machine; says what to use.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend: expected one of {', '.join(BACKENDS)}, got {backend!r}")
    if backend == "auto":
        return backend
    if missing := [name for name in extras if name not in ENGINES[backend].extras]:
        here = {name: engine for name, engine in ENGINES.items() if engine.why_unavailable() is None}
        able = [name for name in BACKENDS[1:] if name in here and set(extras) <= set(here[name].extras)]
        use = ", ".join([f"backend={able[0]!r}", *map(repr, able[1:])]) if able else ""
        raise ValueError(f"backend {backend!r} has no {', '.join(missing)}; use {use} or 'auto'")
    if reason := ENGINES[backend].why_unavailable():
        raise ValueError(f"backend {backend!r} {reason}; use backend='auto'")
    return backend


def direction_runner(name: str) -> Callable[..., tuple[torch.Tensor, reference.States]]:
    """Return the function that runs one layer in one direction; all have `reference.run_direction`'s signature."""
    return ENGINES[name].run


def backend_report() -> list[BackendStatus]:
    """Say for each backend whether it works on this machine, and what it can do or why it does not work."""
    report = []
    for name in BACKENDS[1:]:
        reason = ENGINES[name].why_unavailable()
        report.append(BackendStatus(name, reason is None, reason or _describe(name)))
    return report


def _describe(name: str) -> str:
    """Say what an engine is and can do: 'torch 2.13.0 with oneDNN; extras: weight_drop'."""
    engine = ENGINES[name]
    about = engine.about
    if name == "torch":
        kernels = ["oneDNN" if torch.backends.mkldnn.is_available() else "plain CPU kernels"]
        if torch.cuda.is_available():
            kernels.append("cuDNN" if torch.backends.cudnn.is_available() else "plain CUDA kernels")
        about = f"torch {torch.__version__} with {' and '.join(kernels)}"
    if name == "cpu":
        engine_here = library()
        about += ": PyTorch off the CPU, and on it "
        about += (
            f"in C++ ({engine_here.detail})"
            if engine_here.functions
            else f"too; the C++ engine is {engine_here.detail}"
        )
    extras = "all" if set(engine.extras) == set(_ALL_EXTRAS) else ", ".join(engine.extras) or "none"
    parts = [about, f"extras: {extras}"]
    if engine.dtypes is not None:
        parts.append(", ".join(str(dtype).removeprefix("torch.") for dtype in engine.dtypes))
    if engine.differentiates_twice:
        parts.append("second derivatives")
    return "; ".join(parts)

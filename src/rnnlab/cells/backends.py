"""Which implementation runs a recurrence: the names, what each can do here, and how `auto` chooses.

    reference   the equations under autograd: the slowest and the oracle, differentiable any number of times
    cpu         whole-window ops with hand-written backpropagation through time (also runs on CUDA tensors)
    torch       torch.nn's own kernels: oneDNN on a CPU, cuDNN on CUDA
    triton      fused CUDA kernels; not in this build

Only `auto` may choose; a backend asked for by name runs or raises.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch

from rnnlab.cells import ops, reference, torch_backend

BACKENDS = ("auto", "reference", "cpu", "triton", "torch")
"""Every name the setting `backend` takes."""

_WORKING = "auto, reference, cpu, torch"


class BackendChoice(NamedTuple):
    """The backend that runs, and why: 'torch (CPU, float32: oneDNN is the fastest for a dense LSTM)'.

    Attributes:
        name: 'reference', 'cpu' or 'torch'.
        reason: one phrase.
    """

    name: str
    reason: str

    def __str__(self) -> str:
        """Render for the log line that says once what was chosen."""
        return f"{self.name} ({self.reason})"


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


def check_backend(backend: str) -> str:
    """Return the name if layers can be built with it.

    Raises:
        ValueError: unknown, or known but not in this build; names the backends that work.
    """
    if backend == "triton":
        raise ValueError(f"backend 'triton' is not in this build of rnnlab; use one of {_WORKING}")
    if backend not in BACKENDS:
        raise ValueError(f"backend: expected one of {', '.join(BACKENDS)}, got {backend!r}")
    return backend


def choose_backend(
    backend: str, cell: str, device: torch.device, dtype: torch.dtype, *, needs_grad: bool, compiling: bool = False
) -> BackendChoice:
    """Resolve the setting for one call.

    On a CPU `auto` follows these times: ms of CPU time for one layer on one thread, float32, torch 2.13, 2 GHz AVX2
    EPYC (Zen 1 class). Lengths are uniform in 1..T; "packed" is torch.nn on a PackedSequence, for comparison.

                              | training step: dense | with lengths           | no gradient: dense
        B,  T,   I,   H       |      torch      cpu  | torch    cpu    packed |      torch      cpu
        32, 35,  200, 200 LSTM|         72       91  |    78     95       104 |         26       33
                          GRU |         92       74  |    89     73        93 |         25       25
                          RNN |         30       25  |    32     30        34 |          8        9
        20, 35,  650, 650 LSTM|        481      576  |   476    564       571 |        162      229
                          GRU |        532      425  |   535    420       432 |        159      152
                          RNN |        178      130  |   188    141       150 |         47       48
        64, 100, 128, 256 LSTM|        545      651  |   554    655      1022 |        180      230
                          GRU |        551      452  |   536    455       780 |        162      165
                          RNN |        170      137  |   185    155       346 |         51       50
        1,  1,   512, 512 LSTM|                      |                        |        2.1      2.8
                          GRU |                      |                        |        1.3      1.9
                          RNN |                      |                        |        0.6      1.0

    So oneDNN serves an LSTM, the ops train a GRU or RNN, and torch.nn's loop runs them where no gradient is wanted
    (a token at a time an op's fixed cost shows). oneDNN has no float64.

    Args:
        backend: the setting, one of `BACKENDS`.
        cell: 'rnn_tanh', 'rnn_relu', 'lstm' or 'gru'.
        device: of the input.
        dtype: of the input, after autocast.
        needs_grad: whether a backward pass may follow.
        compiling: whether torch.compile is tracing the call.

    Raises:
        ValueError: as `check_backend`.
    """
    if check_backend(backend) != "auto":
        return BackendChoice(backend, "asked for")
    where = f"{device.type.upper()}, {str(dtype).removeprefix('torch.')}"
    if compiling:
        return BackendChoice("cpu", f"{where}: torch.compile cannot trace torch.nn's recurrent kernels")
    if device.type != "cpu":
        return BackendChoice("torch", f"{where}: cuDNN" if device.type == "cuda" else where)
    if cell == "lstm":
        onednn = dtype == torch.float32 and torch.backends.mkldnn.is_available()
        return BackendChoice("torch", f"{where}: oneDNN" if onednn else f"{where}: fastest for an LSTM")
    if not needs_grad:
        return BackendChoice("torch", f"{where}, no gradient: lowest cost a call")
    return BackendChoice("cpu", f"{where}: trains faster than torch.nn's kernels")


def direction_runner(name: str) -> Callable[..., tuple[torch.Tensor, reference.States]]:
    """Return the function that runs one layer in one direction; all have `reference.run_direction`'s signature."""
    runners = {
        "reference": reference.run_direction,
        "cpu": ops.run_direction,
        "torch": torch_backend.run_direction,
    }
    return runners[name]


def backend_report() -> list[BackendStatus]:
    """Say for each backend whether it works on this machine, and what it runs on or why it does not."""
    kernels = ["oneDNN" if torch.backends.mkldnn.is_available() else "plain CPU kernels"]
    if torch.cuda.is_available():
        kernels.append("cuDNN" if torch.backends.cudnn.is_available() else "plain CUDA kernels")
    return [
        BackendStatus("reference", True, "equations under autograd, any device; the only one with second derivatives"),
        BackendStatus("cpu", True, "hand-written backpropagation through time, any device"),
        BackendStatus("triton", False, "not in this build of rnnlab"),
        BackendStatus("torch", True, f"torch {torch.__version__} with {' and '.join(kernels)}"),
    ]

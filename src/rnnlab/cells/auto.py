"""Which backend runs a call: the one asked for or an error, and for `auto` the one that was measured to be the fastest.

ms of CPU time for one layer on one thread, float32, torch 2.13 with the allocator tuned, 2 GHz AVX2 EPYC (Zen 1); the
best of five, interleaved. "nn" is torch.nn, "packed" torch.nn on a PackedSequence, lengths are uniform in 1..T.

                          | training step: dense | with lengths          | no gradient: dense
    B,  T,   I,   H       |    nn    cpu         | packed    cpu         |    nn    cpu
    32, 35,  200, 200 LSTM|    72     76   0.94x |     72     40   1.81x |    26     24   1.05x
                      GRU |    70     57   1.21x |     58     34   1.69x |    23     18   1.23x
                      RNN |    23     21   1.12x |     19     13   1.41x |   7.8    7.3   1.06x
    20, 35,  650, 650 LSTM|   462    441   1.05x |    441    244   1.81x |   160    151   1.06x
                      GRU |   482    334   1.45x |    334    181   1.85x |   142    112   1.27x
                      RNN |   150    110   1.35x |    121     75   1.62x |    44     38   1.15x
    64, 100, 128, 256 LSTM|   491    503   0.98x |    807    277   2.91x |   174    165   1.06x
                      GRU |   467    373   1.25x |    593    201   2.95x |   150    122   1.23x
                      RNN |   141    122   1.15x |    183     69   2.67x |    48     43   1.13x
    32, 64,  512, 512 LSTM|   802    770   1.04x |    860    455   1.89x |   289    271   1.07x
                      GRU |   741    587   1.26x |    630    321   1.96x |   235    195   1.21x
                      RNN |   241    200   1.21x |    227    128   1.78x |    76     67   1.13x

    a token, 2 x 512      | batch 1              | batch 8               | batch 64
                      LSTM|   7.4    2.5   2.90x |    7.6    5.5   1.33x |    21     23   0.82x
                      GRU |   1.9    2.3   0.87x |    4.5    4.3   1.12x |    15     18   0.82x
                      RNN |                0.59x |                 0.81x |                0.74x

In training the engine reaches 25 to 33 of the 34 GFLOP/s of this processor's largest products. Where it is not built,
the op's loops in PyTorch train a GRU or RNN 1.2 to 1.4 times as fast as torch.nn, and an LSTM at 0.8 times.

On AVX-512 (EPYC, Zen 4; benchmarks/*-amd-epyc-zen4.json) oneDNN's dense float32 LSTM is at the processor's limit on one
thread; on several it divides each step among them, the engine the rows of the batch, once a window. The number of
threads must change no bit of a run, so `auto` does not look at it, and takes the engine:

    training, times as fast as torch.nn | 32,35,200,200  20,35,650,650  20,70,400,1150  64,200,128,256  32,128,512,512
                             one thread |     0.92           0.98           1.14            0.98            0.96
                            two threads |     1.46           1.11           1.08            1.31            1.10
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import torch

from rnnlab.cells.backends import ENGINES, check_backend
from rnnlab.cells.cpu.library import library
from rnnlab.cells.ops import FORWARD_MODE, FUNC_GRAD


class BackendChoice(NamedTuple):
    """The backend that runs, and why: 'cpu (CPU, float32: C++ engine, avx2)'.

    Attributes:
        name: 'reference', 'cpu', 'triton' or 'torch'.
        reason: one phrase.
    """

    name: str
    reason: str

    def __str__(self) -> str:
        """Render for the log line that says once what was chosen."""
        return f"{self.name} ({self.reason})"


class Asked(NamedTuple):
    """What is known of a call when its backend is chosen.

    Attributes:
        cell: 'rnn_tanh', 'rnn_relu', 'lstm' or 'gru'.
        device: of the input.
        dtype: of the input, after autocast.
        needs_grad: whether a backward pass may follow.
        compiling: whether torch.compile is tracing the call.
        extras: names of the extras that act in the call.
        has_lengths: whether rows are of different lengths.
        shape: steps and batch; None: long enough that weights are used often.
        keeps_weights: whether a `KeptWeights` spares the engine the packing.
        transform: what `rnnlab.cells.ops.transform` says goes through the call; the equations can do all of it.
    """

    cell: str
    device: torch.device
    dtype: torch.dtype
    needs_grad: bool = True
    compiling: bool = False
    extras: Collection[str] = ()
    has_lengths: bool = False
    shape: tuple[int, int] | None = None
    keeps_weights: bool = False
    transform: str = ""

    def __str__(self) -> str:
        """Name the place: 'CPU, float32'."""
        return f"{self.device.type.upper()}, {str(self.dtype).removeprefix('torch.')}"


def choose_backend(backend: str, asked: Asked) -> BackendChoice:
    """Resolve the setting for one call.

    Args:
        backend: the setting, one of `rnnlab.cells.BACKENDS`.
        asked: the call. `auto` takes the first engine that has all its extras: what it prefers without, else in the
            order of `ENGINES`.

    Raises:
        ValueError: as `check_backend`, or the backend asked for cannot run on this device or dtype, or has no
            derivatives of the kind asked for.
    """
    lacking = {"torch": (FORWARD_MODE,), "cpu": (FORWARD_MODE, FUNC_GRAD), "triton": (FORWARD_MODE, FUNC_GRAD)}
    if asked.transform in lacking.get(backend, ()):
        raise ValueError(f"backend {backend!r} has no {asked.transform}; use backend='reference' or 'auto'")
    if check_backend(backend, asked.extras) != "auto":
        if missing := ENGINES[backend].lacks(asked.device, asked.dtype, asked.extras):
            raise ValueError(f"backend {backend!r} has no {missing}; use backend='auto'")
        in_torch = False
        if backend == "cpu" and asked.device.type == "cpu" and not asked.compiling:  # which cannot trace the question
            in_torch = library().functions is None
        return BackendChoice(backend, "asked for" + (_no_engine() if in_torch else ""))
    if asked.transform:
        return BackendChoice("reference", f"{asked}: {asked.transform}")
    preferred = _preferred(asked)
    missing = ENGINES[preferred.name].lacks(asked.device, asked.dtype, asked.extras)
    if missing is None:
        return preferred
    # There always is one: the reference can do everything.
    name = next(
        name
        for name, engine in ENGINES.items()
        if engine.lacks(asked.device, asked.dtype, asked.extras) is None and (engine.compiles or not asked.compiling)
    )
    return BackendChoice(name, f"{asked}: {preferred.name} has no {missing}")


def _preferred(asked: Asked) -> BackendChoice:
    """Return what `auto` takes where no extras are asked for, by the table above."""
    if asked.compiling:
        return BackendChoice("cpu", f"{asked}: torch.compile cannot trace torch.nn's recurrent kernels")
    if asked.device.type != "cpu":
        return BackendChoice("torch", f"{asked}: cuDNN" if asked.device.type == "cuda" else str(asked))
    if library().functions is None:
        choice = _preferred_without_engine(asked)
        return choice._replace(reason=choice.reason + _no_engine())
    if asked.shape is not None and asked.shape[0] == 1 and not asked.needs_grad:
        rows = asked.shape[1]
        if (rows > 16 and not asked.keeps_weights) or (rows <= 4 and asked.cell.startswith("rnn")):
            return BackendChoice("torch", f"{asked}: fastest for one step of {rows} rows")
    return BackendChoice("cpu", f"{asked}: C++ engine, {library().detail}")


def _no_engine() -> str:
    """Say why PyTorch computes what the engine would; goes into the log and into run.json, once a run."""
    return f"; no C++ engine: {library().detail}"


def _preferred_without_engine(asked: Asked) -> BackendChoice:
    if asked.cell == "lstm":
        onednn = asked.dtype == torch.float32 and torch.backends.mkldnn.is_available()  # it has no float64
        return BackendChoice("torch", f"{asked}: oneDNN" if onednn else f"{asked}: fastest for an LSTM")
    if not asked.needs_grad:
        return BackendChoice("torch", f"{asked}, no gradient: lowest cost a call")
    return BackendChoice("cpu", f"{asked}: trains faster than torch.nn's kernels")

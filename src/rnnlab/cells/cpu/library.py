"""The CPU engine as Python sees it: the shared library beside this file, loaded once, called through its C interface.

The library links neither torch nor Python, so one build serves any version of either. It is made when the package is
installed (see `build`); where there is none, `library()` says why and the recurrences run in PyTorch instead.
"""

from __future__ import annotations

import ctypes
import functools
import weakref
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

INTERFACE = 5
"""Must equal RNNLAB_ENGINE_INTERFACE of src/engine.h."""

FILE = Path(__file__).with_name("librnnlab_cells.so")
"""Where `build` puts the library and `library` looks for it."""

_INPUTS = (*("lengths", "x", "h_0", "c_0", "weight_ih", "weight_hh", "bias_ih", "bias_hh", "packed", "recurrent_mask"),)
_KEPT = (*("y", "h_n", "c_n", "gates", "saved", "grad_y", "grad_h_n", "grad_c_n"),)
_GRADIENTS = (
    *("workspace", "grad_x", "grad_h_0", "grad_c_0"),
    *("grad_weight_ih", "grad_weight_hh", "grad_bias_ih", "grad_bias_hh"),
)


class Window(ctypes.Structure):
    """`struct rnnlab_window` of src/engine.h, field by field."""

    _fields_ = (
        *((name, ctypes.c_int32) for name in ("cell", "arithmetic", "reverse", "threads")),
        *((name, ctypes.c_int64) for name in ("steps", "batch", "input_size", "hidden_size")),
        *((name, ctypes.c_void_p) for name in (*_INPUTS, "zoneout_h", "zoneout_c")),
        *((name, ctypes.c_double) for name in ("zoneout_h_share", "zoneout_c_share")),
        *((name, ctypes.c_void_p) for name in _KEPT),
        ("clip_state_grad", ctypes.c_double),
        *((name, ctypes.c_void_p) for name in _GRADIENTS),
    )


class Product(ctypes.Structure):
    """`struct rnnlab_product` of src/engine.h, field by field."""

    _fields_ = (
        *((name, ctypes.c_int32) for name in ("arithmetic", "threads", "a_transposed", "b_transposed")),
        *((name, ctypes.c_int64) for name in ("rows", "columns", "depth")),
        *((name, ctypes.c_void_p) for name in ("a", "b", "bias", "c")),
    )


class CrossEntropy(ctypes.Structure):
    """`struct rnnlab_cross_entropy` of src/engine.h, field by field."""

    _fields_ = (
        *((name, ctypes.c_int32) for name in ("arithmetic", "threads")),
        *((name, ctypes.c_int64) for name in ("rows", "hidden_size", "vocab_size", "ignore_index")),
        ("grad_scale", ctypes.c_double),
        *((name, ctypes.c_void_p) for name in ("h", "weight", "bias", "targets", "nats")),
        *((name, ctypes.c_void_p) for name in ("grad_h", "grad_weight", "grad_bias")),
    )


class Dropout(ctypes.Structure):
    """`struct rnnlab_dropout` of src/engine.h, field by field."""

    _fields_ = (
        *((name, ctypes.c_int32) for name in ("arithmetic", "threads")),
        *(("count", ctypes.c_int64), ("seed", ctypes.c_uint64), ("p", ctypes.c_double)),
        *((name, ctypes.c_void_p) for name in ("x", "y")),
    )


class Text(ctypes.Structure):
    """`struct rnnlab_text` of src/engine.h, field by field."""

    _fields_ = (
        ("threads", ctypes.c_int32),
        *((name, ctypes.c_int64) for name in ("steps", "rows", "num_layers", "vocab_size")),
        ("layers", ctypes.POINTER(Window)),
        *((name, ctypes.c_void_p) for name in ("embedding", "decoder_weight", "decoder_bias")),
        *(("temperature", ctypes.c_double), ("top_k", ctypes.c_int64), ("top_p", ctypes.c_double)),
        *(("forbidden", ctypes.c_void_p), ("levels", ctypes.c_void_p), ("stop_id", ctypes.c_int64)),
        *((name, ctypes.c_void_p) for name in ("last_tokens", "stopped", "tokens", "made")),
    )


class Library(NamedTuple):
    """The loaded engine, or why there is none.

    Attributes:
        functions: the shared library; None if it cannot be used.
        detail: the instruction set it uses here ('avx2'), or one phrase that says what is missing.
        multiplies_bfloat16: whether the processor has instructions for products of bfloat16.
    """

    functions: ctypes.CDLL | None
    detail: str
    multiplies_bfloat16: bool = False


@functools.cache
def library() -> Library:
    """Load the engine, the first time it is asked for."""
    if not FILE.exists():
        return Library(
            None, "not built: no C++ compiler was found when rnnlab was installed; install one and rnnlab again"
        )
    try:
        functions = ctypes.CDLL(str(FILE))
    except OSError as error:
        return Library(None, f"cannot be loaded: {' '.join(str(error).split())}")
    if not hasattr(functions, "rnnlab_interface") or functions.rnnlab_interface() != INTERFACE:
        return Library(None, "built from another version of rnnlab; install rnnlab again")
    functions.rnnlab_instruction_set.restype = ctypes.c_char_p
    functions.rnnlab_pack.restype = ctypes.c_void_p
    functions.rnnlab_free.argtypes = [ctypes.c_void_p]
    return Library(functions, functions.rnnlab_instruction_set().decode(), bool(functions.rnnlab_has_bfloat16()))


def address(tensor: Tensor | None) -> int | None:
    """Return where a contiguous tensor's numbers stand; None for None."""
    return None if tensor is None else tensor.data_ptr()


def call(name: str, arguments: ctypes.Structure) -> None:
    """Call one function of the engine by the name it has in src/engine.h.

    Raises:
        MemoryError: the engine could not get the memory that it packs weights into.
    """
    status = getattr(_functions(), name)(ctypes.byref(arguments))
    assert status != 2, f"{name}: the packed weights are another layer's or another instruction set's"
    if status != 0:
        raise MemoryError(f"{name}: out of memory")


class PackedWeights:
    """A layer's weights as the engine reads them, kept for as long as this object lives."""

    def __init__(self, window: Window) -> None:
        """Pack the weights and biases whose addresses the window holds.

        Raises:
            MemoryError: there is not enough memory for another copy of the weights.
        """
        functions = _functions()
        self.handle: int | None = functions.rnnlab_pack(ctypes.byref(window))
        if self.handle is None:
            raise MemoryError("rnnlab_pack: out of memory")
        weakref.finalize(self, functions.rnnlab_free, self.handle)


def _functions() -> ctypes.CDLL:
    functions = library().functions
    assert functions is not None, "callers ask library() first"
    return functions

"""How a pass is cut into programs: block sizes, and whether one launch covers all steps. Pure arithmetic, no triton.

What is large is W_hh, (G*H, H). A program that keeps its share of it on the chip reads it once a launch instead of once
a step; for that all programs must run at once and meet after each step:

    solo    H up to 128: a program owns all units of its rows, nobody to meet (with extras and gates, backward up to 64)
    grid    programs own BLOCK_UNITS units each and meet by a counter; as many as the GPU runs at once
    step    one launch a step: any size, the fallback and the oracle

Compiled for an H100, the choices below spill no registers at the shapes of tests/cells/triton/test_offline.py. Their
speed has not been measured on any GPU.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch

LARGEST_SOLO = 128
_H100_SHARED_MEMORY, _H100_PROCESSORS = 227 * 1024, 132


class Plan(NamedTuple):
    """How one pass runs.

    Attributes:
        mode: 'solo', 'grid' or 'step'.
        block_batch: rows of a program, a power of two from 16.
        block_units: hidden units of a program, a power of two from 8.
        chunks: how the product's inner dimension, padded H, is cut; powers of two from 16 that add up to it.
        resident: whether a program's share of W_hh stays on the chip for the whole launch.
        num_warps: of a program, 32 threads each.
    """

    mode: str
    block_batch: int
    block_units: int
    chunks: tuple[int, ...]
    resident: bool
    num_warps: int

    def grid(self, size: int, batch: int, directions: int) -> tuple[int, int, int]:
        """Return the number of programs along units, rows and directions."""
        return -(-size // self.block_units), -(-batch // self.block_batch), directions

    def num_programs(self, size: int, batch: int, directions: int) -> int:
        """Return how many programs a launch has."""
        units, rows, directions = self.grid(size, batch, directions)
        return units * rows * directions


class Shape(NamedTuple):
    """What a plan depends on.

    Attributes:
        gates: blocks of W_hh, G: RNN 1, GRU 3, LSTM 4.
        size: H, padded by `padded_size`.
        batch: B.
        directions: D, both in one launch.
        itemsize: bytes of an operand.
        backward: which pass.
        precision: of float32 products, see `float32_precision`; nothing else reads it.
        extras: whether steps do more than torch.nn's, for which they need registers.
    """

    gates: int
    size: int
    batch: int
    directions: int
    itemsize: int
    backward: bool
    precision: str = "tf32"
    extras: bool = False

    @classmethod
    def of(
        cls, x: torch.Tensor, gates: int, hidden_size: int, directions: int, *, backward: bool, extras: bool = False
    ) -> Shape:
        """Describe a pass over an input (T, B, I)."""
        size, itemsize = padded_size(hidden_size), x.dtype.itemsize
        return cls(gates, size, x.shape[1], directions, itemsize, backward, float32_precision(), extras)

    @property
    def blocks(self) -> int:
        """Gates as the kernels hold them: a power of two."""
        return 1 if self.gates == 1 else 4

    @property
    def is_split(self) -> bool:
        """Whether each operand is held as two TF32 numbers."""
        return self.itemsize == 4 and self.precision == "tf32x3"


class Device(NamedTuple):
    """What of a GPU a plan depends on.

    Attributes:
        processors: streaming multiprocessors.
        shared_memory: bytes that one program may take.
    """

    processors: int = _H100_PROCESSORS
    shared_memory: int = _H100_SHARED_MEMORY

    @classmethod
    def of(cls, device: torch.device) -> Device:
        """Ask a CUDA device; an H100's numbers for any other."""
        if device.type != "cuda":
            return cls()
        properties = torch.cuda.get_device_properties(device)
        return cls(properties.multi_processor_count, getattr(properties, "shared_memory_per_block_optin", 48 * 1024))


def float32_precision() -> str:
    """Return how the kernels multiply float32, as triton's dot names it: `torch.set_float32_matmul_precision` decides.

    'highest' is 'tf32x3': each number is split into two of TF32 and three of the four products are summed, which is as
    exact as float32 to a bit or two. Anything else is 'tf32'.
    """
    return "tf32x3" if torch.get_float32_matmul_precision() == "highest" else "tf32"


def interpreting() -> bool:
    """Return whether triton runs kernels in its interpreter, on a CPU and slowly: TRITON_INTERPRET=1."""
    return os.environ.get("TRITON_INTERPRET", "").lower() in ("1", "true", "on", "yes", "y")


def padded_size(hidden_size: int) -> int:
    """Return H as the kernels hold it: a power of two up to 128, else a multiple of 16, so that rows load whole."""
    if hidden_size <= LARGEST_SOLO:
        return max(16, 1 << (hidden_size - 1).bit_length())
    return -(-hidden_size // 16) * 16


def cut(size: int, longest: int) -> tuple[int, ...]:
    """Cut a multiple of 16 into powers of two up to `longest`, the long ones first: 656 -> 256, 256, 128, 16."""
    chunks: list[int] = []
    while size > 0:
        chunks.append(min(longest, 1 << (size.bit_length() - 1)))
        size -= chunks[-1]
    return tuple(chunks)


def shared_memory(plan: Plan, shape: Shape) -> int:
    """Return the bytes of shared memory that a program takes, nearly: its share of W_hh and one chunk of the others' h.

    The backward pass reads a chunk of each gate's gradient.
    """
    columns = shape.blocks * plan.block_units
    weights = columns * (shape.size if plan.resident else plan.chunks[0])
    staged = plan.block_batch * plan.chunks[0] * (shape.blocks if shape.backward else 1)
    return (weights + staged) * shape.itemsize


def choose_plan(shape: Shape, device: Device, **changes: int | str | bool | tuple[int, ...]) -> Plan:
    """Choose how a pass runs.

    Args:
        shape: the pass.
        device: the GPU.
        **changes: fields of `Plan` to set instead, whatever they cost; those of `overridden` come on top.

    Raises:
        ValueError: a plan asked for needs all programs to run at once, and the GPU has too few processors.
    """
    plan = next(plan for plan in _candidates(shape) if _fits(plan, shape, device))
    changes = {**changes, **_overrides}
    if changes:
        plan = plan._replace(**changes)
        if plan.mode == "grid" and not _all_run_at_once(plan, shape, device):
            programs = plan.num_programs(shape.size, shape.batch, shape.directions)
            raise ValueError(
                f"mode 'grid' needs its {programs} programs to run at once, got a GPU that is sure to run"
                f" {device.processors}; use mode 'step'"
            )
    return plan


@contextmanager
def overridden(**changes: int | str | bool | tuple[int, ...]) -> Iterator[None]:
    """Set fields of every plan chosen inside, for measurements and tests."""
    before = dict(_overrides)
    _overrides.update(changes)
    try:
        yield
    finally:
        _overrides.clear()
        _overrides.update(before)


_overrides: dict[str, int | str | bool | tuple[int, ...]] = {}


def _candidates(shape: Shape) -> Iterator[Plan]:
    """Plans from the fastest expected to the one that always fits."""
    least = 16 if shape.batch <= 16 else 32
    # Found by compiling: with extras, four warps of a wide simple network spill forward, eight backward.
    four_warps = shape.gates == 1 and (shape.backward or not shape.extras or shape.size <= 1024)
    warps = 4 if four_warps else 8
    short = cut(shape.size, 16 if shape.is_split else 32 if shape.backward else 64)
    # Found by compiling: only here do sixteen units spill, and with extras all plans that keep their weights.
    tight = shape.gates == 1 and shape.size > 1024 and shape.backward and shape.itemsize > 2 and not shape.is_split
    widths = (32, 16, 8) if tight and not shape.extras else (16, 32, 8)
    # Split weights would stay on the chip twice, and their unrolled products spill registers.
    all_read_anew = shape.is_split or (tight and shape.extras)
    largest_solo = LARGEST_SOLO // 2 if shape.extras and shape.backward and shape.blocks == 4 else LARGEST_SOLO
    for resident in (False,) if all_read_anew else (True, False):
        chunks = cut(shape.size, _longest_chunk(shape)) if resident else short
        if shape.size <= (largest_solo if resident else LARGEST_SOLO // 2):
            yield Plan("solo", 16, shape.size, chunks, resident, 8)
        for block_units in widths if resident else widths[:2]:
            yield Plan("grid", least, block_units, chunks, resident, warps)
    yield Plan("step", least, 16, short, False, warps)


def _longest_chunk(shape: Shape) -> int:
    """Long chunks are fewer instructions, short ones less shared memory and fewer registers; found by compiling."""
    longest = 256 if shape.itemsize <= 2 else 128
    return longest // 2 if shape.backward else longest


def _fits(plan: Plan, shape: Shape, device: Device) -> bool:
    if plan.mode == "step":
        return True
    enough_memory = shared_memory(plan, shape) <= device.shared_memory
    return enough_memory and (plan.mode == "solo" or (_all_run_at_once(plan, shape, device) and not interpreting()))


def _all_run_at_once(plan: Plan, shape: Shape, device: Device) -> bool:
    """One program a processor is certain; a second may not fit beside it."""
    return plan.num_programs(shape.size, shape.batch, shape.directions) <= device.processors

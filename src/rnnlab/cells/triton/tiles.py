"""What the kernels share: a program's place, its share of W_hh, and the recurrent product.

A program owns BLOCK_UNITS hidden units of BLOCK_BATCH rows in one direction, for every step of a launch:

    program_id(0)   which units         program_id(1)   which rows        program_id(2)   which direction

For each step it needs all units of the step before, so the programs of one row block and direction meet once a step:
see `meeting`.

Layouts: time first, then the row, the direction, the block (a gate) and the unit, padded to SIZE, a multiple of 16:
(T, B, D, G, SIZE). So (T, B, D, SIZE) read as (T, B, D*SIZE) is the output of a bidirectional layer. Padded units have
weights of 0 and stay 0. Visits count steps in the order in which a direction sees them.
"""

# pyright: basic, reportArgumentType=false, reportOperatorIssue=false, reportIndexIssue=false, reportCallIssue=false
# pyright: reportAttributeAccessIssue=false, reportGeneralTypeIssues=false
# (triton compiles this text itself; to a type checker its constants and its tensors are one class)

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def tanh(x):
    """Hyperbolic tangent that neither overflows nor needs a library function."""
    return 2.0 * tl.sigmoid(2.0 * x) - 1.0


@triton.jit
def step_at(visit, num_steps, REVERSE: tl.constexpr):
    """Return the time step of a visit, <int64>, and +1 or -1: the way time runs in this program's direction."""
    backwards = tl.program_id(2) + REVERSE
    return (visit + backwards * (num_steps - 1 - 2 * visit)).to(tl.int64), 1 - 2 * backwards


@triton.jit
def own_rows(batch, BLOCK_BATCH: tl.constexpr, DIRECTIONS: tl.constexpr):
    """Return this program's rows, whether each exists, and each one's place in (B, D)."""
    row = tl.program_id(1) * BLOCK_BATCH + tl.arange(0, BLOCK_BATCH)
    return row, row < batch, row * DIRECTIONS + tl.program_id(2)


@triton.jit
def own_units(BLOCK_UNITS: tl.constexpr):
    """Return this program's hidden units."""
    return tl.program_id(0) * BLOCK_UNITS + tl.arange(0, BLOCK_UNITS)


@triton.jit
def row_lengths(lengths, row, exists, num_steps, LENGTHS: tl.constexpr):
    """Return the number of valid steps of each row."""
    if LENGTHS:
        return tl.load(lengths + row, mask=exists, other=0)
    else:
        return tl.where(exists, num_steps, 0)


@triton.jit
def load_states(pointer, place, unit, inside, SIZE: tl.constexpr):
    """Load this program's tile of a (B, D, SIZE) tensor."""
    return tl.load(pointer + place[:, None] * SIZE + unit[None, :], mask=inside, other=0.0)


@triton.jit
def store_states(pointer, values, place, unit, inside, SIZE: tl.constexpr):
    """Store this program's tile of a (B, D, SIZE) tensor."""
    tl.store(pointer + place[:, None] * SIZE + unit[None, :], values.to(pointer.dtype.element_ty), mask=inside)


# ------------------------------------------------------------------------------------------- recurrent product


@triton.jit
def rows_of_weight(
    weight, first, SIZE: tl.constexpr, GATES: tl.constexpr, BLOCKS: tl.constexpr, UNITS: tl.constexpr, LEN: tl.constexpr
):
    """Load LEN columns of W_hh (GATES*SIZE, SIZE) in the rows of this program's units: (LEN, BLOCKS*UNITS).

    One gate's units lie together. BLOCKS is GATES up to a power of two; blocks past GATES are 0.
    """
    column = tl.arange(0, BLOCKS * UNITS)
    block = column // UNITS
    unit = tl.program_id(0) * UNITS + column % UNITS
    k = first + tl.arange(0, LEN)
    inside = (block < GATES) & (unit < SIZE)
    return tl.load(weight + (block * SIZE + unit)[None, :] * SIZE + k[:, None], mask=inside[None, :], other=0.0)


@triton.jit
def columns_of_weight(
    weight, first, SIZE: tl.constexpr, GATES: tl.constexpr, BLOCKS: tl.constexpr, UNITS: tl.constexpr, LEN: tl.constexpr
):
    """Load LEN rows of each gate of W_hh (GATES*SIZE, SIZE) in the columns of these units: (BLOCKS, LEN, UNITS).

    One block has no first dimension: (LEN, UNITS).
    """
    unit = own_units(UNITS)
    k = first + tl.arange(0, LEN)
    if BLOCKS == 1:
        return tl.load(weight + k[:, None] * SIZE + unit[None, :], mask=(unit < SIZE)[None, :], other=0.0)
    else:
        block = tl.arange(0, BLOCKS)[:, None, None]
        inside = (block < GATES) & (unit < SIZE)[None, None, :]
        return tl.load(weight + (block * SIZE + k[None, :, None]) * SIZE + unit[None, None, :], mask=inside, other=0.0)


@triton.jit
def weight_tile(
    weight,
    first,
    TRANSPOSED: tl.constexpr,
    SIZE: tl.constexpr,
    GATES: tl.constexpr,
    BLOCKS: tl.constexpr,
    UNITS: tl.constexpr,
    LEN: tl.constexpr,
):
    """Load a chunk of this program's share of W_hh: `columns_of_weight` if TRANSPOSED, else `rows_of_weight`."""
    if TRANSPOSED:
        return columns_of_weight(weight, first, SIZE, GATES, BLOCKS, UNITS, LEN)
    else:
        return rows_of_weight(weight, first, SIZE, GATES, BLOCKS, UNITS, LEN)


@triton.jit
def resident_weight(
    weight,
    TRANSPOSED: tl.constexpr,
    SIZE: tl.constexpr,
    GATES: tl.constexpr,
    BLOCKS: tl.constexpr,
    UNITS: tl.constexpr,
    CHUNKS: tl.constexpr,
    RESIDENT: tl.constexpr,
):
    """Load all tiles of this program's share of W_hh, to stay on the chip for the launch; () if not RESIDENT."""
    tiles = ()
    if RESIDENT:
        first = 0
        for i in tl.static_range(len(CHUNKS)):
            tile = weight_tile(weight, first, TRANSPOSED, SIZE, GATES, BLOCKS, UNITS, CHUNKS[i])
            tiles = tiles + (tile,)  # noqa: RUF005  (triton knows no unpacking)
            first += CHUNKS[i]
    return tiles


@triton.jit
def multiply(a, b, total, PRECISION: tl.constexpr, UPCAST: tl.constexpr):
    """Return total + a b. UPCAST for the interpreter, whose product of half-width numbers is wrong."""
    if UPCAST:
        a = a.to(total.dtype)
        b = b.to(total.dtype)
    return tl.dot(a, b, total, input_precision=PRECISION, out_dtype=total.dtype)


@triton.jit
def load_exchanged(pointer, at, inside, first, LEN: tl.constexpr):
    """Load LEN numbers after each place of `at`, which has a last dimension of 1.

    Past the L1 cache: other programs wrote them during this launch. Where `first` is added makes the difference between
    150 registers and spilling; it was found by compiling.
    """
    k = tl.arange(0, LEN)
    if len(at.shape) == 3:
        pointers = pointer + (at + k[None, None, :]) + first
    else:
        pointers = pointer + (at + (first + k)[None, :])
    return tl.load(pointers, mask=inside, other=0.0, cache_modifier=".cg")


@triton.jit
def add_product(
    total,
    pointer,
    at,
    inside,
    weight,
    tiles,
    TRANSPOSED: tl.constexpr,
    SIZE: tl.constexpr,
    GATES: tl.constexpr,
    BLOCKS: tl.constexpr,
    UNITS: tl.constexpr,
    CHUNKS: tl.constexpr,
    RESIDENT: tl.constexpr,
    PRECISION: tl.constexpr,
    UPCAST: tl.constexpr,
):
    """Return total + the rows at `pointer` times this program's share of W_hh, chunk by chunk in one order."""
    if RESIDENT:
        first = 0
        for i in tl.static_range(len(CHUNKS)):
            a = load_exchanged(pointer, at, inside, first, CHUNKS[i])
            total = multiply(a, tiles[i], total, PRECISION, UPCAST)
            first += CHUNKS[i]
    else:
        # Weights that are read anew each step need no unrolled code, which for a large H takes a minute to compile.
        EACH: tl.constexpr = CHUNKS[0]
        WHOLE: tl.constexpr = SIZE // EACH
        for first in range(0, WHOLE * EACH, EACH):
            a = load_exchanged(pointer, at, inside, first, EACH)
            b = weight_tile(weight, first, TRANSPOSED, SIZE, GATES, BLOCKS, UNITS, EACH)
            total = multiply(a, b, total, PRECISION, UPCAST)
        last = WHOLE * EACH
        for i in tl.static_range(WHOLE, len(CHUNKS)):
            a = load_exchanged(pointer, at, inside, last, CHUNKS[i])
            b = weight_tile(weight, last, TRANSPOSED, SIZE, GATES, BLOCKS, UNITS, CHUNKS[i])
            total = multiply(a, b, total, PRECISION, UPCAST)
            last += CHUNKS[i]
    return total


@triton.jit
def product_with_state(
    state,
    weight,
    tiles,
    place,
    exists,
    start,
    SIZE: tl.constexpr,
    GATES: tl.constexpr,
    BLOCKS: tl.constexpr,
    UNITS: tl.constexpr,
    CHUNKS: tl.constexpr,
    RESIDENT: tl.constexpr,
    WIDE: tl.constexpr,
    PRECISION: tl.constexpr,
    UPCAST: tl.constexpr,
):
    """Return h W_hh^T for these rows and the gates of these units: (rows, BLOCKS*UNITS), plus `start`, a number.

    `state` points to h (B, D, SIZE).
    """
    total = tl.full((place.shape[0], BLOCKS * UNITS), 0.0, WIDE) + start
    return add_product(
        total, state, place[:, None] * SIZE, exists[:, None], weight, tiles,
        False, SIZE, GATES, BLOCKS, UNITS, CHUNKS, RESIDENT, PRECISION, UPCAST,
    )  # fmt: skip


@triton.jit
def product_with_gradient(
    gradient,
    weight,
    tiles,
    place,
    exists,
    start,
    SIZE: tl.constexpr,
    GATES: tl.constexpr,
    BLOCKS: tl.constexpr,
    UNITS: tl.constexpr,
    CHUNKS: tl.constexpr,
    RESIDENT: tl.constexpr,
    WIDE: tl.constexpr,
    PRECISION: tl.constexpr,
    UPCAST: tl.constexpr,
):
    """Return da W_hh for these rows and units: (rows, UNITS), plus `start`, a number.

    `gradient` points to da (B, D, GATES, SIZE). Gates are multiplied side by side and added up in the end: the few
    columns of a tile of units keep too few warps at work.
    """
    if BLOCKS == 1:
        total = tl.full((place.shape[0], UNITS), 0.0, WIDE) + start
        return add_product(
            total, gradient, place[:, None] * SIZE, exists[:, None], weight, tiles,
            True, SIZE, GATES, BLOCKS, UNITS, CHUNKS, RESIDENT, PRECISION, UPCAST,
        )  # fmt: skip
    else:
        block = tl.arange(0, BLOCKS)[:, None, None]
        inside = (block < GATES) & exists[None, :, None]
        total = add_product(
            tl.full((BLOCKS, place.shape[0], UNITS), 0.0, WIDE),
            gradient, (place[None, :, None] * GATES + block) * SIZE, inside, weight, tiles,
            True, SIZE, GATES, BLOCKS, UNITS, CHUNKS, RESIDENT, PRECISION, UPCAST,
        )  # fmt: skip
        # Not tl.sum: the layout of its result would cost every tensor of the step four times the registers.
        quads = tl.reshape(tl.permute(total, (1, 2, 0)), (place.shape[0], UNITS, 2, 2))
        first_gate, second, third, fourth = split_four(quads)
        return ((first_gate + second) + (third + fourth)) + start


@triton.jit
def split_blocks(product, UNITS: tl.constexpr):
    """Split (rows, 4*UNITS) into its four blocks, (rows, UNITS) each."""
    return split_four(tl.permute(tl.reshape(product, (product.shape[0], 2, 2, UNITS)), (0, 3, 1, 2)))


@triton.jit
def split_four(quads):
    """Split (rows, units, 2, 2) into four tiles (rows, units)."""
    even, odd = tl.split(quads)
    first, third = tl.split(even)
    second, fourth = tl.split(odd)
    return first, second, third, fourth

"""The simple recurrent network's kernels, tanh or relu: the steps of a launch forward and backward.

Tensors in kernel layout (see `tiles`), T steps, B rows, D directions, S = SIZE; "wide" is float32 or float64:

    gx       (T, B, D, 1, S)   input pre-activations, both biases in
    weight   (D, S, S)         W_hh
    h_0      (B, D, S)         hidden state before the first visit
    y        (T, B, D, S)      hidden state after each step, also past a row's length: what programs exchange
    h        (B, D, S) wide    state before the launch; overwritten with the state after it
    lengths  (B,) int32        read if LENGTHS
    counters, failed           int32, see `meeting.await_others`

Extras, None where off, and then the kernels are as if these were not here:

    mask     (B, D, S) wide    factor of h in the product with W_hh; h_0 of the forward pass has it already
    masked   (T, B, D, S)      h times mask, which programs exchange instead of y
    keep_h, share_h            zoneout, see `extras`
    fresh    (T, B, D, S) wide h' before zoneout, for the backward pass, which reads it in y's place
    limit    a number          bound on the gradient of the state that enters a step, entry by entry
"""

# pyright: basic, reportArgumentType=false, reportOperatorIssue=false, reportIndexIssue=false, reportCallIssue=false
# pyright: reportAttributeAccessIssue=false, reportGeneralTypeIssues=false
# (triton compiles this text itself; to a type checker its constants and its tensors are one class)

from __future__ import annotations

import triton
import triton.language as tl

from rnnlab.cells.triton.extras import (
    add_gradient_of_kept,
    factor_of_state,
    gradient_of_new,
    gradient_of_state,
    kept_in,
    zone_out,
)
from rnnlab.cells.triton.meeting import announce, await_others, nan_if_given_up, own_counter
from rnnlab.cells.triton.tiles import (
    load_states,
    own_rows,
    own_units,
    product_with_gradient,
    product_with_state,
    resident_weight,
    row_lengths,
    step_at,
    store_states,
    tanh,
)


@triton.jit(do_not_specialize=["first_visit", "last_visit", "num_steps", "batch", "patience"])
def forward(
    gx,
    weight,
    h_0,
    y,
    h,
    lengths,
    counters,
    failed,
    first_visit,
    last_visit,
    num_steps,
    batch,
    patience,
    RELU: tl.constexpr,
    SIZE: tl.constexpr,
    DIRECTIONS: tl.constexpr,
    REVERSE: tl.constexpr,
    LENGTHS: tl.constexpr,
    BLOCK_BATCH: tl.constexpr,
    BLOCK_UNITS: tl.constexpr,
    CHUNKS: tl.constexpr,
    RESIDENT: tl.constexpr,
    SYNC: tl.constexpr,
    WIDE: tl.constexpr,
    PRECISION: tl.constexpr,
    UPCAST: tl.constexpr,
    mask=None,
    masked=None,
    keep_h=None,
    share_h=None,
    fresh=None,
):
    """Visit the steps first_visit to last_visit - 1.

    h' = tanh(gx + h W^T) or relu(gx + h W^T); a row past its length keeps its state.
    """
    row, exists, place = own_rows(batch, BLOCK_BATCH, DIRECTIONS)
    unit = own_units(BLOCK_UNITS)
    inside = exists[:, None] & (unit < SIZE)[None, :]
    weight += tl.program_id(2) * (SIZE * SIZE)
    tiles = resident_weight(weight, False, SIZE, 1, 1, BLOCK_UNITS, CHUNKS, RESIDENT)
    state_size = (batch * DIRECTIONS * SIZE).to(tl.int64)
    length = row_lengths(lengths, row, exists, num_steps, LENGTHS)
    hidden = load_states(h, place, unit, inside, SIZE)
    counter = own_counter(counters)
    exchanged = y
    scale = factor_of_state(mask, place, unit, inside, SIZE)
    if mask is not None:
        exchanged = masked
    for visit in range(first_visit, last_visit):
        t, way = step_at(visit, num_steps, REVERSE)
        # What does not depend on the step before is loaded before the wait.
        a = load_states(gx + t * state_size, place, unit, inside, SIZE).to(WIDE)
        keeps_h = kept_in(keep_h, t * state_size, place, unit, inside, SIZE)
        before = exchanged + (t - way) * state_size
        if visit == 0:
            before = h_0
        patience = await_others(counter, visit - first_visit, patience, SYNC)
        a += product_with_state(
            before, weight, tiles, place, exists, nan_if_given_up(patience, failed, SYNC),
            SIZE, 1, 1, BLOCK_UNITS, CHUNKS, RESIDENT, WIDE, PRECISION, UPCAST,
        )  # fmt: skip
        if RELU:
            new_hidden = tl.where(a < 0, 0.0, a)  # and nan stays nan
        else:
            new_hidden = tanh(a)
        if fresh is not None:
            store_states(fresh + t * state_size, new_hidden, place, unit, inside, SIZE)
        new_hidden = zone_out(hidden, new_hidden, keeps_h, keep_h, share_h)
        if LENGTHS:
            hidden = tl.where((t < length)[:, None], new_hidden, hidden)
        else:
            hidden = new_hidden
        store_states(y + t * state_size, hidden, place, unit, inside, SIZE)
        if mask is not None:
            store_states(masked + t * state_size, hidden * scale, place, unit, inside, SIZE)
        announce(counter, SYNC)
    store_states(h, hidden, place, unit, inside, SIZE)


@triton.jit(do_not_specialize=["first_visit", "last_visit", "num_steps", "batch", "patience"])
def backward(
    grad_y,
    weight,
    y,
    grad_a,
    grad_h,
    lengths,
    counters,
    failed,
    first_visit,
    last_visit,
    num_steps,
    batch,
    patience,
    RELU: tl.constexpr,
    SIZE: tl.constexpr,
    DIRECTIONS: tl.constexpr,
    REVERSE: tl.constexpr,
    LENGTHS: tl.constexpr,
    BLOCK_BATCH: tl.constexpr,
    BLOCK_UNITS: tl.constexpr,
    CHUNKS: tl.constexpr,
    RESIDENT: tl.constexpr,
    SYNC: tl.constexpr,
    WIDE: tl.constexpr,
    PRECISION: tl.constexpr,
    UPCAST: tl.constexpr,
    mask=None,
    keep_h=None,
    share_h=None,
    limit=None,
):
    """Undo the visits first_visit to last_visit - 1, counted from the last one back.

    Further tensors: grad_y (T, B, D, S); grad_a (T, B, D, 1, S), gradients of the pre-activations, which programs
    exchange; grad_h (B, D, S) wide, on entry the gradient of the state after the visits, on exit of the one before
    them, without the last visit's da W.

    da = d (1 - h'^2) or d [h' > 0], dh = da W; past a row's length gradients go straight to the step before.
    """
    row, exists, place = own_rows(batch, BLOCK_BATCH, DIRECTIONS)
    unit = own_units(BLOCK_UNITS)
    inside = exists[:, None] & (unit < SIZE)[None, :]
    weight += tl.program_id(2) * (SIZE * SIZE)
    tiles = resident_weight(weight, True, SIZE, 1, 1, BLOCK_UNITS, CHUNKS, RESIDENT)
    state_size = (batch * DIRECTIONS * SIZE).to(tl.int64)
    length = row_lengths(lengths, row, exists, num_steps, LENGTHS)
    kept = load_states(grad_h, place, unit, inside, SIZE)
    counter = own_counter(counters)
    scale = factor_of_state(mask, place, unit, inside, SIZE)
    for visit in range(first_visit, last_visit):
        t, way = step_at(num_steps - 1 - visit, num_steps, REVERSE)
        alive = inside & (t < length)[:, None]
        hidden = load_states(y + t * state_size, place, unit, inside, SIZE).to(WIDE)
        keeps_h = kept_in(keep_h, t * state_size, place, unit, inside, SIZE)
        out = load_states(grad_y + t * state_size, place, unit, alive, SIZE).to(WIDE)
        d = kept + out
        patience = await_others(counter, visit - first_visit, patience, SYNC)
        if visit > 0:
            product = product_with_gradient(
                grad_a + (t + way) * state_size, weight, tiles, place, exists,
                nan_if_given_up(patience, failed, SYNC),
                SIZE, 1, 1, BLOCK_UNITS, CHUNKS, RESIDENT, WIDE, PRECISION, UPCAST,
            )  # fmt: skip
            entered = (t + way < length)[:, None]
            d = gradient_of_state(d, kept, product, out, entered, scale, mask, limit)
        d_new = gradient_of_new(d, keeps_h, keep_h, share_h)
        if RELU:
            da = tl.where(hidden > 0, d_new, 0.0)
        else:
            da = d_new * (1 - hidden * hidden)
        store_states(grad_a + t * state_size, tl.where(alive, da, 0.0), place, unit, inside, SIZE)
        announce(counter, SYNC)
        kept = tl.where(alive, add_gradient_of_kept(0.0, d, keeps_h, keep_h, share_h), d)
    store_states(grad_h, kept, place, unit, inside, SIZE)

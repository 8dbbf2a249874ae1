"""The GRU's kernels: the steps of a launch forward and backward. Gates stand in the order r, z, n.

Tensors in kernel layout (see `tiles`), T steps, B rows, D directions, S = SIZE; "wide" is float32 or float64:

    gx       (T, B, D, 3, S)   input pre-activations, with all biases but b_hn
    bias     (D, S) wide       b_hn, which the reset gate scales
    weight   (D, 3*S, S)       W_hh
    h_0      (B, D, S)         hidden state before the first visit
    y        (T, B, D, S)      hidden state after each step, also past a row's length: what programs exchange
    h        (B, D, S) wide    state before the launch; overwritten with the state after it
    gates    (T, B, D, 4, S) wide: r, z, n and q = W_hn h + b_hn, kept for the backward pass if SAVE
    lengths  (B,) int32        read if LENGTHS
    counters, failed           int32, see `meeting.await_others`

Extras, None where off, and then the kernels are as if these were not here:

    mask     (B, D, S) wide    factor of h in the product with W_hh; h_0 of the forward pass has it already
    masked   (T, B, D, S)      h times mask, which programs exchange instead of y
    keep_h, share_h            zoneout, see `extras`
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
    split_blocks,
    step_at,
    store_states,
    tanh,
)


@triton.jit(do_not_specialize=["first_visit", "last_visit", "num_steps", "batch", "patience"])
def forward(
    gx,
    bias,
    weight,
    h_0,
    y,
    gates,
    h,
    lengths,
    counters,
    failed,
    first_visit,
    last_visit,
    num_steps,
    batch,
    patience,
    SIZE: tl.constexpr,
    DIRECTIONS: tl.constexpr,
    REVERSE: tl.constexpr,
    LENGTHS: tl.constexpr,
    SAVE: tl.constexpr,
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
):
    """Visit the steps first_visit to last_visit - 1.

    r, z = sigmoid(gx + h W^T), q = h W_n^T + b_hn, n = tanh(gx_n + r q), h' = (1 - z) n + z h; a row past its length
    keeps its state.
    """
    row, exists, place = own_rows(batch, BLOCK_BATCH, DIRECTIONS)
    unit = own_units(BLOCK_UNITS)
    inside = exists[:, None] & (unit < SIZE)[None, :]
    weight += tl.program_id(2) * (3 * SIZE * SIZE)
    tiles = resident_weight(weight, False, SIZE, 3, 4, BLOCK_UNITS, CHUNKS, RESIDENT)
    state_size = (batch * DIRECTIONS * SIZE).to(tl.int64)
    length = row_lengths(lengths, row, exists, num_steps, LENGTHS)
    hidden = load_states(h, place, unit, inside, SIZE)
    bias_n = tl.load(bias + tl.program_id(2) * SIZE + unit, mask=unit < SIZE, other=0.0)[None, :]
    counter = own_counter(counters)
    exchanged = y
    scale = factor_of_state(mask, place, unit, inside, SIZE)
    if mask is not None:
        exchanged = masked
    for visit in range(first_visit, last_visit):
        t, way = step_at(visit, num_steps, REVERSE)
        # What does not depend on the step before is loaded before the wait.
        x = gx + t * (3 * state_size) + place[:, None] * (3 * SIZE) + unit[None, :]
        x_r = tl.load(x, mask=inside, other=0.0).to(WIDE)
        x_z = tl.load(x + SIZE, mask=inside, other=0.0).to(WIDE)
        x_n = tl.load(x + 2 * SIZE, mask=inside, other=0.0).to(WIDE)
        keeps_h = kept_in(keep_h, t * state_size, place, unit, inside, SIZE)
        before = exchanged + (t - way) * state_size
        if visit == 0:
            before = h_0
        patience = await_others(counter, visit - first_visit, patience, SYNC)
        a = product_with_state(
            before, weight, tiles, place, exists, nan_if_given_up(patience, failed, SYNC),
            SIZE, 3, 4, BLOCK_UNITS, CHUNKS, RESIDENT, WIDE, PRECISION, UPCAST,
        )  # fmt: skip
        a_r, a_z, a_n, _ = split_blocks(a, BLOCK_UNITS)
        r = tl.sigmoid(a_r + x_r)
        z = tl.sigmoid(a_z + x_z)
        q = a_n + bias_n
        n = tanh(x_n + r * q)
        new_hidden = (1 - z) * n + z * hidden
        new_hidden = zone_out(hidden, new_hidden, keeps_h, keep_h, share_h)
        if LENGTHS:
            hidden = tl.where((t < length)[:, None], new_hidden, hidden)
        else:
            hidden = new_hidden
        store_states(y + t * state_size, hidden, place, unit, inside, SIZE)
        if mask is not None:
            store_states(masked + t * state_size, hidden * scale, place, unit, inside, SIZE)
        announce(counter, SYNC)
        if SAVE:
            gate = gates + t * (4 * state_size) + place[:, None] * (4 * SIZE) + unit[None, :]
            tl.store(gate, r, mask=inside)
            tl.store(gate + SIZE, z, mask=inside)
            tl.store(gate + 2 * SIZE, n, mask=inside)
            tl.store(gate + 3 * SIZE, q, mask=inside)
    store_states(h, hidden, place, unit, inside, SIZE)


@triton.jit(do_not_specialize=["first_visit", "last_visit", "num_steps", "batch", "patience"])
def backward(
    grad_y,
    weight,
    h_0,
    y,
    gates,
    grad_a,
    grad_n,
    grad_h,
    lengths,
    counters,
    failed,
    first_visit,
    last_visit,
    num_steps,
    batch,
    patience,
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

    Further tensors: grad_y (T, B, D, S); y (T, B, D, S) may be 0 past a row's length; grad_a (T, B, D, 3, S), the
    gradients of what h W^T is added to, da_r, da_z and dq, which programs exchange; grad_n (T, B, D, S), da_n; grad_h
    (B, D, S) wide, on entry the gradient of the state after the visits, on exit of the one before them, without the
    last visit's da W.

    da_n = d (1-z)(1-n^2), dq = da_n r, da_z = d (h-n) z (1-z), da_r = da_n q r (1-r), dh = d z + [da_r, da_z, dq] W;
    past a row's length gradients go straight to the step before.
    """
    row, exists, place = own_rows(batch, BLOCK_BATCH, DIRECTIONS)
    unit = own_units(BLOCK_UNITS)
    inside = exists[:, None] & (unit < SIZE)[None, :]
    weight += tl.program_id(2) * (3 * SIZE * SIZE)
    tiles = resident_weight(weight, True, SIZE, 3, 4, BLOCK_UNITS, CHUNKS, RESIDENT)
    state_size = (batch * DIRECTIONS * SIZE).to(tl.int64)
    length = row_lengths(lengths, row, exists, num_steps, LENGTHS)
    kept = load_states(grad_h, place, unit, inside, SIZE)
    initial = load_states(h_0, place, unit, inside, SIZE).to(WIDE)
    counter = own_counter(counters)
    scale = factor_of_state(mask, place, unit, inside, SIZE)
    for visit in range(first_visit, last_visit):
        t, way = step_at(num_steps - 1 - visit, num_steps, REVERSE)
        alive = inside & (t < length)[:, None]
        gate = gates + t * (4 * state_size) + place[:, None] * (4 * SIZE) + unit[None, :]
        r = tl.load(gate, mask=inside, other=0.0)
        z = tl.load(gate + SIZE, mask=inside, other=0.0)
        n = tl.load(gate + 2 * SIZE, mask=inside, other=0.0)
        q = tl.load(gate + 3 * SIZE, mask=inside, other=0.0)
        # A row starts from h_0: forward at step 0, in reverse at its last valid step.
        came_from = t - way
        starts = ((came_from < 0) | (came_from >= length))[:, None]
        hidden = load_states(y + came_from * state_size, place, unit, inside & ~starts, SIZE).to(WIDE)
        hidden = tl.where(starts, initial, hidden)
        keeps_h = kept_in(keep_h, t * state_size, place, unit, inside, SIZE)
        out = load_states(grad_y + t * state_size, place, unit, alive, SIZE).to(WIDE)
        d = kept + out
        patience = await_others(counter, visit - first_visit, patience, SYNC)
        if visit > 0:
            product = product_with_gradient(
                grad_a + (t + way) * (3 * state_size), weight, tiles, place, exists,
                nan_if_given_up(patience, failed, SYNC),
                SIZE, 3, 4, BLOCK_UNITS, CHUNKS, RESIDENT, WIDE, PRECISION, UPCAST,
            )  # fmt: skip
            entered = (t + way < length)[:, None]
            d = gradient_of_state(d, kept, product, out, entered, scale, mask, limit)
        d_new = gradient_of_new(d, keeps_h, keep_h, share_h)
        da_n = d_new * (1 - z) * (1 - n * n)
        da_z = d_new * (hidden - n) * z * (1 - z)
        da_r = da_n * q * r * (1 - r)
        da = grad_a + t * (3 * state_size) + place[:, None] * (3 * SIZE) + unit[None, :]
        narrow = grad_a.dtype.element_ty
        tl.store(da, tl.where(alive, da_r, 0.0).to(narrow), mask=inside)
        tl.store(da + SIZE, tl.where(alive, da_z, 0.0).to(narrow), mask=inside)
        tl.store(da + 2 * SIZE, tl.where(alive, da_n * r, 0.0).to(narrow), mask=inside)
        announce(counter, SYNC)
        store_states(grad_n + t * state_size, tl.where(alive, da_n, 0.0), place, unit, inside, SIZE)
        kept = tl.where(alive, add_gradient_of_kept(d_new * z, d, keeps_h, keep_h, share_h), d)
    store_states(grad_h, kept, place, unit, inside, SIZE)

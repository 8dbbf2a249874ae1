"""The LSTM's kernels: the steps of a launch forward and backward. Gates stand in the order i, f, g, o.

Tensors in kernel layout (see `tiles`), T steps, B rows, D directions, S = SIZE; "wide" is float32 or float64:

    gx       (T, B, D, 4, S)   input pre-activations, both biases in
    weight   (D, 4*S, S)       W_hh
    h_0      (B, D, S)         hidden state before the first visit
    y        (T, B, D, S)      hidden state after each step, also past a row's length: what programs exchange
    h, c     (B, D, S) wide    state before the launch; overwritten with the state after it
    gates    (T, B, D, 4, S) wide: kept for the backward pass if SAVE_GATES
    cells    (T, B, D, S) wide: cell state after each step, kept if SAVE_CELLS
    lengths  (B,) int32        read if LENGTHS
    counters, failed           int32, see `meeting.await_others`

Extras, None where off, and then the kernels are as if these were not here:

    mask     (B, D, S) wide    factor of h in the product with W_hh; h_0 of the forward pass has it already
    masked   (T, B, D, S)      h times mask, which programs exchange instead of y
    keep_h, share_h, keep_c, share_c zoneout, see `extras`
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
    clipped,
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
    weight,
    h_0,
    y,
    gates,
    cells,
    h,
    c,
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
    SAVE_GATES: tl.constexpr,
    SAVE_CELLS: tl.constexpr,
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
    keep_c=None,
    share_c=None,
):
    """Visit the steps first_visit to last_visit - 1.

    i, f, o = sigmoid(gx + h W^T), g = tanh(gx + h W^T), c' = f c + i g, h' = o tanh(c'); a row past its length keeps
    its state.
    """
    row, exists, place = own_rows(batch, BLOCK_BATCH, DIRECTIONS)
    unit = own_units(BLOCK_UNITS)
    inside = exists[:, None] & (unit < SIZE)[None, :]
    weight += tl.program_id(2) * (4 * SIZE * SIZE)
    tiles = resident_weight(weight, False, SIZE, 4, 4, BLOCK_UNITS, CHUNKS, RESIDENT)
    state_size = (batch * DIRECTIONS * SIZE).to(tl.int64)
    length = row_lengths(lengths, row, exists, num_steps, LENGTHS)
    hidden = load_states(h, place, unit, inside, SIZE)
    cell = load_states(c, place, unit, inside, SIZE)
    counter = own_counter(counters)
    exchanged = y
    scale = factor_of_state(mask, place, unit, inside, SIZE)
    if mask is not None:
        exchanged = masked
    gate_at = place[:, None] * (4 * SIZE) + unit[None, :]
    for visit in range(first_visit, last_visit):
        t, way = step_at(visit, num_steps, REVERSE)
        # What does not depend on the step before is loaded before the wait.
        x = gx + t * (4 * state_size) + gate_at
        x_i = tl.load(x, mask=inside, other=0.0).to(WIDE)
        x_f = tl.load(x + SIZE, mask=inside, other=0.0).to(WIDE)
        x_g = tl.load(x + 2 * SIZE, mask=inside, other=0.0).to(WIDE)
        x_o = tl.load(x + 3 * SIZE, mask=inside, other=0.0).to(WIDE)
        keeps_h = kept_in(keep_h, t * state_size, place, unit, inside, SIZE)
        keeps_c = kept_in(keep_c, t * state_size, place, unit, inside, SIZE)
        before = exchanged + (t - way) * state_size
        if visit == 0:
            before = h_0
        patience = await_others(counter, visit - first_visit, patience, SYNC)
        a = product_with_state(
            before, weight, tiles, place, exists, nan_if_given_up(patience, failed, SYNC),
            SIZE, 4, 4, BLOCK_UNITS, CHUNKS, RESIDENT, WIDE, PRECISION, UPCAST,
        )  # fmt: skip
        a_i, a_f, a_g, a_o = split_blocks(a, BLOCK_UNITS)
        i = tl.sigmoid(a_i + x_i)
        f = tl.sigmoid(a_f + x_f)
        g = tanh(a_g + x_g)
        o = tl.sigmoid(a_o + x_o)
        new_cell = f * cell + i * g
        new_hidden = o * tanh(new_cell)
        new_cell = zone_out(cell, new_cell, keeps_c, keep_c, share_c)
        new_hidden = zone_out(hidden, new_hidden, keeps_h, keep_h, share_h)
        if LENGTHS:
            alive = (t < length)[:, None]
            cell = tl.where(alive, new_cell, cell)
            hidden = tl.where(alive, new_hidden, hidden)
        else:
            cell = new_cell
            hidden = new_hidden
        store_states(y + t * state_size, hidden, place, unit, inside, SIZE)
        if mask is not None:
            store_states(masked + t * state_size, hidden * scale, place, unit, inside, SIZE)
        announce(counter, SYNC)
        if SAVE_GATES:
            gate = gates + t * (4 * state_size) + gate_at
            tl.store(gate, i, mask=inside)
            tl.store(gate + SIZE, f, mask=inside)
            tl.store(gate + 2 * SIZE, g, mask=inside)
            tl.store(gate + 3 * SIZE, o, mask=inside)
        if SAVE_CELLS:
            store_states(cells + t * state_size, cell, place, unit, inside, SIZE)
    store_states(h, hidden, place, unit, inside, SIZE)
    store_states(c, cell, place, unit, inside, SIZE)


@triton.jit(do_not_specialize=["first_visit", "last_visit", "num_steps", "batch", "patience"])
def backward(
    grad_y,
    weight,
    c_0,
    gates,
    cells,
    grad_a,
    grad_h,
    grad_c,
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
    keep_c=None,
    share_c=None,
    limit=None,
):
    """Undo the visits first_visit to last_visit - 1, counted from the last one back.

    Further tensors: grad_y (T, B, D, S); c_0 (B, D, S) wide; grad_a (T, B, D, 4, S), gradients of the pre-activations,
    which programs exchange; grad_h and grad_c (B, D, S) wide, on entry the gradients of the state after the visits, on
    exit of the one before them, without the last visit's da W.

    dc' = dc + d o (1 - tanh(c')^2), da_i = dc' g i (1-i), da_f = dc' c f (1-f), da_g = dc' i (1-g^2),
    da_o = d tanh(c') o (1-o), dc = dc' f, dh = da W; past a row's length gradients go straight to the step before.
    """
    row, exists, place = own_rows(batch, BLOCK_BATCH, DIRECTIONS)
    unit = own_units(BLOCK_UNITS)
    inside = exists[:, None] & (unit < SIZE)[None, :]
    weight += tl.program_id(2) * (4 * SIZE * SIZE)
    tiles = resident_weight(weight, True, SIZE, 4, 4, BLOCK_UNITS, CHUNKS, RESIDENT)
    state_size = (batch * DIRECTIONS * SIZE).to(tl.int64)
    length = row_lengths(lengths, row, exists, num_steps, LENGTHS)
    kept = load_states(grad_h, place, unit, inside, SIZE)
    dc = load_states(grad_c, place, unit, inside, SIZE)
    counter = own_counter(counters)
    scale = factor_of_state(mask, place, unit, inside, SIZE)
    gate_at = place[:, None] * (4 * SIZE) + unit[None, :]
    for visit in range(first_visit, last_visit):
        t, way = step_at(num_steps - 1 - visit, num_steps, REVERSE)
        alive = inside & (t < length)[:, None]
        gate = gates + t * (4 * state_size) + gate_at
        i = tl.load(gate, mask=inside, other=0.0)
        f = tl.load(gate + SIZE, mask=inside, other=0.0)
        g = tl.load(gate + 2 * SIZE, mask=inside, other=0.0)
        o = tl.load(gate + 3 * SIZE, mask=inside, other=0.0)
        tanh_c = tanh(load_states(cells + t * state_size, place, unit, inside, SIZE))
        # Cell states cross padding unchanged, so the neighbour's is right at a row's start too.
        before = cells + (t - way) * state_size
        if visit == num_steps - 1:
            before = c_0
        cell_before = load_states(before, place, unit, inside, SIZE)
        if keep_c is not None or share_c is not None:
            tanh_c = tanh(f * cell_before + i * g)  # h' saw the cell state that zoneout had not yet mixed
        keeps_h = kept_in(keep_h, t * state_size, place, unit, inside, SIZE)
        keeps_c = kept_in(keep_c, t * state_size, place, unit, inside, SIZE)
        out = load_states(grad_y + t * state_size, place, unit, alive, SIZE).to(WIDE)
        d = kept + out
        patience = await_others(counter, visit - first_visit, patience, SYNC)
        if visit > 0:
            product = product_with_gradient(
                grad_a + (t + way) * (4 * state_size), weight, tiles, place, exists,
                nan_if_given_up(patience, failed, SYNC),
                SIZE, 4, 4, BLOCK_UNITS, CHUNKS, RESIDENT, WIDE, PRECISION, UPCAST,
            )  # fmt: skip
            entered = (t + way < length)[:, None]
            d = gradient_of_state(d, kept, product, out, entered, scale, mask, limit)
        d_new = gradient_of_new(d, keeps_h, keep_h, share_h)
        dc_new = gradient_of_new(dc, keeps_c, keep_c, share_c) + d_new * o * (1 - tanh_c * tanh_c)
        da_i = dc_new * g * i * (1 - i)
        da_f = dc_new * cell_before * f * (1 - f)
        da_g = dc_new * i * (1 - g * g)
        da_o = d_new * tanh_c * o * (1 - o)
        da = grad_a + t * (4 * state_size) + gate_at
        narrow = grad_a.dtype.element_ty
        tl.store(da, tl.where(alive, da_i, 0.0).to(narrow), mask=inside)
        tl.store(da + SIZE, tl.where(alive, da_f, 0.0).to(narrow), mask=inside)
        tl.store(da + 2 * SIZE, tl.where(alive, da_g, 0.0).to(narrow), mask=inside)
        tl.store(da + 3 * SIZE, tl.where(alive, da_o, 0.0).to(narrow), mask=inside)
        announce(counter, SYNC)
        kept = tl.where(alive, add_gradient_of_kept(0.0, d, keeps_h, keep_h, share_h), d)
        dc_before = clipped(add_gradient_of_kept(dc_new * f, dc, keeps_c, keep_c, share_c), limit)
        dc = tl.where(alive, dc_before, dc)
    store_states(grad_h, kept, place, unit, inside, SIZE)
    store_states(grad_c, dc, place, unit, inside, SIZE)

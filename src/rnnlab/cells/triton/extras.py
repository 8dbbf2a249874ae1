"""What extras do inside a step, on tiles (rows, units): recurrent dropout, zoneout, clipping of the state's gradient.

What is off is None and leaves no instruction behind: Triton drops a parameter that is None, so kernels without extras
are what they would be without this file. A pair of parameters for each state that zoneout acts on:

    keep     (T, B, D, S) uint8, 1 where the state keeps the value before the step; or None
    share    a number p: the state becomes p before + (1 - p) after; or None
"""

# pyright: basic, reportArgumentType=false, reportOperatorIssue=false, reportIndexIssue=false, reportCallIssue=false
# pyright: reportAttributeAccessIssue=false, reportGeneralTypeIssues=false
# (triton compiles this text itself; to a type checker its constants and its tensors are one class)

from __future__ import annotations

import triton
import triton.language as tl

from rnnlab.cells.triton.tiles import load_states


@triton.jit
def widened(number, like):
    """Return a tile of one number in the width of another tile; left alone it would meet float64 as float32."""
    return tl.full(like.shape, number, like.dtype)


@triton.jit
def factor_of_state(mask, place, unit, inside, SIZE: tl.constexpr):
    """Return this program's tile of the mask of recurrent dropout, (B, D, S); anything if there is none."""
    if mask is not None:
        return load_states(mask, place, unit, inside, SIZE)
    else:
        return False


@triton.jit
def kept_in(keep, step, place, unit, inside, SIZE: tl.constexpr):
    """Return which units keep their state in the step that starts at number `step`, as truth values, if a mask says."""
    if keep is not None:
        return load_states(keep + step, place, unit, inside, SIZE) != 0
    else:
        return False


@triton.jit
def zone_out(before, after, kept, keep, share):
    """Return the state after a step. A mask chooses and never multiplies: 0 times inf is nan."""
    if keep is not None:
        return tl.where(kept, before, after)
    elif share is not None:
        return before + (1 - widened(share, before)) * (after - before)
    else:
        return after


@triton.jit
def gradient_of_new(grad, kept, keep, share):
    """Return what of a state's gradient goes into the value that the step computed."""
    if keep is not None:
        return tl.where(kept, 0.0, grad)
    elif share is not None:
        return grad * (1 - widened(share, grad))
    else:
        return grad


@triton.jit
def add_gradient_of_kept(total, grad, kept, keep, share):
    """Return `total`, what reaches the state before a step through the step, plus what goes around it."""
    if keep is not None:
        return tl.where(kept, total + grad, total)
    elif share is not None:
        return total + grad * widened(share, grad)
    else:
        return total


@triton.jit
def clipped(grad, limit):
    """Return a gradient with its entries in +-limit, all if `limit` is None; nan stays nan."""
    if limit is not None:
        bound = widened(limit, grad)
        grad = tl.where(grad > bound, bound, grad)
        grad = tl.where(grad < -bound, -bound, grad)
    return grad


@triton.jit
def gradient_of_state(total, kept, product, out, entered, scale, mask, limit):
    """Return the gradient of the state between two steps.

    Args:
        total: kept + out, summed while the product was waited for.
        kept: what the later step hands back around the product with W_hh.
        product: what it hands back through it, da W.
        out: the gradient of the state as an output, which is not clipped.
        entered: whether the later step was one of the row's; the gradient that crosses padding is not clipped.
        scale: tile of the mask of dropout.
        mask: None if there is no dropout.
        limit: None if nothing is clipped.
    """
    if mask is not None:
        product *= scale
    if limit is None:
        return total + product
    else:
        through = kept + product
        return tl.where(entered, clipped(through, limit), through) + out

"""A whole window through the kernels: what stands before and after the loop over time, as products of torch.

Shapes: T steps, B batch, I input_size, H hidden_size, G gates per cell, D directions (forward, or reverse, or both in
this order), S the padded hidden size. Arguments and results have torch's H; only what is saved for the backward pass
has S. Layouts of the kernels: `rnnlab.cells.triton.tiles`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import linear, pad

from rnnlab.cells.bptt.common import Timeline, compute_dtype, recurrent_gradient
from rnnlab.cells.triton.launch import run_visits
from rnnlab.cells.triton.plan import Device, Plan, Shape, choose_plan, float32_precision, padded_size


class Frame(NamedTuple):
    """The sizes of a window, and how tensors go into the kernels' layout and come back.

    Attributes:
        num_steps: T.
        batch: B.
        directions: D.
        gates: G.
        hidden_size: H.
        lengths: valid steps of each row, <int64>(B,), or None.
        reverse: whether the one direction runs in reverse.
        x: the input (T, B, I), for dtype and device.
    """

    num_steps: int
    batch: int
    directions: int
    gates: int
    hidden_size: int
    lengths: Tensor | None
    reverse: bool
    x: Tensor

    @classmethod
    def of(cls, x: Tensor, weight_hh: Tensor, lengths: Tensor | None, reverse: bool) -> Frame:
        """Measure an input (T, B, I) and recurrent weights (D, G*H, H)."""
        directions, rows, hidden_size = weight_hh.shape
        return cls(x.shape[0], x.shape[1], directions, rows // hidden_size, hidden_size, lengths, reverse, x)

    @property
    def size(self) -> int:
        """The padded hidden size."""
        return padded_size(self.hidden_size)

    @property
    def wide(self) -> torch.dtype:
        """Type of states, gates and carried gradients."""
        return compute_dtype(self.x)

    @property
    def kernel_lengths(self) -> Tensor | None:
        """Lengths as the kernels read them."""
        return None if self.lengths is None else self.lengths.to(torch.int32)

    def padded(self, values: Tensor) -> Tensor:
        """Pad the last dimension from H to S with zeros, (..., S)."""
        more = self.size - self.hidden_size
        return pad(values, (0, more)) if more else values.contiguous()

    def cropped(self, values: Tensor) -> Tensor:
        """Cut the last dimension back to H, (..., H)."""
        return values[..., : self.hidden_size].contiguous()

    def recurrent_weight(self, weight_hh: Tensor) -> Tensor:
        """(D, G*H, H) -> (D, G*S, S)."""
        more = self.size - self.hidden_size
        if not more:
            return weight_hh.contiguous()
        return pad(weight_hh.unflatten(1, (self.gates, -1)), (0, more, 0, more)).flatten(1, 2)

    def project(self, weight_ih: Tensor, bias: Tensor | None) -> Tensor:
        """All steps' inputs through (D, G*H, I), plus a bias (D, G, H): (T, B, D, G, S)."""
        more = self.size - self.hidden_size
        if more:
            weight_ih = pad(weight_ih.unflatten(1, (self.gates, -1)), (0, 0, 0, more)).flatten(1, 2)
        gx = linear(self.x, weight_ih.flatten(0, 1), None if bias is None else self.padded(bias).flatten())
        return gx.view(self.num_steps, self.batch, self.directions, self.gates, self.size)

    def narrow_state(self, state: Tensor) -> Tensor:
        """(D, B, H) -> (B, D, S), in the input's type."""
        return self.padded(state.transpose(0, 1))

    def wide_state(self, state: Tensor | None) -> Tensor:
        """(D, B, H) -> (B, D, S), a copy of its own in the wide type; None: zeros."""
        if state is None:
            return self.x.new_zeros(self.batch, self.directions, self.size, dtype=self.wide)
        return self.padded(state.transpose(0, 1)).to(self.wide, copy=True)

    def state_back(self, state: Tensor) -> Tensor:
        """(B, D, S) -> (D, B, H), in the input's type."""
        return state[..., : self.hidden_size].transpose(0, 1).to(self.x.dtype, copy=True).contiguous()

    def outputs(self, values: Tensor) -> Tensor:
        """(T, B, D*H) -> (T, B, D, S)."""
        return self.padded(values.unflatten(2, (self.directions, -1)))

    def outputs_back(self, y: Tensor) -> Tensor:
        """(T, B, D, S) -> (T, B, D*H), with zeros past each row's length."""
        y = self.cropped(y).flatten(2)
        timeline = Timeline.of(self.num_steps, self.lengths, False)
        timeline.fill_padding(y, 0)
        return y

    def empty(self, *blocks: int, dtype: torch.dtype | None = None) -> Tensor:
        """A fresh (T, B, D, *blocks, S)."""
        shape = (self.num_steps, self.batch, self.directions, *blocks, self.size)
        return self.x.new_empty(shape, dtype=dtype or self.x.dtype)

    def plan(self, *, backward: bool) -> Plan:
        """How a pass of this window runs on its device."""
        shape = Shape.of(self.x, self.gates, self.hidden_size, self.directions, backward=backward)
        return choose_plan(shape, Device.of(self.x.device))

    def run(self, kernel: object, *tensors: Tensor, backward: bool = False, **constants: bool) -> None:
        """Run a kernel over all steps."""
        run_visits(
            kernel,
            tensors,
            self.kernel_lengths,
            self.plan(backward=backward),
            num_steps=self.num_steps,
            size=self.size,
            reverse=self.reverse,
            precision=float32_precision(),
            **constants,
        )


def recurrent_gradients(
    frame: Frame, grad_a: Tensor, kept: Tensor, h_0: Tensor, weight: Tensor, y: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradients of h_0 (D, B, H) and W_hh (D, G*H, H), after the loop.

    Args:
        frame: sizes.
        grad_a: gradients of what h W^T was added to, (T, B, D, G, S).
        kept: what reached h_0 around the last product, (B, D, S) wide.
        h_0: (D, B, H).
        weight: W_hh, (D, G*S, S).
        y: outputs (T, B, D*H).
    """
    cropped = frame.cropped(grad_a).flatten(3)
    hidden = y.unflatten(2, (frame.directions, -1))
    grad_h_0, grad_weight = [], []
    for direction in range(frame.directions):
        reverse = frame.reverse or direction == 1
        timeline = Timeline.of(frame.num_steps, frame.lengths, reverse)
        last = grad_a[-1 if reverse else 0, :, direction].flatten(1)
        grad_h_0.append(kept[:, direction] + last @ weight[direction])
        grad_weight.append(
            recurrent_gradient(cropped[:, :, direction], hidden[:, :, direction], h_0[direction], timeline)
        )
    return frame.state_back(torch.stack(grad_h_0, dim=1)), torch.stack(grad_weight)


def input_gradients(frame: Frame, grad_gx: Tensor, weight_ih: Tensor, needs_grad_x: bool) -> tuple[Tensor, ...]:
    """Gradients of x, W_ih and the bias beside it, from those of the pre-activations (T, B, D, G, S)."""
    flat = frame.cropped(grad_gx).flatten(2).flatten(0, 1)
    x = frame.x
    grad_x = (flat @ weight_ih.flatten(0, 1)).view_as(x) if needs_grad_x else x.new_empty(0)
    grad_weight = (flat.t() @ x.flatten(0, 1)).view_as(weight_ih)
    return grad_x, grad_weight, flat.sum(0).view(weight_ih.shape[:2])


def sum_of_biases(frame: Frame, bias_ih: Tensor | None, bias_hh: Tensor | None) -> Tensor | None:
    """(D, G*H) twice -> (D, G, H), or None."""
    if bias_ih is None or bias_hh is None:
        return None
    return (bias_ih + bias_hh).unflatten(1, (frame.gates, -1))

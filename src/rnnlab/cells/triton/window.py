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
from rnnlab.cells.triton.settings import Settings


class Frame(NamedTuple):
    """The sizes of a window, and how tensors go into the kernels' layout and come back.

    Attributes:
        num_steps: T.
        batch: B.
        directions: D.
        gates: G.
        hidden_size: H.
        settings: lengths, direction and extras.
        x: the input (T, B, I), for dtype and device.
    """

    num_steps: int
    batch: int
    directions: int
    gates: int
    hidden_size: int
    settings: Settings
    x: Tensor

    @classmethod
    def of(cls, x: Tensor, weight_hh: Tensor, settings: Settings) -> Frame:
        """Measure an input (T, B, I) and recurrent weights (D, G*H, H)."""
        directions, rows, hidden_size = weight_hh.shape
        return cls(x.shape[0], x.shape[1], directions, rows // hidden_size, hidden_size, settings, x)

    @property
    def size(self) -> int:
        """The padded hidden size."""
        return padded_size(self.hidden_size)

    @property
    def wide(self) -> torch.dtype:
        """Type of states, gates and carried gradients."""
        return compute_dtype(self.x)

    @property
    def lengths(self) -> Tensor | None:
        """Valid steps of each row, <int64>(B,), or None."""
        return self.settings.lengths

    def is_reverse(self, direction: int) -> bool:
        """Whether a direction visits the last step first."""
        return self.settings.reverse or direction == 1

    def timeline(self, direction: int) -> Timeline:
        """The order of time of a direction."""
        return Timeline.of(self.num_steps, self.lengths, self.is_reverse(direction))

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
        shape = Shape.of(
            self.x,
            self.gates,
            self.hidden_size,
            self.directions,
            backward=backward,
            extras=self.settings.has_extras,
        )
        return choose_plan(shape, Device.of(self.x.device))

    def masked(self, hidden: Tensor, direction: int) -> Tensor:
        """Hidden states (..., B, H) of a direction as the product with W_hh sees them."""
        mask = self.settings.recurrent_mask
        return hidden if mask is None else hidden * mask[direction]

    def first_states(self, h_0: Tensor) -> Tensor:
        """(D, B, H) -> (B, D, S): what the first visit multiplies by W_hh."""
        mask = self.settings.recurrent_mask
        return self.narrow_state(h_0 if mask is None else h_0 * mask)

    def extras(self, *, backward: bool) -> dict[str, Tensor | float]:
        """What is on, under the names of the kernels' last parameters; nothing else may be given to them."""
        settings, given = self.settings, {}
        if settings.recurrent_mask is not None:
            given["mask"] = self.wide_state(settings.recurrent_mask)
            if not backward:
                given["masked"] = self.empty()
        states = {
            "h": (settings.zoneout_h, settings.zoneout_h_share),
            "c": (settings.zoneout_c, settings.zoneout_c_share),
        }
        for name, (mask, share) in states.items():
            if mask is not None:
                given[f"keep_{name}"] = self.padded(mask.view(torch.uint8).movedim(0, 2))
            elif share > 0:
                given[f"share_{name}"] = share
        if backward and settings.clip_state_grad > 0:
            given["limit"] = settings.clip_state_grad
        return given

    def run(self, kernel: object, *tensors: Tensor, backward: bool = False, **more: bool | Tensor | None) -> None:
        """Run a kernel over all steps, with the extras that are on."""
        run_visits(
            kernel,
            tensors,
            None if self.lengths is None else self.lengths.to(torch.int32),
            self.plan(backward=backward),
            num_steps=self.num_steps,
            size=self.size,
            reverse=self.settings.reverse,
            precision=float32_precision(),
            **self.extras(backward=backward),
            **more,
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
        first = frame.num_steps - 1 if frame.is_reverse(direction) else 0
        product = grad_a[first, :, direction].flatten(1) @ weight[direction]
        if frame.settings.recurrent_mask is not None:
            product = product * frame.padded(frame.settings.recurrent_mask[direction])
        grad_h_0.append(_into_first_step(frame, kept[:, direction] + product, first))
        grad_weight.append(
            recurrent_gradient(
                cropped[:, :, direction],
                frame.masked(hidden[:, :, direction], direction),
                frame.masked(h_0[direction], direction),
                frame.timeline(direction),
            )
        )
    return frame.state_back(torch.stack(grad_h_0, dim=1)), torch.stack(grad_weight)


def _into_first_step(frame: Frame, grad: Tensor, first: int) -> Tensor:
    """Clip the gradient (B, S) of the initial state where the first visited step is no padding, as in the kernels."""
    limit = frame.settings.clip_state_grad
    if limit == 0:
        return grad
    clipped = grad.clamp(-limit, limit)
    return clipped if frame.lengths is None else torch.where((first < frame.lengths).unsqueeze(1), clipped, grad)


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


def biases_of_gru(frame: Frame, bias_ih: Tensor | None, bias_hh: Tensor | None) -> tuple[Tensor | None, Tensor]:
    """Return what is added to the input's product once, (D, G, H) or None, and b_hn, (D, S) wide.

    The reset gate scales b_hn with the product it belongs to.
    """
    bias = sum_of_biases(frame, bias_ih, bias_hh)
    if bias is None or bias_ih is None or bias_hh is None:
        return None, frame.x.new_zeros(frame.directions, frame.size, dtype=frame.wide)
    bias[:, 2] = bias_ih.unflatten(1, (3, -1))[:, 2]
    return bias, frame.padded(bias_hh.unflatten(1, (3, -1))[:, 2]).to(frame.wide)

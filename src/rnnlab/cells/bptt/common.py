"""What the three recurrences share: padding, the order of time, and the weight gradients after the loop.

Shapes: T steps, B batch, I input_size, H hidden_size, G gates per cell.

Padding costs nothing inside the loops. The pre-activations of padded steps are filled with +-inf beforehand, which
drives sigmoid to exactly 0 or 1, so that a padded step keeps its state and hands back a gradient of exactly 0.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Timeline(NamedTuple):
    """The order of time of one pass, and where each row's sequence lies in it.

    Attributes:
        num_steps: T.
        reverse: from each row's last valid step to step 0.
        lengths: valid steps of each row, <int64>(B,); None: all T.
        padded: True past a row's length, <bool>(T, B, 1); None without lengths.
    """

    num_steps: int
    reverse: bool
    lengths: Tensor | None
    padded: Tensor | None

    @classmethod
    def of(cls, num_steps: int, lengths: Tensor | None, reverse: bool) -> Timeline:
        """Lay out T steps over rows of the given lengths."""
        if lengths is None:
            return cls(num_steps, reverse, None, None)
        steps = torch.arange(num_steps, device=lengths.device).view(-1, 1, 1)
        return cls(num_steps, reverse, lengths, steps >= lengths.view(1, -1, 1))

    @property
    def order(self) -> range:
        """Steps in the order the recurrence visits them."""
        return range(self.num_steps)[::-1] if self.reverse else range(self.num_steps)

    def fill_padding(self, a: Tensor, value: float) -> None:
        """Set a (T, B, ...) tensor, or a slice of it, to a value wherever it is padding, in place."""
        if self.padded is not None:
            a.masked_fill_(self.padded, value)

    def neighbours(self, values: Tensor, first: Tensor) -> list[Tensor]:
        """List by step what `values` (T, B, H) held one visited step earlier; `first` (B, H) before the first."""
        steps = list(values.unbind(0))
        return [*steps[1:], first] if self.reverse else [first, *steps[:-1]]

    def enter_rows(self, t: int, h: Tensor, h_0: Tensor) -> Tensor:
        """Return the state (B, H) that step t starts from: h, but h_0 in the rows whose sequence starts here.

        Only in reverse, where rows of different lengths start at different steps, does this differ from h.
        """
        if self.lengths is None or not self.reverse:
            return h
        return torch.where((self.lengths == t + 1).unsqueeze(1), h_0, h)

    def at_start(self, a: Tensor) -> Tensor:
        """Take from a (T, B, F) tensor, zero at padding, what it holds at each row's first visited step, (B, F)."""
        if not self.reverse:
            return a[0]
        return a[-1] if self.lengths is None else self._gather_last(a, self.lengths)

    def at_end(self, a: Tensor, otherwise: Tensor) -> Tensor:
        """Take from (T, B, F) what it holds at each row's last visited step; `otherwise` (B, F) in rows of length 0."""
        last = a[0 if self.reverse else -1]
        if self.lengths is None:
            return last.clone()
        if not self.reverse:
            last = self._gather_last(a, self.lengths)
        return torch.where((self.lengths > 0).unsqueeze(1), last, otherwise)

    def gradient_of_outputs(self, grad_y: Tensor, grad_h_n: Tensor | None) -> Tensor:
        """Return grad_y (T, B, H) without its padding, plus grad_h_n (B, H) at each row's last visited step."""
        if self.lengths is None:
            if grad_h_n is None:
                return grad_y
            grad_y = grad_y.clone()
            grad_y[0 if self.reverse else -1] += grad_h_n
            return grad_y
        grad_y = torch.where(self.padded, 0, grad_y)  # type: ignore[arg-type]
        if grad_h_n is not None:
            grad_h_n = torch.where((self.lengths > 0).unsqueeze(1), grad_h_n, 0)
            last = torch.zeros_like(self.lengths) if self.reverse else (self.lengths - 1).clamp(min=0)
            grad_y.scatter_add_(0, last.view(1, -1, 1).expand(1, -1, grad_y.shape[2]), grad_h_n.unsqueeze(0))
        return grad_y

    def skip_empty_rows(self, grad_h_0: Tensor, grad_h_n: Tensor | None) -> Tensor:
        """Add to grad_h_0 what rows of length 0 hand straight from their final to their initial state."""
        if self.lengths is None or grad_h_n is None:
            return grad_h_0
        return torch.where((self.lengths > 0).unsqueeze(1), grad_h_0, grad_h_n.to(grad_h_0.dtype))

    @staticmethod
    def _gather_last(a: Tensor, lengths: Tensor) -> Tensor:
        index = (lengths - 1).clamp(min=0).view(1, -1, 1).expand(1, -1, a.shape[2])
        return a.gather(0, index).squeeze(0)


def compute_dtype(x: Tensor) -> torch.dtype:
    """Type of the gates, the cell state and the carried gradients: float32 for the half-width types."""
    return torch.float32 if x.dtype in (torch.bfloat16, torch.float16) else x.dtype


def project_inputs(x: Tensor, weight_ih: Tensor, bias: Tensor | None) -> Tensor:
    """Multiply all steps' inputs at once: (T, B, I), (G*H, I), (G*H,) -> (T, B, G*H) in the compute dtype."""
    return torch.nn.functional.linear(x, weight_ih, bias).to(compute_dtype(x))


def add_product(out: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Add the matrix product a b to `out` in place; `out` may be wider than the factors."""
    return out.addmm_(a, b) if out.dtype == a.dtype else out.add_(a @ b)


class WeightGradients(NamedTuple):
    """Gradients of what stands before the loop; `x` is empty where nobody asked for it."""

    x: Tensor
    weight_ih: Tensor
    bias_ih: Tensor


def input_gradients(grad_gates: Tensor, x: Tensor, weight_ih: Tensor, needs_grad_x: bool) -> WeightGradients:
    """Gradients of the input projection, from those of its result (T, B, G*H), one product each."""
    flat = grad_gates.flatten(0, 1)
    grad_x = (flat @ weight_ih).view_as(x) if needs_grad_x else x.new_empty(0)
    return WeightGradients(grad_x, flat.t() @ x.flatten(0, 1), flat.sum(0))


def recurrent_gradient(grad_gates: Tensor, y: Tensor, h_0: Tensor, timeline: Timeline) -> Tensor:
    """Gradient of weight_hh (G*H, H): one product over all later steps, and one over the B first steps for h_0."""
    later, before = (grad_gates[:-1], y[1:]) if timeline.reverse else (grad_gates[1:], y[:-1])
    grad = timeline.at_start(grad_gates).t() @ h_0
    return grad.addmm_(later.flatten(0, 1).t(), before.flatten(0, 1))

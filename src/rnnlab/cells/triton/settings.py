"""What both passes are told beside the tensors they differentiate: lengths, direction, and the extras that are on.

Shapes: T steps, B batch, H hidden_size, D directions. Importing this file imports no triton.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from rnnlab.cells.extras import Extras

SCHEMA = (
    "Tensor? lengths, Tensor? recurrent_mask, Tensor? zoneout_h, Tensor? zoneout_c, float zoneout_h_share,"
    " float zoneout_c_share, float clip_state_grad, bool reverse"
)
"""`Settings` as arguments of an op."""


class Settings(NamedTuple):
    """One call's settings, of all directions in one tensor; extras as in `rnnlab.cells.extras.Extras`.

    Attributes:
        lengths: valid steps of each row, <int64>(B,), or None.
        recurrent_mask: factor of h in the product with W_hh, (D, B, H), or None.
        zoneout_h: where h keeps its value, <bool>(D, T, B, H), or None.
        zoneout_c: where an LSTM's c does, or None.
        zoneout_h_share: share of h that stays where there is no mask.
        zoneout_c_share: the same of c.
        clip_state_grad: bound on the gradient of the state that enters a step; 0: none.
        reverse: whether the one direction runs in reverse; of two the second always does.
    """

    lengths: Tensor | None = None
    recurrent_mask: Tensor | None = None
    zoneout_h: Tensor | None = None
    zoneout_c: Tensor | None = None
    zoneout_h_share: float = 0.0
    zoneout_c_share: float = 0.0
    clip_state_grad: float = 0.0
    reverse: bool = False

    @classmethod
    def of(cls, extras: Sequence[Extras], lengths: Tensor | None, reverse: bool) -> Settings:
        """Gather the extras of each direction, which differ in their masks alone."""
        zoneout = [(*(each.zoneout or ()), None, None)[:2] for each in extras]
        zoneout_h, zoneout_c = (
            stacked([keep if isinstance(keep, Tensor) else None for keep in of_state])
            for of_state in zip(*zoneout, strict=True)
        )
        share_h, share_c = (0.0 if keep is None or isinstance(keep, Tensor) else float(keep) for keep in zoneout[0])
        mask = stacked([each.recurrent_mask for each in extras])
        clip = float(extras[0].clip_state_grad or 0.0)
        return cls(lengths, mask, zoneout_h, zoneout_c, share_h, share_c, clip, reverse)

    @property
    def has_extras(self) -> bool:
        """Whether anything is on that torch.nn's recurrences do not have."""
        masks = (self.recurrent_mask, self.zoneout_h, self.zoneout_c)
        numbers = (self.zoneout_h_share, self.zoneout_c_share, self.clip_state_grad)
        return any(mask is not None for mask in masks) or any(number > 0 for number in numbers)

    @property
    def zones_out_h(self) -> bool:
        """Whether h keeps anything at all."""
        return self.zoneout_h is not None or self.zoneout_h_share > 0


def stacked(tensors: Sequence[Tensor | None]) -> Tensor | None:
    """Put directions into one tensor, in front; without a copy if there is one."""
    first = tensors[0]
    if first is None:
        return None
    return first.unsqueeze(0) if len(tensors) == 1 else torch.stack([t for t in tensors if t is not None])

"""What the recurrences can do beyond torch.nn's, each off by default: which of it a call needs, and its random masks.

Masks are drawn here, once a call and from torch's global generator, and handed to the engine that runs the recurrence:
every engine then computes the same, and running one twice gives the same twice.

Shapes: T steps, B batch, H hidden_size, G gates per cell (RNN 1, GRU 3, LSTM 4).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, TypedDict

import torch
from torch import Tensor
from torch.nn.functional import dropout

Zoneout = float | tuple[float, float]
"""A share for every state, or one for h and one for an LSTM's c."""


class Norm(NamedTuple):
    """Parameters of layer norm inside the cell, of one layer in one direction.

    Attributes:
        ih: gain of the normalised W_ih x, (G*H,); bias_ih is added to it.
        hh: gain of the normalised W_hh h, (G*H,); bias_hh is added to it.
        cell: gain of an LSTM's cell state before the output's tanh, (H,), or None.
        cell_bias: bias beside it, (H,), or None.
    """

    ih: Tensor
    hh: Tensor
    cell: Tensor | None = None
    cell_bias: Tensor | None = None

    def to(self, dtype: torch.dtype) -> Norm:
        """Return the same parameters in another width."""
        return Norm(*(None if tensor is None else tensor.to(dtype) for tensor in self))  # pyright: ignore


class Extras(NamedTuple):
    """What an engine does beyond torch.nn's recurrence, for one layer in one direction and one call.

    Attributes:
        recurrent_mask: factor of h in the product with W_hh and nowhere else, 0 or 1 / (1 - p), (B, H).
        zoneout: for each state <bool>(T, B, H), True where it keeps the value before the step; or a share p, then it
            becomes p before + (1 - p) after; or None.
        clip_state_grad: largest entry of the gradient that flows from a step into the state before it.
        norm: parameters of layer norm.
        recompute: whether the backward pass computes the gates anew.
    """

    recurrent_mask: Tensor | None = None
    zoneout: tuple[Tensor | float | None, ...] | None = None
    clip_state_grad: float | None = None
    norm: Norm | None = None
    recompute: bool = False


NO_EXTRAS = Extras()


class ExtraArguments(TypedDict, total=False):
    """The layers' keyword arguments for extras; `rnnlab.cells.RNN` says what they mean."""

    recurrent_dropout: float
    weight_drop: float
    zoneout: Zoneout
    layer_norm: bool
    clip_state_grad: float | None
    recompute: bool


class ExtraSettings(NamedTuple):
    """The extras of a layer, as given to its constructor; `rnnlab.cells.RNN` says what they mean."""

    recurrent_dropout: float = 0.0
    weight_drop: float = 0.0
    zoneout: Zoneout = 0.0
    layer_norm: bool = False
    clip_state_grad: float | None = None
    recompute: bool = False

    def check(self, num_states: int) -> None:
        """Refuse what is out of range.

        Args:
            num_states: 1, or 2 for an LSTM.

        Raises:
            ValueError: names the setting, its range and what was got.
        """
        for name in ("recurrent_dropout", "weight_drop"):
            value = getattr(self, name)
            if not _is_share(value):
                raise ValueError(f"{name} must be between 0 and 1, got {value!r}")
        if isinstance(self.zoneout, tuple | list) and num_states == 1:
            raise ValueError(f"zoneout must be one number for a cell with one state, got {self.zoneout!r}")
        shares = self.zoneout if isinstance(self.zoneout, tuple | list) else (self.zoneout, self.zoneout)
        if len(shares) != 2 or not all(_is_share(share) for share in shares):
            pair = "" if num_states == 1 else ", or a pair of such numbers for h and c"
            raise ValueError(f"zoneout must be between 0 and 1{pair}, got {self.zoneout!r}")
        clip = self.clip_state_grad
        if clip is not None and (isinstance(clip, bool) or not 0 < clip < math.inf):
            raise ValueError(f"clip_state_grad must be greater than 0 and finite, or None, got {clip!r}")

    def asked_for(self) -> tuple[str, ...]:
        """Names of the extras that are on."""
        if self == _OFF:  # what every call of a plain layer asks, token by token
            return ()
        return tuple(name for name, value in zip(self._fields, self, strict=True) if _is_on(value))

    def active(self, *, training: bool, needs_grad: bool) -> tuple[str, ...]:
        """Names of the extras that change anything in a call: some only while training, some only with gradients."""
        names = self.asked_for()
        if not training:
            names = tuple(name for name in names if name not in ("recurrent_dropout", "weight_drop"))
        if not needs_grad:
            names = tuple(name for name in names if name not in ("clip_state_grad", "recompute"))
        return names

    def draw(self, x: Tensor, hidden_size: int, num_states: int, norm: Norm | None, *, training: bool) -> Extras:
        """Draw the masks of one layer in one direction for one call.

        Args:
            x: the call's input, (T, B, ...), for device and dtype.
            hidden_size: H.
            num_states: 1, or 2 for an LSTM.
            norm: parameters of layer norm, if it is on.
            training: whether masks are drawn; else there is no recurrent dropout, and zoneout is its expectation.
        """
        mask = None
        if training and self.recurrent_dropout > 0:
            mask = dropout(x.new_ones(x.shape[1], hidden_size), self.recurrent_dropout)
        zoneout: tuple[Tensor | float | None, ...] | None = None
        if _is_on(self.zoneout):
            shares = self.zoneout if isinstance(self.zoneout, tuple | list) else (self.zoneout,) * num_states
            shape = (*x.shape[:2], hidden_size)
            zoneout = tuple(_zoneout_mask(share, shape, x.device) if training else share or None for share in shares)
        return Extras(mask, zoneout, self.clip_state_grad, norm, self.recompute)


_OFF = ExtraSettings()


def clip_gradient(state: Tensor, limit: float) -> Tensor:
    """Return the same values; the gradient that comes back is clamped to +-limit, entry by entry."""
    return _ClipGradient.apply(state, limit)  # pyright: ignore[reportReturnType]


class _ClipGradient(torch.autograd.Function):
    @staticmethod
    def forward(state: Tensor, limit: float) -> Tensor:
        """Pass the values on."""
        return state.view_as(state)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, float], output: Tensor) -> None:
        """Keep the limit."""
        ctx.limit = inputs[1]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        """Clamp; nan stays nan."""
        return grads[0].clamp(-ctx.limit, ctx.limit), None


def _zoneout_mask(share: float, shape: tuple[int, ...], device: torch.device) -> Tensor | None:
    return torch.empty(shape, dtype=torch.bool, device=device).bernoulli_(share) if share > 0 else None


def _is_share(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def _is_on(value: object) -> bool:
    return any(value) if isinstance(value, tuple | list) else bool(value)

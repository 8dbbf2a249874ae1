"""What a recurrent layer is made of: its arguments, its parameters under torch.nn's names, and how they start.

Shapes: I input_size, H hidden_size, G gates per cell (RNN 1, GRU 3, LSTM 4), L layers, D directions (2 if
bidirectional).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from rnnlab.cells import torch_backend
from rnnlab.cells.arguments import check_sizes
from rnnlab.cells.backends import check_backend
from rnnlab.cells.extras import ExtraSettings, Norm, Zoneout
from rnnlab.cells.initialisation import check_settings, initialise_
from rnnlab.cells.reference import Weights


class RecurrentParameters(nn.Module):
    """Arguments and parameters of a stack of recurrent layers; `RecurrentStack` runs them.

    Subclasses say which recurrence, and may override `layer_weights` to change the weights a call sees.
    """

    num_gates: ClassVar[int]
    state_names: ClassVar[tuple[str, ...]] = ("h_0",)
    proj_size: ClassVar[int] = 0  # for code that asks a layer of torch.nn's what it is

    def __init__(
        self,
        cell: str,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        bias: bool,
        batch_first: bool,
        dropout: float,
        bidirectional: bool,
        device: torch.device | str | None,
        dtype: torch.dtype | None,
        *,
        backend: str,
        initialisation: dict[str, Any],
        recurrent_dropout: float,
        weight_drop: float,
        zoneout: Zoneout,
        layer_norm: bool,
        clip_state_grad: float | None,
        recompute: bool,
    ) -> None:
        """Create the parameters in torch.nn's order and fill them; see the subclasses for the arguments."""
        switches = {"bias": bias, "batch_first": batch_first, "bidirectional": bidirectional}
        check_sizes(input_size, hidden_size, num_layers, dropout, **switches)
        check_settings(**initialisation)
        super().__init__()
        self.cell = cell
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = float(dropout)
        self.bidirectional = bidirectional
        self.recurrent_dropout = recurrent_dropout
        self.weight_drop = weight_drop
        self.zoneout: Zoneout = zoneout
        self.layer_norm = layer_norm
        self.clip_state_grad = clip_state_grad
        self.recompute = recompute
        self.extras.check(len(self.state_names))
        self.backend = check_backend(backend, self.extras.asked_for())
        self.initialisation = initialisation
        for layer in range(num_layers):
            for direction in range(self.num_directions):
                for kind, shape in self._parameter_shapes(layer).items():
                    parameter = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
                    self.register_parameter(_parameter_name(kind, layer, direction), parameter)
        self.flatten_parameters()
        self.reset_parameters()

    @property
    def num_directions(self) -> int:
        """1, or 2 if bidirectional."""
        return 2 if self.bidirectional else 1

    @property
    def mode(self) -> str:
        """torch.nn's name of the recurrence: RNN_TANH, RNN_RELU, LSTM or GRU."""
        return self.cell.upper()

    @property
    def all_weights(self) -> list[list[Tensor]]:
        """The parameters of each layer and direction, as torch.nn gives them; without those of layer norm."""
        return [[tensor for tensor in weights if tensor is not None] for weights in self._all_weights()]

    @property
    def extras(self) -> ExtraSettings:
        """What is on beyond torch.nn's recurrence, as the attributes of the same names say now."""
        return ExtraSettings(
            self.recurrent_dropout,
            self.weight_drop,
            self.zoneout,
            self.layer_norm,
            self.clip_state_grad,
            self.recompute,
        )

    def reset_parameters(self) -> None:
        """Fill all parameters anew by the layer's initialisation; gains of layer norm start at 1, its biases at 0."""
        with torch.no_grad():
            initialise_(self, **self.initialisation)
        self.reset_norms()

    def reset_norms(self) -> None:
        """Start the gains of layer norm at 1 and its biases at 0 again; without effect where there are none."""
        for name, parameter in self.named_parameters(recurse=False):
            if name.startswith("norm_"):
                nn.init.constant_(parameter, 0.0 if name.startswith("norm_cell_bias") else 1.0)

    def layer_weights(self, layer: int, direction: int) -> Weights:
        """Return what one layer and direction multiplies with; direction 1 is the reverse one."""
        kinds = Weights._fields if self.bias else Weights._fields[:2]
        return Weights(*(getattr(self, _parameter_name(kind, layer, direction)) for kind in kinds))

    def layer_norms(self, layer: int, direction: int) -> Norm | None:
        """Return the parameters of layer norm in one layer and direction; None if it is off."""
        if not self.layer_norm:
            return None
        names = (_parameter_name(f"norm_{kind}", layer, direction) for kind in Norm._fields)
        return Norm(*(getattr(self, name, None) for name in names))  # pyright: ignore[reportArgumentType]

    def single_layer(self, layer: int) -> Self:
        """Return one layer, in all its directions, as a stack of its own that shares the parameters with this one.

        Above layer 0 its input is the output of the layer below. Dropout between layers is the caller's.
        """
        if not 0 <= layer < self.num_layers:
            raise ValueError(f"layer must be from 0 to {self.num_layers - 1}, got {layer}")
        alone = copy.copy(self)
        alone._parameters = {}
        alone.num_layers, alone.dropout = 1, 0.0
        alone.input_size = self.input_size if layer == 0 else self.hidden_size * self.num_directions
        for direction in range(self.num_directions):
            for kind in self._parameter_shapes(layer):
                parameter = getattr(self, _parameter_name(kind, layer, direction))
                alone.register_parameter(_parameter_name(kind, 0, direction), parameter)
        return alone

    def flatten_parameters(self) -> None:
        """Lay the parameters out in one block for cuDNN; without effect off CUDA. Called after every move."""
        torch_backend.flatten_weights(
            self.cell,
            self._all_weights(),
            input_size=self.input_size,
            hidden_size=self.hidden_size,
            num_layers=self.num_layers,
            bidirectional=self.bidirectional,
        )

    def extra_repr(self) -> str:
        """List the arguments that differ from their defaults."""
        parts = [f"{self.input_size}, {self.hidden_size}"]
        defaults = {"num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0, "bidirectional": False}
        parts += [f"{name}={getattr(self, name)}" for name, value in defaults.items() if getattr(self, name) != value]
        parts += [f"{name}={getattr(self, name)}" for name in self.extras.asked_for()]
        parts += [f"backend={self.backend}"]
        parts += [f"{name}={value}" for name, value in self.initialisation.items() if value not in (None, "default")]
        return ", ".join(parts)

    def _parameter_shapes(self, layer: int) -> dict[str, tuple[int, ...]]:
        rows = self.num_gates * self.hidden_size
        width = self.input_size if layer == 0 else self.hidden_size * self.num_directions
        shapes: dict[str, tuple[int, ...]] = {"weight_ih": (rows, width), "weight_hh": (rows, self.hidden_size)}
        if self.bias:
            shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
        if self.layer_norm:
            shapes |= {"norm_ih": (rows,), "norm_hh": (rows,)}
            if self.cell == "lstm":
                shapes |= {"norm_cell": (self.hidden_size,)}
                shapes |= {"norm_cell_bias": (self.hidden_size,)} if self.bias else {}
        return shapes

    def _first_weight(self) -> Tensor:
        """Return weight_ih_l0, for its device and dtype."""
        return self.weight_ih_l0  # pyright: ignore[reportReturnType]

    def _all_weights(self) -> list[Weights]:
        return [self.layer_weights(k, d) for k in range(self.num_layers) for d in range(self.num_directions)]

    def _all_norms(self) -> list[Norm | None]:
        if not self.layer_norm:
            return [None] * (self.num_layers * self.num_directions)
        return [self.layer_norms(k, d) for k in range(self.num_layers) for d in range(self.num_directions)]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)
        self.flatten_parameters()
        return self


def _parameter_name(kind: str, layer: int, direction: int) -> str:
    return f"{kind}_l{layer}{'_reverse' if direction == 1 else ''}"

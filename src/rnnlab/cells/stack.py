"""What RNN, LSTM and GRU share: parameters, the checks of a call, and the walk through layers and directions.

Shapes: T steps, B batch, I input_size, H hidden_size, G gates per cell (RNN 1, GRU 3, LSTM 4), L layers,
D directions (2 if bidirectional).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from rnnlab.cells import torch_backend
from rnnlab.cells.arguments import check_input, check_lengths, check_sizes, check_state
from rnnlab.cells.backends import BackendChoice, check_backend, choose_backend, direction_runner
from rnnlab.cells.initialisation import check_settings, initialise_
from rnnlab.cells.ops import needs_grad
from rnnlab.cells.reference import States, Weights


class RecurrentStack(nn.Module):
    """Layers of one recurrence on top of each other, in one or two directions; build RNN, LSTM or GRU instead.

    Subclasses say which recurrence, and may override `layer_weights` to change the weights a call sees.
    """

    num_gates: ClassVar[int]
    state_names: ClassVar[tuple[str, ...]] = ("h_0",)

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
        **initialisation: Any,
    ) -> None:
        """Create the parameters in torch.nn's order and fill them; see the subclasses for the arguments."""
        check_sizes(input_size, hidden_size, num_layers, dropout)
        check_settings(**initialisation)
        super().__init__()
        self.cell = cell
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bool(bias)
        self.batch_first = bool(batch_first)
        self.dropout = float(dropout)
        self.bidirectional = bool(bidirectional)
        self.backend = check_backend(backend)
        self.initialisation = initialisation
        rows = self.num_gates * hidden_size
        for layer in range(num_layers):
            width = input_size if layer == 0 else hidden_size * self.num_directions
            shapes = {"weight_ih": (rows, width), "weight_hh": (rows, hidden_size)}
            if bias:
                shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
            for direction in range(self.num_directions):
                for kind, shape in shapes.items():
                    parameter = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
                    self.register_parameter(_parameter_name(kind, layer, direction), parameter)
        self.flatten_parameters()
        self.reset_parameters()

    @property
    def num_directions(self) -> int:
        """1, or 2 if bidirectional."""
        return 2 if self.bidirectional else 1

    def reset_parameters(self) -> None:
        """Fill all parameters anew by the layer's initialisation."""
        with torch.no_grad():
            initialise_(self, **self.initialisation)

    def layer_weights(self, layer: int, direction: int) -> Weights:
        """Return what one layer and direction multiplies with; direction 1 is the reverse one."""
        kinds = Weights._fields if self.bias else Weights._fields[:2]
        return Weights(*(getattr(self, _parameter_name(kind, layer, direction)) for kind in kinds))

    def backend_in_use(self) -> BackendChoice:
        """Return the backend that a call would run here and now, and why; for the log.

        Here and now: on the parameters' device and dtype, with or without autocast and gradients.
        """
        weights = self._all_weights()
        first = weights[0].weight_ih
        grad = needs_grad(*(w for layer in weights for w in layer))
        return choose_backend(
            self.backend, self.cell, first.device, _autocast_dtype(first) or first.dtype, needs_grad=grad
        )

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
        parts += [f"backend={self.backend}"]
        parts += [f"{name}={value}" for name, value in self.initialisation.items() if value not in (None, "default")]
        return ", ".join(parts)

    def _all_weights(self) -> list[Weights]:
        return [self.layer_weights(k, d) for k in range(self.num_layers) for d in range(self.num_directions)]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)
        self.flatten_parameters()
        return self

    def _forward(
        self, input: Tensor | PackedSequence, state: Any, lengths: Tensor | None
    ) -> tuple[Tensor | PackedSequence, States]:
        if isinstance(input, PackedSequence):
            if lengths is not None:
                raise ValueError("lengths: a PackedSequence brings its own, give None")
            return self._forward_packed(input, state)
        weight = self.layer_weights(0, 0).weight_ih
        dtype = _autocast_dtype(weight)
        check_input(input, self.input_size, weight, autocast=dtype is not None)
        if input.dim() == 2:
            if lengths is not None:
                raise ValueError("lengths: an unbatched input is one whole sequence, cut it instead")
            y, state = self._run(input.unsqueeze(1), self._initial_state(input, state, None), None)
            return y.squeeze(1), tuple(s.squeeze(1) for s in state)
        x = input.transpose(0, 1) if self.batch_first else input
        if lengths is not None:
            check_lengths(lengths, *x.shape[:2])
        y, state = self._run(x, self._initial_state(input, state, x.shape[1]), lengths)
        return y.transpose(0, 1) if self.batch_first else y, state

    def _forward_packed(self, input: PackedSequence, state: Any) -> tuple[PackedSequence, States]:
        """Run padded and pack again in the same order; states are in the order before packing, as in torch.nn."""
        weight = self.layer_weights(0, 0).weight_ih
        check_input(input.data, self.input_size, weight, autocast=_autocast_dtype(weight) is not None)
        x, lengths = pad_packed_sequence(input)
        y, state = self._run(x, self._initial_state(x, state, x.shape[1]), lengths)
        if input.sorted_indices is not None:
            y, lengths = y[:, input.sorted_indices], lengths[input.sorted_indices.cpu()]
        return input._replace(data=pack_padded_sequence(y, lengths).data), state

    def _initial_state(self, x: Tensor, state: Any, batch: int | None) -> States:
        """Check the given state, or make one of zeros, as (L*D, B, H) each."""
        rows = self.num_layers * self.num_directions
        if state is None:
            zeros = x.new_zeros(rows, 1 if batch is None else batch, self.hidden_size)
            return (zeros,) * len(self.state_names)
        states = check_state(self.state_names, state, self.num_layers, self.num_directions, batch, self.hidden_size)
        return tuple(s.unsqueeze(1) for s in states) if batch is None else states

    def _run(self, x: Tensor, state: States, lengths: Tensor | None) -> tuple[Tensor, States]:
        """Run all layers over (T, B, I) in the width that autocast asks for."""
        if x.shape[0] == 0:
            raise ValueError("input must have at least one step, got 0")
        lengths = _unless_all_full(lengths, x)
        if lengths is not None:
            steps = torch.arange(x.shape[0], device=x.device).view(-1, 1, 1)
            # Nan or inf in the padding would survive the product with a gradient of 0.
            x = x.masked_fill(steps >= lengths.view(1, -1, 1), 0)
        weights = self._all_weights()
        dtype = _autocast_dtype(x)
        choice = choose_backend(
            self.backend,
            self.cell,
            x.device,
            dtype or x.dtype,
            needs_grad=needs_grad(x, *state, *(w for layer in weights for w in layer)),
            compiling=torch.compiler.is_compiling(),
        )
        if dtype is None:
            return self._run_layers(choice.name, x, state, weights, lengths)
        x, state = x.to(dtype), tuple(s.to(dtype) for s in state)
        if choice.name == "torch" and x.is_cuda:
            # Autocast itself casts cuDNN's block of weights, which weights cast one by one would not be.
            return self._run_layers(choice.name, x, state, weights, lengths)
        with torch.autocast(x.device.type, enabled=False):
            return self._run_layers(choice.name, x, state, [w.to(dtype) for w in weights], lengths)

    def _run_layers(
        self, backend: str, x: Tensor, state: States, weights: list[Weights], lengths: Tensor | None
    ) -> tuple[Tensor, States]:
        one_lstm_step = self.cell == "lstm" and x.shape[0] == 1
        if backend == "torch" and (x.is_cuda or (lengths is None and not one_lstm_step)):
            return torch_backend.run_stack(
                self.cell,
                x,
                state,
                weights,
                lengths,
                num_layers=self.num_layers,
                dropout=self.dropout,
                training=self.training,
                bidirectional=self.bidirectional,
            )
        run = direction_runner(backend)
        final: list[States] = []
        for layer in range(self.num_layers):
            if layer > 0 and self.dropout > 0:
                x = dropout(x, self.dropout, self.training)
            outputs: list[Tensor] = []
            for direction in range(self.num_directions):
                row = layer * self.num_directions + direction
                before = tuple(s[row] for s in state)
                y, after = run(self.cell, x, before, weights[row], lengths, direction == 1)
                outputs.append(y)
                final.append(after)
            x = torch.cat(outputs, dim=2) if self.bidirectional else outputs[0]
        return x, tuple(torch.stack(s) for s in zip(*final, strict=True))


def _parameter_name(kind: str, layer: int, direction: int) -> str:
    return f"{kind}_l{layer}{'_reverse' if direction == 1 else ''}"


def _autocast_dtype(tensor: Tensor) -> torch.dtype | None:
    """Return the width that autocast wants on the tensor's device; None if it leaves the tensor alone."""
    device = tensor.device.type
    if tensor.dtype == torch.float64 or not torch.amp.is_autocast_available(device):
        return None
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None


def _unless_all_full(lengths: Tensor | None, x: Tensor) -> Tensor | None:
    """Return None where every row is as long as the input: the dense way is faster. Reads values on the CPU only."""
    if lengths is None:
        return None
    if lengths.device.type == "cpu" and not torch.compiler.is_compiling() and bool((lengths == x.shape[0]).all()):
        return None
    return lengths.to(x.device)

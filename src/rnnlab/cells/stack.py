"""What RNN, LSTM and GRU share when they are called: the checks, the masks, the walk through layers and directions.

Shapes: T steps, B batch, I input_size, H hidden_size, L layers, D directions (2 if bidirectional).
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from rnnlab.cells import torch_backend, triton
from rnnlab.cells.arguments import check_input, check_lengths, check_state, check_state_dtype
from rnnlab.cells.auto import Asked, BackendChoice, choose_backend
from rnnlab.cells.backends import direction_runner
from rnnlab.cells.cpu import engine
from rnnlab.cells.cpu.kept import is_keeping
from rnnlab.cells.dropout import dropout
from rnnlab.cells.extras import Extras
from rnnlab.cells.gates import gate_values
from rnnlab.cells.ops import is_watched, needs_grad, transform
from rnnlab.cells.parameters import RecurrentParameters
from rnnlab.cells.reference import States, Weights


class _Call(NamedTuple):
    """What one call computes with, checked and cast; lists have an entry for each layer and direction.

    Attributes:
        backend: name of the engine.
        x: (T, B, I), finite at padding.
        state: each (L*D, B, H).
        weights: with dropped-out entries, if they are.
        lengths: <int64>(B,) on x's device, or None.
        extras: None if there is nothing to do beyond torch.nn's recurrence.
        training: whether dropout between layers acts.
        width: context that keeps autocast off where everything has its width already.
        factors: dtype that the products' factors are rounded to where all else stays wide; None: what x has.
    """

    backend: str
    x: Tensor
    state: States
    weights: list[Weights]
    lengths: Tensor | None
    extras: list[Extras] | None
    training: bool
    width: AbstractContextManager[Any]
    factors: torch.dtype | None


class RecurrentStack(RecurrentParameters):
    """Layers of one recurrence on top of each other, in one or two directions; build RNN, LSTM or GRU instead.

    Attributes:
        stays_wide: whether outputs and states stay float32 under autocast where the engine has them so, for a caller
            that goes on in float32; else they get autocast's dtype, as those of torch.nn.
    """

    stays_wide = False

    def backend_in_use(self, *, has_lengths: bool = False) -> BackendChoice:
        """Return the backend that a call would run here and now, and why; for the log.

        Here and now: on the parameters' device and dtype, in this mode, with or without autocast and gradients.

        Args:
            has_lengths: whether the call's rows are of different lengths.
        """
        first, grad = self._first_weight(), needs_grad(*self.parameters())
        active = self.extras.active(training=self.training, needs_grad=grad)
        compiling, dtype = torch.compiler.is_compiling(), _autocast_dtype(first) or first.dtype
        asked = Asked(self.cell, first.device, dtype, grad, compiling, active, has_lengths)
        return choose_backend(self.backend, asked)

    def gates(self, input: Tensor, hx: Any = None, lengths: Tensor | None = None) -> dict[str, dict[str, Tensor]]:
        """Read what the gates do in a window, without dropout of any kind and with the mean of zoneout, as in eval.

        Args:
            input: (T, B, I), or (B, T, I) if batch_first, or (T, I) for one sequence.
            hx: as in `forward`.
            lengths: as in `forward`.

        Returns:
            "layer_0", or "layer_0_reverse" for the second direction, and so on, to the gates by name: input, forget,
            cell and output of an LSTM, reset, update and new of a GRU, hidden (the output itself) of an RNN; each
            (T, B, H) in the input's layout, 0 past each row's length.

        Raises:
            ValueError: as `forward`.
            TypeError: as `forward`, or the input is packed.
        """
        if isinstance(input, PackedSequence):
            raise TypeError("gates are read from a padded input with lengths, got a PackedSequence; pad it first")
        call = self._prepare(*self._arrange(input, hx, lengths), lengths, training=False)
        seen: list[tuple[Tensor, States, Tensor]] = []
        found: dict[str, dict[str, Tensor]] = {}
        with call.width:
            self._run_layers(call, seen)
            for row, (x, before, y) in enumerate(seen):
                layer, direction = divmod(row, self.num_directions)
                extras = None if call.extras is None else call.extras[row]
                values = gate_values(
                    self.cell, x, before[0], y, call.weights[row], call.lengths, direction == 1, extras
                )
                if call.factors is not None:
                    values = {gate: value.to(call.factors) for gate, value in values.items()}
                name = f"layer_{layer}{'_reverse' if direction == 1 else ''}"
                found[name] = {gate: self._like_input(value, input) for gate, value in values.items()}
        return found

    def _forward(
        self, input: Tensor | PackedSequence, state: Any, lengths: Tensor | None
    ) -> tuple[Tensor | PackedSequence, States]:
        if isinstance(input, PackedSequence):
            if lengths is not None:
                raise ValueError("lengths: a PackedSequence brings its own, give None")
            return self._forward_packed(input, state)
        x, states = self._arrange(input, state, lengths)
        y, states = self._run(x, states, lengths)
        if input.dim() == 2:
            states = tuple(s.squeeze(1) for s in states)
        return self._like_input(y, input), states

    def _arrange(self, input: Tensor, state: Any, lengths: Tensor | None) -> tuple[Tensor, States]:
        """Check a call's arguments and return input and state as (T, B, I) and (L*D, B, H)."""
        weight = self._first_weight()
        check_input(input, self.input_size, weight, autocast=_autocast_dtype(weight) is not None)
        if input.dim() == 2:
            if lengths is not None:
                raise ValueError("lengths: an unbatched input is one whole sequence, cut it instead")
            return input.unsqueeze(1), self._initial_state(input, state, None)
        x = input.transpose(0, 1) if self.batch_first else input
        if lengths is not None:
            check_lengths(lengths, *x.shape[:2])
        return x, self._initial_state(input, state, x.shape[1])

    def _like_input(self, y: Tensor, input: Tensor) -> Tensor:
        """Bring (T, B, ...) into the layout of the input."""
        if input.dim() == 2:
            return y.squeeze(1)
        return y.transpose(0, 1) if self.batch_first else y

    def _forward_packed(self, input: PackedSequence, state: Any) -> tuple[PackedSequence, States]:
        """Run padded and pack again in the same order; states are in the order before packing, as in torch.nn."""
        weight = self._first_weight()
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
        if (states[0].dtype, states[-1].dtype) != (x.dtype, x.dtype) and _autocast_dtype(x) is None:
            check_state_dtype(self.state_names, states, x.dtype)
        return tuple(s.unsqueeze(1) for s in states) if batch is None else states

    def _run(self, x: Tensor, state: States, lengths: Tensor | None) -> tuple[Tensor, States]:
        """Run all layers over (T, B, I) in the width that autocast asks for."""
        call = self._prepare(x, state, lengths, training=self.training)
        with call.width:
            y, final = self._run_layers(call)
        if call.factors is not None and not self.stays_wide:
            y, final = y.to(call.factors), tuple(s.to(call.factors) for s in final)
        return y, final

    def _prepare(self, x: Tensor, state: States, lengths: Tensor | None, *, training: bool) -> _Call:
        """Choose the engine, draw the masks and cast everything."""
        if x.shape[0] == 0:
            raise ValueError("input must have at least one step, got 0")
        x = x.resolve_neg()  # of z.conj().imag, whose memory holds the other sign
        lengths = _unless_all_full(lengths, x)
        if lengths is not None:
            steps = torch.arange(x.shape[0], device=x.device).view(-1, 1, 1)
            # Nan or inf in the padding would survive the product with a gradient of 0.
            x = x.masked_fill(steps >= lengths.view(1, -1, 1), 0)
        weights, norms = self._all_weights(), self._all_norms()
        # Asked in this order: a call without gradients, token by token, need not look at every tensor.
        grad = torch.is_grad_enabled() and needs_grad(x, *state, *_flat((*weights, *norms)))
        settings = self.extras
        active = settings.active(training=training, needs_grad=grad)
        dtype, width = _autocast_dtype(x), nullcontext()
        asked = Asked(
            self.cell, x.device, dtype or x.dtype, grad, torch.compiler.is_compiling(), active,
            lengths is not None, (x.shape[0], x.shape[1]), is_keeping(), transform(x, *state, *_flat(weights)),
        )  # fmt: skip
        backend = choose_backend(self.backend, asked).name
        if "weight_drop" in active:
            weights = [w._replace(weight_hh=dropout(w.weight_hh, self.weight_drop)) for w in weights]
        factors = None
        if dtype is not None:
            if backend == "cpu" and not is_watched() and engine.runs(x):  # which rounds factors as it packs them
                factors = dtype
            held = dtype if factors is None else torch.float32
            x, state = x.to(held), tuple(s.to(held) for s in state)
            # On CUDA autocast itself casts cuDNN's block of weights, which weights cast one by one would not be.
            if not (backend == "torch" and x.is_cuda):
                weights = [w.to(held) for w in weights]
                norms = [norm and norm.to(held) for norm in norms]
                width = torch.autocast(x.device.type, enabled=False)
        extras = None
        if set(active) - {"weight_drop"}:
            extras = [settings.draw(x, self.hidden_size, len(state), norm, training=training) for norm in norms]
        return _Call(backend, x, state, weights, lengths, extras, training, width, factors)

    def _run_layers(
        self, call: _Call, seen: list[tuple[Tensor, States, Tensor]] | None = None
    ) -> tuple[Tensor, States]:
        """Run all layers; `seen`, if given, gets the input, initial state and output of each layer and direction."""
        backend, x, state, weights, lengths, extras, training, _, factors = call
        one_lstm_step = self.cell == "lstm" and x.shape[0] == 1
        # Faster here than inside torch's call; and cuDNN's masks come from a generator that no checkpoint holds.
        drops = training and self.dropout > 0
        in_one_call = lengths is None and not drops and (x.is_cuda or not one_lstm_step)
        if backend == "torch" and seen is None and in_one_call:
            return torch_backend.run_stack(
                self.cell,
                x,
                state,
                weights,
                num_layers=self.num_layers,
                training=training,
                bidirectional=self.bidirectional,
            )
        run = direction_runner(backend)
        if factors is not None:
            run = partial(run, factors=factors)
        final: list[States] = []
        for layer in range(self.num_layers):
            if layer > 0 and self.dropout > 0:
                x = dropout(x, self.dropout, training)
            if backend == "triton" and self.bidirectional and seen is None:  # both directions in one launch
                first, second = 2 * layer, 2 * layer + 1
                before = tuple((*(s[row] for s in state),) for row in (first, second))
                both = None if extras is None else (extras[first], extras[second])
                x, after = triton.run_layer(self.cell, x, before, (weights[first], weights[second]), lengths, both)  # pyright: ignore
                final += after
                continue
            outputs: list[Tensor] = []
            for direction in range(self.num_directions):
                row = layer * self.num_directions + direction
                before = tuple(s[row] for s in state)
                more = () if extras is None else (extras[row],)
                y, after = run(self.cell, x, before, weights[row], lengths, direction == 1, *more)
                outputs.append(y)
                final.append(after)
                if seen is not None:
                    seen.append((x, before, y))
            x = torch.cat(outputs, dim=2) if self.bidirectional else outputs[0]
        return x, tuple(torch.stack(s) for s in zip(*final, strict=True))


def _autocast_dtype(tensor: Tensor) -> torch.dtype | None:
    """Return the width that autocast wants on the tensor's device; None if it leaves the tensor alone."""
    device = tensor.device.type
    if tensor.dtype == torch.float64 or not torch.amp.is_autocast_available(device):
        return None
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None


def _flat(rows: Iterable[Iterable[Tensor | None] | None]) -> list[Tensor | None]:
    return [tensor for row in rows for tensor in row or ()]


def _unless_all_full(lengths: Tensor | None, x: Tensor) -> Tensor | None:
    """Return None where every row is as long as the input: the dense way is faster. Reads values on the CPU only."""
    if lengths is None:
        return None
    if lengths.device.type == "cpu" and not torch.compiler.is_compiling() and bool((lengths == x.shape[0]).all()):
        return None
    return lengths.to(x.device)

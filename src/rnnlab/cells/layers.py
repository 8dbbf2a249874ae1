"""RNN, LSTM and GRU: torch.nn's arguments, parameter names, outputs and state_dict, with what torch.nn lacks.

Lacking there: lengths per row without sorting or packing, a choice of backend, initialisations by name, the gates at
every step, and extras of the recurrence itself, each off by default.

Shapes: T steps, B batch, I input_size, H hidden_size, G gates per cell (RNN 1, GRU 3, LSTM 4), L layers,
D directions (2 if bidirectional).
"""

from __future__ import annotations

from typing import overload

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from rnnlab.cells.extras import Zoneout
from rnnlab.cells.reference import LSTMState
from rnnlab.cells.stack import RecurrentStack


class RNN(RecurrentStack):
    """Simple recurrent network, torch.nn.RNN with extras.

        h_t = tanh(W_ih x_t + b_ih + W_hh h_(t-1) + b_hh)    or relu in place of tanh

    Args:
        input_size: features of x_t, I.
        hidden_size: features of h_t, H.
        num_layers: recurrent layers in the stack, L.
        nonlinearity: 'tanh' or 'relu'.
        bias: whether there are bias_ih and bias_hh.
        batch_first: input and output are (B, T, ...) instead of (T, B, ...); states never are.
        dropout: probability of zeroing an output between two layers, 0..1.
        bidirectional: a second direction from each row's end to its start; outputs are (T, B, 2H).
        device: where parameters are created.
        dtype: of the parameters.
        backend: 'auto', 'reference', 'cpu', 'triton' or 'torch'; see `rnnlab.cells.backends`.
        initialisation: 'default', 'identity', 'orthogonal' or 'uniform'; see `rnnlab.cells.initialisation`.
        init_range: half width of 'uniform'.
        recurrent_dropout: probability of zeroing an entry of h_(t-1) in W_hh h_(t-1), and only there, 0..1; one mask a
            row, layer and direction for a whole call in training (Gal & Ghahramani 2016).
        weight_drop: probability of zeroing an entry of W_hh, 0..1; one mask a call in training (DropConnect of Merity,
            Keskar & Socher 2018). Parameters keep their names.
        zoneout: probability that a unit of h_t (of an LSTM's h_t and c_t, or a pair for the two) keeps its value, 0..1,
            drawn at each step in training; in eval the mean p h_(t-1) + (1-p) h'_t (Krueger et al. 2017).
        layer_norm: normalise W_ih x_t and W_hh h_(t-1), each over its G*H numbers, and an LSTM's c_t before the
            output's tanh (Ba, Kiros & Hinton 2016; see `rnnlab.cells.reference`).
        clip_state_grad: largest entry of the gradient that flows from a step into the state before it; None: unlimited.
        recompute: keep less for the backward pass and compute the rest anew: less memory, same numbers.

    Raises:
        ValueError: an argument out of range, an unknown name, or a backend that is not there or lacks an extra.

    Attributes:
        weight_ih_l0: (G*H, I) in layer 0 and (G*H, D*H) above it; `_reverse` is appended for the second direction.
        weight_hh_l0: (G*H, H).
        bias_ih_l0, bias_hh_l0: (G*H,).
        norm_ih_l0, norm_hh_l0: with layer_norm, gains of the two products, (G*H,); the biases above are added to them.
        norm_cell_l0, norm_cell_bias_l0: of an LSTM's cell state, (H,); the second only with bias.

    Example:
        >>> layer = RNN(8, 16, num_layers=2)
        >>> y, h_n = layer(torch.zeros(5, 3, 8), lengths=torch.tensor([5, 0, 2]))
        >>> y.shape, h_n.shape
        (torch.Size([5, 3, 16]), torch.Size([2, 3, 16]))

    Source: Elman 1990.
    """

    num_gates = 1

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        backend: str = "auto",
        initialisation: str = "default",
        init_range: float | None = None,
        recurrent_dropout: float = 0.0,
        weight_drop: float = 0.0,
        zoneout: float = 0.0,
        layer_norm: bool = False,
        clip_state_grad: float | None = None,
        recompute: bool = False,
    ) -> None:
        """Create and fill the parameters; see the class."""
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"nonlinearity: expected 'tanh' or 'relu', got {nonlinearity!r}")
        super().__init__(
            f"rnn_{nonlinearity}", input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional,
            device, dtype, backend=backend,
            initialisation={"initialisation": initialisation, "init_range": init_range},
            recurrent_dropout=recurrent_dropout,
            weight_drop=weight_drop, zoneout=zoneout, layer_norm=layer_norm, clip_state_grad=clip_state_grad,
            recompute=recompute,
        )  # fmt: skip
        self.nonlinearity = nonlinearity

    @overload
    def forward(
        self, input: Tensor, hx: Tensor | None = ..., lengths: Tensor | None = ...
    ) -> tuple[Tensor, Tensor]: ...
    @overload
    def forward(self, input: PackedSequence, hx: Tensor | None = ...) -> tuple[PackedSequence, Tensor]: ...

    def forward(
        self, input: Tensor | PackedSequence, hx: Tensor | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor | PackedSequence, Tensor]:
        """Run the stack over a window.

        Args:
            input: (T, B, I), or (B, T, I) if batch_first, or (T, I) for one sequence, or a PackedSequence.
            hx: h_0, (L*D, B, H), or (L*D, H) for one sequence; None: zeros. A PackedSequence's state is
                in the order its rows had before packing.
            lengths: valid steps of each row, <int64>(B,), 0..T in any order; None: all T. What the input holds past
                them, nan included, changes nothing. Values are checked on a CPU only: elsewhere that would wait.

        Returns:
            Outputs (T, B, D*H) in the input's layout, 0 past each row's length, and the state after each row's last
            step, shaped like the one before; a row of length 0 keeps its own.

        Raises:
            ValueError: a shape, width, dtype or length that does not fit; the message has both numbers.
            TypeError: lengths that are not int64, or a state that is not a tensor.
        """
        y, (h_n,) = self._forward(input, hx, lengths)
        return y, h_n


class LSTM(RecurrentStack):
    """Long short-term memory, torch.nn.LSTM with extras.

        i, f, o = sigmoid(W_ih x_t + b_ih + W_hh h_(t-1) + b_hh)    three of the four blocks
        g       =    tanh(W_ih x_t + b_ih + W_hh h_(t-1) + b_hh)    the third block
        c_t     = f * c_(t-1) + i * g
        h_t     = o * tanh(c_t)

    Blocks are stacked i, f, g, o. No peepholes.

    Args:
        input_size: features of x_t, I.
        hidden_size: features of h_t, H.
        num_layers: recurrent layers in the stack, L.
        bias: whether there are bias_ih and bias_hh.
        batch_first: input and output are (B, T, ...) instead of (T, B, ...); states never are.
        dropout: probability of zeroing an output between two layers, 0..1.
        bidirectional: a second direction from each row's end to its start; outputs are (T, B, 2H).
        proj_size: only 0; torch.nn's projection of h is not supported.
        device: where parameters are created.
        dtype: of the parameters.
        backend: 'auto', 'reference', 'cpu', 'triton' or 'torch'; see `rnnlab.cells.backends`.
        initialisation: 'default', 'orthogonal', 'uniform' or 'chrono'; see `rnnlab.cells.initialisation`.
        init_range: half width of 'uniform'.
        forget_gate_bias: what the forget gate's two biases add up to at the start; None: as initialised.
        longest_dependency: steps, for 'chrono'.
        recurrent_dropout, weight_drop, zoneout, layer_norm, clip_state_grad, recompute: extras, see `RNN`.

    Raises:
        ValueError: an argument out of range, an unknown name, or a backend that is not there or lacks an extra.

    Attributes and calls are as in `RNN`, with G = 4 and a state (h, c).

    Source: Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000.
    """

    num_gates = 4
    state_names = ("h_0", "c_0")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        backend: str = "auto",
        initialisation: str = "default",
        init_range: float | None = None,
        forget_gate_bias: float | None = None,
        longest_dependency: int | None = None,
        recurrent_dropout: float = 0.0,
        weight_drop: float = 0.0,
        zoneout: Zoneout = 0.0,
        layer_norm: bool = False,
        clip_state_grad: float | None = None,
        recompute: bool = False,
    ) -> None:
        """Create and fill the parameters; see the class."""
        if proj_size != 0:
            raise ValueError(f"proj_size must be 0, got {proj_size}; use torch.nn.LSTM for projections")
        super().__init__(
            "lstm", input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, device, dtype,
            backend=backend,
            initialisation={
                "initialisation": initialisation, "init_range": init_range, "forget_gate_bias": forget_gate_bias,
                "longest_dependency": longest_dependency,
            },
            recurrent_dropout=recurrent_dropout,
            weight_drop=weight_drop, zoneout=zoneout, layer_norm=layer_norm, clip_state_grad=clip_state_grad,
            recompute=recompute,
        )  # fmt: skip

    @overload
    def forward(
        self, input: Tensor, hx: LSTMState | None = ..., lengths: Tensor | None = ...
    ) -> tuple[Tensor, LSTMState]: ...
    @overload
    def forward(self, input: PackedSequence, hx: LSTMState | None = ...) -> tuple[PackedSequence, LSTMState]: ...

    def forward(
        self, input: Tensor | PackedSequence, hx: LSTMState | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor | PackedSequence, LSTMState]:
        """Run the stack over a window: as `RNN.forward`, with pairs (h_0, c_0) and (h_n, c_n) for states."""
        y, (h_n, c_n) = self._forward(input, hx, lengths)
        return y, (h_n, c_n)


class GRU(RecurrentStack):
    """Gated recurrent unit, torch.nn.GRU with extras.

        r   = sigmoid(W_ir x_t + b_ir + W_hr h_(t-1) + b_hr)
        z   = sigmoid(W_iz x_t + b_iz + W_hz h_(t-1) + b_hz)
        n   =    tanh(W_in x_t + b_in + r * (W_hn h_(t-1) + b_hn))
        h_t = (1 - z) * n + z * h_(t-1)

    Blocks are stacked r, z, n. The reset gate acts after the matrix product, as in cuDNN.

    Args:
        input_size: features of x_t, I.
        hidden_size: features of h_t, H.
        num_layers: recurrent layers in the stack, L.
        bias: whether there are bias_ih and bias_hh.
        batch_first: input and output are (B, T, ...) instead of (T, B, ...); states never are.
        dropout: probability of zeroing an output between two layers, 0..1.
        bidirectional: a second direction from each row's end to its start; outputs are (T, B, 2H).
        device: where parameters are created.
        dtype: of the parameters.
        backend: 'auto', 'reference', 'cpu', 'triton' or 'torch'; see `rnnlab.cells.backends`.
        initialisation: 'default', 'orthogonal', 'uniform' or 'chrono'; see `rnnlab.cells.initialisation`.
        init_range: half width of 'uniform'.
        longest_dependency: steps, for 'chrono'.
        recurrent_dropout, weight_drop, zoneout, layer_norm, clip_state_grad, recompute: extras, see `RNN`.

    Raises:
        ValueError: an argument out of range, an unknown name, or a backend that is not there or lacks an extra.

    Attributes and calls are as in `RNN`, with G = 3.

    Source: Cho et al. 2014, differs in where the reset gate acts.
    """

    num_gates = 3

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        backend: str = "auto",
        initialisation: str = "default",
        init_range: float | None = None,
        longest_dependency: int | None = None,
        recurrent_dropout: float = 0.0,
        weight_drop: float = 0.0,
        zoneout: float = 0.0,
        layer_norm: bool = False,
        clip_state_grad: float | None = None,
        recompute: bool = False,
    ) -> None:
        """Create and fill the parameters; see the class."""
        super().__init__(
            "gru", input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, device, dtype,
            backend=backend,
            initialisation={
                "initialisation": initialisation, "init_range": init_range, "longest_dependency": longest_dependency,
            },
            recurrent_dropout=recurrent_dropout,
            weight_drop=weight_drop, zoneout=zoneout, layer_norm=layer_norm, clip_state_grad=clip_state_grad,
            recompute=recompute,
        )  # fmt: skip

    @overload
    def forward(
        self, input: Tensor, hx: Tensor | None = ..., lengths: Tensor | None = ...
    ) -> tuple[Tensor, Tensor]: ...
    @overload
    def forward(self, input: PackedSequence, hx: Tensor | None = ...) -> tuple[PackedSequence, Tensor]: ...

    def forward(
        self, input: Tensor | PackedSequence, hx: Tensor | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor | PackedSequence, Tensor]:
        """Run the stack over a window: as `RNN.forward`."""
        y, (h_n,) = self._forward(input, hx, lengths)
        return y, h_n

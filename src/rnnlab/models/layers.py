"""The two parts every model shares: tokens to vectors, and the recurrent stack."""

from __future__ import annotations

from typing import Unpack

import torch
from torch import Tensor, nn

from rnnlab.cells import GRU, LSTM, RNN, ExtraArguments
from rnnlab.cells.initialisation import forget_gate_bias_
from rnnlab.models.embedding import Embedding
from rnnlab.models.tied import TiedEmbedding

RecurrentStack = RNN | LSTM | GRU


class StackArguments(ExtraArguments, total=False):
    """Keyword arguments that every model hands to its recurrent layers, whose defaults `build_recurrent` gives.

    Args:
        cell: "rnn", "lstm" or "gru".
        hidden_size: features of h, in each direction.
        num_layers: recurrent layers.
        nonlinearity: "tanh" or "relu", of cell "rnn".
        initialisation: "default", "identity", "orthogonal" or "uniform" (then of every weight of the model).
        init_range: with "uniform", weights are drawn from +-init_range.
        forget_gate_bias: start value, of cell "lstm".
        backend: engine of the recurrence.

    And recurrent_dropout, weight_drop, zoneout, layer_norm, clip_state_grad, recompute: see `rnnlab.cells.RNN`.
    """

    cell: str
    hidden_size: int
    num_layers: int
    nonlinearity: str
    initialisation: str
    init_range: float | None
    forget_gate_bias: float | None
    backend: str


class OneHot(nn.Module):
    """A 1 at the token's place, 0 elsewhere: <int64>(T, B) -> (T, B, vocab_size). Nothing to learn."""

    dtype_like: Tensor

    def __init__(self, vocab_size: int) -> None:
        """Keep the number of token ids; the vectors are made on the fly."""
        super().__init__()
        self.embedding_dim = vocab_size
        # Empty and never saved: it follows `model.double()`, so that the vectors have the dtype of the weights.
        self.register_buffer("dtype_like", torch.empty(0), persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the vectors, (T, B, vocab_size), in the model's dtype."""
        return self.dtype_like.new_zeros(*inputs.shape, self.embedding_dim).scatter_(-1, inputs.unsqueeze(-1), 1.0)


def build_embedding(kind: str, vocab_size: int, embedding_size: int, *, is_tied: bool = False) -> nn.Embedding | OneHot:
    """Build the map from token ids to vectors.

    Args:
        kind: "learned" (a row of a trained matrix, started in +-0.1) or "one_hot".
        vocab_size: number of token ids.
        embedding_size: features of a learned vector; a one-hot vector has vocab_size.
        is_tied: whether the decoder shares the matrix.

    Raises:
        ValueError: another kind.
    """
    match kind:
        case "learned":
            sizes = vocab_size, embedding_size
            embedding = TiedEmbedding(*sizes) if is_tied else Embedding(*sizes)
            # torch's N(0, 1) makes tied logits of scale sqrt(H); +-0.1 starts near the uniform distribution.
            nn.init.uniform_(embedding.weight, -0.1, 0.1)
            return embedding
        case "one_hot":
            return OneHot(vocab_size)
        case _:
            raise ValueError(f"embedding must be learned or one_hot, got {kind!r}")


def build_recurrent(
    input_size: int,
    *,
    cell: str = "lstm",
    hidden_size: int = 200,
    num_layers: int = 1,
    bidirectional: bool = False,
    dropout: float = 0.0,
    nonlinearity: str = "tanh",
    initialisation: str = "default",
    init_range: float | None = None,
    forget_gate_bias: float | None = None,
    backend: str = "auto",
    **extras: Unpack[ExtraArguments],
) -> RecurrentStack:
    """Build the recurrent stack of a model: `dropout` falls between its layers; see `StackArguments` for the others.

    Raises:
        ValueError: an unknown cell, or an argument the cell refuses.
    """
    shared = {
        "num_layers": num_layers,
        "bidirectional": bidirectional,
        "dropout": dropout if num_layers > 1 else 0.0,  # between layers: with one layer there is no between
        "initialisation": initialisation,
        "init_range": init_range,
        "backend": backend,
        **extras,
    }
    match cell:
        case "rnn":
            stack = RNN(input_size, hidden_size, nonlinearity=nonlinearity, **shared)
        case "lstm":
            stack = LSTM(input_size, hidden_size, forget_gate_bias=forget_gate_bias, **shared)
        case "gru":
            stack = GRU(input_size, hidden_size, **shared)
        case _:
            raise ValueError(f"cell must be rnn, lstm or gru, got {cell!r}")
    stack.stays_wide = True  # what follows rounds for itself: to bfloat16 and back is four passes over the outputs
    return stack


def start_uniformly(model: nn.Module, recurrent: RecurrentStack) -> None:
    """Draw every weight and bias of a model from +-init_range, if its recurrent layers start "uniform".

    A forget-gate bias that was asked for stays; gains and biases of layer norm start at 1 and 0 as ever, since a gain
    near 0 would silence the cell.

    Source: Zaremba, Sutskever & Vinyals 2014, section 4.1.
    """
    settings = recurrent.initialisation
    if settings["initialisation"] != "uniform":
        return
    for parameter in model.parameters():
        nn.init.uniform_(parameter, -settings["init_range"], settings["init_range"])
    recurrent.reset_norms()
    if (forget_gate_bias := settings.get("forget_gate_bias")) is not None:
        forget_gate_bias_(recurrent, forget_gate_bias)

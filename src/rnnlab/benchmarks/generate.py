"""How long a text takes to draw, beside the loop people write with torch.nn: a call for each token."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rnnlab.benchmarks.parity import TOLERANCE, ParityError, relative_error
from rnnlab.benchmarks.timing import Quartiles, interleave, quartiles, ratios
from rnnlab.generation import sample
from rnnlab.models import LanguageModel

EMBEDDING_SIZE = 64
CHECKED = 50
"""Tokens over which both must give the same scores."""


class Plain(nn.Module):
    """The same language model on torch.nn alone."""

    def __init__(self, model: LanguageModel) -> None:
        """Take a model's weights; it must have no extras, and a decoder of its own."""
        super().__init__()
        recurrent = model.recurrent
        assert model.decoder_weight is not None
        assert model.decoder_bias is not None
        vocab_size, hidden_size = model.decoder_weight.shape
        layer = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}[recurrent.cell.partition("_")[0]]
        self.embedding = nn.Embedding(vocab_size, model.embedding.embedding_dim)
        self.recurrent = layer(model.embedding.embedding_dim, hidden_size, recurrent.num_layers)
        self.decoder = nn.Linear(hidden_size, vocab_size)
        self.embedding.load_state_dict(model.embedding.state_dict())
        self.recurrent.load_state_dict(recurrent.state_dict())
        self.decoder.load_state_dict({"weight": model.decoder_weight, "bias": model.decoder_bias})

    def forward(self, inputs: Tensor, state: object = None) -> tuple[Tensor, object]:
        """Score every next token of (T, B): logits (T, B, V), and the state."""
        h, state = self.recurrent(self.embedding(inputs), state)
        return self.decoder(h), state


@dataclass(frozen=True, slots=True)
class Measured:
    """How a cell did.

    Attributes:
        cell: rnn, lstm or gru.
        rounds: how often each was timed, in turns.
        plain: seconds of a text, torch.nn called for each token.
        rnnlab: the same by `rnnlab.generation.sample`.
        speedup: of each round.
        error: of the scores, relative norm, over the first tokens.
    """

    cell: str
    rounds: int
    plain: Quartiles
    rnnlab: Quartiles
    speedup: Quartiles
    error: float


def measure(
    cell: str,
    *,
    hidden_size: int,
    num_layers: int,
    vocab_size: int,
    num_tokens: int,
    count: int,
    seconds: float,
    clock: Callable[[], float] = time.process_time,
) -> Measured:
    """Check that both models score alike, then let each draw texts in turns.

    Args:
        cell: rnn, lstm or gru.
        hidden_size: of each layer.
        num_layers: of the stack.
        vocab_size: tokens to draw from.
        num_tokens: of a text.
        count: texts drawn side by side.
        seconds: wall time for the rounds, at least.
        clock: as in `interleave`.

    Raises:
        ParityError: scores differ by more than rounding.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = LanguageModel(
            vocab_size, cell=cell, hidden_size=hidden_size, num_layers=num_layers, embedding_size=EMBEDDING_SIZE
        ).eval()
        plain = Plain(model).eval()
        tokens = torch.randint(vocab_size, (CHECKED, count))
    with torch.no_grad():
        error = relative_error(model(tokens)[0], plain(tokens)[0])
    if not error <= TOLERANCE:
        raise ParityError(f"{cell}: scores differ by {error:.1e} from torch.nn's, wanted at most {TOLERANCE:g}")
    calls = {
        "plain": lambda: _draw(plain, num_tokens, count),
        "rnnlab": lambda: sample(model, [0], num_tokens=num_tokens, count=count, generator=_generator()),
    }
    times = interleave(calls, seconds=seconds, clock=clock)
    speedup = ratios(times["plain"], times["rnnlab"])
    return Measured(cell, len(times["plain"]), quartiles(times["plain"]), quartiles(times["rnnlab"]), speedup, error)


@torch.no_grad()
def _draw(model: Plain, num_tokens: int, count: int) -> Tensor:
    """Draw as the usual example does: a call, a softmax, a draw, and the token is the next input."""
    generator = _generator()
    token, state, drawn = torch.zeros(1, count, dtype=torch.int64), None, []
    for _ in range(num_tokens):
        logits, state = model(token, state)
        token = torch.multinomial(logits[-1].softmax(dim=-1), num_samples=1, generator=generator).t()
        drawn.append(token)
    return torch.cat(drawn)


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)

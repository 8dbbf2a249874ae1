"""Vectors of tokens, and a gradient of no more rows than were seen.

Where a gradient of zero leaves a weight as it is, as plain SGD does, neither the norm of the gradients nor the update
has to look at the other rows: of 10,000 tokens a window of 35 steps and 20 columns sees at most 700.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar

from torch import Tensor, nn
from torch.nn import functional

from rnnlab.cells.ops import is_watched

_rows_only: ContextVar[bool] = ContextVar("rows_only", default=False)


@contextmanager
def rows_only(is_on: bool) -> Generator[None]:
    """Let what is looked up inside have a sparse gradient, if that is smaller than the whole.

    Args:
        is_on: whether who takes the gradient can do with that.
    """
    token = _rows_only.set(is_on)
    try:
        yield
    finally:
        _rows_only.reset(token)


class Embedding(nn.Embedding):
    """nn.Embedding whose gradient is sparse inside of `rows_only`, on a CPU."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the vectors of tokens <int64>(T, B), (T, B, E)."""
        is_smaller = input.numel() < self.num_embeddings and self.weight.device.type == "cpu"
        sparse = is_smaller and _rows_only.get() and not is_watched()
        return functional.embedding(input, self.weight, sparse=sparse)

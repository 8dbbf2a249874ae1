"""Adaptive softmax: frequent tokens are judged by all of h, rare ones in clusters by a narrow projection of it.

Shapes: H hidden_size, V vocab_size.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

NARROWER = 4
"""How many times narrower each cluster's projection is than the one before."""


class AdaptiveDecoder(nn.Module):
    """Log-probabilities of tokens whose ids are ordered by frequency, the most frequent first.

    Ids below the first cutoff and one entry for each cluster share a softmax over all H features; the ids of cluster i,
    from cutoff i on, share one over H / 4^i features of a learned projection. Most tokens need the first softmax only.

    Source: Grave, Joulin, Cisse, Grangier & Jegou 2017; computed by torch.nn.AdaptiveLogSoftmaxWithLoss.
    """

    def __init__(self, hidden_size: int, vocab_size: int, cutoffs: Sequence[int] | None = None) -> None:
        """Build the decoder; weights are drawn from torch's global generator.

        Args:
            hidden_size: H.
            vocab_size: V.
            cutoffs: first id of each cluster, rising, from 1 to V-1; None: V/15 and V/5.

        Raises:
            ValueError: cutoffs are not so, or H is too small for so many clusters.
        """
        super().__init__()
        if cutoffs is None:
            first = max(1, vocab_size // 15)
            cutoffs = [first, max(first + 1, vocab_size // 5)]
        cutoffs = list(cutoffs)
        if not cutoffs or cutoffs != sorted(set(cutoffs)) or cutoffs[0] < 1 or cutoffs[-1] >= vocab_size:
            raise ValueError(f"cutoffs must rise from at least 1 to below the {vocab_size} token ids, got {cutoffs}")
        if hidden_size < NARROWER ** len(cutoffs):
            raise ValueError(
                f"a decoder with {len(cutoffs)} cutoffs needs hidden_size of at least {NARROWER ** len(cutoffs)}, "
                f"got {hidden_size}; give fewer cutoffs"
            )
        self.softmax = nn.AdaptiveLogSoftmaxWithLoss(hidden_size, vocab_size, cutoffs, div_value=NARROWER)

    def forward(self, h: Tensor) -> Tensor:
        """Return the log-probabilities of every token, (..., V), in float32 or h's wider type."""
        with torch.autocast(h.device.type, enabled=False):
            return self.softmax.log_prob(self._wide(h).flatten(0, -2)).unflatten(0, h.shape[:-1])

    def nats(self, h: Tensor, targets: Tensor, ignore_index: int) -> Tensor:
        """Sum the cross-entropy of targets <int64>(...) given h (..., H); those equal to ignore_index do not count.

        Only the clusters that hold a target are looked at. Under autocast, too, products are float32 here: torch's
        module mixes the widths of its parts.
        """
        counted = targets != ignore_index
        h = self._wide(h[counted])
        if len(h) == 0:
            return h.sum()
        with torch.autocast(h.device.type, enabled=False):
            return -self.softmax(h, targets[counted]).output.sum()

    def _wide(self, h: Tensor) -> Tensor:
        return h.to(self.softmax.head.weight.dtype)

"""Sampled softmax: a large vocabulary is trained on a sample of it, and scored whole.

Shapes: N targets, H hidden_size, V vocab_size.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rnnlab.losses import linear_cross_entropy


class SampledLoss(nn.Module):
    """Cross-entropy among some tokens instead of all: those that are targets of the batch, and a number drawn.

    Tokens are drawn by how often they stand in the training text; the targets of a batch are about that too. A token is
    therefore among the candidates of `draws` = drawn + targets with probability 1 - (1 - frequency)^draws, and the
    logarithm of that is taken off its score: where the targets of a batch say nothing of each other, the scores that
    minimise the expected loss are those of the whole softmax up to a number per row, which a softmax does not see. In a
    text they do say something, so that this is an approximation, the better the more is drawn.

    Source: Bengio & Senecal 2008; Jean et al. 2015, section 3; differs in that targets of other rows are candidates.
    """

    upper: Tensor
    log_absent: Tensor

    def __init__(self, token_counts: Tensor, sampled_words: int) -> None:
        """Keep the frequencies; nothing is drawn yet.

        Args:
            token_counts: how often each token is a target in training, (V,).
            sampled_words: tokens drawn for a window, with repetition.

        Raises:
            ValueError: sampled_words is below 1, or no token was counted.
        """
        super().__init__()
        if sampled_words < 1 or not int(token_counts.sum()) > 0:
            raise ValueError(f"wanted tokens that were counted and at least 1 sample, got {sampled_words} samples")
        self.sampled_words = sampled_words
        share = token_counts.double() / token_counts.sum()
        # Neither is part of a saved model: both follow from the corpus. A token that was never counted is never drawn.
        self.register_buffer("upper", share.cumsum(0), persistent=False)
        self.register_buffer("log_absent", torch.log1p(-share.clamp(1e-12, 1 - 1e-12)), persistent=False)

    def forward(self, h: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, ignore_index: int) -> Tensor:
        """Sum the loss of targets <int64>(...) given h (..., H); the draw takes torch's global generator on h's device.

        Args:
            h: hidden states.
            weight: of all tokens, (V, H); only the candidates' rows have a gradient.
            bias: (V,).
            targets: token ids, or ignore_index.
            ignore_index: the target of rows that do not count.

        Returns:
            nats, a scalar; on average less than those of the whole softmax.
        """
        counted = targets != ignore_index
        drawn = torch.searchsorted(self.upper, torch.rand(self.sampled_words, dtype=torch.float64, device=h.device))
        drawn = drawn.clamp_(max=len(self.upper) - 1)  # the sum of all shares may fall short of 1 by a rounding
        wanted = targets[counted]
        candidates, place = torch.cat([drawn, wanted]).unique(return_inverse=True)
        draws = self.sampled_words + len(wanted)
        log_inclusion = torch.log(-torch.expm1(draws * self.log_absent[candidates])).to(bias.dtype)
        among = targets.clone()
        among[counted] = place[self.sampled_words :]
        return linear_cross_entropy(
            h, weight[candidates], bias[candidates] - log_inclusion, among, ignore_index=ignore_index
        )

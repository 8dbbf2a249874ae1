"""Which token is drawn, given the logits of each: temperature, top-k, top-p, and tokens that never are.

Legend: B rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from rnnlab.errors import DivergedError

NOT_FINITE = "the model's logits are nan or infinite; its weights come from a diverged run"


def filter_logits(logits: Tensor, *, top_k: int | None = None, top_p: float | None = None) -> Tensor:
    """Set to minus infinity the logits of tokens that must not be drawn.

    `top_k` is applied first; `top_p` then looks at the probabilities among what is left. A tie at the edge is broken by
    token id, so that exactly k tokens stay, and never fewer than one.

    Args:
        logits: scores before softmax, already divided by the temperature, (..., V).
        top_k: how many tokens stay, 1 to V; None: all.
        top_p: the tokens that stay are the smallest set of likeliest ones that holds at least this probability, in
            (0, 1]; None: all.

    Returns:
        The logits, minus infinity where filtered, (..., V).

    Raises:
        ValueError: top_k or top_p is out of range.

    Source: Fan et al. 2018, section 5.4 (top-k); Holtzman et al. 2020, section 3.1 (nucleus, top-p).
    """
    vocab_size = logits.shape[-1]
    if top_k is not None and not 1 <= top_k <= vocab_size:
        raise ValueError(f"top_k must be from 1 to the vocabulary's {vocab_size} tokens, got {top_k}")
    _check_top_p(top_p)
    if top_k is None and top_p is None:
        return logits
    ordered, order = logits.sort(dim=-1, descending=True, stable=True)
    dropped = torch.zeros_like(ordered, dtype=torch.bool)
    if top_k is not None:
        dropped[..., top_k:] = True
    if top_p is not None and top_p < 1:
        probabilities = ordered.masked_fill(dropped, -torch.inf).double().softmax(dim=-1)
        # Drop a token if those before it hold enough already; before the first there is nothing, so it stays.
        dropped[..., 1:] |= probabilities.cumsum(dim=-1)[..., :-1] >= top_p
    return logits.masked_fill(dropped.gather(-1, order.argsort(dim=-1)), -torch.inf)


@dataclass(frozen=True, slots=True)
class Chooser:
    """What draws a token for each row of logits; arguments as in `sample`, checked by `choose_by`."""

    temperature: float
    top_k: int | None
    top_p: float | None
    generator: torch.Generator
    forbidden_ids: Collection[int]

    def __call__(self, logits: Tensor) -> Tensor:
        """Draw from (B, V): <int64>(B,)."""
        logits = logits.float()
        if self.forbidden_ids:
            logits = logits.masked_fill(self.forbidden(logits), -torch.inf)
        largest, likeliest = logits.max(dim=-1, keepdim=True)  # nan if any logit is
        if not largest.isfinite().all():
            raise DivergedError(NOT_FINITE)
        if self.temperature == 0:
            return likeliest.squeeze(-1)
        # The largest logit goes to 0 first, in float64: a small temperature must give neither infinity nor 0/0.
        logits = (logits - largest).double() / self.temperature
        # The token at which the summed probability passes a uniform number below 1, scaled to the sum, which rounding
        # keeps from being 1. A token of probability 0 does not raise the sum, so that it is never where that passes.
        sums = filter_logits(logits, top_k=self.top_k, top_p=self.top_p).softmax(dim=-1).cumsum(dim=-1)
        level = self.levels(1, len(sums)).t().to(sums.device)
        return torch.searchsorted(sums, level * sums[:, -1:], right=True).squeeze(-1)

    def levels(self, steps: int, rows: int) -> Tensor:
        """Draw the uniform numbers below 1 that choose the tokens of so many steps, <float64>(steps, rows)."""
        return torch.rand((steps, rows), dtype=torch.float64, device=self.generator.device, generator=self.generator)

    def forbidden(self, logits: Tensor) -> Tensor:
        """Return which tokens of (B, V) are never drawn, <bool>(V,)."""
        vocab_size = logits.shape[-1]
        outside = [token for token in self.forbidden_ids if not 0 <= token < vocab_size]
        if outside:
            raise ValueError(f"forbidden_ids must be from 0 to {vocab_size - 1}, got {outside[0]}")
        if len(set(self.forbidden_ids)) == vocab_size:
            raise ValueError(f"forbidden_ids holds all {vocab_size} tokens; at least one must be allowed")
        mask = torch.zeros(vocab_size, dtype=torch.bool, device=logits.device)
        mask[list(self.forbidden_ids)] = True
        return mask


def choose_by(
    num_tokens: int,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    count: int,
    generator: torch.Generator | None,
    forbidden_ids: Collection[int],
) -> Chooser:
    """Check the arguments of `sample` now, and return what draws by them."""
    if num_tokens < 0:
        raise ValueError(f"num_tokens must be at least 0, got {num_tokens}")
    if not 0 <= temperature < float("inf"):
        raise ValueError(f"temperature must be a finite number, at least 0, got {temperature}")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k must be at least 1, got {top_k}")
    _check_top_p(top_p)
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    if generator is None:
        generator = torch.Generator()
        generator.seed()
    return Chooser(temperature, top_k, top_p, generator, forbidden_ids)


def _check_top_p(top_p: float | None) -> None:
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p must be above 0 and at most 1, got {top_p}")

"""Draw tokens from a language model, one step at a time, with the recurrent state carried along.

Legend: T steps, B rows (samples side by side), V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from rnnlab.cells import KeptWeights
from rnnlab.errors import DivergedError

# (inputs <int64>(T, B), state or None) -> (logits (T, B, V), state)
StepFunction = Callable[[Tensor, Any], tuple[Tensor, Any]]

_AT_ONCE = 32
"""Steps that a writer makes in one call, in which nobody can interrupt it."""
_NOT_FINITE = "the model's logits are nan or infinite; its weights come from a diverged run"


@runtime_checkable
class HasWriter(Protocol):
    """A model that may have a faster way to draw than being called for each token."""

    def writer(self, state: Any, rows: int) -> Any:
        """Return an object with `rnnlab.models.writer.Writer`'s `write`, or None."""


def sample(
    model: StepFunction,
    prompt: Sequence[int],
    *,
    num_tokens: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    count: int = 1,
    generator: torch.Generator | None = None,
    stop_id: int | None = None,
    forbidden_ids: Collection[int] = (),
) -> list[list[int]]:
    """Continue a prompt with `count` samples, side by side in one batch.

    The model sees the prompt once; each token drawn is then one step with the state carried over. Nothing but
    `generator` is used as a source of chance, so one seed gives one answer, whatever was drawn elsewhere. The model
    runs in evaluation mode and without gradients, and is given back in the mode it came in.

    Args:
        model: a `torch.nn.Module` or function, `(inputs <int64>(T, B), state) -> (logits (T, B, V), state)`.
        prompt: ids to start from, at least one.
        num_tokens: how many tokens to draw at most, for each sample.
        temperature: logits are divided by it: below 1 bolder towards the likely, above 1 wilder; 0 takes the likeliest
            token always (and then no chance is used).
        top_k: draw among the k likeliest tokens only; None: all.
        top_p: draw among the smallest set of likeliest tokens that holds this probability, in (0, 1]; None: all.
        count: samples, at least 1.
        generator: source of chance, on any device; None: a fresh one, seeded from the system.
        stop_id: a sample ends when it draws this id, which is not part of the answer; None: never.
        forbidden_ids: ids that are never drawn, for example padding and `<unk>`.

    Returns:
        `count` lists of at most `num_tokens` ids; the prompt is not repeated in them.

    Raises:
        ValueError: an argument is out of its range, or every token is forbidden.
        DivergedError: a logit is nan or infinite.
    """
    choose = _chooser(num_tokens, temperature, top_k, top_p, count, generator, forbidden_ids)
    samples: list[list[int]] = [[] for _ in range(count)]
    finished = [False] * count
    with _evaluating(model):
        for tokens in _steps(model, prompt, num_tokens, choose, count, stop_id):
            for row, token in enumerate(tokens):
                finished[row] = finished[row] or token == stop_id
                if not finished[row]:
                    samples[row].append(token)
    return samples


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
class _Chooser:
    """What draws a token for each row of logits; arguments as in `sample`, checked when it is made."""

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
            raise DivergedError(_NOT_FINITE)
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


def _chooser(
    num_tokens: int,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    count: int,
    generator: torch.Generator | None,
    forbidden_ids: Collection[int],
) -> _Chooser:
    """Check the arguments now."""
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
    return _Chooser(temperature, top_k, top_p, generator, forbidden_ids)


def _steps(
    model: StepFunction, prompt: Sequence[int], num_tokens: int, choose: _Chooser, count: int, stop_id: int | None
) -> Iterator[list[int]]:
    """Yield the tokens of all rows, step by step, until all rows stopped; arguments as in `sample`."""
    if len(prompt) == 0:
        raise ValueError("prompt must hold at least one token, got none; start from the end-of-text token")
    owner: object = model
    inputs = torch.tensor(prompt, dtype=torch.int64, device=_device_of(model)).unsqueeze(1).repeat(1, count)
    state: Any = None
    stopped = torch.zeros(count, dtype=torch.uint8)
    kept = KeptWeights()
    for step in range(num_tokens):
        with kept:
            logits, state = model(inputs, state)
            tokens = choose(logits[-1])
            writer = owner.writer(state, count) if isinstance(owner, HasWriter) else None
        inputs = tokens.unsqueeze(0)
        yield tokens.tolist()
        if stop_id is not None:
            stopped |= tokens.cpu() == stop_id
        if stopped.all():
            return
        if writer is not None:
            mask = choose.forbidden(logits[-1]).byte() if choose.forbidden_ids else None
            yield from _written(writer, tokens, stopped, num_tokens - step - 1, choose, mask, stop_id)
            return


def _written(
    writer: Any,
    tokens: Tensor,
    stopped: Tensor,
    num_tokens: int,
    choose: _Chooser,
    forbidden: Tensor | None,
    stop_id: int | None,
) -> Iterator[list[int]]:
    """Yield the steps that a writer makes, and leave the generator as if it had been asked for each by itself."""
    while num_tokens > 0 and not stopped.all():
        steps, levels = min(_AT_ONCE, num_tokens), None
        before = choose.generator.get_state() if steps > 1 else None
        if choose.temperature > 0:
            levels = choose.levels(steps, len(tokens)).cpu()
        drawn = writer.write(
            tokens,
            stopped,
            steps,
            temperature=choose.temperature,
            top_k=choose.top_k,
            top_p=choose.top_p,
            forbidden=forbidden,
            levels=levels,
            stop_id=stop_id,
        )
        if len(drawn) < steps and levels is not None and before is not None:
            choose.generator.set_state(before)
            choose.levels(len(drawn), len(tokens))
        failed = bool((drawn[-1] < 0).any())
        yield from drawn[: len(drawn) - failed].tolist()
        if failed:
            raise DivergedError(_NOT_FINITE)
        tokens, num_tokens = drawn[-1], num_tokens - steps


def _check_top_p(top_p: float | None) -> None:
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p must be above 0 and at most 1, got {top_p}")


def _device_of(model: StepFunction) -> torch.device:
    """Return the device of a module's first parameter or buffer; the CPU for a plain function."""
    if isinstance(model, torch.nn.Module):
        for tensor in (*model.parameters(), *model.buffers()):
            return tensor.device
    return torch.device("cpu")


@contextmanager
def _evaluating(model: StepFunction) -> Iterator[None]:
    """Run without gradients and in evaluation mode; give every submodule its own mode back."""
    modes = [(module, module.training) for module in model.modules()] if isinstance(model, torch.nn.Module) else []
    try:
        if isinstance(model, torch.nn.Module):
            model.eval()
        with torch.no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training

"""Draw tokens from a language model, one step at a time, with the recurrent state carried along.

Legend: T steps, B rows (samples side by side), V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from rnnlab.cells import KeptWeights
from rnnlab.errors import DivergedError
from rnnlab.generation.choosing import NOT_FINITE, Chooser, choose_by

# (inputs <int64>(T, B), state or None) -> (logits (T, B, V), state)
StepFunction = Callable[[Tensor, Any], tuple[Tensor, Any]]

_AT_ONCE = 32
"""Steps that a writer makes in one call, in which nobody can interrupt it."""


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
    choose = choose_by(num_tokens, temperature, top_k, top_p, count, generator, forbidden_ids)
    samples: list[list[int]] = [[] for _ in range(count)]
    finished = [False] * count
    with _evaluating(model):
        for tokens in _steps(model, prompt, num_tokens, choose, count, stop_id):
            for row, token in enumerate(tokens):
                finished[row] = finished[row] or token == stop_id
                if not finished[row]:
                    samples[row].append(token)
    return samples


def _steps(
    model: StepFunction, prompt: Sequence[int], num_tokens: int, choose: Chooser, count: int, stop_id: int | None
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
    choose: Chooser,
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
            raise DivergedError(NOT_FINITE)
        tokens, num_tokens = drawn[-1], num_tokens - steps


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

"""The gradient through time, lag by lag: which distance each part of dL/dW_hh comes from.

The loss at step t + k reaches the weights as they were used at step t through k steps of states. A backward pass that
keeps what came from each distance apart adds up to the ordinary one.

Shapes: T steps, B rows, H hidden_size, G gates per cell, K lags.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rnnlab.cells.reference import States
from rnnlab.inspection.chains import Chain, State

# Runs a model's forward pass and its loss: a scalar that backward is called on.
Loss = Callable[[], Tensor]


@dataclass(frozen=True, slots=True)
class LagGradient:
    """One layer's recurrent gradient by lag.

    Attributes:
        shares: of each lag k in dL/dW_hh: <G_k, G> / |G|^2, which add up to 1, (K,). Below 0 where a lag works against
            the rest; nan where the whole gradient is 0.
        norms: of dL/dh_t as it comes from a loss k steps later, root mean square over steps and rows, (K,).
        total: norm of the whole dL/dW_hh.
    """

    shares: Tensor
    norms: Tensor
    total: float


def gradient_by_lag(model: nn.Module, chains: list[Chain], loss: Loss) -> dict[str, LagGradient]:
    """Take the gradient of a loss apart by the distance it came over.

    The distance is from where the loss sees the top layer's output to where the weights were used: steps in all layers
    together. What a classifier sees through its pooling enters at the step whose state it pooled.

    Args:
        model: with `recurrent`, in eval mode, of float64 and on the equations (`backend="reference"`) for exact sums.
        chains: of its recurrent stack on the window that `loss` reads, from `unroll`.
        loss: the loss of that window; runs the model once.

    Returns:
        By the chain's name.
    """
    recurrent = model.recurrent
    assert isinstance(recurrent, nn.Module)
    wholes = _whole_gradients(model, recurrent, loss)
    outputs, finals = _entering(recurrent, loss)
    directions = 2 if len(chains) > 1 and chains[1].name.endswith("reverse") else 1
    found = {}
    # What enters a layer's outputs, by step of the window: (K, B, directions * H) each, with as many lags as there are.
    entering: list[Tensor] = [grad[None] for grad in outputs]
    for top in range(len(chains) - directions, -1, -directions):
        below: list[Tensor] | None = None
        for direction in range(directions):
            chain = chains[top + direction]
            size = chain.hidden_size
            own = [grad[..., direction * size : (direction + 1) * size] for grad in entering]
            last = tuple(final[top + direction] for final in finals)
            walk = _Walk(chain, wholes[_weight_name(chain)])
            to_inputs = walk.back(own, last)
            found[chain.name] = walk.result()
            below = to_inputs if below is None else [_plus(*pair) for pair in zip(below, to_inputs, strict=True)]
        assert below is not None
        entering = below
    return {chain.name: found[chain.name] for chain in chains}


def _whole_gradients(model: nn.Module, recurrent: nn.Module, loss: Loss) -> dict[str, Tensor]:
    """Return dL/dW_hh of every layer by ordinary backward."""
    named = [(name, p) for name, p in recurrent.named_parameters() if name.startswith("weight_hh")]
    with torch.enable_grad():
        grads = torch.autograd.grad(loss(), [p for _, p in named], materialize_grads=True)
    return {name: grad for (name, _), grad in zip(named, grads, strict=True)}


def _entering(recurrent: nn.Module, loss: Loss) -> tuple[Tensor, States]:
    """Return the gradient of the loss by the stack's outputs (T, B, D) and by its final state, recurrence cut off."""
    leaves: list[Tensor] = []

    def cut(module: nn.Module, inputs: object, results: tuple[Tensor, State]) -> tuple[Tensor, State]:
        y, state = results
        whole = state if isinstance(state, tuple) else (state,)
        fresh = [part.detach().requires_grad_() for part in (y, *whole)]  # pyright: ignore[reportOptionalMemberAccess]
        leaves[:] = fresh
        return fresh[0], (fresh[1], fresh[2]) if isinstance(state, tuple) else fresh[1]

    handle = recurrent.register_forward_hook(cut)
    try:
        with torch.enable_grad():
            grads = torch.autograd.grad(loss(), leaves, materialize_grads=True)
    finally:
        handle.remove()
    return grads[0], grads[1:]


class _Walk:
    """The way through one chain from its last step to its first, with sums by lag."""

    def __init__(self, chain: Chain, whole: Tensor) -> None:
        """Start with empty sums.

        Args:
            chain: the layer.
            whole: dL/dW_hh, (G*H, H).
        """
        self._chain, self._whole = chain, whole
        empty = chain.x.new_zeros(1)
        self._shares, self._squares, self._counts = empty, empty, empty

    def back(self, entering: list[Tensor], last: States) -> list[Tensor]:
        """Go the way.

        Args:
            entering: gradient by the layer's outputs, by step of the window, (K, B, H) each.
            last: gradient by its state after each row's last step, each (B, H).

        Returns:
            What its inputs get, by step of the window, (K, B, I) each.
        """
        chain = self._chain
        to_inputs = [chain.x.new_zeros(1, *chain.x.shape[1:]) for _ in entering]
        state = [chain.x.new_zeros(1, *part.shape) for part in last]
        for t in range(chain.num_steps - 1, -1, -1):
            alive = (chain.lengths > t)[:, None]
            is_last = (chain.lengths - 1 == t)[:, None]
            entered = torch.where(alive, _gather(entering, chain.order[t]), 0)
            state[0] = _plus(state[0], entered)
            state = [_plus(part, torch.where(is_last, grad, 0)[None]) for part, grad in zip(state, last, strict=True)]
            state = [_plus(part, torch.zeros_like(state[0])) for part in state]  # as many lags for c as for h
            before, x_grads, tangents = _step_back(chain, t, state, self._whole)
            self._add(state, [torch.where(alive, tangent, 0) for tangent in tangents])
            _scatter(to_inputs, chain.order[t], torch.where(alive, x_grads, 0))
            # One step further from every loss: what was at lag k is at k + 1, and nothing yet is at 0.
            state = [torch.cat([torch.zeros_like(part[:1]), torch.where(alive, part, 0)]) for part in before]
        return to_inputs

    def result(self) -> LagGradient:
        """Return what the sums came to."""
        total = self._whole.square().sum()
        norms = (self._squares / self._counts.clamp(min=1)).sqrt()
        return LagGradient((self._shares / total).cpu(), norms.cpu(), float(total.sqrt()))

    def _add(self, state: list[Tensor], tangents: list[Tensor]) -> None:
        """Add one step's part: <D, dstep/dW_hh [G]>, since <dL/dW_hh by this lag, G> is the sum of that."""
        for part, tangent in zip(state, tangents, strict=True):
            self._shares = _plus(self._shares, (part * tangent).sum((1, 2)))
        norms = state[0].square().sum(-1)
        self._squares = _plus(self._squares, norms.sum(-1))
        self._counts = _plus(self._counts, (norms > 0).sum(-1).to(norms))


def _step_back(
    chain: Chain, t: int, state: list[Tensor], direction: Tensor
) -> tuple[tuple[Tensor, ...], Tensor, tuple[Tensor, ...]]:
    """Differentiate one step.

    Returns:
        The gradients (K, B, H) by the state before it, those by its input (K, B, I), and by how much its state changes,
        (B, H) each, when W_hh moves along `direction`.
    """
    with torch.enable_grad():
        before = tuple(s.detach().requires_grad_() for s in chain.states[t])
        x = chain.x[t].detach().requires_grad_()
        weight = chain.weights.weight_hh.detach().requires_grad_()
        after = chain.step(x, before, chain.weights._replace(weight_hh=weight))
        dummies = [torch.zeros_like(part, requires_grad=True) for part in after]
        (pulled,) = torch.autograd.grad(after, weight, dummies, create_graph=True)
        tangents = torch.autograd.grad(pulled, dummies, direction, materialize_grads=True)
    grads = torch.autograd.grad(after, (*before, x), state, is_grads_batched=True, materialize_grads=True)
    return grads[:-1], grads[-1], tangents


def steps_that_hold(shares: Tensor, part: float) -> int | None:
    """Return the number of last steps from which at least `part` of the gradient comes, whatever later lags add.

    None where there is no gradient.
    """
    sums = shares.cumsum(0)
    if not bool(sums.isfinite().all()):
        return None
    short = (sums < part - 1e-12).nonzero()
    return 1 if len(short) == 0 else min(int(short[-1]) + 2, len(shares))


def _plus(one: Tensor, other: Tensor) -> Tensor:
    """Add two tensors by lag, the shorter one with zeros behind."""
    if len(one) < len(other):
        one, other = other, one
    return torch.cat([one[: len(other)] + other, one[len(other) :]])


def _gather(steps: list[Tensor], order: Tensor) -> Tensor:
    """Return (K, B, F) whose row b is that of step `order[b]`."""
    first = int(order[0])
    if bool((order == first).all()):
        return steps[first]
    rows = [steps[int(step)][:, row] for row, step in enumerate(order)]
    width = max(map(len, rows))
    return torch.stack([_plus(row, row.new_zeros(width, row.shape[1])) for row in rows], dim=1)


def _scatter(steps: list[Tensor], order: Tensor, values: Tensor) -> None:
    """Add row b of (K, B, F) to that row of step `order[b]`."""
    for step in order.unique().tolist():
        steps[step] = _plus(steps[step], torch.where((order == step)[:, None], values, 0))


def _weight_name(chain: Chain) -> str:
    number, _, reverse = chain.name.removeprefix("layer_").partition("_")
    return f"weight_hh_l{number}" + ("_reverse" if reverse else "")

"""How a state depends on earlier ones: singular values of dh_t/dh_{t-k}, and the rates at which they grow or fall.

No Jacobian is ever made: products with it come from one backward pass (J^T u), or from a backward pass through that
one, which is linear in u (J v).

Shapes: T steps, B rows, H hidden_size, K largest lag, P probes.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from rnnlab.cells.reference import gru_gates, lstm_gates
from rnnlab.inspection.chains import Chain

_TINY = 1e-300
_ROUNDING = 1e-14

Product = Callable[[Tensor], Tensor]


def lag_curve(
    chain: Chain, ends: list[int], max_lag: int, generator: torch.Generator, *, num_probes: int, path: str = "total"
) -> Tensor:
    """Return the root mean square of the singular values of dh_t/dh_{t-k} for k = 0..max_lag, (K + 1,).

    It is by what a small change of a state, in a random direction, is multiplied in k steps: the mean over rows and
    ends of ||J||_F^2 / H, from random orthonormal probes; exact where there are as many as H. A row whose reading ends
    before is not counted.

    Args:
        chain: a layer.
        ends: steps t after which the state is looked at, each at least max_lag.
        max_lag: K.
        generator: of the probes.
        num_probes: P; more than H are H.
        path: "total"; or "hidden", of an LSTM: what goes through h alone, with the cell held fixed.
    """
    size = chain.hidden_size
    num_probes = min(num_probes, size)
    sums = torch.zeros(max_lag + 1, dtype=torch.float64)
    num_ends = torch.zeros((), dtype=torch.float64)
    for end in ends:
        counted = (chain.lengths >= end).cpu().double()
        if not bool(counted.any()):
            continue
        with torch.enable_grad():
            states = [tuple(s.detach() for s in chain.states[end - max_lag])]
            states[0] = (states[0][0].requires_grad_(), *states[0][1:])
            for t in range(end - max_lag, end):
                before = states[-1] if path == "total" else (states[-1][0], *(s.detach() for s in states[-1][1:]))
                states.append(chain.step(chain.x[t], before))
        hidden = [state[0] for state in states]
        for probe in _orthonormal(size, num_probes, generator, hidden[0]):
            # One backward pass gives the product with every lag's Jacobian: c is on the way, and held fixed at neither
            # end. Of a number and probe by probe: torch imports sympy, a second, to be given a vector or a batch.
            with torch.enable_grad():
                along = (hidden[-1] * probe).sum()
            pulled = torch.autograd.grad(along, hidden[:-1], retain_graph=True, materialize_grads=True)
            squares = torch.stack([probe.expand_as(hidden[-1]), *pulled[::-1]]).cpu().double().square().sum(2)
            sums += squares @ counted / num_probes
        num_ends += counted.sum()
    return (sums / num_ends.clamp(min=1)).sqrt()


def carry_curve(chain: Chain, ends: list[int], max_lag: int) -> Tensor | None:
    """Return the same for what a gated cell carries on: products of forget gates f (LSTM) or of z (GRU), (K + 1,).

    This is dc_t/dc_{t-k} of an LSTM with the gates held fixed, the path that made it; it is diagonal. None for an RNN.
    """
    if chain.cell not in ("lstm", "gru"):
        return None
    gates = lstm_gates if chain.cell == "lstm" else gru_gates
    kept = torch.stack(
        [gates(x, state[0], chain.weights, *_given(chain))[1] for x, state in zip(chain.x, chain.states, strict=False)]
    ).double()
    sums, counts = torch.zeros(max_lag + 1, dtype=torch.float64), torch.zeros(max_lag + 1, dtype=torch.float64)
    for end in ends:
        counted = (chain.lengths >= end).cpu().double()
        product = torch.ones_like(kept[0])
        for lag in range(max_lag + 1):
            if lag > 0:
                product = product * kept[end - lag]
            sums[lag] += (product.square().mean(1).cpu() * counted).sum()
            counts[lag] += counted.sum()
    return (sums / counts.clamp(min=1)).sqrt()


def extremes(chain: Chain, end: int, lag: int, generator: torch.Generator, *, iterations: int) -> tuple[Tensor, Tensor]:
    """Return the largest and the smallest singular value of dh_t/dh_{t-k} of each row, (B,) each.

    Golub-Kahan bidiagonalisation with full reorthogonalisation from a random start: power iteration on J^T J that keeps
    all it has seen. With `iterations` of at least H both are exact to rounding; with fewer the largest converges within
    a few, and the smallest is an upper bound.

    Args:
        chain: a layer; rows that end before `end` mean nothing.
        end: step t.
        lag: k, 1..end.
        generator: of the start.
        iterations: products with J and with J^T.

    Source: Golub & Kahan 1965.
    """
    with torch.enable_grad():
        first = chain.states[end - lag]
        start = first[0].detach().requires_grad_()
        last = chain.run(end - lag, end, (start, *(s.detach() for s in first[1:])))[0]
        dummy = torch.zeros_like(last, requires_grad=True)
        (pulled,) = torch.autograd.grad(last, start, dummy, create_graph=True)

    def push(v: Tensor) -> Tensor:
        return torch.autograd.grad(pulled, dummy, v, retain_graph=True, materialize_grads=True)[0]

    def pull(u: Tensor) -> Tensor:
        return torch.autograd.grad(last, start, u, retain_graph=True)[0]

    steps = min(iterations, chain.hidden_size)
    values = torch.linalg.svdvals(_bidiagonal(push, pull, start.detach(), steps, generator))
    return values[:, 0], values[:, -1]


def _bidiagonal(push: Product, pull: Product, like: Tensor, steps: int, generator: torch.Generator) -> Tensor:
    """Return B with J V = U B, upper bidiagonal, for each row; (B, steps, steps)."""
    rows = len(like)
    result = like.new_zeros(rows, steps, steps)
    lefts: list[Tensor] = []
    rights = [_fresh([], like, generator)]
    beta = None
    for j in range(steps):
        left = push(rights[j])
        if beta is not None:
            left = left - beta[:, None] * lefts[-1]
        alpha, left = _normalised(_orthogonal(left, lefts), lefts, result, generator)
        result[:, j, j] = alpha
        lefts.append(left)
        if j + 1 == steps:
            break
        right = pull(left) - alpha[:, None] * rights[j]
        beta, right = _normalised(_orthogonal(right, rights), rights, result, generator)
        result[:, j, j + 1] = beta
        rights.append(right)
    return result


def _orthogonal(vector: Tensor, basis: list[Tensor]) -> Tensor:
    """Take everything out of (B, H) vectors that lies in a basis; twice, for rounding."""
    for _ in range(2):
        for other in basis:
            vector = vector - (vector * other).sum(1, keepdim=True) * other
    return vector


def _normalised(
    vector: Tensor, basis: list[Tensor], so_far: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return lengths and unit vectors; where nothing but rounding is left, length 0 and a direction outside the basis.

    Args:
        vector: (B, H), orthogonal to the basis but for rounding.
        basis: unit vectors, (B, H) each.
        so_far: lengths found before, (B, n, n): what rounding is measured by.
        generator: of new directions.
    """
    length = vector.norm(dim=1)
    is_gone = length <= _ROUNDING * so_far.amax((1, 2)) + _TINY
    unit = vector / length.masked_fill(is_gone, 1.0)[:, None]
    if bool(is_gone.any()):
        unit = torch.where(is_gone[:, None], _fresh(basis, vector, generator), unit)
    # A short rest of a long vector is no longer orthogonal once it is stretched.
    unit = _orthogonal(unit, basis)
    return length.masked_fill(is_gone, 0.0), unit / unit.norm(dim=1, keepdim=True).clamp(min=_TINY)


def _fresh(basis: list[Tensor], like: Tensor, generator: torch.Generator) -> Tensor:
    """Return random unit vectors outside a basis, (B, H)."""
    drawn = torch.randn(like.shape, generator=generator, dtype=torch.float64).to(like)
    drawn = _orthogonal(drawn, basis)
    return drawn / drawn.norm(dim=1, keepdim=True).clamp(min=_TINY)


def lyapunov_exponents(chain: Chain, count: int, generator: torch.Generator) -> Tensor:
    """Return the largest finite-time Lyapunov exponents of the whole state, (count,), largest first; nats a step.

    The mean rates at which distances, areas, volumes of states grow along the rows: the transposed steps are applied
    from the last to the first, with a QR decomposition after each. Below 0, what is forgotten; above, chaos.

    Args:
        chain: a layer; rows shorter than the window are left out, unless all are.
        count: how many; more than the state has numbers are as many as it has.
        generator: of the directions at the end.

    Source: Benettin et al. 1980; for recurrent networks Engelken, Wolf & Abbott 2023.
    """
    parts = len(chain.states[0])
    size = parts * chain.hidden_size
    count = min(count, size)
    rows = chain.lengths == chain.num_steps
    rows = rows if bool(rows.any()) else torch.ones_like(rows)
    start = _orthonormal(size, count, generator, chain.x)
    basis = start.T.expand(int(rows.sum()), size, count)
    sums = torch.zeros(count, dtype=torch.float64)
    for t in range(chain.num_steps - 1, -1, -1):
        with torch.enable_grad():
            before = tuple(s[rows].detach().requires_grad_() for s in chain.states[t])
            after = chain.step(chain.x[t][rows], before)
        columns = basis.permute(2, 0, 1).chunk(parts, dim=-1)
        pulled = torch.autograd.grad(after, before, columns, is_grads_batched=True, materialize_grads=True)
        basis, triangle = torch.linalg.qr(torch.cat(pulled, dim=-1).permute(1, 2, 0))
        diagonal = triangle.diagonal(dim1=-2, dim2=-1).abs().double().clamp(min=_TINY)
        sums += diagonal.log().mean(0).cpu()
    return (sums / chain.num_steps).sort(descending=True).values


def decay(curve: Tensor) -> float:
    """Return the slope of a curve's logarithm over the later half of its lags, per step; -inf where it fell to 0.

    exp of it is by what each further step multiplies. The first lags are left out: they show single steps, the later
    ones the rate that stays.
    """
    values = curve.double()
    first = max(1, (len(values) - 1) // 2)
    lags = torch.arange(first, len(values), dtype=torch.float64)
    later = values[first:]
    if len(lags) < 2 or bool((later <= _TINY).any()):
        return -math.inf if bool((later <= _TINY).any()) else float(later[-1].log()) / float(lags[-1])
    centred = lags - lags.mean()
    return float((centred * later.log()).sum() / centred.square().sum())


def _orthonormal(size: int, count: int, generator: torch.Generator, like: Tensor) -> Tensor:
    """Return `count` random orthonormal vectors of `size` numbers, (count, size)."""
    drawn = torch.randn(size, count, generator=generator, dtype=torch.float64)
    return torch.linalg.qr(drawn).Q.T.to(like)


def _given(chain: Chain) -> tuple:
    return () if chain.extras is None else (chain.extras,)

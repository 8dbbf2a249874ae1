"""Clipping, and truncated backpropagation through time.

Shapes: T steps, B rows.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from rnnlab.cells import RNN
from rnnlab.config import SGDConfig
from rnnlab.inspection.truncation import truncation_meter
from rnnlab.inspection.xray import exact_copy
from rnnlab.lessons.lesson import Finding, Lesson, Where, first_weights
from rnnlab.lessons.plots import curves
from rnnlab.models import Regressor
from rnnlab.models.state import detach
from rnnlab.training.optimizers import build_optimizer
from rnnlab.training.update import Made, Update

_LR, _LIMIT = 0.01, 1.0


def _explosive(seed: int) -> tuple[nn.Module, Callable[[], Tensor]]:
    """Return a ReLU network whose W_hh is 1.2 times the identity, and its loss on 40 steps."""
    torch.manual_seed(seed)
    model = Regressor(
        2, 1, every_step=False, cell="rnn", hidden_size=32, nonlinearity="relu", initialisation="identity"
    )
    assert isinstance(model.recurrent, RNN)
    first_weights(model.recurrent).weight_hh.mul_(1.2)
    x, target = torch.rand(40, 16, 2), torch.rand(16, 1)
    return model, lambda: (model(x)[0] - target).square().mean()


def _walk(seed: int, limit: float | None, steps: int) -> tuple[list[float], list[float], list[float]]:
    """Train by gradient descent; return gradient norms, lengths of updates, and losses, up to the first infinity."""
    model, loss = _explosive(seed)
    optimizer = build_optimizer(model.parameters(), SGDConfig(name="sgd", lr=_LR))
    update = Update(optimizer, device=torch.device("cpu"), max_norm=limit, max_value=None)
    norms, lengths, losses = [], [], []
    for step in range(steps):
        before = nn.utils.parameters_to_vector(model.parameters()).detach().double()
        optimizer.zero_grad(set_to_none=True)
        value = loss()
        value.backward()
        made = Made(step, _LR, [value.detach()], [], 1, update.gradient_norm())
        if not bool(made.norm.isfinite()):
            break
        update.apply(update.clip(made))
        after = nn.utils.parameters_to_vector(model.parameters()).detach().double()
        norms.append(float(made.norm))
        lengths.append(float((after - before).norm()))
        losses.append(float(value.detach()))
    return norms, lengths, losses


def _clipping(quick: bool, seed: int) -> Finding:
    """Descend with and without a limit on the gradient's norm."""
    steps, bound = 200, _LR * _LIMIT
    norms, lengths, losses = _walk(seed, _LIMIT, steps)
    _, free_lengths, free_losses = _walk(seed, None, steps)
    free = max(free_lengths)
    numbers = {
        "largest gradient norm": max(norms),
        "largest update with clipping": max(lengths),
        "bound: learning rate times limit": bound,
        "largest update without": free,
        "loss, first and last, with clipping": [losses[0], losses[-1]],
        "loss, first and last, without": [free_losses[0], free_losses[-1]],
    }
    verdict = (
        f"The gradient's norm reaches {max(norms):,.0f}, but no update is longer than {max(lengths):.4f} (bound "
        f"{bound:g}), and the loss falls from {losses[0]:.2f} to {losses[-1]:.3f}; without clipping one update is "
        f"{free:.0f} long, and the loss ends at {free_losses[-1]:.2f}."
    )
    steps_shown = list(range(1, steps + 1))
    return Finding(
        numbers=numbers,
        verdict=verdict,
        # 1.001: the weights are float32, and their rounding is in the difference.
        holds=max(lengths) <= bound * 1.001 and free > 100 * bound and losses[-1] < min(losses[0], free_losses[-1]),
        figures=[
            curves(
                "Length of the update",
                steps_shown,
                {"clipped": lengths, "not clipped": free_lengths},
                "across: steps of training; up: length",
            ),
            curves("Loss, clipped", steps_shown, {"loss": losses}, "across: steps of training; up: squared error"),
        ],
    )


def _tbptt(quick: bool, seed: int) -> Finding:
    """Cut the state's graph every k steps; compare outputs, and gradients with the whole one."""
    num_steps, lengths = 64, [1, 2, 4, 8, 16, 32]
    x = torch.rand(num_steps, 8, 4, dtype=torch.float64)
    target = torch.randn(8, 1, dtype=torch.float64)
    settings = {"default tanh": {}, "IRNN": {"nonlinearity": "relu", "initialisation": "identity"}}
    ratios: dict[str, list[float]] = {}
    apart = 0.0
    for name, setting in settings.items():
        model = exact_copy(Regressor(4, 1, every_step=False, cell="rnn", hidden_size=32, **setting))
        met = truncation_meter(model, lambda m=model: (m(x)[0] - target).square().mean(), num_steps, lengths)
        ratios[name] = [met[length]["layer_0"].norm_ratio for length in lengths]
        if name == "default tanh":
            apart = 1 - met[8]["layer_0"].cosine
    difference, leak = _edges(exact_copy(Regressor(4, 1, every_step=True, cell="rnn", hidden_size=32)), x)
    numbers = {
        "window, steps": [float(length) for length in lengths],
        **{f"length of the gradient over that of the whole, {name}": values for name, values in ratios.items()},
        "1 - cosine of the two, default tanh, windows of 8": apart,
        "difference of the outputs, windows of 8 against one": difference,
        "gradient that crosses a window's edge": leak,
    }
    verdict = (
        f"Windows of 8 steps give the same outputs as one of {num_steps} (difference {difference:.1g}) and pass no "
        f"gradient back ({leak:g}); their gradient is {ratios['default tanh'][3]:.3f} as long as the whole one in a "
        f"default tanh network, and {ratios['IRNN'][3]:.2f} in an IRNN, which remembers longer."
    )
    return Finding(
        numbers=numbers,
        verdict=verdict,
        holds=difference < 1e-12
        and leak == 0
        and abs(ratios["default tanh"][3] - 1) < 0.02
        and apart < 0.01
        and ratios["IRNN"][3] < 0.6,
        figures=[
            curves(
                "How much of the gradient truncated BPTT sees",
                lengths,
                ratios,
                "across: steps of a window, of 64; up: length of its gradient over that of the whole",
                dots=True,
            )
        ],
    )


def _edges(model: nn.Module, x: Tensor) -> tuple[float, float]:
    """Return how outputs differ between windows of 8 and one window, and what gradient reaches the first window."""
    with torch.no_grad():
        whole = model(x)[0]
    first = x[:8].clone().requires_grad_()
    outputs, state = model(first)
    pieces = [outputs]
    for start in range(8, len(x), 8):
        outputs, state = model(x[start : start + 8], detach(state))
        pieces.append(outputs)
    (grad,) = torch.autograd.grad(pieces[1].square().sum(), first, allow_unused=True, materialize_grads=True)
    return float((torch.cat(pieces) - whole).abs().max().detach()), float(grad.norm())


LESSONS = {
    "clipping": Lesson(
        title="Clipping: a bound on the step",
        text=[
            "Where the loss has a cliff, its gradient is huge, and one step throws the weights far away. Clipping "
            "leaves the gradient's direction and limits its length. A step of gradient descent is then never longer "
            "than the learning rate times the limit.",
            "The network here is an IRNN whose recurrent weights are a fifth too large, 1.2 times the identity, on "
            "sequences of 40 steps: its gradient explodes.",
        ],
        equation="g <- g min(1, c / |g|)    so that  |lr g| <= lr c",
        where=[Where(Update.clip, "self._max_norm).clamp"), Where(Update.gradient_norm, "get_total_norm")],
        sources="Mikolov 2012; Pascanu, Mikolov & Bengio 2013",
        expected="no clipped update is longer than learning rate times limit, the largest update without clipping is "
        "over a hundred times that bound, and the loss ends lower with clipping than without",
        measure=_clipping,
    ),
    "tbptt": Lesson(
        title="Truncated BPTT: values cross a window's edge, gradients do not",
        text=[
            "A long text cannot be unrolled whole. It is cut into windows. The state at the end of one is the start "
            "of the next, so that the network reads on as if nothing had happened. The gradient stops at the edge.",
            "How much is lost depends on how far gradients reach. Where they vanish quickly, short windows have "
            "nearly the whole gradient. Where a network remembers, they do not.",
        ],
        equation="s_0 of window n+1 = s_T of window n, as a constant:    d s_0 / d W = 0",
        where=[Where(detach, "return state.detach()"), Where(truncation_meter, "cut = _gradients")],
        sources="Williams & Peng 1990; Sutskever 2013",
        expected="same outputs to 1e-12, no gradient across the edge; with windows of 8 of 64 steps the gradient has "
        "its length to 2 % in a default tanh network, and less than 0.6 of it in an IRNN",
        measure=_tbptt,
    ),
}

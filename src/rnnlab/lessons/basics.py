"""The hidden state, and backpropagation through it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from rnnlab.cells import RNN, rnn_step
from rnnlab.cells.bptt import rnn as bptt_rnn
from rnnlab.inspection.chains import unroll
from rnnlab.inspection.gradients import gradient_by_lag, steps_that_hold
from rnnlab.inspection.xray import exact_copy
from rnnlab.lessons.lesson import Finding, Lesson, Where, first_weights
from rnnlab.lessons.plots import curves, grid
from rnnlab.models import Regressor

_STEPS = 30


def _hidden_state(quick: bool, seed: int) -> Finding:
    """Run a layer and the equation side by side, and change the first input alone."""
    layer = RNN(4, 16).double()
    weights = first_weights(layer)
    x = torch.randn(_STEPS, 1, 4, dtype=torch.float64)
    other = x.clone()
    other[0] = -other[0]
    h, states = torch.zeros(1, 16, dtype=torch.float64), []
    for x_t in x:
        h = rnn_step(x_t, h, weights)
        states.append(h)
    with torch.no_grad():
        whole, changed = layer(x)[0], layer(other)[0]
    difference = float((whole - torch.stack(states)).abs().max())
    apart = (whole - changed)[:, 0].norm(dim=-1).tolist()
    own = sum(p.numel() for p in layer.parameters())
    numbers = {
        "largest difference between layer and equation": difference,
        "distance of the two states after step 1": apart[0],
        "distance after step 10": apart[9],
        "distance after step 30": apart[-1],
        "parameters, whatever the number of steps": own,
    }
    verdict = (
        f"The layer's {_STEPS} states are those of the equation, to {difference:.1g}; with another first input the "
        f"state is {apart[0]:.2f} away after one step, and still {apart[9]:.2g} away nine steps later."
    )
    return Finding(
        numbers=numbers,
        verdict=verdict,
        holds=difference < 1e-12 and apart[0] > apart[9] > 0,
        figures=[
            grid(
                "The state while it reads", whole[:, 0].T.tolist(), "across: steps; down: the 16 numbers of the state"
            ),
            curves(
                "Two readings that differ in the first input alone",
                list(range(1, _STEPS + 1)),
                {"distance of the two states": apart},
                "across: steps; up: distance",
            ),
        ],
    )


def _bptt(quick: bool, seed: int) -> Finding:
    """Take dL/dW_hh apart by distance; hold BPTT by hand against autograd, and autograd against finite differences."""
    model = exact_copy(Regressor(3, 1, every_step=True, cell="rnn", hidden_size=12))
    x = torch.randn(24, 4, 3, dtype=torch.float64)
    target = torch.randn(24, 4, 1, dtype=torch.float64)

    def loss() -> Tensor:
        return (model(x)[0] - target).square().mean()

    recurrent = model.recurrent
    assert isinstance(recurrent, RNN)
    by_lag = gradient_by_lag(model, unroll(recurrent, x), loss)["layer_0"]
    weight = recurrent.get_parameter("weight_hh_l0")
    (whole,) = torch.autograd.grad(loss(), weight)
    by_hand = _by_hand(recurrent, model.get_submodule("head"), x, target)
    nudge = 1e-6 * torch.randn_like(weight)
    with torch.no_grad():
        weight += nudge
        up = loss()
        weight -= 2 * nudge
        slope = float(up - loss()) / 2
    hand_error = float((by_hand - whole).abs().max() / whole.abs().max())
    slope_error = abs(slope / float((whole * nudge).sum()) - 1)
    shares = by_lag.shares.tolist()
    total, held = sum(shares), steps_that_hold(by_lag.shares, 0.9)
    assert held is not None
    numbers = {
        "sum of the shares of all distances": total,
        "steps that hold 90 % of the gradient": held,
        "BPTT by hand against autograd, relative": hand_error,
        "autograd against a finite difference, relative": slope_error,
    }
    verdict = (
        f"The parts add up to {total:.12f} of the gradient, and 90 % of it comes from the last {held} of 24 steps; "
        f"BPTT written by hand agrees with autograd to {hand_error:.1g}."
    )
    return Finding(
        numbers=numbers,
        verdict=verdict,
        holds=abs(total - 1) < 1e-9 and hand_error < 1e-10 and slope_error < 1e-4,
        figures=[
            curves(
                "Share of the gradient by distance",
                list(range(len(shares))),
                {"share of dL/dW_hh": shares},
                "across: steps between a weight's use and the loss; up: share",
                dots=True,
            )
        ],
    )


def _by_hand(layer: RNN, head: nn.Module, x: Tensor, target: Tensor) -> Tensor:
    """Return dL/dW_hh of a mean squared error by the loops of `rnnlab.cells.bptt`."""
    assert isinstance(head, nn.Linear)
    h_0 = x.new_zeros(x.shape[1], layer.hidden_size)
    weights = first_weights(layer)
    y, _ = bptt_rnn.forward(x, h_0, *weights, None, False, False)
    head_weight, head_bias = head.weight.detach(), head.bias.detach()
    error = functional.linear(y, head_weight, head_bias) - target
    grad_y = 2 * error / error.numel() @ head_weight
    return bptt_rnn.backward(grad_y, None, x, h_0, weights.weight_ih, weights.weight_hh, None, y, False, False, False)[
        3
    ]


LESSONS = {
    "hidden-state": Lesson(
        title="The hidden state: what a network carries from step to step",
        text=[
            "A recurrent network reads a sequence one step at a time. Beside the input of the step it gets its own "
            "last state, and makes a new one of the two. The weights are the same at every step, so that a sequence "
            "may have any length.",
            "The state is all that it knows of the past. Change the first input, and every later state changes with "
            "it, though less and less.",
        ],
        equation="h_t = tanh(W_ih x_t + b_ih + W_hh h_(t-1) + b_hh)",
        where=[Where(rnn_step, "a = _from_input"), Where(rnn_step, "torch.tanh(a)")],
        sources="Elman 1990",
        expected="layer and equation agree to 1e-12 in float64, and the first input can still be told after ten steps",
        measure=_hidden_state,
    ),
    "bptt": Lesson(
        title="Backpropagation through time: a gradient is a sum over distances",
        text=[
            "Unrolled over its steps, a recurrent network is a deep network whose layers share their weights. "
            "Backpropagation goes through it from the last step to the first, and adds up what each use of the weights "
            "is to blame for.",
            "A loss at step t sees the weights that were used k steps earlier through k Jacobians. Here the sum is "
            "taken apart by that distance.",
        ],
        equation=(
            "dL/dW = sum over t, sum over k of  dL_t/dh_t . dh_t/dh_(t-k) . dh_(t-k)/dW\n"
            "dh_t/dh_(t-k) = product over s of  diag(1 - h_s^2) W_hh,   s = t-k+1 .. t"
        ),
        where=[Where(bptt_rnn.backward, "add_product(d, previous"), Where(gradient_by_lag, "walk.back")],
        sources="Rumelhart, Hinton & Williams 1986; Werbos 1990",
        expected="the shares add up to 1 within 1e-9, and BPTT by hand equals autograd to 1e-10",
        measure=_bptt,
    ),
}

"""A ball in a box: where will it go next?

Shapes: T steps, B flights.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from rnnlab.data.synthetic import ball
from rnnlab.lessons.fit import fit
from rnnlab.lessons.lesson import Figure, Finding, Lesson, Where
from rnnlab.lessons.plots import bars
from rnnlab.models import Regressor
from rnnlab.reports.pictures import ways
from rnnlab.tasks.ball import roll_out

_STEPS, _RADIUS, _SPEED = 40, 0.1, 0.1


def _draw(seed: list[int], count: int) -> tuple[Tensor, Tensor]:
    return ball(np.random.default_rng(seed), count, _STEPS, _RADIUS, _SPEED)


def _train(steps: int, seed: int, *, forgets: bool) -> tuple[Regressor, Callable[[Tensor], Tensor]]:
    """Train a network, whose state is cleared at every step if it forgets; return it, and what it says of flights."""
    torch.manual_seed(seed)
    model = Regressor(2, 2, every_step=True, cell="gru", hidden_size=48)

    def told(positions: Tensor) -> Tensor:
        # A sequence of one step for each position: nothing is carried.
        return model(positions.flatten(0, 1)[None])[0].view_as(positions) if forgets else model(positions)[0]

    def loss(step: int) -> Tensor:
        x, after = _draw([seed, step], 32)
        return (told(x) - after).square().mean()

    fit(model, loss, steps=steps, lr=0.01)
    return model, told


def _moving_ball(quick: bool, seed: int) -> Finding:
    """Train one network with its state and one whose state is cleared at every step; hold both against two rules."""
    steps = 400 if quick else 2500
    inputs, targets = _draw([seed, steps], 200)
    errors: dict[str, float] = {
        "it stays": float((inputs - targets).square().mean()),
        "it goes straight on": float((2 * inputs[1:] - inputs[:-1] - targets[1:]).square().mean()),
    }
    _, told_by_one = _train(steps, seed, forgets=True)
    model, told = _train(steps, seed, forgets=False)
    half = _STEPS // 2
    with torch.no_grad():
        errors["network without state"] = float((told_by_one(inputs) - targets).square().mean())
        errors["network with state"] = float((told(inputs) - targets).square().mean())
        rolled = roll_out(model, inputs[:half], _STEPS - half + 1)
    apart = (rolled - targets[half - 1 :]).norm(dim=-1).mean(1) / _RADIUS
    numbers = {
        **{f"squared error, {name}": error for name, error in errors.items()},
        "radii from the ball, its own predictions fed back, after 1 step": float(apart[0]),
        "after 5 steps": float(apart[4]),
        "after 20 steps": float(apart[19]),
    }
    verdict = (
        f"Without a state the network's squared error is {errors['network without state']:.2g}, about that of saying "
        f"'it stays' ({errors['it stays']:.2g}); with one it is {errors['network with state']:.2g}. Fed its own "
        f"predictions it is {float(apart[4]):.1f} ball radii off after 5 steps and {float(apart[19]):.1f} after 20."
    )
    flight = [
        ("seen", "var(--soft)", _points(inputs[:half, 0])),
        ("what it did", "var(--a)", _points(targets[half - 1 :, 0])),
        ("what the network says", "var(--b)", _points(rolled[:, 0])),
    ]
    return Finding(
        numbers=numbers,
        verdict=verdict,
        holds=errors["network with state"] < 0.3 * errors["network without state"]
        and errors["network without state"] > 0.7 * errors["it stays"]
        and bool(apart[0] < apart[19]),
        figures=[
            Figure(
                "A flight; its second half from the network's own predictions",
                ways(flight),
                [(name, color) for name, color, _ in flight],
            ),
            bars("Squared error of the next position", errors, "lower is better", marked=["network with state"]),
        ],
    )


def _points(positions: Tensor) -> list[tuple[float, float]]:
    return [(x, y) for x, y in positions.tolist()]


LESSONS = {
    "moving-ball": Lesson(
        title="A moving ball: one picture does not say where it goes",
        text=[
            "A ball moves in a box at constant speed, and walls throw it back. From one position nobody can tell "
            "the next one. From two the direction follows, and for that the first has to be remembered.",
            "The same network is trained twice: once carrying its state, once with the state cleared at each step. "
            "Then the first goes on by itself: it sees half of a flight, and after that its own predictions, whose "
            "errors add up.",
        ],
        equation="x_(t+1) = W h_t + b,    h_t = step(x_t, h_(t-1))        without state: h_t = step(x_t, 0)",
        where=[
            Where(Regressor.forward, "self.head("),
            Where(roll_out, "outputs, state = model(predicted"),
            Where(ball),
        ],
        sources="Elman 1990 on prediction; Sutskever, Hinton & Taylor 2009 on bouncing balls",
        expected="with its state the network has less than a third of the error it has without; without, it is no "
        "better than 0.7 of 'it stays'",
        measure=_moving_ball,
    ),
}

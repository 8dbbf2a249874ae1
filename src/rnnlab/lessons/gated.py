"""Gated cells.

Shapes: T steps, B rows, H hidden_size.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from rnnlab.cells import GRU, LSTM, RNN, gru_step, lstm_step
from rnnlab.cells.initialisation import forget_gate_bias_
from rnnlab.cells.reference import gru_gates
from rnnlab.data.synthetic import adding
from rnnlab.inspection.chains import unroll
from rnnlab.inspection.jacobians import carry_curve, decay, lag_curve
from rnnlab.lessons.fit import fit, smoothed
from rnnlab.lessons.lesson import Finding, Lesson, Where, first_weights
from rnnlab.lessons.plots import curves
from rnnlab.models import Regressor


def _gates(quick: bool, seed: int) -> Finding:
    """Set the forget gate's bias and measure by what the cell's path is multiplied in a step."""
    biases, lags = [-1.0, 0.0, 1.0, 2.0, 4.0], 60
    rates, wholes, lines = [], [], {}
    for bias in biases:
        layer = LSTM(8, 64, forget_gate_bias=bias).double()
        chain = unroll(layer, 0.5 * torch.randn(lags, 4, 8, dtype=torch.float64))[0]
        carried = carry_curve(chain, [lags], lags)
        assert carried is not None
        rates.append(math.exp(decay(carried)))
        whole = lag_curve(chain, [lags], lags, torch.Generator().manual_seed(seed), num_probes=64)
        wholes.append(math.exp(decay(whole)))
        lines[f"bias {bias:g}"] = carried.tolist()
    predicted = [1 / (1 + math.exp(-bias)) for bias in biases]
    off = max(abs(rate - gate) for rate, gate in zip(rates, predicted, strict=True))
    tanh = unroll(RNN(8, 64).double(), 0.5 * torch.randn(lags, 4, 8, dtype=torch.float64))[0]
    tanh_rate = math.exp(decay(lag_curve(tanh, [lags], lags, torch.Generator().manual_seed(seed), num_probes=64)))
    numbers = {
        "forget gate's bias": biases,
        "rate a step, cell path": rates,
        "sigmoid(bias)": predicted,
        "largest difference": off,
        "rate a step, h to h through both paths": wholes,
        "rate a step of a tanh network": tanh_rate,
    }
    verdict = (
        f"The cell's path is multiplied by {rates[1]:.2f} a step with bias 0, by {rates[2]:.2f} with 1 and by "
        f"{rates[4]:.3f} with 4, where sigmoid says {predicted[1]:.2f}, {predicted[2]:.2f} and {predicted[4]:.3f}; a "
        f"default tanh network's state by {tanh_rate:.2f}."
    )
    rows = [
        (f"{bias:g}", *(f"{value:.3f}" for value in found))
        for bias, *found in zip(biases, predicted, rates, wholes, strict=True)
    ]
    return Finding(
        numbers=numbers,
        verdict=verdict,
        holds=off < 0.06 and rates == sorted(rates) and rates[2] > tanh_rate,
        figures=[
            curves(
                "What is left of the cell state's gradient",
                list(range(lags + 1)),
                lines,
                "across: distance k in steps; up: root mean square of dc_t/dc_(t-k), gates held fixed",
            )
        ],
        headings=("forget gate's bias", "sigmoid(bias)", "cell path", "h to h"),
        rows=rows,
    )


def _gru(quick: bool, seed: int) -> Finding:
    """Count weights, hold the state against its bounds, and compare the path through z with sigmoid(b_z)."""
    lags, size = 60, 64
    counts = {kind.__name__: sum(p.numel() for p in kind(8, size).parameters()) for kind in (RNN, GRU, LSTM)}
    layer = GRU(8, size).double()
    wild = layer(10 * torch.randn(200, 4, 8, dtype=torch.float64))[0].detach()
    largest = float(wild.abs().max())
    rates, biases = [], [0.0, 1.0, 2.0, 4.0]
    lines = {}
    for bias in biases:
        layer = GRU(8, size).double()
        weights = first_weights(layer)
        assert weights.bias_ih is not None
        assert weights.bias_hh is not None
        weights.bias_ih[size : 2 * size] = bias
        weights.bias_hh[size : 2 * size] = 0
        chain = unroll(layer, 0.5 * torch.randn(lags, 4, 8, dtype=torch.float64))[0]
        carried = carry_curve(chain, [lags], lags)
        assert carried is not None
        rates.append(math.exp(decay(carried)))
        lines[f"bias {bias:g}"] = carried.tolist()
    predicted = [1 / (1 + math.exp(-bias)) for bias in biases]
    off = max(abs(rate - gate) for rate, gate in zip(rates, predicted, strict=True))
    ratio = counts["GRU"] / counts["LSTM"]
    numbers = {
        **{f"parameters, {name}": count for name, count in counts.items()},
        "GRU over LSTM": ratio,
        "largest |h| with inputs of size 10": largest,
        "update gate's bias": biases,
        "rate a step, path through z": rates,
        "sigmoid(bias)": predicted,
    }
    verdict = (
        f"A GRU has {ratio:.2f} of an LSTM's parameters ({counts['GRU']:,} of {counts['LSTM']:,}); what its update "
        f"gate keeps falls by {rates[0]:.2f} a step with bias 0 and by {rates[3]:.3f} with 4, and |h| stays below 1 "
        f"({largest:.3f})."
    )
    return Finding(
        numbers=numbers,
        verdict=verdict,
        holds=ratio == 0.75 and largest <= 1 and off < 0.06,
        figures=[
            curves(
                "What is left of the path through the update gate",
                list(range(lags + 1)),
                lines,
                "across: distance k in steps; up: root mean square of the product of z",
            )
        ],
    )


def _three_cells(quick: bool, seed: int) -> Finding:
    """Train the three on the adding problem, with about as many parameters each."""
    seq_len, steps = (40, 600) if quick else (60, 1500)
    settings = {
        "RNN": {"cell": "rnn", "hidden_size": 66},
        "LSTM": {"cell": "lstm", "hidden_size": 32, "forget_gate_bias": 1.0},
        "GRU": {"cell": "gru", "hidden_size": 37},
    }
    rates = {"RNN": 0.003, "LSTM": 0.02, "GRU": 0.02}
    errors, sizes, lines, xs = {}, {}, {}, []
    for name, setting in settings.items():
        torch.manual_seed(seed)
        model = Regressor(2, 1, every_step=False, **setting)
        sizes[name] = sum(p.numel() for p in model.parameters())
        losses, errors[name] = train_adding(model, seq_len, steps, rates[name], seed)
        xs, lines[name] = smoothed(losses)
    numbers = {
        "steps of a sequence": seq_len,
        **{f"parameters, {name}": size for name, size in sizes.items()},
        **{f"squared error, {name}": error for name, error in errors.items()},
        "squared error of always saying 1": 1 / 6,
    }
    verdict = (
        f"Adding over {seq_len} steps: after {steps:,} updates the squared error is {errors['RNN']:.3f} (RNN), "
        f"{errors['LSTM']:.4f} (LSTM) and {errors['GRU']:.4f} (GRU), with some {sizes['LSTM']:,} parameters each; "
        "always saying 1 gives 0.167."
    )
    return Finding(
        numbers=numbers,
        verdict=verdict,
        holds=errors["RNN"] > 0.1 and errors["LSTM"] < 0.02 and errors["GRU"] < 0.02,
        figures=[curves("The adding problem", xs, lines, "across: updates; up: squared error")],
        headings=("cell", "parameters", "squared error"),
        rows=[(name, f"{sizes[name]:,}", f"{errors[name]:.4f}") for name in settings],
    )


def train_adding(model: Regressor, seq_len: int, steps: int, lr: float, seed: int) -> tuple[list[float], float]:
    """Train a model on the adding problem; return the loss of each step, and the error on 1,000 other sequences."""

    def loss(step: int) -> torch.Tensor:
        x, sums = adding(np.random.default_rng([seed, step]), 32, seq_len)
        return (model(x)[0][:, 0] - sums).square().mean()

    losses = fit(model, loss, steps=steps, lr=lr)
    x, sums = adding(np.random.default_rng([seed, steps]), 1000, seq_len)
    with torch.no_grad():
        return losses, float((model(x)[0][:, 0] - sums).square().mean())


LESSONS = {
    "gates": Lesson(
        title="The LSTM's gates: a rate of forgetting that can be set, and learned",
        text=[
            "An LSTM carries a second state, the cell c. From step to step it is only multiplied by the forget gate "
            "f and added to. There is no matrix and no tanh on that path. With the gates held fixed, the gradient "
            "from c_t to c_(t-k) is the product of k forget gates.",
            "A gate near 1 keeps for long. The bias of the forget gate sets where it starts, which is why a start "
            "of 1 or 2 is common. The network then learns, at each step and for each unit, what to keep.",
        ],
        equation=(
            "i, f, o = sigmoid(W_ih x + b_ih + W_hh h + b_hh)\n"
            "g       =    tanh(W_ih x + b_ih + W_hh h + b_hh)\n"
            "c' = f * c + i * g          dc_t/dc_(t-k) = product of f    (gates held fixed)\n"
            "h' = o * tanh(c')"
        ),
        where=[
            Where(lstm_step, "c = f * c + i * g"),
            Where(lstm_step, "o * torch.tanh"),
            Where(forget_gate_bias_, "nn.init.constant_"),
        ],
        sources="Hochreiter & Schmidhuber 1997; Gers, Schmidhuber & Cummins 2000; Jozefowicz, Zaremba & Sutskever 2015",
        expected="before training the rate of the cell's path is within 0.06 of sigmoid(bias), and with bias 1 above "
        "a tanh network's",
        measure=_gates,
    ),
    "gru": Lesson(
        title="The GRU: one state, two gates",
        text=[
            "A GRU has no cell of its own. Its update gate z mixes the old state with a new one. What it keeps and "
            "what it takes in add up to 1, so that the state stays between -1 and 1, whatever comes in.",
            "Three blocks of weights in place of four: three quarters of an LSTM's. In rnnlab, as in torch.nn, z "
            "says how much is kept.",
        ],
        equation=(
            "r  = sigmoid(W_ir x + b_ir + W_hr h + b_hr)\n"
            "z  = sigmoid(W_iz x + b_iz + W_hz h + b_hz)\n"
            "n  =    tanh(W_in x + b_in + r * (W_hn h + b_hn))\n"
            "h' = (1 - z) * n + z * h"
        ),
        where=[Where(gru_step, "(1 - z) * n"), Where(gru_gates, "r * from_state[2]")],
        sources="Cho et al. 2014; Chung et al. 2014",
        expected="3/4 of an LSTM's parameters, |h| at most 1, and the rate of the path through z within 0.06 of "
        "sigmoid(b_z)",
        measure=_gru,
    ),
    "rnn-vs-lstm-vs-gru": Lesson(
        title="RNN, LSTM and GRU with the same number of parameters",
        text=[
            "Cells are only comparable at the same size. Here each network has about as many parameters; the gated "
            "ones have fewer units.",
            "The task is the adding problem: a sequence of random numbers, two of which are marked; say their sum "
            "at the end. It is easy but for the distance.",
        ],
        equation="RNN: H^2 + 2H + 2H    LSTM: four times that    GRU: three times that    (plus the head)",
        where=[Where(lstm_step, "c = f * c + i * g"), Where(gru_step, "(1 - z) * n"), Where(adding, "targets =")],
        sources="Hochreiter & Schmidhuber 1997 (the task); Chung et al. 2014; Jozefowicz, Zaremba & Sutskever 2015",
        expected="LSTM and GRU get the squared error below 0.02, and the RNN stays above 0.1",
        measure=_three_cells,
    ),
}

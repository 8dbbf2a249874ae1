"""What happens to a gradient on its way through the steps of a simple recurrent network.

Shapes: T steps, B rows, H hidden_size.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from rnnlab.cells import RNN, rnn_step
from rnnlab.cells.initialisation import default_, identity_
from rnnlab.inspection.chains import Chain, unroll
from rnnlab.inspection.jacobians import decay, lag_curve
from rnnlab.inspection.units import spectral_radii
from rnnlab.lessons.lesson import Finding, Lesson, Where, first_weights
from rnnlab.lessons.plots import curves


def _curve(chain: Chain, lags: int, seed: int) -> Tensor:
    """Return the root mean square singular value of dh_t/dh_(t-k), k = 0..lags, exact: as many probes as units."""
    generator = torch.Generator().manual_seed(seed)
    return lag_curve(chain, [chain.num_steps], lags, generator, num_probes=chain.hidden_size)


@torch.no_grad()
def _orthogonal(hidden_size: int, radius: float, nonlinearity: str = "tanh") -> RNN:
    """Return a layer without biases and with W_hh = radius * orthogonal, so that every singular value is the radius."""
    layer = RNN(8, hidden_size, nonlinearity=nonlinearity, initialisation="orthogonal", bias=False).double()
    weights = first_weights(layer)
    weights.weight_hh.mul_(radius)
    nn.init.normal_(weights.weight_ih, std=1 / math.sqrt(layer.input_size))
    return layer


def _vanishing(quick: bool, seed: int) -> Finding:
    """Measure by what a default tanh network multiplies a gradient in a step, and hold mean-field theory against it."""
    size, lags, over = 192, 40, 10
    rates, predicted, lines = [], [], {}
    scales = [0.0, 1.0, 3.0]
    for scale in scales:
        layer = RNN(16, size).double()
        chain = unroll(layer, scale * torch.randn(lags + 20, 4, 16, dtype=torch.float64))[0]
        curve = _curve(chain, lags, seed)
        # Over few steps: of W_hh's many eigenvalues the largest alone would show in the end, another one in each draw.
        rates.append(float(curve[over]) ** (1 / over))
        h = torch.stack([state[0] for state in chain.states[-over:]])
        slope = float((1 - h.square()).square().mean())
        predicted.append(math.sqrt(slope / 3))
        lines[f"inputs of size {scale:g}"] = curve.tolist()
    off = max(abs(one / other - 1) for one, other in zip(rates, predicted, strict=True))
    fall = lines["inputs of size 1"][20]
    numbers = {
        "rate a step, by size of the inputs": rates,
        "predicted rate": predicted,
        "largest relative difference": off,
        "what is left after 20 steps, inputs of size 1": fall,
    }
    verdict = (
        f"At torch's default initialisation the gradient is multiplied by {rates[1]:.3f} a step (predicted: "
        f"{predicted[1]:.3f}); after 20 steps {fall:.1g} of it is left."
    )
    rows = [(f"{s:g}", f"{r:.4f}", f"{p:.4f}") for s, r, p in zip(scales, rates, predicted, strict=True)]
    return Finding(
        numbers=numbers,
        verdict=verdict,
        holds=off < 0.04 and fall < 1e-4,
        figures=[
            curves(
                "By what a small change of the state is multiplied",
                list(range(lags + 1)),
                lines,
                "across: distance k in steps; up: rms singular value of dh_t/dh_(t-k)",
            )
        ],
        headings=("size of the inputs", "measured rate", "predicted rate"),
        rows=rows,
    )


def _exploding(quick: bool, seed: int) -> Finding:
    """Scale an orthogonal W_hh to spectral radii around 1 and measure the rate at which a gradient grows."""
    lags, radii = 50, [0.9, 1.0, 1.1, 1.3]
    rates, lines = [], {}
    for radius in radii:
        layer = _orthogonal(64, radius)
        # Inputs so small that no unit saturates: what is predicted is the rate around h = 0.
        chain = unroll(layer, 1e-9 * torch.randn(lags, 2, 8, dtype=torch.float64))[0]
        curve = _curve(chain, lags, seed)
        rates.append(math.exp(decay(curve)))
        lines[f"spectral radius {spectral_radii(chain)['hidden']:.1f}"] = curve.tolist()
    off = max(abs(rate - radius) for rate, radius in zip(rates, radii, strict=True))
    loud = unroll(_orthogonal(64, 1.3), torch.randn(lags, 2, 8, dtype=torch.float64))[0]
    loud_rate = math.exp(decay(_curve(loud, lags, seed)))
    growth = lines["spectral radius 1.3"][-1]
    numbers = {
        "spectral radius": radii,
        "rate a step": rates,
        "largest difference": off,
        "growth over 50 steps at 1.3": growth,
        "rate a step at 1.3 with inputs of size 1": loud_rate,
    }
    verdict = (
        f"With spectral radius 1.3 the gradient grows by {rates[-1]:.4f} a step, {growth:,.0f}-fold over {lags} "
        f"steps, as predicted; with inputs of size 1 the units saturate and it is multiplied by {loud_rate:.2f} a "
        "step instead."
    )
    return Finding(
        numbers=numbers,
        verdict=verdict,
        holds=off < 1e-3 and growth > 1e5 and loud_rate < 1,
        figures=[
            curves(
                "Growth of a gradient, states near 0",
                list(range(lags + 1)),
                lines,
                "across: distance k in steps; up: rms singular value of dh_t/dh_(t-k)",
            )
        ],
        headings=("spectral radius", "measured rate"),
        rows=[(f"{radius:g}", f"{rate:.6f}") for radius, rate in zip(radii, rates, strict=True)],
    )


def _relu(quick: bool, seed: int) -> Finding:
    """Turn the inputs up and watch by what a gradient is multiplied, in a tanh and a ReLU network of the same W_hh."""
    scales, lags = [1, 2, 4, 8], 30
    found: dict[str, list[float]] = {}
    for name, radius in (("tanh", 1.0), ("relu", math.sqrt(2))):
        layer = _orthogonal(96, radius, name)
        x = torch.randn(lags + 20, 4, 8, dtype=torch.float64)
        found[name] = [math.exp(decay(_curve(unroll(layer, scale * x)[0], lags, seed))) for scale in scales]
    spread = max(found["relu"]) - min(found["relu"])
    fall = found["tanh"][0] / found["tanh"][-1]
    numbers = {
        "size of the inputs": [float(scale) for scale in scales],
        "tanh: rate a step": found["tanh"],
        "ReLU: rate a step": found["relu"],
        "ReLU: largest less smallest": spread,
    }
    verdict = (
        f"Inputs eight times as large cut tanh's rate from {found['tanh'][0]:.2f} to {found['tanh'][-1]:.2f} a step; "
        f"ReLU's stays at {found['relu'][0]:.2f} (largest less smallest: {spread:.1g})."
    )
    return Finding(
        numbers=numbers,
        verdict=verdict,
        holds=spread < 1e-9 and fall > 1.5 and found["relu"][0] > found["tanh"][0],
        figures=[
            curves(
                "By what a gradient is multiplied in a step",
                scales,
                {"tanh": found["tanh"], "ReLU": found["relu"]},
                "across: size of the inputs; up: rate a step",
                dots=True,
            )
        ],
    )


def _identity(quick: bool, seed: int) -> Finding:
    """Start from W_hh = I and measure what a state and a gradient are after 100 steps; beside the default start."""
    lags = 100
    layers = {
        "identity, ReLU": RNN(2, 32, nonlinearity="relu", initialisation="identity").double(),
        "default, ReLU": RNN(2, 32, nonlinearity="relu").double(),
        "default, tanh": RNN(2, 32).double(),
    }
    x = torch.rand(lags, 4, 2, dtype=torch.float64)
    start = torch.rand(1, 4, 32, dtype=torch.float64)
    lines, kept = {}, 0.0
    for name, layer in layers.items():
        lines[name] = _curve(unroll(layer, x, start)[0], lags, seed).tolist()
        if name == "identity, ReLU":
            with torch.no_grad():
                last = layer(torch.zeros_like(x), start)[1]
            kept = float((last - start).abs().max())
    rest = {name: values[-1] for name, values in lines.items()}
    numbers = {
        "change of the state over 100 steps without input": kept,
        **{f"gradient left after 100 steps: {name}": value for name, value in rest.items()},
    }
    verdict = (
        f"Without input an IRNN's state is the same after {lags} steps (change {kept:g}), and of a gradient "
        f"{rest['identity, ReLU']:.3f} is left where the default tanh network leaves {rest['default, tanh']:.1g}."
    )
    return Finding(
        numbers=numbers,
        verdict=verdict,
        holds=kept == 0 and abs(rest["identity, ReLU"] - 1) < 0.1 and rest["default, tanh"] < 1e-15,
        figures=[
            curves(
                "What is left of a gradient, before training",
                list(range(lags + 1)),
                lines,
                "across: distance k in steps; up: rms singular value of dh_t/dh_(t-k)",
            )
        ],
    )


LESSONS = {
    "vanishing": Lesson(
        title="Vanishing gradients: why a tanh network forgets to learn",
        text=[
            "Each step back in time multiplies the gradient by a matrix: the slope of tanh, times the recurrent "
            "weights. If that makes vectors shorter on average, what is left after k steps falls geometrically with "
            "k.",
            "The rate can be predicted. Weights from U(-1/sqrt(H), 1/sqrt(H)), torch's default, have variance "
            "1/(3H), so a random vector shrinks by sqrt(1/3) = 0.577 a step, and by the slope of tanh on top of it. "
            "Larger inputs push the units to where tanh is flat, and make it worse.",
        ],
        equation=(
            "dh_t/dh_(t-k) = product of  diag(1 - h_s^2) W_hh\n"
            "rate a step   = sqrt(H var(W_hh) mean((1 - h^2)^2)) = sqrt(mean((1 - h^2)^2) / 3)    at the default"
        ),
        where=[
            Where(rnn_step, "torch.tanh(a)"),
            Where(default_, "uniform_("),
            Where(lag_curve, "pulled = torch.auto"),
        ],
        sources="Hochreiter 1991; Bengio, Simard & Frasconi 1994; the rate: Poole et al. 2016, Schoenholz et al. 2017",
        expected="measured and predicted rate agree to 4 %; less than 1e-4 of a gradient is left after 20 steps",
        measure=_vanishing,
    ),
    "exploding": Lesson(
        title="Exploding gradients: the spectral radius sets the rate",
        text=[
            "The same product can grow. Near h = 0 the slope of tanh is 1, and only the recurrent weights count. "
            "Here they are an orthogonal matrix times a number, so that the number is the spectral radius and every "
            "singular value.",
            "Below 1 the gradient vanishes, at 1 it stays, above 1 it explodes. It cannot do so for ever in a tanh "
            "network: large states saturate, and then the slope pulls the rate down. The explosions that stop a "
            "training run come from states that are still small, or where units are not bounded.",
        ],
        equation="dh_t/dh_(t-k) = W_hh^k  near h = 0,    so that  |dh_t/dh_(t-k)| = rho(W_hh)^k",
        where=[Where(rnn_step, "torch.tanh(a)"), Where(spectral_radii, "_radius(block)")],
        sources="Bengio, Simard & Frasconi 1994; Pascanu, Mikolov & Bengio 2013",
        expected="the rate equals the spectral radius to 0.001, the growth at 1.3 is above 100,000, and with inputs of "
        "size 1 it does not grow",
        measure=_exploding,
    ),
    "relu": Lesson(
        title="ReLU: a slope that does not depend on how large the input is",
        text=[
            "The slope of tanh is 1 at 0 and falls to nothing on both sides. The slope of ReLU is 1 or 0. Without "
            "biases a ReLU network whose inputs are twice as large has states twice as large, and the very same "
            "slopes.",
            "Both networks have an orthogonal W_hh, ReLU's times sqrt(2), since half of its units are off at a time "
            "(He et al. 2015). Nothing bounds its states, though, and a W_hh a little larger would let them explode.",
        ],
        equation="d tanh(a)/da = 1 - tanh(a)^2    d relu(a)/da = 1 if a > 0 else 0",
        where=[Where(rnn_step, "torch.tanh(a)"), Where(rnn_step, "torch.relu(a)")],
        sources="Nair & Hinton 2010; He et al. 2015; Le, Jaitly & Hinton 2015",
        expected="ReLU's rate is the same for all sizes of the inputs to 1e-9; tanh's falls by a third at least",
        measure=_relu,
    ),
    "identity-init": Lesson(
        title="Identity initialisation: start by copying",
        text=[
            "If W_hh is the identity, the biases are 0 and the units are ReLU, a state with no input is copied from "
            "step to step, and the gradient with it: neither vanishes nor explodes until training moves the weights.",
            "That is an IRNN. It is a start, not a guarantee: the weights leave the identity as soon as they learn. "
            "Whether it learns long dependencies is measured in the lesson on them.",
        ],
        equation="W_hh = I,  b = 0,  W_ih ~ N(0, 0.001^2):    h_t = relu(h_(t-1) + W_ih x_t)",
        where=[Where(identity_, "nn.init.eye_"), Where(identity_, "std=input_std")],
        sources="Le, Jaitly & Hinton 2015",
        expected="the state is unchanged after 100 steps; the IRNN's gradient is within a tenth of 1, the default tanh "
        "network's below 1e-15",
        measure=_identity,
    ),
}

"""Long-term dependencies: who learns them, and how far they then reach.

Shapes: T steps, B rows.
"""

from __future__ import annotations

import math
import random

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from rnnlab.cells import rnn_step
from rnnlab.cells.initialisation import identity_
from rnnlab.cells.reference import lstm_step
from rnnlab.data.synthetic import MEMORY_LEN, adding, copying
from rnnlab.inspection.chains import unroll
from rnnlab.inspection.jacobians import carry_curve, decay
from rnnlab.lessons import grammar
from rnnlab.lessons.fit import fit, smoothed
from rnnlab.lessons.gated import train_adding
from rnnlab.lessons.lesson import Finding, Lesson, Where
from rnnlab.lessons.plots import curves
from rnnlab.models import Classifier, LanguageModel, Regressor

_KINDS = 8
_DISTANCES = [0, 5, 10, 20, 40]
_CELLS = {
    "tanh RNN": {"cell": "rnn"},
    "IRNN": {"cell": "rnn", "nonlinearity": "relu", "initialisation": "identity"},
    "LSTM": {"cell": "lstm", "forget_gate_bias": 1.0},
}


def _adding(quick: bool, seed: int) -> tuple[int, dict[str, float], dict[str, list[float]], list[int]]:
    """Train three networks on the adding problem; return its length, errors, curves and the curves' steps."""
    seq_len = 40 if quick else 100
    # (hidden_size, updates, learning rate): the IRNN leaves the identity, and forgets, if it goes fast.
    plans = (
        {"tanh RNN": (32, 600, 0.003), "IRNN": (32, 1500, 0.003), "LSTM": (32, 600, 0.02)}
        if quick
        else {"tanh RNN": (100, 1500, 0.003), "IRNN": (100, 6000, 0.0005), "LSTM": (32, 1500, 0.02)}
    )
    errors, lines, longest = {}, {}, []
    for name, (hidden_size, steps, lr) in plans.items():
        torch.manual_seed(seed)
        model = Regressor(2, 1, every_step=False, hidden_size=hidden_size, **_CELLS[name])
        losses, errors[name] = train_adding(model, seq_len, steps, lr, seed)
        most = max(updates for _, updates, _ in plans.values())
        xs, lines[name] = smoothed(losses, 60 * steps // most)
        longest = xs if len(xs) > len(longest) else longest
    return seq_len, errors, lines, longest


def _copying(quick: bool, seed: int) -> dict[str, float]:
    """Train a tanh RNN and an LSTM to repeat ten symbols; return the share of symbols that are right."""
    delay, steps = (5, 500) if quick else (10, 3000)
    shares = {}
    for name in ("tanh RNN", "LSTM"):
        torch.manual_seed(seed)
        model = LanguageModel(10, hidden_size=64, embedding="one_hot", **_CELLS[name])

        def loss(step: int, model: LanguageModel = model) -> Tensor:
            x, y = copying(np.random.default_rng([seed, step]), 32, delay)
            return cross_entropy(model(x)[0].flatten(0, 1), y.flatten())

        fit(model, loss, steps=steps, lr=0.01 if name == "LSTM" else 0.003)
        x, y = copying(np.random.default_rng([seed, steps]), 500, delay)
        with torch.no_grad():
            shares[name] = float((model(x)[0].argmax(-1) == y)[-MEMORY_LEN:].double().mean())
    return shares


def _clouds(quick: bool, seed: int) -> dict[str, list[float]]:
    """Train on sentences with up to 20 words between noun and blank; return the share of right places by distance."""
    vocab, found = grammar.vocabulary(), {}
    for name in ("tanh RNN", "LSTM"):
        torch.manual_seed(seed)
        model = Classifier(len(vocab), len(vocab), hidden_size=32, embedding_size=16, pooling="last", **_CELLS[name])
        draw = random.Random(seed)

        def loss(step: int, model: Classifier = model, draw: random.Random = draw) -> Tensor:
            words, places = grammar.stories(draw, vocab, 32, draw.randint(0, 20))
            return cross_entropy(model(words)[0], places)

        fit(model, loss, steps=400 if quick else 1000, lr=0.01 if name == "LSTM" else 0.003)
        found[name] = []
        for distance in _DISTANCES:
            words, places = grammar.stories(random.Random(seed + 1), vocab, 400, distance)
            with torch.no_grad():
                found[name].append(float((model(words)[0].argmax(-1) == places).double().mean()))
    return found


def _long_term(quick: bool, seed: int) -> Finding:
    seq_len, errors, lines, xs = _adding(quick, seed)
    copied = _copying(quick, seed)
    told = _clouds(quick, seed)
    numbers = {
        "adding: steps": seq_len,
        **{f"adding: squared error, {name}": error for name, error in errors.items()},
        "adding: squared error of always saying 1": 1 / 6,
        **{f"copying: share of symbols right, {name}": share for name, share in copied.items()},
        "the clouds are in the ___: words between": [float(one) for one in _DISTANCES],
        **{f"the clouds are in the ___: accuracy, {name}": values for name, values in told.items()},
    }
    verdict = (
        f"Adding over {seq_len} steps: squared error {errors['tanh RNN']:.3f} (tanh RNN: it has learned to say 1), "
        f"{errors['IRNN']:.3f} (IRNN), {errors['LSTM']:.4f} (LSTM). With {_DISTANCES[-1]} words between the clouds "
        f"and the blank, the tanh RNN is right in {told['tanh RNN'][-1]:.0%}, the LSTM in {told['LSTM'][-1]:.0%} "
        "(chance 25%)."
    )
    return Finding(
        numbers=numbers,
        verdict=verdict,
        holds=errors["tanh RNN"] > 0.14
        and errors["IRNN"] < 0.06
        and errors["LSTM"] < 0.02
        and copied["LSTM"] > copied["tanh RNN"]
        and told["LSTM"][-1] > told["tanh RNN"][-1] + 0.2,
        figures=[
            curves("The adding problem", xs, lines, "across: updates; up: squared error"),
            curves(
                "The clouds ... are in the ___",
                _DISTANCES,
                told,
                "across: words between noun and blank; up: accuracy",
                dots=True,
            ),
        ],
    )


def _recall(generator: torch.Generator, count: int, distance: int) -> tuple[Tensor, Tensor]:
    """Draw a symbol and `distance` words of noise, <int64>(T, B), and the symbol again, <int64>(B,)."""
    kinds = torch.randint(0, _KINDS, (count,), generator=generator)
    noise = torch.randint(_KINDS, 2 * _KINDS, (distance, count), generator=generator)
    return torch.cat([kinds[None], noise]), kinds


def _recaller(seed: int, steps: int, nearest: int, furthest: int) -> Classifier:
    """Return an LSTM trained to recall a symbol through `nearest` to `furthest` words of noise."""
    torch.manual_seed(seed)
    model = Classifier(2 * _KINDS, _KINDS, hidden_size=32, embedding_size=16, pooling="last", **_CELLS["LSTM"])
    generator = torch.Generator().manual_seed(seed)

    def loss(step: int) -> Tensor:
        distance = int(torch.randint(nearest, furthest + 1, (), generator=generator))
        words, kinds = _recall(generator, 64, distance)
        return cross_entropy(model(words)[0], kinds)

    fit(model, loss, steps=steps, lr=0.01)
    return model


@torch.no_grad()
def _recalled(model: Classifier, seed: int, distance: int) -> float:
    words, kinds = _recall(torch.Generator().manual_seed(seed + 1), 400, distance)
    return float((model(words)[0].argmax(-1) == kinds).double().mean())


def _not_long(quick: bool, seed: int) -> Finding:
    """Train LSTMs to recall a symbol, each at one distance from scratch; and one at short distances, asked at all."""
    distances, steps = ([5, 20, 160], 250) if quick else ([5, 10, 20, 40, 80, 160], 400)
    alone = [_recalled(_recaller(seed, steps, distance, distance), seed, distance) for distance in distances]
    near = _recaller(seed, 400, 0, 20)
    carried = [_recalled(near, seed, distance) for distance in distances]
    torch.manual_seed(seed)
    fresh = Classifier(2 * _KINDS, _KINDS, hidden_size=32, embedding_size=16, pooling="last", **_CELLS["LSTM"]).double()
    words, _ = _recall(torch.Generator().manual_seed(seed), 4, 60)
    (chain,) = unroll(fresh.recurrent, fresh.embedding(words))
    kept = carry_curve(chain, [60], 60)
    assert kept is not None
    rate = math.exp(decay(kept))
    numbers = {
        "words of noise": [float(one) for one in distances],
        "share recalled, trained at that distance from scratch": alone,
        "share recalled, trained at 0 to 20": carried,
        "chance": 1 / _KINDS,
        "rate a step of the cell's path before training, forget gate's bias 1": rate,
        "steps after which half is left": math.log(0.5) / math.log(rate),
    }
    verdict = (
        f"Before training an LSTM keeps half of what it carries for {math.log(0.5) / math.log(rate):.1f} steps. "
        f"Trained to recall a symbol {distances[-1]} words later, it is right in {alone[-1]:.0%} after {steps} "
        f"updates (chance {1 / _KINDS:.1%}); trained at up to 20 words, and then asked after {distances[-1]}, in "
        f"{carried[-1]:.0%}."
    )
    return Finding(
        numbers=numbers,
        verdict=verdict,
        holds=alone[0] > 0.9 and alone[-1] < 0.3 and carried[-1] > alone[-1] + 0.3,
        figures=[
            curves(
                "What is recalled",
                distances,
                {
                    "trained at that distance": alone,
                    "trained at 0 to 20": carried,
                    "chance": [1 / _KINDS] * len(distances),
                },
                "across: words of noise since; up: share right",
                dots=True,
            )
        ],
    )


LESSONS = {
    "long-term-dependencies": Lesson(
        title="Long-term dependencies: learning over a hundred steps",
        text=[
            "'The clouds are in the ___': sky, of course, and any network learns it. Put fifty words between, and "
            "the error has to reach back over fifty steps before the network can learn that the clouds matter.",
            "Two old tests measure just that. Adding: of a sequence of numbers two are marked; say their sum. "
            "Copying: repeat ten symbols after a pause. A tanh network learns the best answer that needs no memory, "
            "and stays there.",
        ],
        equation="adding: y = sum of the two marked numbers        without memory: always 1, squared error 1/6",
        where=[
            Where(adding, "targets ="),
            Where(copying, "targets[-MEMORY_LEN:]"),
            Where(rnn_step, "torch.tanh(a)"),
            Where(identity_, "nn.init.eye_"),
            Where(lstm_step, "c = f * c + i * g"),
        ],
        sources="Hochreiter & Schmidhuber 1997; Le, Jaitly & Hinton 2015; Arjovsky, Shah & Bengio 2016",
        expected="adding over 100 steps (short form: 40): tanh RNN above 0.14, IRNN below 0.06, LSTM below 0.02; the "
        "LSTM copies more symbols, and finds the place at the largest distance 20 points more often",
        measure=_long_term,
    ),
    "not-long-memory": Lesson(
        title="Long short-term memory is not long memory",
        text=[
            "The name says it: a short-term memory that lasts longer. A forget gate of 0.73, which a bias of 1 "
            "gives, keeps half of a value for little more than two steps; one of 0.99 for 69. What is kept fades "
            "geometrically, and so does the gradient that would have to teach the gate to stay open.",
            "So the limit is in the learning. Asked for a symbol many words back from the start, an LSTM does not "
            "find out that there is something to remember. Taught at short distances, it opens its gates, and then "
            "this one, whose task is simple, holds the symbol for much longer than it was ever asked to.",
        ],
        equation="dc_t/dc_(t-k) = product of f_s ~ f^k:    half of it is left after ln 2 / -ln f steps",
        where=[Where(lstm_step, "c = f * c + i * g"), Where(carry_curve, "product = product * kept")],
        sources="Hochreiter & Schmidhuber 1997; Tallec & Ollivier 2018; Zhao et al. 2020",
        expected="above 90 % at 5 words; below 30 % at 160 words from scratch, and there 30 points more after "
        "training at short distances",
        measure=_not_long,
    ),
}

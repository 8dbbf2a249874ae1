"""What recurrent networks are not good at: one state for a whole text, and steps that wait for each other.

Shapes: T steps, B rows, H hidden_size.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import conv1d, cross_entropy
from torch.utils._python_dispatch import TorchDispatchMode

from rnnlab.cells import RNN
from rnnlab.cells.reference import _loop
from rnnlab.lessons.fit import fit
from rnnlab.lessons.lesson import Finding, Lesson, Where
from rnnlab.lessons.plots import curves
from rnnlab.models import Classifier

_KINDS, _NOISE = 4, 16


def _needles(draw: random.Random, count: int, seq_len: int) -> tuple[Tensor, Tensor]:
    """Draw noise words <int64>(T, B) with one word in the first half that says the class <int64>(B,)."""
    generator = torch.Generator().manual_seed(draw.getrandbits(31))
    words = torch.randint(_KINDS, _KINDS + _NOISE, (seq_len, count), generator=generator)
    kinds = torch.randint(0, _KINDS, (count,), generator=generator)
    places = torch.randint(0, max(1, seq_len // 2), (count,), generator=generator)
    words[places, torch.arange(count)] = kinds
    return words, kinds


def _bottleneck(quick: bool, seed: int) -> Finding:
    """Train a classifier on its last state and one on attention over all states, at several lengths."""
    lengths, steps = ([10, 40, 100], 150) if quick else ([10, 20, 40, 80, 160], 300)
    found: dict[str, list[float]] = {"last": [], "attention": []}
    for seq_len in lengths:
        for pooling, accuracies in found.items():
            torch.manual_seed(seed)
            model = Classifier(_KINDS + _NOISE, _KINDS, cell="gru", hidden_size=24, embedding_size=16, pooling=pooling)
            draw = random.Random(seed)

            def loss(
                step: int, model: Classifier = model, draw: random.Random = draw, steps_of: int = seq_len
            ) -> Tensor:
                words, kinds = _needles(draw, 32, steps_of)
                return cross_entropy(model(words)[0], kinds)

            fit(model, loss, steps=steps, lr=0.01)
            words, kinds = _needles(random.Random(seed + 1), 500, seq_len)
            with torch.no_grad():
                accuracies.append(float((model(words)[0].argmax(-1) == kinds).double().mean()))
    last, attention = found["last"], found["attention"]
    numbers = {
        "words of a text": [float(length) for length in lengths],
        "accuracy, last state": last,
        "accuracy, attention": attention,
        "chance": 1 / _KINDS,
    }
    verdict = (
        f"On {lengths[0]} words the last state is right in {last[0]:.0%}, attention in {attention[0]:.0%}; on "
        f"{lengths[-1]} words the last state in {last[-1]:.0%}, attention in {attention[-1]:.0%} (chance "
        f"{1 / _KINDS:.0%})."
    )
    return Finding(
        numbers=numbers,
        verdict=verdict,
        holds=attention[-1] > last[-1] + 0.3 and min(attention) > 0.9 and last[0] > last[-1],
        figures=[
            curves(
                "Accuracy by length, after the same training",
                lengths,
                {"last state": last, "attention": attention},
                "across: words of a text; up: accuracy",
                dots=True,
            )
        ],
        headings=("words", "last state", "attention"),
        rows=[
            (str(length), f"{one:.3f}", f"{other:.3f}")
            for length, one, other in zip(lengths, last, attention, strict=True)
        ],
    )


class _Counted(TorchDispatchMode):
    """Counts the operations that are called."""

    def __init__(self) -> None:
        """Start at 0."""
        super().__init__()
        self.calls = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count one and do it."""
        self.calls += 1
        return func(*args, **(kwargs or {}))


def scan(x: Tensor, keep: float) -> Tensor:
    """Return h_t = keep h_(t-1) + x_t for all t at once, (T, ...), in log2 T rounds of sums of ever further neighbours.

    Source: Hillis & Steele 1986; for linear recurrent networks Martin & Cundy 2018.
    """
    distance, factor = 1, keep
    while distance < len(x):
        x = torch.cat([x[:distance], x[distance:] + factor * x[:-distance]])
        distance, factor = 2 * distance, factor * factor
    return x


def _count_and_time(way: Callable[[Tensor], Tensor], x: Tensor) -> tuple[float, float]:
    """Return how many operations a way through an input takes, and its milliseconds."""
    way(x)
    with _Counted() as counted:
        way(x)
    times = []
    for _ in range(3):
        started = time.perf_counter()
        way(x)
        times.append(time.perf_counter() - started)
    return float(counted.calls), 1e3 * sorted(times)[1]


def _scan_error(length: int) -> float:
    """Return the largest difference of a scan in float64 to the same sums taken one by one."""
    x = torch.randn(length, 4, 16, dtype=torch.float64)
    h, one_by_one = torch.zeros(4, 16, dtype=torch.float64), []
    for x_t in x:
        h = 0.9 * h + x_t
        one_by_one.append(h)
    return float((scan(x, 0.9) - torch.stack(one_by_one)).abs().max())


def _parallel(quick: bool, seed: int) -> Finding:
    """Count the operations that have to wait for each other, by length, and time them as well."""
    lengths = [16, 64, 256] if quick else [16, 64, 256, 1024]
    layer = RNN(16, 16, backend="reference")
    kernel = torch.randn(16, 16, 4)
    ways: dict[str, Callable[[Tensor], Tensor]] = {
        "recurrent": lambda x: layer(x)[0],
        "scan": lambda x: scan(x, 0.9),
        "convolution": lambda x: conv1d(x.permute(1, 2, 0), kernel),
    }
    calls: dict[str, list[float]] = {name: [] for name in ways}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    with torch.no_grad():
        for length in lengths:
            x = torch.randn(length, 4, 16)
            for name, way in ways.items():
                count, milliseconds = _count_and_time(way, x)
                calls[name].append(count)
                seconds[name].append(milliseconds)
    difference = _scan_error(lengths[-1])
    growth = {name: found[-1] / found[0] for name, found in calls.items()}
    numbers = {
        "steps": [float(length) for length in lengths],
        **{f"operations one after the other, {name}": found for name, found in calls.items()},
        **{f"milliseconds here, {name}": found for name, found in seconds.items()},
        "scan against one by one, largest difference": difference,
    }
    times = lengths[-1] // lengths[0]
    verdict = (
        f"A text {times} times as long takes {growth['recurrent']:.0f} times as many operations one after the other "
        f"in a recurrent layer, {growth['scan']:.1f} times as many in a scan ({calls['scan'][-1]:.0f} in all), and "
        f"no more in a convolution ({calls['convolution'][-1]:.0f})."
    )
    return Finding(
        numbers=numbers,
        verdict=verdict,
        # Times are shown but not judged: they are the machine's, and what else it does.
        holds=growth["recurrent"] > 0.8 * times
        and growth["scan"] <= math.log2(lengths[-1]) / math.log2(lengths[0]) + 0.01
        and growth["convolution"] == 1
        and difference < 1e-12,
        figures=[
            curves(
                "Operations that wait for each other",
                lengths,
                calls,
                "across: steps; up: operations",
                dots=True,
            ),
            curves("Time here", lengths, seconds, "across: steps; up: milliseconds", dots=True),
        ],
    )


LESSONS = {
    "encoding-bottleneck": Lesson(
        title="The bottleneck: one state for a whole text",
        text=[
            "A classifier that looks at the last state has the whole text in one vector of fixed size, and what "
            "came first has passed through every step since. Attention looks at all states and takes a weighted "
            "mean, so that any word is one step away.",
            "Each text here has one word that says its class, somewhere in the first half, among words that say "
            "nothing. Both networks are trained alike, at each length anew. With more training the last state would "
            "hold for longer.",
        ],
        equation="last: y = W h_T + b        attention: a = softmax(v . tanh(U h_t)),  y = W sum(a_t h_t) + b",
        where=[Where(Classifier._final, "h_n[-1]"), Where(Classifier._pool, "scores.softmax(0)")],
        sources="Cho et al. 2014 (length); Bahdanau, Cho & Bengio 2015; Raffel & Ellis 2016",
        expected="attention above 90 % at every length, and at least 30 points above the last state on the longest",
        measure=_bottleneck,
    ),
    "no-parallelisation": Lesson(
        title="No parallelisation: steps that wait for each other",
        text=[
            "h_t needs h_(t-1). So a text of T words takes T steps one after the other, however many processors "
            "there are. A convolution looks at all places at once.",
            "If the recurrence is linear there is a way out: sums can be taken in any order, in log2 T rounds. That "
            "is the scan of linear recurrent networks and state space models. The tanh between two steps of an RNN "
            "forbids it.",
        ],
        equation="h_t = tanh(W x_t + U h_(t-1)): T rounds        h_t = a h_(t-1) + x_t: log2 T rounds",
        where=[Where(_loop, "for t in order"), Where(scan, "factor * x[:-distance]")],
        sources="Hillis & Steele 1986; Martin & Cundy 2018; Vaswani et al. 2017 (table 1)",
        expected="operations in a row grow with the length in a recurrent layer, with its logarithm in a scan, and "
        "not at all in a convolution",
        measure=_parallel,
    ),
}

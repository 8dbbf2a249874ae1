"""What a lesson is, and what giving one comes to."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

import rnnlab
from rnnlab.cells import GRU, LSTM, RNN, Weights
from rnnlab.lessons.catalogue import LESSONS

Number = float | int | list[float]


@dataclass(frozen=True, slots=True)
class Where:
    """The line of rnnlab that computes an equation.

    Attributes:
        code: a function, method or class.
        words: what stands in the line; "" is the first line.
    """

    code: Callable[..., Any]
    words: str = ""

    def find(self) -> tuple[str, int, str]:
        """Return file, line and the line's text as they are now.

        Raises:
            LookupError: no line of the code has these words.
        """
        code = inspect.unwrap(self.code)
        lines, first = inspect.getsourcelines(code)
        for number, line in enumerate(lines, first):
            if self.words in line and (self.words or not line.lstrip().startswith("@")):
                path = Path(inspect.getsourcefile(code) or "").resolve()
                root = Path(rnnlab.__file__).resolve().parent.parent
                return path.relative_to(root).as_posix(), number, line.strip()
        raise LookupError(f"{self.code.__qualname__} has no line with {self.words!r}")


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture of a lesson.

    Attributes:
        title: plain text.
        picture: SVG.
        series: (name, CSS colour) pairs.
        note: what its axes are.
    """

    title: str
    picture: str
    series: Sequence[tuple[str, str]] = ()
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What was measured.

    Attributes:
        numbers: by name; JSON-able.
        verdict: what they say, with the number that matters in it.
        holds: whether what was expected came out.
        figures: one at least.
        headings: of the table.
        rows: of the table; plain text.
    """

    numbers: Mapping[str, Number]
    verdict: str
    holds: bool
    figures: Sequence[Figure]
    headings: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()


# (quick, seed) -> what was measured. Models draw their weights from torch's generator, which is seeded before.
Measure = Callable[[bool, int], Finding]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """A claim about recurrent networks, and how it is measured.

    Attributes:
        title: the claim, short.
        text: paragraphs, to be read aloud.
        equation: plain text.
        where: the lines that compute it.
        sources: author and year.
        expected: what has to come out, in words; `Finding.holds` says whether it did.
        measure: does it.
    """

    title: str
    text: Sequence[str]
    equation: str
    where: Sequence[Where]
    sources: str
    expected: str
    measure: Measure


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """A lesson that was given.

    Attributes:
        name: in the catalogue.
        lesson: the claim.
        finding: what came out.
        seed: of weights and data.
        is_quick: whether it was the short form.
        seconds: of CPU time.
        places: of `lesson.where`: (file, line, text).
    """

    name: str
    lesson: Lesson
    finding: Finding
    seed: int
    is_quick: bool
    seconds: float
    places: Sequence[tuple[str, int, str]] = field(default_factory=list)

    def facts(self) -> dict[str, Any]:
        """Return what lesson.json holds."""
        lesson, finding = self.lesson, self.finding
        return {
            "name": self.name,
            "title": lesson.title,
            "equation": lesson.equation,
            "code": [{"file": file, "line": line, "text": text} for file, line, text in self.places],
            "numbers": dict(finding.numbers),
            "expected": lesson.expected,
            "as_expected": finding.holds,
            "verdict": finding.verdict,
            "sources": lesson.sources,
            "seed": self.seed,
            "quick": self.is_quick,
            "cpu_seconds": round(self.seconds, 2),
            "versions": {"rnnlab": rnnlab.__version__, "torch": torch.__version__},
        }


def find_lesson(name: str) -> Lesson:
    """Return a lesson of the catalogue."""
    module, _ = LESSONS[name]
    return import_module(f"rnnlab.lessons.{module}").LESSONS[name]


def give(name: str, *, quick: bool, seed: int) -> Given:
    """Give a lesson; torch's random state is left as it was.

    Args:
        name: in the catalogue.
        quick: in seconds, with less training, shorter sequences and wider bounds where the whole takes longer.
        seed: of everything that is drawn.
    """
    lesson = find_lesson(name)
    started = time.process_time()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        finding = lesson.measure(quick, seed)
    return Given(
        name=name,
        lesson=lesson,
        finding=finding,
        seed=seed,
        is_quick=quick,
        seconds=time.process_time() - started,
        places=[where.find() for where in lesson.where],
    )


def first_weights(layer: RNN | LSTM | GRU) -> Weights:
    """Return the weights of a stack's first layer, without their graph."""
    return Weights(*(weight.detach() for weight in layer.layer_weights(0, 0) if weight is not None))

"""Every lesson comes out as it says, in its short form; and says where in the code, as the code is now."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import rnnlab
from rnnlab.lessons.catalogue import ALIASES, LESSONS
from rnnlab.lessons.lesson import Given, Where, find_lesson, give

ROOT = Path(rnnlab.__file__).resolve().parent.parent
# Numbers that are told in the lesson's verdict and that a lecturer would be asked about, as (at least, at most). They
# are what the claim needs, not what came out: a little lower or higher on another processor is no failure.
BOUNDS = {
    "hidden-state": {"largest difference between layer and equation": (0, 1e-12)},
    "bptt": {"sum of the shares of all distances": (1 - 1e-9, 1 + 1e-9)},
    "vanishing": {"largest relative difference": (0, 0.04), "what is left after 20 steps, inputs of size 1": (0, 1e-4)},
    "exploding": {"largest difference": (0, 1e-3), "growth over 50 steps at 1.3": (4.9e5, 5.1e5)},  # 1.3^50 = 497,929
    "relu": {"ReLU: largest less smallest": (0, 1e-9)},
    "identity-init": {"gradient left after 100 steps: identity, ReLU": (0.9, 1.1)},
    "clipping": {"largest update with clipping": (0, 0.01001), "largest update without": (1, float("inf"))},
    "tbptt": {"gradient that crosses a window's edge": (0, 0)},
    "gates": {"largest difference": (0, 0.06)},
    "gru": {"GRU over LSTM": (0.75, 0.75), "largest |h| with inputs of size 10": (0, 1)},
    "rnn-vs-lstm-vs-gru": {"squared error, RNN": (0.1, 0.2), "squared error, LSTM": (0, 0.02)},
    "one-hot-vs-embedding": {
        "largest difference between product and row": (0, 0),
        # Four places, not two: where two were one, some of their nouns would nearly be the same.
        "largest cosine of nouns of different places": (-1, 0.7),
    },
    "variable-lengths": {"share of padding in the tightest batch": (0.6, 0.6)},
    "word-order": {
        "accuracy on unseen pairs, bag of words": (0.5, 0.5),
        "accuracy on unseen pairs, LSTM": (0.95, 1),
        "difference of the two, bag of words": (0, 1e-6),
    },
    "next-word": {"perplexity of the language itself": (2, 2.4), "perplexity knowing frequencies alone": (5, 30)},
    "sentiment": {"accuracy, LSTM": (0.9, 1), "accuracy, bag of words": (0.4, 0.75)},
    "music": {"share of bars that fill the metre, trained": (0.7, 1)},
    "long-term-dependencies": {
        "adding: squared error, tanh RNN": (0.14, 0.2),
        "adding: squared error, IRNN": (0, 0.06),
        "adding: squared error, LSTM": (0, 0.02),
    },
    "moving-ball": {"squared error, it stays": (0.004, 0.005)},  # speed^2 / 2, less where a wall throws it back
    "encoding-bottleneck": {"chance": (0.25, 0.25)},
    "no-parallelisation": {"scan against one by one, largest difference": (0, 1e-12)},
    "not-long-memory": {"steps after which half is left": (1, 4)},
}


@pytest.fixture(scope="module")
def given() -> dict[str, Given]:
    """The lessons given so far, each once."""
    return {}


def quick(given: dict[str, Given], name: str) -> Given:
    if name not in given:
        given[name] = give(name, quick=True, seed=0)
    return given[name]


@pytest.mark.parametrize("name", LESSONS)
def test_a_lesson_comes_out_as_expected(name, given):
    lesson = quick(given, name)
    assert lesson.finding.holds, lesson.finding.verdict
    for number, (least, most) in BOUNDS[name].items():
        value = lesson.finding.numbers[number]
        assert isinstance(value, int | float)
        assert least <= value <= most, number
    assert "e+00" not in lesson.finding.verdict, "0 is 0"
    assert lesson.finding.figures
    assert all("<svg" in one.picture and "nan" not in one.picture for one in lesson.finding.figures)


@pytest.mark.parametrize("name", LESSONS)
def test_a_lesson_names_lines_that_are_there(name):
    lesson = find_lesson(name)
    assert lesson.where
    for where in lesson.where:
        file, line, text = where.find()
        assert (ROOT / file).read_text().splitlines()[line - 1].strip() == text
        assert where.words in text


def test_a_line_that_is_gone_is_an_error_and_no_wrong_number():
    with pytest.raises(LookupError, match="give has no line with 'no such words'"):
        Where(give, "no such words").find()


@pytest.mark.parametrize("name", ["vanishing", "word-order"])
def test_a_seed_gives_the_same_numbers_whatever_was_drawn_before(name, given):
    first = quick(given, name)
    torch.manual_seed(123)
    expected = torch.rand(3)
    torch.manual_seed(123)
    again = give(name, quick=True, seed=0)
    assert again.finding.numbers == first.finding.numbers
    assert torch.equal(torch.rand(3), expected)  # and the caller's random numbers are as they would have been
    assert give(name, quick=True, seed=1).finding.numbers != first.finding.numbers


def test_aliases_name_lessons():
    assert set(ALIASES.values()) <= set(LESSONS)
    assert not set(ALIASES) & set(LESSONS)
